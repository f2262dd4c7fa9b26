//! Facts about the installation itself, by name.

use rusqlite::Connection;

use super::ledger::Result;
use super::sql::Sql;

/// The random id of this installation, by which its containers are recognised.
pub const INSTALL: &str = "install";
/// What the last probe of the runtime found: JSON.
pub const RUNTIME: &str = "runtime";
/// What the upgrade of a 1.x database did: JSON.
pub const UPGRADE: &str = "upgrade";

/// The value of a name.
pub fn get(c: &Connection, key: &str) -> Result<Option<String>> {
    c.first("SELECT value FROM settings WHERE key = ?1", [key])
}

/// Sets the value of a name.
pub fn set(c: &Connection, key: &str, value: &str) -> Result<()> {
    c.run("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)", [key, value])
}

/// Removes a name.
pub fn remove(c: &Connection, key: &str) -> Result<()> {
    c.run("DELETE FROM settings WHERE key = ?1", [key])
}
