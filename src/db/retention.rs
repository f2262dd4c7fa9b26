//! What is not kept for ever: the bookkeeping of turns that ended long ago.
//!
//! What was said stays, by people and by the assistant: it is the history that
//! agents search. Of an old turn of messages its row stays too, for `explain`,
//! without prompt and calls; of an old run of a task nothing does but its line in
//! the task's log. What is not sent yet, and the latest run of a task, wait. Each call
//! does a bounded piece in one step.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::sql::Sql;

/// The most turns, and the most incarnations, that one step handles.
const BATCH: i64 = 50;

/// Removes what ended before `before` (milliseconds): `true` if there may be more.
pub fn prune(c: &Connection, before: i64) -> Result<bool> {
    let old: Vec<(i64, bool)> = c.all(
        "SELECT id, kind = 'task' FROM turns INDEXED BY turns_whole
         WHERE ended_at < ?1 AND ended_at IS NOT NULL AND prompt <> ''
            AND NOT EXISTS (SELECT 1 FROM scheduled_tasks s WHERE s.turn = turns.id)
            AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.turn = turns.id AND o.state = 'pending')
         ORDER BY ended_at LIMIT ?2",
        params![before, BATCH],
    )?;
    for &(turn, is_run) in &old {
        lighten(c, turn)?;
        if is_run {
            forget_run(c, turn)?;
        }
    }
    let dead = c.change(
        "DELETE FROM incarnations WHERE id IN (SELECT id FROM incarnations INDEXED BY incarnations_dead
         WHERE state = 'dead' AND ended_at < ?1
         AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.incarnation = incarnations.id)
         LIMIT ?2)",
        params![before, BATCH],
    )?;
    super::told::forget(c, before)?;
    Ok(old.len() as i64 == BATCH || dead as i64 == BATCH)
}

/// What only the repetition of a turn needs, and what the host said of it.
fn lighten(c: &Connection, turn: i64) -> Result<()> {
    c.run("DELETE FROM requests WHERE turn = ?1", [turn])?;
    c.run("DELETE FROM outbox WHERE turn = ?1 AND key LIKE 'notice:%'", [turn])?;
    c.run("UPDATE turns SET prompt = '', script = NULL, incarnation = NULL WHERE id = ?1", [turn])
}

/// The turn of a run goes. What it said stays, and its line in the log.
fn forget_run(c: &Connection, turn: i64) -> Result<()> {
    for step in [
        "DELETE FROM occurrences WHERE turn = ?1",
        "UPDATE task_run_logs SET turn = NULL WHERE turn = ?1",
        "UPDATE outbox SET turn = NULL WHERE turn = ?1",
        "DELETE FROM turns WHERE id = ?1",
    ] {
        c.run(step, [turn])?;
    }
    Ok(())
}
