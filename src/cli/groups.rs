//! `nanoclaw groups`: who is served, with the daemon up or down.

use serde_json::json;

use super::args::{Add, Groups, Output};
use super::exit::Exit;
use super::plain::say;
use crate::config::Config;
use crate::db::{self, Group, Ledger, NewGroup};
use crate::ids::Folder;

/// Runs one of the subcommands.
pub async fn run(config: &Config, command: &Groups) -> anyhow::Result<Exit> {
    match command {
        Groups::List(output) => list(config, output),
        Groups::Add(add) => add_group(config, add).await,
        Groups::Set(set) => {
            let folder = Folder::parse(&set.folder)?;
            let said = format!("{folder} is changed");
            let set = set.clone();
            let ledger = Ledger::open(&config.ledger())?;
            ledger
                .write(move |c| {
                    let mut group = db::groups::by_folder(c, &folder)?
                        .ok_or_else(|| db::groups::unknown(&folder))?;
                    group.name = set.name.unwrap_or(group.name);
                    group.trigger = set.trigger.unwrap_or(group.trigger);
                    group.requires_trigger = set.requires_trigger.unwrap_or(group.requires_trigger);
                    group.egress = set.egress.unwrap_or(group.egress);
                    group.model =
                        set.model.map_or(group.model, |m| Some(m).filter(|m| !m.is_empty()));
                    db::groups::update(c, &group)
                })
                .await?;
            say!("{said}");
            Ok(Exit::Ok)
        }
        Groups::Link { folder, jid } => {
            let (folder, jid) = (Folder::parse(folder)?, jid.clone());
            let said = format!("{jid} is linked to {folder}");
            let ledger = Ledger::open(&config.ledger())?;
            ledger.write(move |c| db::groups::link(c, &folder, &jid)).await?;
            say!("{said}");
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
            say!("{said}");
            Ok(Exit::Ok)
        }
    }
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
        say!(
            "{} is served; its folder is {}",
            group.folder,
            config.groups().join(group.folder.as_str()).display()
        );
    }
    Ok(Exit::Ok)
}

fn list(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let mut listed = Vec::new();
    if let Some(c) = Ledger::look(&config.ledger())? {
        for group in db::groups::all(&c)? {
            let chats = db::groups::chats(&c, Some(&group.folder))?;
            listed.push((group, chats));
        }
    }
    if output.json {
        let all: Vec<_> =
            listed.iter().map(|(group, chats)| json!({"group": group, "chats": chats})).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(Exit::Ok);
    }
    if listed.is_empty() {
        say!("no groups yet; `nanoclaw chat` makes main, `nanoclaw groups add` others");
    }
    for (group, chats) in listed {
        let trigger = match (group.is_main, group.requires_trigger, group.trigger.as_str()) {
            (true, ..) => "main: answers everything".to_owned(),
            (_, false, _) => "answers everything".into(),
            (_, _, "") => format!("answers @{}", config.assistant_name),
            (_, _, trigger) => format!("answers {trigger}"),
        };
        say!("{}  {}  ({trigger}; reaches {})", group.folder, group.name, group.egress);
        for chat in chats {
            say!("    {}  {}", chat.jid, chat.name);
        }
    }
    Ok(Exit::Ok)
}
