//! Schedules in words, for people and for agents.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::Due;
use crate::prompt::notices;

/// An instant on the clock of `zone`: `Mon 09:00 Europe/Berlin`, and with its date
/// when it is further than six days away.
pub fn describe(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> String {
    let local = at.with_timezone(&zone);
    let days = (local.date_naive() - now.with_timezone(&zone).date_naive()).num_days();
    if (0..=6).contains(&days) {
        local.format(&format!("%a {} {zone}", clock(at))).to_string()
    } else {
        full(at, zone)
    }
}

/// With its date in any case: `Mon 2026-03-02 09:00 Europe/Berlin`.
pub(super) fn full(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format(&format!("%a %Y-%m-%d {} {zone}", clock(at))).to_string()
}

/// As 1.x writes it: `2026-03-02T09:00:00`.
pub(super) fn wall(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%.f").to_string()
}

/// What goes before a task's prompt, so that the agent does not think that somebody
/// has just written: that it runs by itself, when it should have run, and how late
/// it is.
pub fn notice(due: &Due, zone: Tz) -> String {
    let mut text = format!(
        "[SCHEDULED TASK: this runs automatically, nobody has just written it. It was planned for {}.",
        full(due.planned, zone)
    );
    if let Some(late) = due.late {
        text += &format!(
            " It is {} late: it could not begin then. Take that into account.",
            notices::words((late.max(TimeDelta::zero())).to_std().unwrap_or_default())
        );
    }
    if due.skipped {
        text += " Earlier runs were missed, too; this one stands for all of them.";
    }
    text + "]\n\n"
}

fn clock(at: DateTime<Utc>) -> &'static str {
    if at.second() == 0 { "%H:%M" } else { "%H:%M:%S" }
}
