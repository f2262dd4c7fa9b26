//! What groups that came from 1.x have besides: directories of the owner's, a time
//! limit of their own, and records that their memories tell them to write by hand.

use rusqlite::{Connection, OptionalExtension, Row};

use super::ledger::Result;
use crate::ids::{Folder, Incarnation};

/// What a group brought along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The group's folder, as it stands.
    pub folder: String,
    /// Whether it may administer.
    pub is_main: bool,
    /// Whether it came from 1.x, and its hand-written records are read.
    pub ipc: bool,
    /// 1.x's `containerConfig`: JSON.
    pub container_config: Option<String>,
}

impl Past {
    /// The group's own limit of a turn, milliseconds.
    pub fn timeout(&self) -> Option<i64> {
        let config: serde_json::Value =
            serde_json::from_str(self.container_config.as_ref()?).ok()?;
        config["timeout"].as_i64().filter(|ms| (100..=604_800_000).contains(ms))
    }
}

const COLUMNS: &str = "folder, is_main, legacy_ipc, container_config";

fn past(r: &Row<'_>) -> rusqlite::Result<Past> {
    Ok(Past { folder: r.get(0)?, is_main: r.get(1)?, ipc: r.get(2)?, container_config: r.get(3)? })
}

/// What one group brought along; nothing if it is gone.
pub fn of(c: &Connection, folder: &Folder) -> Result<Past> {
    let sql = format!("SELECT {COLUMNS} FROM groups WHERE folder = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([folder.as_str()], past).optional()?.unwrap_or_default())
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
