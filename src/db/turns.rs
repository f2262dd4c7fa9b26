//! Turns: one piece of work for one group, from the claim to its end. Each
//! function here is one step, to be committed whole.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::ledger::Result;
use super::sql::{Sql, row};
use super::{now_ms, tasks};
use crate::ids::{Incarnation, TurnId};
use crate::ipc::record::{Session, TurnKind};

/// The longest time between two attempts, milliseconds.
pub const LONGEST_PAUSE: i64 = 60_000;

row! {
    /// A turn that has no end yet.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenTurn {
        /// Its number.
        pub id: TurnId,
        /// What it is about.
        pub kind: TurnKind => |kind: String| if kind == "task" { TurnKind::Task } else { TurnKind::Message },
        /// Which conversation it belongs to.
        pub session: Session => tasks::context,
        /// Whether a guest has it, and which.
        pub incarnation: Option<Incarnation> = "iif(state = 'running', incarnation, NULL)",
        /// Attempts that count against the limit.
        pub cost: u32,
        /// Attempts begun.
        pub attempt: u32,
        /// Not to be tried before, milliseconds. No pause is longer, but the clock may
        /// have been set back.
        pub not_before: i64 => |at: i64| at.min(now_ms() + LONGEST_PAUSE),
        /// Ends at, milliseconds, once it runs.
        pub deadline: Option<i64>,
        /// Made at, milliseconds.
        pub created_at: i64,
        /// Whether "still working" was said.
        pub noticed: bool,
        /// Whether every message in it is the owner's.
        pub trusted: bool,
    }
}

/// A turn that was claimed, or given again.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The turn as it is open now.
    pub open: OpenTurn,
    /// What the agent gets.
    pub prompt: String,
    /// Where its answer goes.
    pub jid: String,
    /// Whether more messages wait, in another chat of the group.
    pub more: bool,
}

row! {
    /// A turn as it stands in the ledger.
    #[derive(Clone, Debug, Serialize)]
    pub struct TurnRow {
        /// Its number.
        pub id: i64,
        /// The group's folder.
        pub folder: String,
        /// Where its answer goes.
        pub chat_jid: String,
        /// `message` or `task`.
        pub kind: String,
        /// The state's word.
        pub state: String,
        /// Attempts begun.
        pub attempt: u32,
        /// Which conversation it belongs to.
        #[serde(skip)]
        pub session: Session => tasks::context,
        /// The latest incarnation that had it.
        pub incarnation: Option<Incarnation>,
        /// Not to be tried before, milliseconds.
        pub not_before: i64,
        /// Why the latest attempt failed.
        pub error: Option<String>,
        /// Tokens the model read and wrote.
        pub tokens: Tokens = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens",
        /// What they cost, millionths of a dollar.
        pub spent: i64,
        /// Milliseconds.
        pub created_at: i64,
        /// Milliseconds; the latest attempt.
        pub started_at: Option<i64>,
        /// Milliseconds.
        pub ended_at: Option<i64>,
    }
}

row! {
    /// What the model was used for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
    pub struct Tokens {
        /// Read, not from a cache.
        pub input: i64 = "input_tokens",
        /// Written.
        pub output: i64 = "output_tokens",
        /// Read from a cache.
        pub cache_read: i64 = "cache_read_tokens",
        /// Written to a cache.
        pub cache_write: i64 = "cache_write_tokens",
    }
}

/// The open turns of a group, oldest first.
pub fn open_of(c: &Connection, folder: &str) -> Result<Vec<OpenTurn>> {
    c.all(
        OpenTurn::select(
            "FROM turns WHERE folder = ?1 AND state IN ('queued', 'running') ORDER BY id",
        ),
        [folder],
    )
}

/// The folders with turns that have no end yet.
pub fn open_folders(c: &Connection) -> Result<Vec<String>> {
    c.all("SELECT DISTINCT folder FROM turns WHERE state IN ('queued', 'running')", [])
}

/// One open turn.
pub fn open(c: &Connection, turn: TurnId) -> Result<OpenTurn> {
    c.one(OpenTurn::select("FROM turns WHERE id = ?1"), [turn])
}

