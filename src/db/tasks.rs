//! Scheduled tasks: what an agent or the owner asked for. Their runs are in
//! [`super::occurrences`]. Each function here is one step, to be committed whole.
//!
//! Who may do what is not decided here; that a task makes sense is: the whole task
//! is checked whenever a part of it changes. A refusal is a sentence for the agent.

use chrono_tz::Tz;
use rusqlite::{Connection, params};

use super::ledger::{LedgerError, Result, refuse};
use super::sql::Sql;
use crate::ids::{Folder, TurnId};
use crate::ipc::record::Session;
use crate::schedule::{Schedule, ScheduleError};

mod row;

pub use row::{Task, TaskStatus, context};
pub(super) use row::{context_word, instant, iso, ms};

/// The most active tasks of a group: far more than people plan, and no flood.
const MOST: i64 = 200;
/// The longest prompt, and the longest script, in bytes. Each run has a copy.
const LONGEST: usize = 64 * 1024;

/// What a new task is made of.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its name; a new one is made when absent.
    pub id: Option<String>,
    /// The group that is to run it.
    pub folder: Folder,
    /// Where its results go; a chat of that group.
    pub chat_jid: String,
    /// What the agent is to do.
    pub prompt: String,
    /// `cron`, `interval` or `once`.
    pub schedule_type: String,
    /// As [`Schedule::parse`] reads it.
    pub schedule_value: String,
    /// A zone of its own; absent, it goes by the owner's, also when that changes.
    pub zone: Option<Tz>,
    /// See [`context`].
    pub context_mode: Session,
    /// What decides whether the model is woken; an empty one is none.
    pub script: Option<String>,
    /// Whether only the owner had a part in what it says.
    pub trusted: bool,
}

/// What is to be changed of a task; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What the agent is to do.
    pub prompt: Option<String>,
    /// The type; with the value, or if that fits both.
    pub schedule_type: Option<String>,
    /// The value.
    pub schedule_value: Option<String>,
    /// A zone of its own.
    pub zone: Option<Tz>,
    /// Where it runs.
    pub context_mode: Option<Session>,
    /// The script; an empty text removes it.
    pub script: Option<String>,
    /// Somebody else had a part in this change: the task is trusted no longer.
    pub by_stranger: bool,
}

impl From<ScheduleError> for LedgerError {
    fn from(error: ScheduleError) -> LedgerError {
        LedgerError::Refused(error.to_string())
    }
}

/// Adds a task that runs from now on, and returns it with its next run. Refused: an
/// empty prompt, a schedule that has no run ahead, a chat that is not the group's.
pub fn create(c: &Connection, new: &NewTask, owner: Tz, now: i64) -> Result<Task> {
    check(&new.prompt, new.script.as_deref())?;
    let active: i64 = c.one(
        "SELECT count(*) FROM scheduled_tasks WHERE group_folder = ?1 AND status = 'active'",
        [&new.folder],
    )?;
    if active >= MOST {
        return refuse(format!(
            "this group has {active} tasks that wait for their time, and may have no more: cancel some"
        ));
    }
    if let Some(reason) = group_gone(c, new.folder.as_str(), &new.chat_jid)? {
        return refuse(reason);
    }
    let zone = new.zone.unwrap_or(owner);
    let schedule = Schedule::parse(&new.schedule_type, &new.schedule_value, zone, instant(now))?;
    let next = schedule.next_after(instant(now)).map(|next| iso(next.timestamp_millis()));
    let id = match &new.id {
        Some(id) => id.clone(),
        None => new_id(c, now)?,
    };
    let taken = c.has(
        "SELECT 1 FROM scheduled_tasks WHERE id = ?1 UNION SELECT 1 FROM occurrences WHERE task = ?1",
        [&id],
    )?;
    if taken {
        return refuse(format!("there is, or was, a task {id} already: leave the id out"));
    }
    c.run(
        "INSERT INTO scheduled_tasks (id, group_folder, chat_jid, prompt, schedule_type, schedule_value,
            zone, context_mode, script, status, next_run, created_at, trusted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'active', ?10, ?11, ?12)",
        params![
            id,
            new.folder,
            new.chat_jid,
            new.prompt,
            new.schedule_type,
            schedule.value(),
            new.zone.map(|zone| zone.name()),
            context_word(new.context_mode),
            new.script.as_deref().filter(|script| !script.is_empty()),
            next,
            iso(now),
            new.trusted,
        ],
    )?;
    existing(c, &id)
}

