//! Turns: one piece of work for one group, from the claim to its end. Each
//! function here is one step, to be committed whole.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::ledger::Result;
use super::now_ms;
use crate::ids::{Incarnation, TurnId};
use crate::ipc::record::{Session, TurnKind};

/// A turn that has no end yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTurn {
    /// Its number.
    pub id: TurnId,
    /// What it is about.
    pub kind: TurnKind,
    /// Which conversation it belongs to.
    pub session: Session,
    /// Whether a guest has it, and which.
    pub incarnation: Option<Incarnation>,
    /// Attempts that count against the limit.
    pub cost: u32,
    /// Attempts begun.
    pub attempt: u32,
    /// Not to be tried before, milliseconds.
    pub not_before: i64,
    /// Ends at, milliseconds, once it runs.
    pub deadline: Option<i64>,
    /// Made at, milliseconds.
    pub created_at: i64,
    /// Whether "still working" was said.
    pub noticed: bool,
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

/// A turn for people to look at.
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
    /// The latest incarnation that had it.
    pub incarnation: Option<i64>,
    /// Not to be tried before, milliseconds.
    pub not_before: i64,
    /// Why the latest attempt failed.
    pub error: Option<String>,
    /// Tokens the model read and wrote.
    pub tokens: Tokens,
    /// What they cost, millionths of a dollar.
    pub spent: i64,
    /// Milliseconds.
    pub created_at: i64,
    /// Milliseconds; the latest attempt.
    pub started_at: Option<i64>,
    /// Milliseconds.
    pub ended_at: Option<i64>,
}

/// What the model was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Read, not from a cache.
    pub input: i64,
    /// Written.
    pub output: i64,
    /// Read from a cache.
    pub cache_read: i64,
    /// Written to a cache.
    pub cache_write: i64,
}

/// The longest time between two attempts, milliseconds.
pub const LONGEST_PAUSE: i64 = 60_000;

const OPEN: &str = "id, kind, session, state, incarnation, cost, attempt, not_before, deadline, created_at, noticed";

fn open_turn(r: &Row<'_>) -> rusqlite::Result<OpenTurn> {
    let running = r.get::<_, String>(3)? == "running";
    Ok(OpenTurn {
        id: TurnId(r.get(0)?),
        kind: if r.get::<_, String>(1)? == "task" { TurnKind::Task } else { TurnKind::Message },
        session: if r.get::<_, String>(2)? == "isolated" {
            Session::Isolated
        } else {
            Session::Group
        },
        incarnation: r.get::<_, Option<i64>>(4)?.filter(|_| running).map(Incarnation),
        cost: r.get(5)?,
        attempt: r.get(6)?,
        // No pause is longer, but the clock may have been set back.
        not_before: r.get::<_, i64>(7)?.min(now_ms() + LONGEST_PAUSE),
        deadline: r.get(8)?,
        created_at: r.get(9)?,
        noticed: r.get(10)?,
    })
}

