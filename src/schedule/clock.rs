//! From the clock on the wall to instants, over both clock changes.

use chrono::{
    DateTime, MappedLocalTime, NaiveDateTime, Offset, SubsecRound, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use super::calendar::Calendar;

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The first instant after `instant` at which the calendar matches the clock of
/// `zone`; the rules for clock changes are those of the module above.
pub(super) fn next(calendar: &Calendar, zone: Tz, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let instant = instant.trunc_subsecs(0);
    if calendar.every_hour() {
        real_hours(calendar, zone, instant + SECOND)
    } else {
        // `first` never goes back as the clock goes on, so what stands before the
        // clock of `instant` is over, and the search may begin there.
        let mut wall = instant.with_timezone(&zone).naive_local();
        loop {
            wall = calendar.next_after(wall)?;
            let at = first(zone, wall)?;
            if at > instant {
                return Some(at);
            }
        }
    }
}

/// The first instant at or after `from` whose clock matches, whichever pass of a
/// repeated hour it is in.
fn real_hours(calendar: &Calendar, zone: Tz, mut from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    loop {
        let offset = offset(zone, from);
        let wall = calendar.next_after(from.naive_utc() + offset - SECOND)?;
        let at = (wall - offset).and_utc();
        match change(zone, from, at) {
            None => return Some(at),
            // From there on the clock shows something else.
            Some(changed) => from = changed,
        }
    }
}

/// The instant that a time on the wall means: the first of two, and the end of the
/// gap for one that is skipped.
pub(super) fn first(zone: Tz, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&wall) {
        MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => Some(at.to_utc()),
        MappedLocalTime::None => {
            // No zone is farther from UTC than 15 hours, so the gap lies between.
            let around = wall.and_utc();
            let from = around.checked_sub_signed(TimeDelta::hours(15))?;
            let to = around.checked_add_signed(TimeDelta::hours(15))?;
            change(zone, from, to)
        }
    }
}

/// The first instant after `from` and at or before `to` with another offset from UTC.
fn change(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let before = offset(zone, from);
    // A day at a time: no zone changes twice within one and back.
    let mut same = from;
    let mut other = loop {
        if same >= to {
            return None;
        }
        let ahead = same.checked_add_signed(TimeDelta::days(1))?.min(to);
        if offset(zone, ahead) != before {
            break ahead;
        }
        same = ahead;
    };
    while other - same > SECOND {
        let middle = same + TimeDelta::seconds((other - same).num_seconds() / 2);
        if offset(zone, middle) == before { same = middle } else { other = middle }
    }
    Some(other)
}

fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc());
    TimeDelta::seconds(offset.fix().local_minus_utc().into())
}
