//! Files that came with a message or go out with one: a JSON list in a column of
//! the row that they belong to.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::ledger::Result;
use super::sql::Sql;
use crate::ids::{Folder, TurnId};

/// A file, or the reason why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Of a message: relative to its group's folder. Of an outbox row: relative to
    /// the directory that channels exchange files in. Empty if it was not taken.
    #[serde(default)]
    pub path: String,
    /// Media type.
    #[serde(default)]
    pub mime: String,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// What its sender calls it.
    #[serde(default)]
    pub name: String,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What stands in the column.
pub(super) fn encode(files: &[Attachment]) -> Option<String> {
    // Strings and numbers: cannot fail to serialise.
    (!files.is_empty()).then(|| serde_json::to_string(files).unwrap_or_default())
}

/// What the column says.
pub(super) fn decode(column: Option<String>) -> Vec<Attachment> {
    column.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The group that a message's files go to; `None` if it is not served, or if the
/// message is known already.
pub fn receiver(c: &Connection, jid: &str, id: &str) -> Result<Option<Folder>> {
    let known =
        c.has("SELECT 1 FROM messages WHERE chat_jid = ?1 AND id = ?2", params![jid, id])?;
    if known {
        return Ok(None);
    }
    Ok(super::groups::of_chat(c, jid)?.map(|group| group.folder))
}

/// The files of a turn's messages, in their order.
pub fn of_turn(c: &Connection, turn: TurnId) -> Result<Vec<Attachment>> {
    let columns: Vec<Option<String>> = c.all(
        "SELECT attachments FROM messages WHERE turn = ?1 AND attachments IS NOT NULL ORDER BY seq",
        [turn],
    )?;
    Ok(columns.into_iter().flat_map(decode).collect())
}

/// The paths, beneath their groups' folders, of all files that came with messages.
/// A name has enough that is random in it to be one file.
pub fn received(c: &Connection) -> Result<BTreeSet<String>> {
    c.all(
        "SELECT f.value ->> 'path' FROM messages m INDEXED BY messages_files, json_each(m.attachments) f
         WHERE m.attachments IS NOT NULL AND f.value ->> 'path' IS NOT NULL",
        [],
    )
}

/// Adds files to a row of the outbox that was added in the same step.
pub fn attach(c: &Connection, turn: TurnId, key: &str, files: &[Attachment]) -> Result<()> {
    c.run(
        "UPDATE outbox SET attachments = ?3 WHERE turn = ?1 AND key = ?2 AND part = 0",
        params![turn, key, encode(files)],
    )
}

/// How many rows with files wait for a chat.
pub fn waiting(c: &Connection, jid: &str) -> Result<i64> {
    c.one(
        "SELECT count(*) FROM outbox WHERE chat_jid = ?1 AND state = 'pending' AND attachments IS NOT NULL",
        [jid],
    )
}

/// Whether a row of this turn names this file.
pub fn is_named(c: &Connection, turn: TurnId, path: &str) -> Result<bool> {
    c.has(
        "SELECT 1 FROM outbox, json_each(outbox.attachments) f
         WHERE turn = ?1 AND f.value ->> 'path' = ?2",
        params![turn, path],
    )
}

/// The paths that the outbox still needs: of rows that wait, and of those that
/// were sent after `since` (milliseconds).
pub fn needed(c: &Connection, since: i64) -> Result<BTreeSet<String>> {
    c.all(
        "SELECT f.value ->> 'path' FROM outbox, json_each(outbox.attachments) f
         WHERE outbox.attachments IS NOT NULL AND (state = 'pending' OR sent_at > ?1)",
        [since],
    )
}
