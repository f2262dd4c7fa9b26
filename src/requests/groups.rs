//! The tool that registers a group: main's alone.

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, Outcome, arguments};
use crate::container::mounts;
use crate::db::{self, Group, NewGroup};
use crate::ids::Folder;

#[derive(Deserialize)]
struct Register {
    jid: String,
    name: String,
    folder: String,
    #[serde(default)]
    trigger: Option<String>,
    #[serde(default, rename = "requiresTrigger", alias = "requires_trigger")]
    requires_trigger: Option<bool>,
    /// Directories of the owner's, and a time limit.
    #[serde(default, rename = "containerConfig", alias = "container_config")]
    container_config: Option<Value>,
}

/// `register_group`: a folder for a chat that belongs to none yet. An agent can
/// never make a group main.
pub fn register(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let call: Register = match arguments(value) {
        Ok(call) => call,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = asker.administers("register groups") {
        return Ok(Err(refusal));
    }
    let folder = match Folder::parse(&call.folder) {
        Ok(folder) => folder,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let known = db::groups::chats(c, None)?;
    if !known.iter().any(|chat| chat.jid == call.jid) {
        return Ok(Err(format!(
            "no chat {:?} is known; list_groups shows those there are",
            call.jid
        )));
    }
    let config = match call.container_config.filter(|config| !config.is_null()) {
        None => None,
        Some(config) => match mounts::checked(&config) {
            Ok(config) => Some(config),
            Err(refusal) => return Ok(Err(refusal)),
        },
    };
    let group = Group {
        folder,
        name: call.name,
        is_main: false,
        trigger: call.trigger.unwrap_or_default(),
        requires_trigger: call.requires_trigger.unwrap_or(false),
        egress: "web".into(),
        model: None,
    };
    db::groups::add(c, &NewGroup { group: group.clone(), chats: vec![call.jid.clone()] })?;
    let mut said = json!({"registered": group.folder, "chat": call.jid, "requires_trigger": group.requires_trigger});
    if let Some(config) = config {
        db::past::configure(c, &group.folder, Some(&config))?;
        said["note"] = "its directories are mounted as mount-allowlist.json allows, looked at when its container starts; what is refused is told here".into();
    }
    Ok(Ok(said))
}