/// Gives a queued turn to a guest: one more attempt begins.
pub fn give(
    c: &Connection,
    turn: TurnId,
    incarnation: Incarnation,
    deadline: i64,
) -> Result<Claimed> {
    let (prompt, jid) = c.one(
        "UPDATE turns SET state = 'running', attempt = attempt + 1, incarnation = ?2, deadline = ?3,
         started_at = ?4 WHERE id = ?1 RETURNING prompt, chat_jid",
        params![turn, incarnation, deadline, now_ms()],
    )?;
    Ok(Claimed { open: open(c, turn)?, prompt, jid, more: false })
}

/// Puts a turn back, to be given again at `not_before`. `costs` counts the attempt.
pub fn requeue(
    c: &Connection,
    turn: TurnId,
    not_before: i64,
    costs: bool,
    error: &str,
) -> Result<()> {
    c.run(
        "UPDATE turns SET state = 'queued', not_before = ?2, cost = cost + ?3, error = ?4
         WHERE id = ?1 AND state = 'running'",
        params![turn, not_before, costs, error],
    )
}

/// Ends a turn well. Its messages are answered, silently when nothing is said.
/// `false` when it had ended before, so that nothing is said twice.
pub fn complete(c: &Connection, turn: TurnId, silent: bool) -> Result<bool> {
    end(c, turn, "done", None, "answered", silent.then_some("silent"))
}

/// Ends a turn badly. Whoever calls this says so in the chat, in the same step.
pub fn fail(c: &Connection, turn: TurnId, reason: &str) -> Result<bool> {
    end(c, turn, "failed", Some(reason), "failed", Some(reason))
}

fn end(
    c: &Connection,
    turn: TurnId,
    state: &str,
    error: Option<&str>,
    message_state: &str,
    message_reason: Option<&str>,
) -> Result<bool> {
    let ended = c.change(
        "UPDATE turns SET state = ?2, error = COALESCE(?3, error), ended_at = ?4
         WHERE id = ?1 AND state IN ('queued', 'running')",
        params![turn, state, error, now_ms()],
    )? == 1;
    if ended {
        c.run(
            "UPDATE messages SET state = ?2, reason = ?3 WHERE turn = ?1 AND state = 'in_turn'",
            params![turn, message_state, message_reason],
        )?;
    }
    Ok(ended)
}

/// Notes that the chat was told that the turn still runs.
pub fn notice(c: &Connection, turn: TurnId) -> Result<()> {
    c.run("UPDATE turns SET noticed = 1 WHERE id = ?1", [turn])
}

/// Why a turn failed, if it did.
pub fn failure(c: &Connection, turn: TurnId) -> Result<Option<String>> {
    let failed = "SELECT COALESCE(error, '') FROM turns WHERE id = ?1 AND state = 'failed'";
    c.first(failed, [turn])
}

/// What the turn's agent was given.
pub fn prompt(c: &Connection, turn: TurnId) -> Result<String> {
    c.one("SELECT prompt FROM turns WHERE id = ?1", [turn])
}

/// Where a turn's answer goes.
pub fn jid(c: &Connection, turn: TurnId) -> Result<String> {
    c.one("SELECT chat_jid FROM turns WHERE id = ?1", [turn])
}

/// Whether every sender among all turns that an incarnation ever had is the owner. Not
/// only of those that are open: whoever was heard may have left something running.
pub fn all_trusted(c: &Connection, incarnation: Incarnation) -> Result<bool> {
    c.one("SELECT COALESCE(min(trusted), 0) FROM turns WHERE incarnation = ?1", [incarnation])
}

/// The latest turn that an incarnation was given.
pub fn latest_of(c: &Connection, incarnation: Incarnation) -> Result<Option<TurnId>> {
    c.first(
        "SELECT id FROM turns WHERE incarnation = ?1 ORDER BY started_at DESC, id DESC LIMIT 1",
        [incarnation],
    )
}

/// The folders whose latest turn that ended has failed, with the reason.
pub fn failing(c: &Connection) -> Result<Vec<(String, String)>> {
    c.all(
        "SELECT folder, COALESCE(error, '') FROM turns WHERE state = 'failed' AND id IN
            (SELECT max(id) FROM turns WHERE state IN ('done', 'failed') GROUP BY folder)
         ORDER BY folder",
        [],
    )
}

/// A turn; `None` if it does not exist.
pub fn row(c: &Connection, turn: i64) -> Result<Option<TurnRow>> {
    c.first(TurnRow::select("FROM turns WHERE id = ?1"), [turn])
}
