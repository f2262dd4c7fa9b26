//! What a group may have besides, as in 1.x: directories of the owner's and a time
//! limit of its own (`containerConfig`); and, if it came from there, records that its
//! memory tells it to write by hand.

use rusqlite::Connection;

use super::ledger::Result;
use super::sql::{Sql, row};
use crate::ids::Folder;

row! {
    /// What a group has besides.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Past {
        /// The group's folder, as it stands.
        pub folder: String,
        /// Whether it may administer.
        pub is_main: bool,
        /// Whether it came from 1.x, and its hand-written records are read.
        pub ipc: bool = "legacy_ipc",
        /// `containerConfig`: JSON.
        pub container_config: Option<String>,
    }
}

impl Past {
    /// The group's own limit of a turn, milliseconds.
    pub fn timeout(&self) -> Option<i64> {
        let config: serde_json::Value =
            serde_json::from_str(self.container_config.as_ref()?).ok()?;
        config["timeout"].as_i64().filter(|ms| crate::container::mounts::TIMEOUTS.contains(ms))
    }
}

/// What one group has besides; nothing if it is gone.
pub fn of(c: &Connection, folder: &Folder) -> Result<Past> {
    let sql = Past::select("FROM groups WHERE folder = ?1");
    Ok(c.first(&sql, [folder])?.unwrap_or_default())
}

/// Sets a group's `containerConfig`.
pub fn configure(c: &Connection, folder: &Folder, config: Option<&str>) -> Result<()> {
    let sql = "UPDATE groups SET container_config = ?2 WHERE folder = ?1";
    c.run(sql, rusqlite::params![folder, config])
}

/// The groups with a `containerConfig`.
pub fn configured(c: &Connection) -> Result<Vec<Past>> {
    c.all(Past::select("FROM groups WHERE container_config IS NOT NULL ORDER BY folder"), [])
}