/// One task.
pub fn get(c: &Connection, id: &str) -> Result<Option<Task>> {
    c.first(Task::select("FROM scheduled_tasks WHERE id = ?1"), [id])
}

/// The tasks of a group, or all, newest first.
pub fn list(c: &Connection, folder: Option<&Folder>) -> Result<Vec<Task>> {
    let sql = Task::select(
        "FROM scheduled_tasks WHERE ?1 IS NULL OR group_folder = ?1
         ORDER BY created_at DESC, rowid DESC",
    );
    c.all(sql, [folder])
}

/// Stops a task until it is resumed; a run that has begun goes on. `reason` is the
/// host's, if it pauses on its own.
pub fn pause(c: &Connection, id: &str, reason: Option<&str>) -> Result<Task> {
    if existing(c, id)?.status == TaskStatus::Completed {
        return refuse(format!("task {id} has no run left, there is nothing to pause"));
    }
    c.run(
        "UPDATE scheduled_tasks SET status = 'paused', reason = ?2 WHERE id = ?1",
        params![id, reason],
    )?;
    existing(c, id)
}

/// Pauses what a group that is gone would run, and returns it.
pub fn pause_of_group(c: &Connection, folder: &Folder, reason: &str) -> Result<Vec<Task>> {
    let tasks = list(c, Some(folder))?;
    let active = tasks.into_iter().filter(|task| task.status == TaskStatus::Active);
    active.map(|task| pause(c, &task.id, Some(reason))).collect()
}

/// Lets a task run again, from its next time after `now`: what it missed while paused
/// is not made up for. Refused when no time is left.
pub fn resume(c: &Connection, id: &str, owner: Tz, now: i64) -> Result<Task> {
    let task = existing(c, id)?;
    if task.status == TaskStatus::Active {
        return Ok(task);
    }
    if let Some(reason) = group_gone(c, &task.group_folder, &task.chat_jid)? {
        return refuse(reason);
    }
    let Some(next) = task.schedule(owner)?.next_after(instant(now)) else {
        return refuse(format!(
            "task {id} has no run left: give it a new time with update_task, or schedule another"
        ));
    };
    c.run(
        "UPDATE scheduled_tasks SET status = 'active', reason = NULL, failures = 0, next_run = ?2
         WHERE id = ?1",
        params![id, iso(next.timestamp_millis())],
    )?;
    existing(c, id)
}

/// Finds the next run of each task that repeats anew, where it lies ahead: the clock
/// or the owner's zone may not be what it was planned by.
pub fn replan(c: &Connection, owner: Tz, now: i64) -> Result<()> {
    for task in list(c, None)? {
        let ahead = task.status == TaskStatus::Active && task.next_run.is_some_and(|at| at > now);
        if !ahead || task.schedule_type == "once" {
            continue;
        }
        // One that cannot be read is paused, and told, when it is due.
        let next = task.schedule(owner).ok().and_then(|s| s.next_after(instant(now)));
        if let Some(next) =
            next.map(|next| next.timestamp_millis()).filter(|next| task.next_run != Some(*next))
        {
            let sql = "UPDATE scheduled_tasks SET next_run = ?2 WHERE id = ?1";
            c.run(sql, params![task.id, iso(next)])?;
        }
    }
    Ok(())
}

/// Deletes a task and its run logs. What it did stays: its occurrences and turns. A
/// run that has begun goes on; its turn is returned.
pub fn cancel(c: &Connection, id: &str) -> Result<Option<TurnId>> {
    let task = existing(c, id)?;
    c.run("DELETE FROM task_run_logs WHERE task_id = ?1", [id])?;
    c.run("DELETE FROM scheduled_tasks WHERE id = ?1", [id])?;
    c.first("SELECT id FROM turns WHERE id = ?1 AND state IN ('queued', 'running')", [task.turn])
}

