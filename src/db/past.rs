//! What a group may have besides, as in 1.x: directories of the owner's and a time
//! limit of its own (`containerConfig`); and, if it came from there, records that its
//! memory tells it to write by hand.

use rusqlite::{Connection, OptionalExtension, Row};

use super::ledger::Result;
use crate::ids::{Folder, Incarnation};

/// What a group has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The group's folder, as it stands.
    pub folder: String,
    /// Whether it may administer.
    pub is_main: bool,
    /// Whether it came from 1.x, and its hand-written records are read.
    pub ipc: bool,
    /// `containerConfig`: JSON.
    pub container_config: Option<String>,
}

impl Past {
    /// The group's own limit of a turn, milliseconds.
    pub fn timeout(&self) -> Option<i64> {
        let config: serde_json::Value =
            serde_json::from_str(self.container_config.as_ref()?).ok()?;
        config["timeout"].as_i64().filter(|ms| crate::container::mounts::TIMEOUTS.contains(ms))
    }
}

const COLUMNS: &str = "folder, is_main, legacy_ipc, container_config";

fn past(r: &Row<'_>) -> rusqlite::Result<Past> {
    Ok(Past { folder: r.get(0)?, is_main: r.get(1)?, ipc: r.get(2)?, container_config: r.get(3)? })
}

/// What one group has besides; nothing if it is gone.
pub fn of(c: &Connection, folder: &Folder) -> Result<Past> {
    let sql = format!("SELECT {COLUMNS} FROM groups WHERE folder = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([folder.as_str()], past).optional()?.unwrap_or_default())
}

/// Sets a group's `containerConfig`.
pub fn configure(c: &Connection, folder: &Folder, config: Option<&str>) -> Result<()> {
    let sql = "UPDATE groups SET container_config = ?2 WHERE folder = ?1";
    c.execute(sql, rusqlite::params![folder.as_str(), config])?;
    Ok(())
}

/// The groups with a `containerConfig`.
pub fn configured(c: &Connection) -> Result<Vec<Past>> {
    let sql =
        format!("SELECT {COLUMNS} FROM groups WHERE container_config IS NOT NULL ORDER BY folder");
    let mut statement = c.prepare(&sql)?;
    let rows = statement.query_map([], past)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether every sender among all turns that an incarnation ever had is the owner.
/// A record by hand names no turn, and may come when the turn that made it is over.
pub fn all_trusted(c: &Connection, incarnation: Incarnation) -> Result<bool> {
    Ok(c.query_row(
        "SELECT COALESCE(min(trusted), 0) FROM turns WHERE incarnation = ?1",
        [incarnation.0],
        |r| r.get(0),
    )?)
}

/// Whether something was said under this key already.
pub fn said(c: &Connection, key: &str) -> Result<bool> {
    Ok(c.query_row("SELECT EXISTS (SELECT 1 FROM outbox WHERE key = ?1)", [key], |r| r.get(0))?)
}
