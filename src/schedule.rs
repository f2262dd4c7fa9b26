//! When a task runs: `cron`, `interval` or `once`. Pure: the clock is an argument.
//!
//! The words of NanoClaw 1.x keep their meaning. What they mean at the edges:
//!
//! * **A time that the spring change skips** runs at the first instant after the
//!   gap: 02:30 in Berlin on the last Sunday of March runs at 03:00, the next time
//!   that exists. (1.x runs it at 03:30, and loses later times of that day.)
//! * **A time that exists twice** in autumn runs once, the first time.
//! * **A cron whose hour field names all 24 hours** (`*`, `*/1`, `0-23`) goes by
//!   real hours instead: it runs in both of the repeated ones, and nothing is made
//!   up for a skipped one. `*/2` names times of the day, so each day has as many
//!   runs as any other. (1.x draws the line at the same place.)
//! * **An interval** keeps its grid: it does not drift, and after a downtime the
//!   next run is the next point of the grid that lies ahead.
//! * **After a downtime** the latest missed run is made up for, once: [`Schedule::due`].
//!
//! Which cron expressions are understood, and how, says [`calendar`].

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

mod calendar;
mod clock;
mod fields;
mod values;
mod words;

pub use words::{describe, notice};

use calendar::Calendar;

/// The shortest interval, milliseconds.
pub const SHORTEST: i64 = 1000;
/// What an interval of a 1.x database that is shorter than [`SHORTEST`] becomes:
/// 1.x looks for due tasks once a minute.
const SLOW: i64 = 60_000;
/// A run that begins later than this is called late. The scheduler is ready within
/// a second, so the host was down or busy.
const LATE: TimeDelta = TimeDelta::seconds(5);
/// The longest text that is looked at.
const MAX_VALUE: usize = 256;

/// Why a schedule is refused; each text tells an agent what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The type is none of the three.
    #[error("{0:?} is no schedule type: use cron, interval or once")]
    Kind(String),
    /// The value is empty or far too long.
    #[error("the schedule value is {0}: write, for example, {1}")]
    Value(&'static str, &'static str),
    /// A cron expression has too few or too many fields.
    #[error(
        "the cron expression has {0} fields: write minute, hour, day of month, month and day of week, \
         such as \"0 9 * * 1-5\" (one more in front is seconds)"
    )]
    FieldCount(usize),
    /// An `@` word that is not known.
    #[error(
        "{0:?} is not known: use @hourly, @daily, @weekly, @monthly, @yearly, @weekdays or @weekends, \
         or five fields such as \"0 9 * * *\""
    )]
    Shorthand(String),
    /// One field of a cron expression.
    #[error("the {field} {text:?} of the cron expression {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The part of it that is wrong.
        text: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// No instant matches.
    #[error("{0:?} never comes: no month that it names has such a day")]
    NeverComes(String),
    /// An interval that is no number, or not in range.
    #[error(
        "{0:?} is no interval: write milliseconds, such as 3600000 for an hour, or a whole number \
         with a unit, such as 90s, 30m, 2h or 1d; at least {SHORTEST} milliseconds"
    )]
    Interval(String),
    /// A point in time that cannot be read.
    #[error(
        "{0:?} is no point in time: write date and time as the clock on the wall shows them, such as \
         2026-03-01T09:00:00 (with a zone, such as Z or +01:00, only if it is meant)"
    )]
    Time(String),
    /// A point in time that is over.
    #[error("{time} is past, it is now {now}: give a time that is still to come")]
    Past {
        /// What was asked for.
        time: String,
        /// The present.
        now: String,
    },
}

/// When a task runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    zone: Tz,
    value: String,
}

#[derive(Clone, Debug)]
enum Plan {
    Cron(Box<Calendar>),
    /// Milliseconds; both.
    Interval {
        every: i64,
        anchor: i64,
    },
    Once(DateTime<Utc>),
}

/// What is to be run now, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instant that the run stands for: the latest one that is over.
    pub planned: DateTime<Utc>,
    /// How late it begins, if that is worth a word.
    pub late: Option<TimeDelta>,
    /// Whether earlier runs were missed, which are not made up for.
    pub skipped: bool,
    /// The next run, on the clock and ahead of `now`.
    pub next: Option<DateTime<Utc>>,
}

