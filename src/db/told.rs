//! What the host said once and does not say again.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::now_ms;
use super::sql::Sql;

/// Whether this is the first time for a key; from now on it is not.
pub fn once(c: &Connection, key: &str) -> Result<bool> {
    let rows = c.change(
        "INSERT INTO told (key, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![key, now_ms()],
    )?;
    Ok(rows == 1)
}

/// Forgets what was said before `before` (milliseconds).
pub fn forget(c: &Connection, before: i64) -> Result<()> {
    c.run("DELETE FROM told WHERE at < ?1", [before])
}
