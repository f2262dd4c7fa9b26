//! `nanoclaw tasks`: what is planned, with the daemon up or down.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use rusqlite::Connection;

use super::args::Output;
use super::exit::Exit;
use super::plain::{json, say};
use crate::config::Config;
use crate::db::{self, Ledger, NewTask, Task, TaskStatus, now_ms};
use crate::ids::Folder;
use crate::ipc::record::Session;
use crate::{schedule, unix};

/// `nanoclaw tasks`.
#[derive(Subcommand)]
pub enum Tasks {
    /// List tasks, newest first.
    List {
        /// Only those of this group.
        #[arg(long, value_name = "FOLDER")]
        group: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Add a task.
    Add(Add),
    /// Stop a task until it is resumed.
    Pause(Named),
    /// Let a paused task run again, from its next time on.
    Resume(Named),
    /// Delete a task. What it did stays in the ledger.
    Cancel(Named),
    /// The latest runs of a task, newest first.
    Runs {
        /// The task's id.
        id: String,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
}

/// A task.
#[derive(Args)]
pub struct Named {
    /// Its id; `tasks list` shows it.
    pub id: String,
}

/// `nanoclaw tasks add`.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("when").required(true)))]
pub struct Add {
    /// The group that runs it.
    pub folder: String,
    /// What its agent is to do.
    pub prompt: String,
    /// Five fields: minute, hour, day, month, weekday; such as "0 9 * * 1-5".
    #[arg(long, group = "when", value_name = "FIELDS")]
    pub cron: Option<String>,
    /// From one run to the next: milliseconds, or such as 90m, 2h, 1d.
    #[arg(long, group = "when", value_name = "TIME")]
    pub every: Option<String>,
    /// Once, at this local time; such as 2026-03-01T09:00:00.
    #[arg(long, group = "when", value_name = "TIME")]
    pub at: Option<String>,
    /// A zone of its own [default: the owner's].
    #[arg(long, value_name = "IANA")]
    pub zone: Option<chrono_tz::Tz>,
    /// The chat that gets its results [default: the group's first].
    #[arg(long, value_name = "JID")]
    pub jid: Option<String>,
    /// Run in a conversation of its own.
    #[arg(long)]
    pub isolated: bool,
    /// A bash script that decides whether the model is woken.
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
}

/// Runs one of the subcommands.
pub async fn run(config: &Config, command: &Tasks) -> anyhow::Result<Exit> {
    match command {
        Tasks::List { group, output } => list(config, group.as_deref(), output),
        Tasks::Runs { id, limit, output } => runs(config, id, *limit, output),
        Tasks::Add(add) => add_task(config, add).await,
        Tasks::Pause(Named { id }) => {
            let id = id.clone();
            let task = change(config, move |c| db::tasks::pause(c, &id, None)).await?;
            say!("{} is paused", task.id);
            Ok(Exit::Ok)
        }
        Tasks::Resume(Named { id }) => {
            let (id, zone) = (id.clone(), config.timezone);
            let step = move |c: &Connection| db::tasks::resume(c, &id, zone, now_ms());
            let task = change(config, step).await?;
            say!("{} runs again: {}", task.id, next(config, &task));
            Ok(Exit::Ok)
        }
        Tasks::Cancel(Named { id }) => {
            let cancelled = id.clone();
            change(config, move |c| db::tasks::cancel(c, &cancelled)).await?;
            say!("{id} is cancelled");
            Ok(Exit::Ok)
        }
    }
}

async fn change<T: Send + 'static>(
    config: &Config,
    step: impl FnOnce(&Connection) -> db::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let changed = Ledger::open(&config.ledger())?.write(step).await?;
    // A daemon that runs looks for changed tasks whenever somebody connects; one that
    // does not looks when it starts.
    let _ = unix::connect(&config.socket).await;
    Ok(changed)
}

async fn add_task(config: &Config, add: &Add) -> anyhow::Result<Exit> {
    let folder = Folder::parse(&add.folder)?;
    let (schedule_type, schedule_value) = match (&add.cron, &add.every, &add.at) {
        (Some(value), ..) => ("cron", value),
        (_, Some(value), _) => ("interval", value),
        (.., Some(value)) => ("once", value),
        _ => anyhow::bail!("say when: --cron, --every or --at"),
    };
    let script = match &add.script {
        Some(path) => {
            Some(std::fs::read_to_string(path).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let mut new = NewTask {
        id: None,
        folder: folder.clone(),
        chat_jid: add.jid.clone().unwrap_or_default(),
        prompt: add.prompt.clone(),
        schedule_type: schedule_type.into(),
        schedule_value: schedule_value.clone(),
        zone: add.zone,
        context_mode: if add.isolated { Session::Isolated } else { Session::Group },
        script,
        trusted: true,
    };
    let zone = config.timezone;
    let task = change(config, move |c| {
        if new.chat_jid.is_empty()
            && let Some(chat) = db::groups::chats(c, Some(&folder))?.into_iter().next()
        {
            new.chat_jid = chat.jid;
        }
        db::tasks::create(c, &new, zone, now_ms())
    })
    .await?;
    say!("{} is scheduled, next run {}", task.id, next(config, &task));
    Ok(Exit::Ok)
}

fn next(config: &Config, task: &Task) -> String {
    match task.next_run.and_then(chrono::DateTime::from_timestamp_millis) {
        Some(at) if task.status == TaskStatus::Active => {
            schedule::describe(at, task.zone(config.timezone), chrono::Utc::now())
        }
        _ => "never".into(),
    }
}

fn list(config: &Config, group: Option<&str>, output: &Output) -> anyhow::Result<Exit> {
    let group = group.map(Folder::parse).transpose()?;
    let tasks = match Ledger::look(&config.ledger())? {
        None => Vec::new(),
        Some(c) => db::tasks::list(&c, group.as_ref())?,
    };
    if output.json {
        return json(&tasks);
    }
    if tasks.is_empty() {
        say!("no tasks; ask your assistant for one, or see `nanoclaw tasks add --help`");
    }
    for task in &tasks {
        say!(
            "{}  {}  {} {}  {}",
            task.id,
            task.group_folder,
            task.schedule_type,
            task.schedule_value,
            task.status.as_str()
        );
        say!(
            "    {}",
            task.prompt.lines().next().unwrap_or_default().chars().take(90).collect::<String>()
        );
        say!("    next {}", next(config, task));
        if let Some(reason) = &task.reason {
            say!("    paused: {reason}");
        }
        if let Some(result) = &task.last_result {
            say!("    last: {}", result.lines().next().unwrap_or_default());
        }
    }
    Ok(Exit::Ok)
}

fn runs(config: &Config, id: &str, limit: u32, output: &Output) -> anyhow::Result<Exit> {
    let known = Ledger::look(&config.ledger())?.map(|c| {
        let runs = db::occurrences::runs(&c, id, limit)?;
        Ok::<_, anyhow::Error>((db::tasks::get(&c, id)?.is_some(), runs))
    });
    let Some((true, runs)) = known.transpose()? else {
        eprintln!("nanoclaw: there is no task {id}; `nanoclaw tasks list` shows those there are");
        return Ok(Exit::NotFound);
    };
    if output.json {
        return json(&runs);
    }
    for run in &runs {
        let said = run.error.as_deref().or(run.result.as_deref()).unwrap_or("nothing to say");
        say!(
            "{}  {}  {} ms  {}",
            run.run_at,
            run.status,
            run.duration_ms,
            said.lines().next().unwrap_or_default()
        );
    }
    Ok(Exit::Ok)
}
