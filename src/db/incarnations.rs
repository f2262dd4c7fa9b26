//! Incarnations: each start of a container, and how to find its process again.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::now_ms;
use super::sql::{Sql, row};
use crate::container::Process;
use crate::ids::{Folder, Incarnation};

row! {
    /// An incarnation that is not known to be dead.
    #[derive(Clone, Debug)]
    pub struct OpenIncarnation {
        /// Its number.
        pub id: Incarnation,
        /// Its group's folder, as it was.
        pub folder: String,
    }
}

/// A new number for a start that is about to happen.
pub fn open(c: &Connection, folder: &Folder, runtime: &str) -> Result<Incarnation> {
    c.run(
        "INSERT INTO incarnations (folder, runtime, state, started_at) VALUES (?1, ?2, 'starting', ?3)",
        params![folder, runtime, now_ms()],
    )?;
    Ok(Incarnation(c.last_insert_rowid()))
}

/// Notes the process of a start that happened.
pub fn live(c: &Connection, id: Incarnation, process: &Process) -> Result<()> {
    c.run(
        "UPDATE incarnations SET state = 'live', pid = ?2, start_time = ?3, boot_id = ?4 WHERE id = ?1",
        params![id, process.pid, process.start_time as i64, process.boot_id],
    )
}

/// Notes that nothing of it is left.
pub fn dead(c: &Connection, id: Incarnation, reason: &str) -> Result<()> {
    c.run(
        "UPDATE incarnations SET state = 'dead', ended_at = ?2, end_reason = ?3 WHERE id = ?1",
        params![id, now_ms(), reason],
    )
}

/// Those not known to be dead, oldest first.
pub fn not_dead(c: &Connection) -> Result<Vec<OpenIncarnation>> {
    c.all(
        OpenIncarnation::select(
            "FROM incarnations INDEXED BY incarnations_open WHERE state <> 'dead' ORDER BY id",
        ),
        [],
    )
}

/// The last record of its guest whose effect is committed.
pub fn out_seq(c: &Connection, id: Incarnation) -> Result<u64> {
    let seq: i64 = c.one("SELECT out_seq FROM incarnations WHERE id = ?1", [id])?;
    Ok(u64::try_from(seq).unwrap_or(0))
}

/// Notes, together with a record's effect, that it is done. `false` if it was
/// done before: then there is nothing more to do.
pub fn advance(c: &Connection, id: Incarnation, sequence: u64) -> Result<bool> {
    let rows = c.change(
        "UPDATE incarnations SET out_seq = ?2 WHERE id = ?1 AND out_seq < ?2",
        params![id, sequence as i64],
    )?;
    Ok(rows == 1)
}
