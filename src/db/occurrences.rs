//! The runs of scheduled tasks. A run is planned (the task's `next_run`), begun (an
//! occurrence and its turn, in the step that moves `next_run`), and finished (a row
//! of `task_run_logs`).
//!
//! A task has one open turn at most. While it is open the task is not due; runs that
//! come meanwhile are missed as in a downtime, and the latest is made up for.

use chrono_tz::Tz;
use rusqlite::{Connection, params};
use serde::Serialize;

use super::ledger::Result;
use super::sql::{Sql, row};
use super::tasks::{self, TaskStatus, context_word, group_gone, instant, iso};
use crate::ids::TurnId;
use crate::ipc::record::Session;
use crate::schedule;

/// The run logs that are kept of each task, the newest.
pub const KEPT: u32 = 100;
/// After so many failed runs in a row a task is paused.
pub const FAILURES: u32 = 5;
/// The characters of a result that a task shows, as in 1.x.
const SHOWN: usize = 200;

row! {
    /// A task whose next run is over.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DueTask {
        /// The task.
        pub id: String = "t.id",
        /// The group that runs it, whatever 1.x wrote there.
        pub folder: String = "t.group_folder",
        /// Its `next_run`, milliseconds: what [`begin`] wants to hear again.
        pub planned: i64 = "t.next_run" => |at| tasks::ms(at).unwrap_or(0),
    }
}

/// What came of beginning a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// There is a queued turn.
    Turn {
        /// The turn.
        turn: TurnId,
        /// The instant that it stands for, milliseconds.
        planned: i64,
        /// Whether it says that it is late.
        late: bool,
        /// The task's next run, milliseconds; `None` if this was the last.
        next: Option<i64>,
    },
    /// It cannot run and is paused; the reason is for the owner, who must be told.
    Paused(String),
    /// Nothing is to be done: it has begun before, was changed, or is gone.
    NotDue,
}

row! {
    /// A run, to look at.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Run {
        /// When it began, ISO.
        pub run_at: String,
        /// How long it took.
        pub duration_ms: i64,
        /// `success` or `error`.
        pub status: String,
        /// What it answered.
        pub result: Option<String>,
        /// Why it failed.
        pub error: Option<String>,
        /// Its turn; 1.x had none.
        pub turn: Option<i64>,
    }
}

row! {
    /// Which run of which task a turn is.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    pub struct Occurrence {
        /// The task, which may be cancelled by now.
        pub task: String,
        /// The instant that it stands for, milliseconds.
        pub planned: i64,
        /// Whether it was late.
        pub late: bool,
    }
}

/// Tasks that wait for their time, and not for their own latest run.
const WAITING: &str = "FROM scheduled_tasks t LEFT JOIN turns u ON u.id = t.turn
    WHERE t.status = 'active' AND COALESCE(u.state, 'done') NOT IN ('queued', 'running')";

/// The tasks to begin now, the longest overdue first.
pub fn due(c: &Connection, now: i64) -> Result<Vec<DueTask>> {
    let rest = format!("{WAITING} AND t.next_run <= ?1 ORDER BY t.next_run, t.id");
    c.all(DueTask::select(&rest), [iso(now)])
}

/// When to look again, milliseconds; `None` while no task waits. A new, changed or
/// resumed task and the end of a task's turn may bring it forward.
pub fn next_wake(c: &Connection) -> Result<Option<i64>> {
    let sql = format!(
        "SELECT t.next_run {WAITING} AND t.next_run IS NOT NULL ORDER BY t.next_run LIMIT 1"
    );
    let next: Option<String> = c.first(&sql, [])?;
    Ok(next.map(|next| tasks::ms(Some(next)).unwrap_or(0)))
}

/// Begins the run of a task that [`due`] named: occurrence, queued turn and next run
/// in one step, once per task and planned instant. The turn's prompt says that it runs
/// by itself, and how late it is.
pub fn begin(c: &Connection, id: &str, planned: i64, owner: Tz, now: i64) -> Result<Begun> {
    let Some(task) = tasks::get(c, id)? else { return Ok(Begun::NotDue) };
    let open = task.turn.map(|turn| super::turns::row(c, turn)).transpose()?.flatten();
    let busy = open.is_some_and(|turn| turn.state == "queued" || turn.state == "running");
    // What is no instant, which only another program can have written, counts as long ago.
    let stale = task.next_run.unwrap_or(0) != planned;
    if task.status != TaskStatus::Active || busy || stale {
        return Ok(Begun::NotDue);
    }
    let paused = |reason: String| {
        tasks::pause(c, id, Some(&reason))?;
        Ok(Begun::Paused(reason))
    };
    if let Some(reason) = group_gone(c, &task.group_folder, &task.chat_jid)? {
        return paused(reason);
    }
    let schedule = match task.schedule(owner) {
        Ok(schedule) => schedule,
        Err(error) => return paused(error.to_string()),
    };
    let planned = instant(task.next_run.unwrap_or(now));
    let Some(due) = schedule.due(planned, instant(now)) else { return Ok(Begun::NotDue) };
    let planned = due.planned.timestamp_millis();
    let next = due.next.map(|next| next.timestamp_millis());
    let known =
        c.has("SELECT 1 FROM occurrences WHERE task = ?1 AND planned = ?2", params![id, planned])?;
    // If it is known the clock went back: it ran before.
    let turn = if known {
        None
    } else {
        let turn = occur(c, &task, &(schedule::notice(&due, schedule.zone()) + &task.prompt), now)?;
        c.run(
            "INSERT INTO occurrences (task, planned, turn, late, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, planned, turn, due.late.is_some(), now],
        )?;
        Some(turn)
    };
    let status = if next.is_some() { TaskStatus::Active } else { TaskStatus::Completed };
    c.run(
        "UPDATE scheduled_tasks SET next_run = ?2, status = ?3, turn = COALESCE(?4, turn) WHERE id = ?1",
        params![id, next.map(iso), status.as_str(), turn],
    )?;
    Ok(match turn {
        Some(turn) => Begun::Turn { turn, planned, late: due.late.is_some(), next },
        None => Begun::NotDue,
    })
}