impl Schedule {
    /// Reads what somebody asks for now. `kind` is 1.x's `schedule_type`, `value` its
    /// `schedule_value`: a cron expression, milliseconds (or `90s`, `30m`, `2h`, `1d`),
    /// or a point in time on the clock of `zone` (or with a zone of its own). An
    /// interval's grid begins at `now`. Refused: what has no run ahead of `now`.
    pub fn parse(
        kind: &str,
        value: &str,
        zone: Tz,
        now: DateTime<Utc>,
    ) -> Result<Schedule, ScheduleError> {
        let schedule = Schedule::read(kind, value, zone, now)?;
        match schedule.plan {
            Plan::Once(at) if at <= now => Err(ScheduleError::Past {
                time: words::full(at, zone),
                now: words::full(now, zone),
            }),
            Plan::Interval { every, .. } if every < SHORTEST => {
                Err(ScheduleError::Interval(short(value)))
            }
            _ if schedule.next_after(now).is_none() => Err(ScheduleError::NeverComes(short(value))),
            _ => Ok(schedule),
        }
    }

    /// Reads a stored one. `anchor` is any point of an interval's grid, such as the
    /// stored next run. Nothing is refused for being over, and an interval that is too
    /// short, which only 1.x stores, is a minute, as it is there.
    pub fn stored(
        kind: &str,
        value: &str,
        zone: Tz,
        anchor: DateTime<Utc>,
    ) -> Result<Schedule, ScheduleError> {
        let mut schedule = Schedule::read(kind, value, zone, anchor)?;
        if let Plan::Interval { every, .. } = &mut schedule.plan
            && *every < SHORTEST
        {
            *every = SLOW;
        }
        Ok(schedule)
    }

    fn read(
        kind: &str,
        value: &str,
        zone: Tz,
        anchor: DateTime<Utc>,
    ) -> Result<Schedule, ScheduleError> {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let example = match kind {
            "cron" => "\"0 9 * * 1-5\" for weekdays at nine",
            "interval" => "3600000 for an hour",
            "once" => "2026-03-01T09:00:00",
            other => return Err(ScheduleError::Kind(short(other))),
        };
        if value.is_empty() {
            return Err(ScheduleError::Value("empty", example));
        }
        if value.len() > MAX_VALUE {
            return Err(ScheduleError::Value("too long", example));
        }
        let (plan, value) = match kind {
            "cron" => (Plan::Cron(Box::new(Calendar::parse(&value)?)), value),
            "interval" => {
                let every = values::interval(&value)?;
                (Plan::Interval { every, anchor: anchor.timestamp_millis() }, every.to_string())
            }
            _ => {
                let at = values::instant(&value, zone)?;
                (Plan::Once(at), words::wall(at, zone))
            }
        };
        Ok(Schedule { plan, zone, value })
    }

    /// The value as it is to be stored: what 1.x reads, too. An interval is
    /// milliseconds; a point in time is on the clock of the zone, without a zone.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The zone whose clock it goes by.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first run after `instant`, not at it. `None` if there is none, or none
    /// before the year 2100.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.plan {
            Plan::Cron(calendar) => clock::next(calendar, self.zone, instant),
            Plan::Interval { every, anchor } => {
                let passed = instant.timestamp_millis().checked_sub(*anchor)?.div_euclid(*every);
                let next = anchor.checked_add(passed.checked_add(1)?.checked_mul(*every)?)?;
                DateTime::from_timestamp_millis(next)
            }
            Plan::Once(at) => Some(*at).filter(|at| *at > instant),
        }
    }

    /// What to run at `now`, where `planned` is the earliest run that was not yet
    /// begun. Of several that are over, the latest is run and the others are not.
    /// `None` while `planned` is still ahead.
    pub fn due(&self, planned: DateTime<Utc>, now: DateTime<Utc>) -> Option<Due> {
        if planned > now {
            return None;
        }
        // What 1.x planned once, perhaps in another zone, is not planned again.
        let once = matches!(self.plan, Plan::Once(_));
        let latest = if once { planned } else { self.latest(planned, now) };
        let late = now - latest;
        Some(Due {
            planned: latest,
            late: (late > LATE).then_some(late),
            skipped: latest > planned,
            next: self.next_after(now).filter(|_| !once),
        })
    }

    /// The latest run in `planned..=now`; `planned` itself where the schedule, which
    /// may have been read by another program, knows none.
    fn latest(&self, planned: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let over = |at| self.next_after(at).filter(|next| *next <= now);
        let Some(mut latest) = over(planned) else { return planned };
        // Runs are a second apart or more, and none lies between `end` and now.
        let mut end = now;
        while end - latest >= TimeDelta::seconds(1) {
            let middle = latest + (end - latest) / 2;
            match over(middle) {
                Some(later) => latest = later,
                None => end = middle,
            }
        }
        latest
    }
}

/// The beginning of a text, for messages.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
