//! The CLI session that each group's conversation resumes.

use rusqlite::Connection;

use super::ledger::Result;
use super::sql::Sql;
use crate::ids::Folder;

/// The session to resume, if there is one.
pub fn of(c: &Connection, folder: &Folder) -> Result<Option<String>> {
    c.first("SELECT session_id FROM sessions WHERE group_folder = ?1", [folder])
}

/// Notes the session that the group's conversation is in now.
pub fn set(c: &Connection, folder: &Folder, id: &str) -> Result<()> {
    c.run(
        "INSERT OR REPLACE INTO sessions (group_folder, session_id) VALUES (?1, ?2)",
        [folder.as_str(), id],
    )
}