/// The turn of a run. In main, one that somebody else had a part in runs alone.
fn occur(c: &Connection, task: &tasks::Task, prompt: &str, now: i64) -> Result<TurnId> {
    let is_main: bool =
        c.one("SELECT is_main FROM groups WHERE folder = ?1", [&task.group_folder])?;
    let session = if is_main && !task.trusted { Session::Isolated } else { task.context_mode };
    c.run(
        "INSERT INTO turns (folder, chat_jid, kind, session, prompt, trusted, state, script, created_at)
         VALUES (?1, ?2, 'task', ?3, ?4, ?5, 'queued', ?6, ?7)",
        params![
            task.group_folder,
            task.chat_jid,
            context_word(session),
            prompt,
            task.trusted,
            task.script,
            now,
        ],
    )?;
    Ok(TurnId(c.last_insert_rowid()))
}

/// Notes, once, how the turn of a run ended: `said` is the answer, if there was one,
/// or why it failed. In the step that ends the turn. A task that fails [`FAILURES`]
/// times in a row is paused. Without effect for a turn that is
/// no run, and for a task that was cancelled meanwhile.
pub fn finished(
    c: &Connection,
    turn: TurnId,
    ok: bool,
    said: Option<&str>,
    now: i64,
) -> Result<()> {
    let Some(occurrence) = of_turn(c, turn)? else { return Ok(()) };
    if tasks::get(c, &occurrence.task)?.is_none() {
        return Ok(());
    }
    let began: i64 =
        c.one("SELECT COALESCE(started_at, created_at) FROM turns WHERE id = ?1", [turn])?;
    let (status, result, error) =
        if ok { ("success", said, None) } else { ("error", None, Some(said.unwrap_or_default())) };
    let logged = c.change(
        "INSERT INTO task_run_logs (task_id, run_at, duration_ms, status, result, error, turn)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        params![occurrence.task, iso(began), (now - began).max(0), status, result, error, turn],
    )?;
    if logged == 0 {
        return Ok(());
    }
    let shown = match (ok, said.map(str::trim).filter(|said| !said.is_empty())) {
        (true, Some(said)) => said.to_owned(),
        (true, None) => "Completed".to_owned(),
        (false, said) => format!("Error: {}", said.unwrap_or("the reason is not known")),
    };
    let shown: String = shown.chars().take(SHOWN).collect();
    let failures: u32 = c.one(
        "UPDATE scheduled_tasks SET last_run = ?2, last_result = ?3, failures = iif(?4, 0, failures + 1)
         WHERE id = ?1 RETURNING failures",
        params![occurrence.task, iso(now), shown, ok],
    )?;
    let active = |task: &tasks::Task| task.status == TaskStatus::Active;
    if failures >= FAILURES && tasks::get(c, &occurrence.task)?.as_ref().is_some_and(active) {
        let reason = format!("its last {failures} runs failed");
        tasks::pause(c, &occurrence.task, Some(&reason))?;
    }
    c.run(
        "DELETE FROM task_run_logs WHERE task_id = ?1 AND id <=
         (SELECT id FROM task_run_logs WHERE task_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![occurrence.task, KEPT],
    )
}

/// The run that a turn is, if it is one.
pub fn of_turn(c: &Connection, turn: TurnId) -> Result<Option<Occurrence>> {
    c.first(Occurrence::select("FROM occurrences WHERE turn = ?1"), [turn])
}

/// The script that goes with a turn.
pub fn script(c: &Connection, turn: TurnId) -> Result<Option<String>> {
    Ok(c.first("SELECT script FROM turns WHERE id = ?1", [turn])?.flatten())
}

/// The runs of a task that have ended, newest first.
pub fn runs(c: &Connection, task: &str, limit: u32) -> Result<Vec<Run>> {
    c.all(
        Run::select("FROM task_run_logs WHERE task_id = ?1 ORDER BY id DESC LIMIT ?2"),
        params![task, limit],
    )
}
