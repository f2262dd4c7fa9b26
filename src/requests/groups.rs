//! The tool that registers a group: main's alone.

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, Outcome, arguments};
use crate::container::mounts;
use crate::db::{self, Chat, Group, LedgerError, NewGroup, Speakers, refuse};
use crate::ids::Folder;

#[derive(Deserialize)]
struct Register {
    /// The chat's address or name.
    #[serde(alias = "chat")]
    jid: String,
    name: Option<String>,
    folder: Option<String>,
    trigger: Option<String>,
    #[serde(rename = "requiresTrigger", alias = "requires_trigger")]
    requires_trigger: Option<bool>,
    who_may_trigger: Option<String>,
    keep_context: Option<bool>,
    web: Option<bool>,
    /// Directories of the owner's, and a time limit.
    #[serde(rename = "containerConfig", alias = "container_config")]
    container_config: Option<Value>,
}

/// `register_group`: a folder for a chat that belongs to none yet, or what the owner
/// wants otherwise of the group that the chat belongs to. An agent can never make a
/// group main, nor change main.
pub fn register(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let call: Register = arguments(value)?;
    asker.administers("register groups")?;
    let chat = db::groups::pick(c, &call.jid)?;
    let wanted = call.folder.as_deref().map(Folder::parse).transpose();
    let wanted = wanted.or_else(|error| refuse(error.to_string()))?;
    let known = db::groups::of_chat(c, &chat.jid)?;
    let existing = known.filter(|g| wanted.as_ref().is_none_or(|folder| *folder == g.folder));
    let is_new = existing.is_none();
    let before = match existing {
        Some(group) if group.is_main => {
            return refuse("main cannot be registered anew, and answers everything in it");
        }
        Some(group) => group,
        None => {
            let name = call.name.clone().unwrap_or_else(|| chat.name.clone());
            let folder = match wanted {
                Some(folder) => folder,
                None => free_folder(c, &chat, &name)?,
            };
            by_default(folder, name, &chat)
        }
    };
    let group = changed(before, &call)?;
    let config = call.container_config.filter(|config| !config.is_null());
    let config = config.as_ref().map(mounts::checked).transpose().map_err(LedgerError::Refused)?;
    if is_new {
        db::groups::add(c, &NewGroup { group: group.clone(), chats: vec![chat.jid.clone()] })?;
    } else {
        db::groups::update(c, &group)?;
    }
    let mut said = told(c, &group, &chat, is_new)?;
    if let Some(config) = config {
        db::past::configure(c, &group.folder, Some(&config))?;
        said["note"] = "its directories are mounted as mount-allowlist.json allows, looked at when its container starts; what is refused is told here".into();
    }
    Ok(said)
}

/// A group for a chat as it is when nobody says anything about it. In a group of
/// WhatsApp people talk to each other: there the assistant must be called.
pub fn by_default(folder: Folder, name: String, chat: &Chat) -> Group {
    Group {
        requires_trigger: chat.jid.ends_with("@g.us"),
        speakers: Speakers::default_for(&chat.jid),
        ..Group::new(folder, name)
    }
}

fn changed(group: Group, call: &Register) -> db::Result<Group> {
    let speakers = match &call.who_may_trigger {
        None => group.speakers,
        Some(word) => match Speakers::parse(word) {
            Some(speakers) => speakers,
            None => {
                return refuse(format!("who_may_trigger is known, everybody or me, not {word:?}"));
            }
        },
    };
    let egress = match call.web {
        None => group.egress.clone(),
        Some(true) => "web".into(),
        Some(false) => "api".into(),
    };
    Ok(Group {
        name: call.name.clone().unwrap_or(group.name),
        trigger: call.trigger.clone().unwrap_or(group.trigger),
        requires_trigger: call.requires_trigger.unwrap_or(group.requires_trigger),
        speakers,
        egress,
        keeps_context: call.keep_context.unwrap_or(group.keeps_context),
        ..group
    })
}

/// What holds now, and how it is changed, for the agent to pass on.
fn told(c: &Connection, group: &Group, chat: &Chat, is_new: bool) -> db::Result<Value> {
    let members = db::rooms::members(c, &chat.jid)?;
    let known = members.iter().filter(|(_, known)| *known).map(|(name, _)| name);
    let known: Vec<&String> = known.collect();
    let mut result = json!({
        "chat": chat.jid,
        "name": group.name,
        "requires_trigger": group.requires_trigger,
        "who_may_trigger": group.speakers.as_str(),
        "keep_context": group.keeps_context,
        "web": group.egress != "api",
        "tell_the_owner": "Say in one or two sentences what holds: who wakes me here (the owner always), whether what \
            others say is kept as context, whether I may use the web here. Any of it is changed by calling \
            register_group for this chat again with who_may_trigger (known, everybody, me), keep_context or web, or by \
            the command `nanoclaw groups set`.",
    });
    result[if is_new { "registered" } else { "changed" }] = json!(group.folder);
    if !members.is_empty() {
        result["members_the_owner_knows"] = json!(known);
        result["other_members"] = json!(members.len() - known.len());
    }
    Ok(result)
}

/// A folder for a chat, from its name: `whatsapp_chess-club`.
fn free_folder(c: &Connection, chat: &Chat, name: &str) -> db::Result<Folder> {
    let mut plain = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'ä' => plain.push_str("ae"),
            'ö' => plain.push_str("oe"),
            'ü' => plain.push_str("ue"),
            'ß' => plain.push_str("ss"),
            c if c.is_ascii_alphanumeric() => plain.push(c),
            _ if !plain.ends_with('-') => plain.push('-'),
            _ => {}
        }
    }
    let plain: String = plain.trim_matches('-').chars().take(40).collect();
    let plain = if plain.is_empty() { "group" } else { plain.trim_end_matches('-') };
    let channel = chat.channel.as_deref().unwrap_or("chat");
    for number in 1.. {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        // A channel may be called whatever its program likes.
        let named = [format!("{channel}_{plain}{number}"), format!("chat_{plain}{number}")];
        let folder = named.iter().find_map(|name| Folder::parse(name).ok());
        let Some(folder) = folder else { break };
        if db::groups::by_folder(c, &folder)?.is_none() {
            return Ok(folder);
        }
    }
    refuse("no folder can be named after this chat: name one")
}
