//! The tools of scheduled tasks. A group has its own; main may have those of others,
//! while every message that it works on is the owner's.

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, Outcome, arguments};
use crate::db::{self, Change, NewTask, Task, TaskStatus, now_ms, refuse};
use crate::ipc::record::Session;
use crate::schedule;

#[derive(Deserialize)]
struct Schedule {
    prompt: String,
    schedule_type: String,
    schedule_value: String,
    context_mode: Option<String>,
    target_group_jid: Option<String>,
    timezone: Option<String>,
    script: Option<String>,
    /// Of records by hand: their writers chose it.
    task_id: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    task_id: String,
}

#[derive(Deserialize)]
struct Update {
    task_id: String,
    prompt: Option<String>,
    schedule_type: Option<String>,
    schedule_value: Option<String>,
    timezone: Option<String>,
    context_mode: Option<String>,
    script: Option<String>,
}

/// `schedule_task`: answers with the next run in words.
pub fn schedule(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let call: Schedule = arguments(value)?;
    if let Some(id) = &call.task_id
        && let Some(task) = db::tasks::get(c, id)?
        && task.group_folder == asker.group.folder.as_str()
    {
        // A record by hand that is read again after a crash.
        return Ok(json!({"scheduled": task.id, "next_run": next_run(&task, asker)}));
    }
    let jid = call.target_group_jid.unwrap_or_else(|| asker.chat.clone());
    let Some(group) = db::groups::of_chat(c, &jid)? else {
        return refuse(format!("{jid} belongs to no group; list_groups shows the chats that do"));
    };
    if group.folder != asker.group.folder {
        asker.administers("schedule tasks for other groups")?;
    }
    let context = context(call.context_mode.as_deref().unwrap_or("group"))?;
    let task = db::tasks::create(
        c,
        &NewTask {
            id: call.task_id,
            folder: group.folder,
            chat_jid: jid,
            prompt: call.prompt,
            schedule_type: call.schedule_type,
            schedule_value: call.schedule_value,
            zone: zone(call.timezone.as_deref())?,
            context_mode: context,
            script: call.script,
            trusted: asker.trusted,
        },
        asker.zone,
        now_ms(),
    )?;
    Ok(json!({"scheduled": task.id, "next_run": next_run(&task, asker)}))
}

/// `list_tasks`: main sees all, others their own.
pub fn list(c: &Connection, asker: &Asker<'_>) -> Outcome {
    let own = Some(&asker.group.folder).filter(|_| !asker.group.is_main);
    let tasks = db::tasks::list(c, own)?;
    let listed: Vec<Value> = tasks.iter().map(|task| shown(task, asker)).collect();
    Ok(json!({"tasks": listed}))
}

/// `pause_task`.
pub fn pause(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let task = named(c, asker, value)?;
    let task = db::tasks::pause(c, &task.id, None)?;
    Ok(json!({"paused": task.id}))
}

/// `resume_task`: answers with the next run in words.
pub fn resume(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let task = named(c, asker, value)?;
    let task = db::tasks::resume(c, &task.id, asker.zone, now_ms())?;
    Ok(json!({"resumed": task.id, "next_run": next_run(&task, asker)}))
}

/// `cancel_task`.
pub fn cancel(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let task = named(c, asker, value)?;
    let running = db::tasks::cancel(c, &task.id)?;
    let note = running.map(|_| "a run that has begun goes on");
    Ok(json!({"cancelled": task.id, "note": note}))
}

/// `update_task`: answers with the task as it is now.
pub fn update(c: &Connection, asker: &Asker<'_>, _: &str, value: Value) -> Outcome {
    let call: Update = arguments(value)?;
    let task = allowed(c, asker, &call.task_id)?;
    let change = Change {
        prompt: call.prompt,
        schedule_type: call.schedule_type,
        schedule_value: call.schedule_value,
        zone: zone(call.timezone.as_deref())?,
        context_mode: call.context_mode.as_deref().map(context).transpose()?,
        script: call.script,
        by_stranger: !asker.trusted,
    };
    let task = db::tasks::update(c, &task.id, &change, asker.zone, now_ms())?;
    Ok(shown(&task, asker))
}

fn named(c: &Connection, asker: &Asker<'_>, value: Value) -> db::Result<Task> {
    allowed(c, asker, &arguments::<Named>(value)?.task_id)
}

/// The task, if the asker may touch it. Another group's is not told from none.
fn allowed(c: &Connection, asker: &Asker<'_>, id: &str) -> db::Result<Task> {
    let task = db::tasks::get(c, id)?;
    let is_own = |task: &Task| task.group_folder == asker.group.folder.as_str();
    match task.filter(|task| asker.group.is_main || is_own(task)) {
        None => refuse(format!("there is no task {id:?}; list_tasks shows those there are")),
        Some(task) if is_own(&task) => Ok(task),
        Some(task) => asker.administers("change tasks of other groups").map(|()| task),
    }
}

fn context(mode: &str) -> db::Result<Session> {
    match mode {
        "group" => Ok(Session::Group),
        "isolated" => Ok(Session::Isolated),
        other => refuse(format!("context_mode is \"group\" or \"isolated\", not {other:?}")),
    }
}

fn zone(name: Option<&str>) -> db::Result<Option<chrono_tz::Tz>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let zone = name.parse().map(Some);
    zone.or_else(|_| refuse(format!("timezone {name:?}: use an IANA name such as Europe/Berlin")))
}

fn next_run(task: &Task, asker: &Asker<'_>) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_millis(task.next_run?)?;
    let zone = task.zone(asker.zone);
    let active = task.status == TaskStatus::Active;
    active.then(|| schedule::describe(at, zone, chrono::Utc::now()))
}

fn shown(task: &Task, asker: &Asker<'_>) -> Value {
    json!({
        "task_id": task.id,
        "group": task.group_folder,
        "prompt": task.prompt.chars().take(200).collect::<String>(),
        "schedule_type": task.schedule_type,
        "schedule_value": task.schedule_value,
        "status": task.status,
        "reason": task.reason,
        "next_run": next_run(task, asker),
        "last_run": task.last_run,
        "last_result": task.last_result,
    })
}
