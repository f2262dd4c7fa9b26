//! Schedules: what is accepted runs, ahead of now, and means the same when it is
//! read again.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use nanoclaw::schedule::{Schedule, describe};
use proptest::prelude::*;

use super::inputs::{config, near};

const VALUES: &[&str] = &[
    "0 9 * * 1-5",
    "*/5 * * * *",
    "30 8,20 1-15/2 JAN-MAR mon#2",
    "0 0 31 2 *",
    "0 0 L * 5L",
    "@daily",
    "5 4 * * sun",
    "15 0 9 * * *",
    "90s",
    "2h",
    "3600000",
    "2026-03-29T02:30:00",
    "2026-12-24T18:00:00Z",
];

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // 2020 to 2090.
    (1_577_836_800..3_786_912_000_i64).prop_map(|s| DateTime::from_timestamp(s, 0).unwrap())
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(&chrono_tz::TZ_VARIANTS[..])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_schedule_is_refused_or_runs_ahead_of_now_and_means_the_same_when_stored(
        kind in prop::sample::select(vec!["cron", "interval", "once", "never"]),
        value in near(VALUES),
        zone in zone(),
        now in instant(),
    ) {
        let value = String::from_utf8_lossy(&value);
        let Ok(schedule) = Schedule::parse(kind, &value, zone, now) else { return Ok(()) };
        let next = schedule.next_after(now).expect("what has no run is refused");
        prop_assert!(next > now);
        prop_assert!(!describe(next, zone, now).is_empty());
        let stored = Schedule::stored(kind, schedule.value(), zone, now).expect("what was accepted");
        // A point in time in an hour that exists twice is stored as the clock shows it.
        if kind != "once" {
            prop_assert_eq!(stored.next_after(now), Some(next));
        }
        let late = next + TimeDelta::hours(50);
        let due = schedule.due(next, late).expect("it is over");
        prop_assert!(due.planned >= next && due.planned <= late);
        prop_assert!(due.next.is_none_or(|next| next > late));
        prop_assert!(schedule.due(next, now).is_none(), "it is still ahead");
    }
}