/// Changes a task, checked as a whole. Where its schedule is named, the next run
/// moves, an interval begins anew, and a task that had no run left runs again; one
/// that is paused stays so.
pub fn update(c: &Connection, id: &str, change: &Change, owner: Tz, now: i64) -> Result<Task> {
    let mut task = existing(c, id)?;
    let rescheduled =
        change.schedule_type.is_some() || change.schedule_value.is_some() || change.zone.is_some();
    if let Some(prompt) = &change.prompt {
        task.prompt.clone_from(prompt);
    }
    if let Some(script) = &change.script {
        task.script = Some(script.clone()).filter(|script| !script.is_empty());
    }
    check(&task.prompt, task.script.as_deref())?;
    task.context_mode = change.context_mode.unwrap_or(task.context_mode);
    task.trusted &= !change.by_stranger;
    if rescheduled {
        if let Some(kind) = &change.schedule_type {
            task.schedule_type.clone_from(kind);
        }
        if let Some(value) = &change.schedule_value {
            task.schedule_value.clone_from(value);
        }
        if let Some(zone) = change.zone {
            task.zone = Some(zone.name().to_owned());
        }
        let zone = task.zone(owner);
        let schedule =
            Schedule::parse(&task.schedule_type, &task.schedule_value, zone, instant(now))?;
        task.schedule_value = schedule.value().to_owned();
        task.next_run = schedule.next_after(instant(now)).map(|next| next.timestamp_millis());
        if task.status == TaskStatus::Completed {
            task.status = TaskStatus::Active;
        }
    }
    c.run(
        "UPDATE scheduled_tasks SET prompt = ?2, schedule_type = ?3, schedule_value = ?4, zone = ?5,
         context_mode = ?6, script = ?7, status = ?8, next_run = ?9, trusted = ?10 WHERE id = ?1",
        params![
            id,
            task.prompt,
            task.schedule_type,
            task.schedule_value,
            task.zone,
            context_word(task.context_mode),
            task.script,
            task.status.as_str(),
            task.next_run.map(iso),
            task.trusted,
        ],
    )?;
    existing(c, id)
}

/// Why the group of a task cannot run it, or answer where it should.
pub(super) fn group_gone(c: &Connection, folder: &str, jid: &str) -> Result<Option<String>> {
    if let Err(bad) = Folder::parse(folder) {
        return Ok(Some(bad.to_string()));
    }
    if !c.has("SELECT 1 FROM groups WHERE folder = ?1", [folder])? {
        return Ok(Some(format!("there is no group {folder} (any more)")));
    }
    let linked = c.has("SELECT 1 FROM chats WHERE jid = ?1 AND folder = ?2", [jid, folder])?;
    Ok((!linked).then(|| format!("{jid} is no chat of the group {folder} (any more)")))
}

fn existing(c: &Connection, id: &str) -> Result<Task> {
    get(c, id)?.ok_or_else(|| {
        LedgerError::Refused(format!("there is no task {id:?}: list_tasks shows those there are"))
    })
}

fn check(prompt: &str, script: Option<&str>) -> Result<()> {
    if prompt.trim().is_empty() {
        return refuse("the task has no prompt: say what is to be done at that time");
    }
    if prompt.len().max(script.map_or(0, str::len)) > LONGEST {
        return refuse(format!(
            "a task's prompt and script have {LONGEST} bytes at most: put more into a file of the group"
        ));
    }
    Ok(())
}

fn new_id(c: &Connection, now: i64) -> Result<String> {
    let random: i64 = c.one("SELECT abs(random() % 2176782336)", [])?;
    let mut rest = random.unsigned_abs();
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
        rest /= 36;
    }
    Ok(format!("task-{now}-{}", String::from_utf8_lossy(&text)))
}
