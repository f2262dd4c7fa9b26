//! A task's row, and how 1.x writes what is in it.

use crate::db::sql::{row, words};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::zone;
use crate::ipc::record::Session;
use crate::schedule::{Schedule, ScheduleError};

row! {
    /// A task, as 1.x stores it and a little more.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Task {
        /// `task-<ms>-<6 characters>`.
        pub id: String,
        /// The group that runs it.
        pub group_folder: String,
        /// Where its results go.
        pub chat_jid: String,
        /// What the agent is to do.
        pub prompt: String,
        /// `cron`, `interval` or `once`.
        pub schedule_type: String,
        /// The expression, milliseconds, or the time on the clock of its zone.
        pub schedule_value: String,
        /// The zone of its own, if it has one.
        pub zone: Option<String>,
        /// In the group's conversation, or alone.
        pub context_mode: Session => context,
        /// What decides whether the model is woken.
        pub script: Option<String> = "nullif(script, '')",
        /// Whether it runs.
        pub status: TaskStatus => TaskStatus::stored,
        /// Why the host paused it.
        pub reason: Option<String>,
        /// Milliseconds; kept while paused.
        pub next_run: Option<i64> => ms,
        /// Milliseconds; when the latest run ended.
        pub last_run: Option<i64> => ms,
        /// What came of it: the beginning of the answer, `Completed`, or `Error: ...`.
        pub last_result: Option<String>,
        /// Milliseconds.
        pub created_at: i64 => |at| ms(at).unwrap_or(0),
        /// Whether only the owner had a part in what it says.
        pub trusted: bool,
        /// Of its latest run, which may still be open.
        pub turn: Option<i64>,
        /// Runs that failed one after the other, up to the latest.
        pub failures: u32,
    }
}

words! {
    /// Whether a task runs.
    pub enum TaskStatus {
        /// At its next run.
        Active = "active",
        /// Not until it is resumed.
        Paused = "paused",
        /// It has no run left.
        Completed = "completed",
    }
}

impl TaskStatus {
    /// Of 1.x, too: no word is active, an unknown one does not run.
    fn stored(word: Option<String>) -> TaskStatus {
        word.map_or(TaskStatus::Active, |word| {
            TaskStatus::from_word(&word).unwrap_or(TaskStatus::Paused)
        })
    }
}

/// The context that a word of 1.x means: `group`, and `isolated` for everything else.
pub fn context(word: Option<String>) -> Session {
    if word.as_deref() == Some("group") { Session::Group } else { Session::Isolated }
}

pub(in crate::db) fn context_word(session: Session) -> &'static str {
    if session == Session::Group { "group" } else { "isolated" }
}

/// An instant as 1.x writes it; milliseconds that no calendar has are now.
pub(in crate::db) fn iso(ms: i64) -> String {
    instant(ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(in crate::db) fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_else(Utc::now)
}

pub(in crate::db) fn ms(text: Option<String>) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(&text?).ok()?.timestamp_millis())
}

impl Task {
    /// The zone whose clock it goes by, where `owner` is the owner's.
    pub fn zone(&self, owner: Tz) -> Tz {
        self.zone.as_deref().and_then(zone::parse).unwrap_or(owner)
    }

    /// When it runs.
    pub fn schedule(&self, owner: Tz) -> Result<Schedule, ScheduleError> {
        let anchor = instant(self.next_run.unwrap_or(self.created_at));
        Schedule::stored(&self.schedule_type, &self.schedule_value, self.zone(owner), anchor)
    }
}