/// The open turns of a group, oldest first.
pub fn open_of(c: &Connection, folder: &str) -> Result<Vec<OpenTurn>> {
    let sql = format!(
        "SELECT {OPEN} FROM turns WHERE folder = ?1 AND state IN ('queued', 'running') ORDER BY id"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([folder], open_turn)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The folders with turns that have no end yet.
pub fn open_folders(c: &Connection) -> Result<Vec<String>> {
    let mut statement =
        c.prepare_cached("SELECT DISTINCT folder FROM turns WHERE state IN ('queued', 'running')")?;
    let rows = statement.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One open turn.
pub fn open(c: &Connection, turn: TurnId) -> Result<OpenTurn> {
    let sql = format!("SELECT {OPEN} FROM turns WHERE id = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([turn.0], open_turn)?)
}

/// Gives a queued turn to a guest: one more attempt begins.
pub fn give(
    c: &Connection,
    turn: TurnId,
    incarnation: Incarnation,
    deadline: i64,
) -> Result<Claimed> {
    let (prompt, jid) = c
        .prepare_cached(
            "UPDATE turns SET state = 'running', attempt = attempt + 1, incarnation = ?2, deadline = ?3,
                started_at = ?4 WHERE id = ?1 RETURNING prompt, chat_jid",
        )?
        .query_row(params![turn.0, incarnation.0, deadline, now_ms()], |r| Ok((r.get(0)?, r.get(1)?)))?;
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
    c.prepare_cached(
        "UPDATE turns SET state = 'queued', not_before = ?2, cost = cost + ?3, error = ?4
         WHERE id = ?1 AND state = 'running'",
    )?
    .execute(params![turn.0, not_before, costs, error])?;
    Ok(())
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
    let ended = c
        .prepare_cached(
            "UPDATE turns SET state = ?2, error = COALESCE(?3, error), ended_at = ?4
             WHERE id = ?1 AND state IN ('queued', 'running')",
        )?
        .execute(params![turn.0, state, error, now_ms()])?
        == 1;
    if ended {
        c.prepare_cached(
            "UPDATE messages SET state = ?2, reason = ?3 WHERE turn = ?1 AND state = 'in_turn'",
        )?
        .execute(params![turn.0, message_state, message_reason])?;
    }
    Ok(ended)
}

/// Notes that the chat was told that the turn still runs.
pub fn notice(c: &Connection, turn: TurnId) -> Result<()> {
    c.execute("UPDATE turns SET noticed = 1 WHERE id = ?1", [turn.0])?;
    Ok(())
}

/// Why a turn failed, if it did.
pub fn failure(c: &Connection, turn: TurnId) -> Result<Option<String>> {
    let failed = "SELECT COALESCE(error, '') FROM turns WHERE id = ?1 AND state = 'failed'";
    Ok(c.prepare_cached(failed)?.query_row([turn.0], |r| r.get(0)).optional()?)
}

/// What the turn's agent was given.
pub fn prompt(c: &Connection, turn: TurnId) -> Result<String> {
    Ok(c.prepare_cached("SELECT prompt FROM turns WHERE id = ?1")?
        .query_row([turn.0], |r| r.get(0))?)
}

/// Where a turn's answer goes.
pub fn jid(c: &Connection, turn: TurnId) -> Result<String> {
    Ok(c.prepare_cached("SELECT chat_jid FROM turns WHERE id = ?1")?
        .query_row([turn.0], |r| r.get(0))?)
}

/// What a guest's claims about a turn are checked against.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The group's folder.
    pub folder: String,
    /// The attempt that runs, or ran last.
    pub attempt: u32,
    /// Which conversation it belongs to.
    pub session: Session,
    /// The latest incarnation that had it.
    pub incarnation: Option<Incarnation>,
}

/// The facts of a turn; `None` if it does not exist.
pub fn facts(c: &Connection, turn: TurnId) -> Result<Option<Facts>> {
    Ok(c.prepare_cached("SELECT folder, attempt, session, incarnation FROM turns WHERE id = ?1")?
        .query_row([turn.0], |r| {
            let isolated = r.get::<_, String>(2)? == "isolated";
            Ok(Facts {
                folder: r.get(0)?,
                attempt: r.get(1)?,
                session: if isolated { Session::Isolated } else { Session::Group },
                incarnation: r.get::<_, Option<i64>>(3)?.map(Incarnation),
            })
        })
        .optional()?)
}

/// Whether every sender among the open turns of an incarnation is the owner.
pub fn all_trusted(c: &Connection, incarnation: Incarnation) -> Result<bool> {
    Ok(c.query_row(
        "SELECT COALESCE(min(trusted), 1) FROM turns WHERE incarnation = ?1 AND state = 'running'",
        [incarnation.0],
        |r| r.get(0),
    )?)
}

/// The latest turn that an incarnation was given.
pub fn latest_of(c: &Connection, incarnation: Incarnation) -> Result<Option<TurnId>> {
    Ok(c.query_row(
        "SELECT id FROM turns WHERE incarnation = ?1 ORDER BY started_at DESC, id DESC LIMIT 1",
        [incarnation.0],
        |r| r.get(0).map(TurnId),
    )
    .optional()?)
}

/// The folders whose latest turn that ended has failed, with the reason.
pub fn failing(c: &Connection) -> Result<Vec<(String, String)>> {
    let mut statement = c.prepare(
        "SELECT folder, COALESCE(error, '') FROM turns WHERE state = 'failed' AND id IN
            (SELECT max(id) FROM turns WHERE state IN ('done', 'failed') GROUP BY folder)
         ORDER BY folder",
    )?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A turn to look at.
pub fn row(c: &Connection, turn: i64) -> Result<Option<TurnRow>> {
    Ok(c.query_row(
        "SELECT id, folder, chat_jid, kind, state, attempt, incarnation, not_before, error, input_tokens,
            output_tokens, cache_read_tokens, cache_write_tokens, created_at, started_at, ended_at, spent
         FROM turns WHERE id = ?1",
        [turn],
        |r| {
            Ok(TurnRow {
                id: r.get(0)?,
                folder: r.get(1)?,
                chat_jid: r.get(2)?,
                kind: r.get(3)?,
                state: r.get(4)?,
                attempt: r.get(5)?,
                incarnation: r.get(6)?,
                not_before: r.get(7)?,
                error: r.get(8)?,
                tokens: Tokens {
                    input: r.get(9)?,
                    output: r.get(10)?,
                    cache_read: r.get(11)?,
                    cache_write: r.get(12)?,
                },
                spent: r.get(16)?,
                created_at: r.get(13)?,
                started_at: r.get(14)?,
                ended_at: r.get(15)?,
            })
        },
    )
    .optional()?)
}
