//! Facts about the installation itself, by name.

use rusqlite::{Connection, OptionalExtension};

use super::ledger::Result;

/// The random id of this installation, by which its containers are recognised.
pub const INSTALL: &str = "install";
/// What the last probe of the runtime found: JSON.
pub const RUNTIME: &str = "runtime";
/// What the upgrade of a 1.x database did: JSON.
pub const UPGRADE: &str = "upgrade";

/// The value of a name.
pub fn get(c: &Connection, key: &str) -> Result<Option<String>> {
    Ok(c.query_row("SELECT value FROM settings WHERE key = ?1", [key], |r| r.get(0)).optional()?)
}

/// Sets the value of a name.
pub fn set(c: &Connection, key: &str, value: &str) -> Result<()> {
    c.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)", [key, value])?;
    Ok(())
}

/// Removes a name.
pub fn remove(c: &Connection, key: &str) -> Result<()> {
    c.execute("DELETE FROM settings WHERE key = ?1", [key])?;
    Ok(())
}
