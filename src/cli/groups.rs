//! `nanoclaw groups`: who is served, with the daemon up or down.

use serde_json::json;

use super::args::{Add, Budget, Groups, Output, Set};
use super::exit::Exit;
use crate::config::Config;
use crate::container::mounts::configured;
use crate::db::past::{self, Past};
use crate::db::{self, Group, Ledger, NewGroup};
use crate::ids::Folder;
use crate::prices::dollars;
use crate::turns::shares;

/// Runs one of the subcommands.
pub async fn run(config: &Config, command: &Groups) -> anyhow::Result<Exit> {
    match command {
        Groups::List(output) => list(config, output),
        Groups::Add(add) => add_group(config, add).await,
        Groups::Set(set) => change(config, set).await,
        Groups::Link { folder, jid } => {
            let (folder, jid) = (Folder::parse(folder)?, jid.clone());
            let said = format!("{jid} is linked to {folder}");
            let ledger = Ledger::open(&config.ledger())?;
            ledger.write(move |c| db::groups::link(c, &folder, &jid)).await?;
            println!("{said}");
            Ok(Exit::Ok)
        }
        Groups::Remove { folder } => {
            let folder = Folder::parse(folder)?;
            let said = format!(
                "{folder} is forgotten; its files stay in {}",
                config.groups().join(folder.as_str()).display()
            );
            let ledger = Ledger::open(&config.ledger())?;
            ledger.write(move |c| db::groups::remove(c, &folder)).await?;
            println!("{said}");
            Ok(Exit::Ok)
        }
    }
}

async fn change(config: &Config, set: &Set) -> anyhow::Result<Exit> {
    let folder = Folder::parse(&set.folder)?;
    let (of, changes) = (folder.clone(), set.clone());
    let ledger = Ledger::open(&config.ledger())?;
    let shared = ledger
        .write(move |c| {
            let set = changes;
            let mut group =
                db::groups::by_folder(c, &of)?.ok_or_else(|| db::groups::unknown(&of))?;
            group.name = set.name.unwrap_or(group.name);
            group.trigger = set.trigger.unwrap_or(group.trigger);
            group.requires_trigger = set.requires_trigger.unwrap_or(group.requires_trigger);
            group.egress = set.egress.unwrap_or(group.egress);
            group.model = set.model.map_or(group.model, |m| Some(m).filter(|m| !m.is_empty()));
            db::groups::update(c, &group)?;
            if let Some(Budget(limit)) = set.budget {
                db::usage::set_limit(c, &of, limit)?;
            }
            let mounts = (set.no_mounts || !set.mount.is_empty()).then_some(set.mount);
            if mounts.is_some() || set.timeout.is_some() {
                let old = past::of(c, &of)?.container_config;
                let new = configured(old.as_deref(), mounts.as_deref(), set.timeout);
                past::configure(c, &of, Some(&new))?;
            }
            Ok((past::of(c, &of)?, past::configured(c)?))
        })
        .await?;
    println!("{folder} is changed");
    if !set.mount.is_empty() {
        show_shares(config, &shared.0, &shared.1);
    }
    Ok(Exit::Ok)
}

/// What a group would see of the owner's now, and why not the rest.
fn show_shares(config: &Config, group: &Past, configured: &[Past]) {
    let (mounts, refused) = shares::granted(config, group, configured);
    for mount in mounts {
        let how = if mount.writable { "read, write" } else { "read" };
        println!("    sees {} as {} ({how})", mount.host.display(), mount.guest.display());
    }
    refused.iter().for_each(|why| println!("    ! {why}"));
}

async fn add_group(config: &Config, add: &Add) -> anyhow::Result<Exit> {
    let folder = Folder::parse(&add.folder)?;
    let group = Group {
        name: add.name.clone().unwrap_or_else(|| folder.to_string()),
        folder,
        is_main: false,
        trigger: add.trigger.clone().unwrap_or_default(),
        requires_trigger: !add.no_trigger,
        egress: add.egress.clone(),
        model: None,
    };
    let new = NewGroup { group: group.clone(), chats: add.jid.clone() };
    let ledger = Ledger::open(&config.ledger())?;
    ledger.write(move |c| db::groups::add(c, &new)).await?;
    std::fs::create_dir_all(config.groups().join(group.folder.as_str()))?;
    if add.output.json {
        println!("{}", serde_json::to_string_pretty(&json!({"group": group, "chats": add.jid}))?);
    } else {
        println!(
            "{} is served; its folder is {}",
            group.folder,
            config.groups().join(group.folder.as_str()).display()
        );
    }
    Ok(Exit::Ok)
}

fn list(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let (mut listed, mut shared) = (Vec::new(), Vec::new());
    if let Some(c) = Ledger::look(&config.ledger())? {
        for group in db::groups::all(&c)? {
            let chats = db::groups::chats(&c, Some(&group.folder))?;
            let (past, limit) =
                (past::of(&c, &group.folder)?, db::usage::limit(&c, &group.folder)?);
            listed.push((group, chats, past, limit));
        }
        shared = past::configured(&c)?;
    }
    if output.json {
        let all: Vec<_> = listed
            .iter()
            .map(|(group, chats, past, limit)| {
                let (mounts, refused) = shares::granted(config, past, &shared);
                let mounts: Vec<_> = mounts
                    .iter()
                    .map(|m| json!({"host": m.host, "guest": m.guest, "writable": m.writable}))
                    .collect();
                json!({"group": group, "chats": chats, "mounts": mounts, "refused": refused,
                    "timeout": past.timeout(), "budget": limit})
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(Exit::Ok);
    }
    if listed.is_empty() {
        println!("no groups yet; `nanoclaw chat` makes main, `nanoclaw groups add` others");
    }
    for (group, chats, past, limit) in listed {
        let trigger = match (group.is_main, group.requires_trigger, group.trigger.as_str()) {
            (true, ..) => "main: answers everything".to_owned(),
            (_, false, _) => "answers everything".into(),
            (_, _, "") => format!("answers @{}", config.assistant_name),
            (_, _, trigger) => format!("answers {trigger}"),
        };
        println!("{}  {}  ({trigger}; reaches {})", group.folder, group.name, group.egress);
        for chat in chats {
            println!("    {}  {}", chat.jid, chat.name);
        }
        if let Some(ms) = past.timeout() {
            println!("    a turn may take {ms} ms");
        }
        if let Some(limit) = limit {
            println!("    may cost {} a day", dollars(limit));
        }
        show_shares(config, &past, &shared);
    }
    Ok(Exit::Ok)
}
