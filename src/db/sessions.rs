//! The CLI session that each group's conversation resumes.

use rusqlite::{Connection, OptionalExtension};

use super::ledger::Result;
use crate::ids::Folder;

/// The session to resume, if there is one.
pub fn of(c: &Connection, folder: &Folder) -> Result<Option<String>> {
    Ok(c.prepare_cached("SELECT session_id FROM sessions WHERE group_folder = ?1")?
        .query_row([folder.as_str()], |r| r.get(0))
        .optional()?)
}

/// Notes the session that the group's conversation is in now.
pub fn set(c: &Connection, folder: &Folder, id: &str) -> Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO sessions (group_folder, session_id) VALUES (?1, ?2)")?
        .execute([folder.as_str(), id])?;
    Ok(())
}
