//! `nanoclaw groups`: who is served, with the daemon up or down.

use serde_json::json;

use super::args::{Add, Budget, Groups, Output, Set};
use super::exit::Exit;
use super::plain::{json, say};
use crate::config::Config;
use crate::container::mounts::configured;
use crate::db::past::{self, Past};
use crate::db::{self, Chat, Group, Ledger, NewGroup, Speakers};
use crate::ids::Folder;
use crate::prices::dollars;
use crate::turns::shares;

/// Runs one of the subcommands.
pub async fn run(config: &Config, command: &Groups) -> anyhow::Result<Exit> {
    match command {
        Groups::List(output) => list(config, output),
        Groups::Add(add) => add_group(config, add).await,
        Groups::Chats(output) => chats(config, output),
        Groups::Set(set) => change(config, set).await,
        Groups::Link { folder, jid } => {
            let (folder, chat) = (Folder::parse(folder)?, jid.clone());
            let to = folder.clone();
            let ledger = Ledger::open(&config.ledger())?;
            let linked = ledger.write(move |c| {
                let jid = address(c, &chat)?;
                db::groups::link(c, &to, &jid)?;
                Ok(jid)
            });
            say!("{} is linked to {folder}", linked.await?);
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
            group.speakers = set.who.unwrap_or(group.speakers);
            group.keeps_context = set.keep_context.unwrap_or(group.keeps_context);
            let wants = &mut group.container;
            wants.vm = set.isolation.map_or(wants.vm, |i| i == "vm");
            wants.memory = set.memory.map_or(wants.memory, |m| Some(m).filter(|m| *m > 0));
            wants.cpus = set.cpus.map_or(wants.cpus, |n| Some(n).filter(|n| *n > 0.0));
            wants.once = set.once.unwrap_or(wants.once);
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
    say!("{folder} is changed");
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
        say!("    sees {} as {} ({how})", mount.host.display(), mount.guest.display());
    }
    refused.iter().for_each(|why| say!("    ! {why}"));
}

async fn add_group(config: &Config, add: &Add) -> anyhow::Result<Exit> {
    let folder = Folder::parse(&add.folder)?;
    let name = add.name.clone().unwrap_or_else(|| folder.to_string());
    let group = Group {
        trigger: add.trigger.clone().unwrap_or_default(),
        requires_trigger: !add.no_trigger,
        egress: add.egress.clone(),
        keeps_context: !add.no_context,
        ..Group::new(folder, name)
    };
    let (wanted, who) = (add.jid.clone(), add.who);
    let ledger = Ledger::open(&config.ledger())?;
    let added = ledger.write(move |c| {
        let chats = wanted.iter().map(|chat| address(c, chat)).collect::<db::Result<Vec<_>>>()?;
        let usual = chats.first().map_or(Speakers::Everybody, |jid| Speakers::default_for(jid));
        let new = NewGroup { group: Group { speakers: who.unwrap_or(usual), ..group }, chats };
        db::groups::add(c, &new)?;
        Ok(new)
    });
    let NewGroup { group, chats } = added.await?;
    let folder = config.groups().join(group.folder.as_str());
    std::fs::create_dir_all(&folder)?;
    if add.output.json {
        return json(&json!({"group": group, "chats": chats}));
    }
    say!("{} is served; its folder is {}", group.folder, folder.display());
    say!("{}", rules(&group, &config.assistant_name));
    say!("`nanoclaw groups set {}` changes that: --who, --keep-context, --egress", group.folder);
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
        return json(&all);
    }
    if listed.is_empty() {
        say!("no groups yet; `nanoclaw chat` makes main, `nanoclaw groups add` others");
    }
    for (group, chats, past, limit) in listed {
        let mut words = vec![rules(&group, &config.assistant_name)];
        let wants = &group.container;
        words.extend(wants.vm.then(|| "in a virtual machine only".to_owned()));
        words.extend(wants.memory.map(|mib| format!("{mib} MiB")));
        words.extend(wants.cpus.map(|n| format!("{n} cpus")));
        words.extend(wants.once.then(|| "a container for each turn".to_owned()));
        say!("{}  {}  ({})", group.folder, group.name, words.join("; "));
        for chat in chats {
            say!("    {}  {}{}", chat.jid, chat.name, closed(&chat));
        }
        if let Some(ms) = past.timeout() {
            say!("    a turn may take {ms} ms");
        }
        if let Some(limit) = limit {
            say!("    may cost {} a day", dollars(limit));
        }
        show_shares(config, &past, &shared);
    }
    Ok(Exit::Ok)
}

/// The address of a chat that the owner names. One of a form that may be an address is
/// taken even if nobody wrote there yet.
fn address(c: &rusqlite::Connection, chat: &str) -> db::Result<String> {
    match db::groups::pick(c, chat) {
        Ok(chat) => Ok(chat.jid),
        Err(_) if chat.contains([':', '@']) && db::groups::meant(c, chat)?.is_empty() => {
            Ok(chat.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// What holds for a group, in a line.
fn rules(group: &Group, assistant: &str) -> String {
    let what = match (group.is_main, group.requires_trigger, group.trigger.as_str()) {
        (true, ..) => return format!("main: answers everything; reaches {}", group.egress),
        (_, false, _) => "answers everything".to_owned(),
        (_, _, "") => format!("answers @{assistant}"),
        (_, _, trigger) => format!("answers {trigger}"),
    };
    let who = match group.speakers {
        Speakers::Everybody => "of everybody",
        Speakers::Known => "of people whom you know",
        Speakers::Owner => "of you alone",
    };
    let context = if group.keeps_context { "" } else { "; keeps nothing of what others say" };
    format!("{what} {who}{context}; reaches {}", group.egress)
}

fn closed(chat: &Chat) -> String {
    chat.closed.map(|closed| format!("  ! {}", closed.reason())).unwrap_or_default()
}

fn chats(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let all = match Ledger::look(&config.ledger())? {
        Some(c) => db::groups::chats(&c, None)?,
        None => Vec::new(),
    };
    if output.json {
        return json(&all);
    }
    if all.is_empty() {
        say!("no chats yet; one is known from its first message on");
    }
    for chat in all {
        let group = chat.folder.as_ref().map_or("-", Folder::as_str);
        let day = chat.last_activity.get(..10).unwrap_or("          ");
        say!("{day}  {:<12}  {}  {}{}", group, chat.jid, chat.name, closed(&chat));
    }
    Ok(Exit::Ok)
}
