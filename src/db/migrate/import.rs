//! The JSON files in which the first 1.x kept its state: into the tables of the last
//! 1.x. They go before what the tables say, as in 1.x. A file that cannot be read
//! stops the upgrade: it may name every group there is.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Work;
use crate::db::ledger::{LedgerError, Result};
use crate::db::sql::Sql;

#[derive(Deserialize)]
struct RouterState {
    last_timestamp: Option<String>,
    last_agent_timestamp: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct JsonGroup {
    name: Option<String>,
    folder: String,
    trigger: Option<String>,
    added_at: Option<String>,
    #[serde(rename = "containerConfig")]
    container_config: Option<Value>,
    #[serde(rename = "requiresTrigger")]
    requires_trigger: Option<bool>,
    #[serde(rename = "isMain")]
    is_main: Option<bool>,
}

/// Reads the files that are there.
pub(super) fn files(c: &Connection, work: &mut Work<'_>) -> Result<()> {
    let Some(origin) = work.origin else { return Ok(()) };
    let path = origin.data.join("router_state.json");
    if let Some(state) = read::<RouterState>(&path)? {
        let agent = state.last_agent_timestamp.map(|map| serde_json::json!(map).to_string());
        for (key, value) in
            [("last_timestamp", state.last_timestamp), ("last_agent_timestamp", agent)]
        {
            if let Some(value) = value {
                c.run("INSERT OR REPLACE INTO router_state VALUES (?1, ?2)", [key, &value])?;
            }
        }
        work.report.files.push(path);
    }
    let path = origin.data.join("sessions.json");
    if let Some(sessions) = read::<BTreeMap<String, String>>(&path)? {
        for (folder, id) in &sessions {
            c.run("INSERT OR REPLACE INTO sessions VALUES (?1, ?2)", [folder, id])?;
        }
        work.report.files.push(path);
    }
    let path = origin.data.join("registered_groups.json");
    if let Some(groups) = read::<BTreeMap<String, JsonGroup>>(&path)? {
        for (jid, group) in groups {
            register(c, work, jid, group)?;
        }
        work.report.files.push(path);
    }
    Ok(())
}

/// One table row holds one chat of a folder; a second chat is linked afterwards,
/// where 1.x forgot the first (quirk 15).
fn register(c: &Connection, work: &mut Work<'_>, jid: String, group: JsonGroup) -> Result<()> {
    let name = group.name.unwrap_or_else(|| group.folder.clone());
    let other: Option<String> = c.first(
        "SELECT jid FROM registered_groups WHERE folder = ?1 AND jid <> ?2",
        [&group.folder, &jid],
    )?;
    if other.is_some() {
        work.links.push((jid, name, group.folder));
        return Ok(());
    }
    c.run(
        "INSERT OR REPLACE INTO registered_groups
            (jid, name, folder, trigger_pattern, added_at, container_config, requires_trigger, is_main)
         VALUES (?1, ?2, ?3, ?4, COALESCE(?5, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ?6, ?7, ?8)",
        params![
            jid,
            name,
            group.folder,
            group.trigger.unwrap_or_default(),
            group.added_at,
            group.container_config.filter(|v| !v.is_null()).map(|v| v.to_string()),
            group.requires_trigger.unwrap_or(true),
            // In the days of the file the folder's name was the flag.
            group.is_main.unwrap_or(group.folder == "main"),
        ],
    )
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let refuse = |reason: String| {
        let path = path.display();
        Err(LedgerError::Refused(format!(
            "{path} cannot be read: {reason}; mend it or move it away"
        )))
    };
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => refuse(e.to_string()),
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(e) => refuse(e.to_string()),
        },
    }
}
