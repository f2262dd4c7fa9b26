//! Schedules: what is accepted runs, ahead of now, and means the same when stored.
#![no_main]

use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;
use nanoclaw::schedule::{Schedule, describe};

fuzz_target!(|input: (u8, u16, u32, &str)| {
    let (kind, zone, now, value) = input;
    let kind = ["cron", "interval", "once", "never"][usize::from(kind % 4)];
    let zone = chrono_tz::TZ_VARIANTS[usize::from(zone) % chrono_tz::TZ_VARIANTS.len()];
    // 2020 to 2090.
    let now = 1_577_836_800 + i64::from(now) % 2_209_075_200;
    let now = DateTime::from_timestamp(now, 0).unwrap();
    let Ok(schedule) = Schedule::parse(kind, value, zone, now) else { return };
    let next = schedule.next_after(now).expect("what has no run is refused");
    assert!(next > now && !describe(next, zone, now).is_empty());
    let stored = Schedule::stored(kind, schedule.value(), zone, now).expect("what was accepted");
    if kind != "once" {
        assert_eq!(stored.next_after(now), Some(next));
    }
    let late = next + TimeDelta::hours(50);
    let due = schedule.due(next, late).expect("it is over");
    assert!(due.planned >= next && due.planned <= late);
});
