//! The rules by example; `against.rs` checks them against another implementation.
#![allow(clippy::unwrap_used)]

use super::*;

mod against;
mod brute;
mod week;

const BERLIN: Tz = Tz::Europe__Berlin;
const NEW_YORK: Tz = Tz::America__New_York;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// A winter's day.
fn now() -> DateTime<Utc> {
    at("2026-01-14T12:00:00Z")
}

fn cron(expression: &str, zone: Tz) -> Schedule {
    Schedule::parse("cron", expression, zone, now()).unwrap()
}

fn refused(kind: &str, value: &str) -> String {
    Schedule::parse(kind, value, BERLIN, now()).unwrap_err().to_string()
}

/// The next `count` runs after `from`, on the clock.
fn runs(expression: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
    let schedule = cron(expression, zone);
    std::iter::successors(schedule.next_after(at(from)), |run| schedule.next_after(*run))
        .take(count)
        .map(|run| run.with_timezone(&zone).format("%m-%d %H:%M %z").to_string())
        .collect()
}

#[test]
fn ipc_22_and_23_a_cron_has_a_next_run_and_an_invalid_one_is_refused_in_words() {
    let weekdays = cron("0 9 * * 1-5", BERLIN);
    assert_eq!(weekdays.next_after(now()), Some(at("2026-01-15T08:00:00Z")));
    for (expression, words) in [
        ("not a cron", "has 3 fields"),
        ("* * * *", "has 4 fields"),
        ("0 0 9 * * 1 2026", "has 7 fields"),
        ("", "empty"),
        ("  ", "empty"),
        ("61 * * * *", "the minute \"61\" of the cron expression must be made of numbers 0 to 59"),
        ("* 24 * * *", "0 to 23"),
        ("* * 0 * *", "day of month \"0\""),
        ("* * * 13 *", "or a name, JAN to DEC"),
        ("* * * * MONDAY", "SUN to SAT"),
        ("* * * * 8", "0 to 7"),
        ("0 22-2 * * *", "22-23,0-2"),
        ("*/90 * * * *", "a step of 1 to 60"),
        ("*/0 * * * *", "a step of 1 to 60"),
        ("5,,6 * * * *", "\"\""),
        ("-5 * * * *", "\"-5\""),
        ("+5 * * * *", "\"+5\""),
        ("1-2-3 * * * *", "\"1-2-3\""),
        ("1/2/3 * * * *", "\"1/2/3\""),
        ("0 9 15W * *", "nearest working day"),
        ("0 9 L-3 * *", "stands alone"),
        ("H 9 * * *", "the scheduler picks"),
        ("0 9 * * L", "5L for the month's last Friday"),
        ("0 9 * * 1#6", "1#2 for the second Monday"),
        ("0 9 1#2 * *", "day of month"),
        ("0 9 31 2 *", "never comes"),
        ("0 9 30 2 *", "never comes"),
        ("0 9 31 4,6,9,11 *", "never comes"),
        ("@reboot", "@daily"),
        (&format!("{} * * * *", "1,".repeat(200)), "too long"),
    ] {
        let said = refused("cron", expression);
        assert!(said.contains(words), "{expression}: {said}");
    }
}

#[test]
fn ipc_24_25_and_26_an_interval_begins_now_and_must_be_a_number_above_zero() {
    let hourly = Schedule::parse("interval", "3600000", BERLIN, now()).unwrap();
    assert_eq!(hourly.next_after(now()), Some(at("2026-01-14T13:00:00Z")));
    for (value, milliseconds) in [
        ("90s", "90000"),
        ("30m", "1800000"),
        ("2 h", "7200000"),
        (" 1d ", "86400000"),
        ("1000", "1000"),
    ] {
        let schedule = Schedule::parse("interval", value, BERLIN, now()).unwrap();
        assert_eq!(schedule.value(), milliseconds, "{value}");
    }
    let far = i64::MAX.to_string();
    // A week in nanoseconds is a mistake, and no reason to run at once and again.
    for value in [
        "604800000000000",
        "36601d",
        "abc",
        "0",
        "-5",
        "1.5h",
        "60abc",
        "999",
        "1y",
        &far,
        "99999999999999999999",
    ] {
        let said = refused("interval", value);
        assert!(said.contains("interval") || said.contains("never comes"), "{value}: {said}");
    }
}

#[test]
fn ipc_27_a_point_in_time_is_on_the_wall_of_the_zone_and_ahead() {
    for (value, instant) in [
        ("2026-03-01T09:00:00", "2026-03-01T08:00:00Z"),
        ("2026-03-01T09:00", "2026-03-01T08:00:00Z"),
        ("2026-03-01 09:00:00", "2026-03-01T08:00:00Z"),
        ("2026-03-01T09:00:00Z", "2026-03-01T09:00:00Z"),
        ("2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00Z"),
        ("2026-03-01T09:00:00-05:00", "2026-03-01T14:00:00Z"),
        ("2026-03-01T09:00+0100", "2026-03-01T08:00:00Z"),
        // Skipped, and twice.
        ("2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
    ] {
        let once = Schedule::parse("once", value, BERLIN, now()).unwrap();
        assert_eq!(once.next_after(now()), Some(at(instant)), "{value}");
        let stored = Schedule::stored("once", once.value(), BERLIN, now()).unwrap();
        assert_eq!(stored.next_after(now()), Some(at(instant)), "{value} -> {}", once.value());
    }
    let zoned = Schedule::parse("once", "2026-03-01T09:00:00Z", BERLIN, now()).unwrap();
    assert_eq!(zoned.value(), "2026-03-01T10:00:00", "as 1.x reads it");
    for value in
        ["tomorrow", "2026-03-01", "09:00", "2026-02-30T09:00:00", "2026-03-01T25:00", "not-a-date"]
    {
        assert!(refused("once", value).contains("2026-03-01T09:00:00"), "{value}");
    }
    assert_eq!(
        refused("once", "2026-01-14T13:00:00"),
        "Wed 2026-01-14 13:00 Europe/Berlin is past, it is now Wed 2026-01-14 13:00 Europe/Berlin: \
         give a time that is still to come"
    );
    assert!(refused("daily", "09:00").contains("use cron, interval or once"));
}

#[test]
fn ts_02_the_next_interval_follows_the_planned_time_not_the_present() {
    let planned = at("2026-01-14T12:00:00Z");
    let schedule = Schedule::stored("interval", "60000", BERLIN, planned).unwrap();
    let due = schedule.due(planned, planned + TimeDelta::milliseconds(1700)).unwrap();
    assert_eq!((due.planned, due.late, due.skipped), (planned, None, false));
    assert_eq!(due.next, Some(at("2026-01-14T12:01:00Z")));
}

#[test]
fn ts_03_once_has_no_next_run() {
    let planned = at("2026-03-01T08:00:00Z");
    let schedule = Schedule::parse("once", "2026-03-01T09:00:00", BERLIN, now()).unwrap();
    assert_eq!(schedule.due(planned, planned).unwrap().next, None);
    assert_eq!(schedule.due(planned, now()), None, "not yet");
}

#[test]
fn ts_04_after_ten_missed_intervals_the_next_is_ahead_and_on_the_grid() {
    let planned = at("2026-01-14T12:00:07Z");
    let schedule = Schedule::stored("interval", "60000", BERLIN, planned).unwrap();
    let due = schedule.due(planned, at("2026-01-14T12:10:30Z")).unwrap();
    assert_eq!(due.planned, at("2026-01-14T12:10:07Z"), "the latest one, once");
    assert_eq!((due.late, due.skipped), (Some(TimeDelta::seconds(23)), true));
    assert_eq!(due.next, Some(at("2026-01-14T12:11:07Z")));
}

#[test]
fn after_a_downtime_the_latest_missed_run_is_the_one_to_make_up_for() {
    let daily = cron("0 9 * * *", BERLIN);
    let due = daily.due(at("2026-01-10T08:00:00Z"), now()).unwrap();
    assert_eq!((due.planned, due.skipped), (at("2026-01-14T08:00:00Z"), true));
    assert_eq!((due.late, due.next), (Some(TimeDelta::hours(4)), Some(at("2026-01-15T08:00:00Z"))));
    // Years of missed minutes are found in no time.
    let minutes = cron("* * * * *", BERLIN).due(at("2020-01-01T00:00:00Z"), now()).unwrap();
    assert_eq!(minutes.planned, now());
    // A planned instant that the schedule does not know counts as it stands.
    let odd = daily.due(at("2026-01-14T11:59:00Z"), now()).unwrap();
    assert_eq!((odd.planned, odd.skipped), (at("2026-01-14T11:59:00Z"), false));
    let once = Schedule::stored("once", "2026-01-01T09:00:00", BERLIN, now()).unwrap();
    assert_eq!(once.due(at("2026-01-01T08:00:00Z"), now()).unwrap().next, None);
}

#[test]
fn a_late_run_says_so_to_the_agent() {
    let daily = cron("0 9 * * *", BERLIN);
    let text = notice(&daily.due(at("2026-01-10T08:00:00Z"), now()).unwrap(), BERLIN);
    assert!(
        text.contains("planned for Wed 2026-01-14 09:00 Europe/Berlin. It is 4 hours late"),
        "{text}"
    );
    assert!(text.contains("Earlier runs were missed") && text.ends_with("]\n\n"), "{text}");
    let due = daily.due(at("2026-01-14T08:00:00Z"), at("2026-01-14T08:00:01Z")).unwrap();
    assert!(!notice(&due, BERLIN).contains("late"));
}

#[test]
fn a_skipped_time_runs_at_the_next_that_exists_and_a_double_one_once() {
    assert_eq!(
        runs("30 2 * * *", BERLIN, "2026-03-28T00:00:00Z", 3),
        ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]
    );
    assert_eq!(
        runs("*/20 2 * * *", BERLIN, "2026-03-28T12:00:00Z", 2),
        ["03-29 03:00 +0200", "03-30 02:00 +0200"]
    );
    assert_eq!(
        runs("30 2 * * *", BERLIN, "2026-10-24T12:00:00Z", 2),
        ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    );
    assert_eq!(
        runs("0 */2 * * *", BERLIN, "2026-10-24T22:30:00Z", 2),
        ["10-25 02:00 +0200", "10-25 04:00 +0100"]
    );
    // From within the second pass.
    assert_eq!(runs("50 2 * * *", BERLIN, "2026-10-25T01:10:00Z", 1), ["10-26 02:50 +0100"]);
    // Midnight itself is skipped.
    assert_eq!(
        runs("0 0 * * *", Tz::America__Sao_Paulo, "2018-11-03T12:00:00Z", 2),
        ["11-04 01:00 -0200", "11-05 00:00 -0200"]
    );
    // A whole day is.
    assert_eq!(
        runs("0 9 * * *", Tz::Pacific__Apia, "2011-12-29T12:00:00Z", 3),
        ["12-29 09:00 -1000", "12-31 00:00 +1400", "12-31 09:00 +1400"]
    );
}

#[test]
fn every_hour_means_real_hours() {
    assert_eq!(
        runs("30 * * * *", NEW_YORK, "2026-11-01T04:00:00Z", 4),
        ["11-01 00:30 -0400", "11-01 01:30 -0400", "11-01 01:30 -0500", "11-01 02:30 -0500"]
    );
    assert_eq!(
        runs("30 0-23 * * *", NEW_YORK, "2026-03-08T06:00:00Z", 2),
        ["03-08 01:30 -0500", "03-08 03:30 -0400"]
    );
    // Half an hour, in a month that begins with another offset than now.
    assert_eq!(
        runs("45 */1 5 4 *", Tz::Australia__Lord_Howe, "2026-01-01T00:00:00Z", 4)[1..],
        ["04-05 01:45 +1100", "04-05 01:45 +1030", "04-05 02:45 +1030"]
    );
}

/// Quirk 33 of 1.x: its library loses what follows on the spring day.
#[test]
fn nothing_else_is_lost_on_the_spring_day() {
    assert_eq!(
        runs("0 9 * * *", NEW_YORK, "2026-03-07T12:00:00Z", 2),
        ["03-07 09:00 -0500", "03-08 09:00 -0400"]
    );
    assert_eq!(runs("0 9 * * 0", NEW_YORK, "2026-03-02T12:00:00Z", 1), ["03-08 09:00 -0400"]);
}

#[test]
fn the_dialect_of_1x_means_the_same() {
    let days = |expression: &str, count| -> Vec<String> {
        let runs = runs(expression, Tz::UTC, "2026-01-01T12:00:00Z", count);
        runs.into_iter().map(|run| run[..5].to_owned()).collect()
    };
    assert_eq!(days("0 9 L * *", 3), ["01-31", "02-28", "03-31"]);
    assert_eq!(days("0 9 15,l * *", 3), ["01-15", "01-31", "02-15"]);
    assert_eq!(days("0 9 * * 5L", 2), ["01-30", "02-27"]);
    assert_eq!(days("0 9 * * friL", 2), ["01-30", "02-27"]);
    assert_eq!(days("0 9 * * 1#2", 2), ["01-12", "02-09"]);
    assert_eq!(days("0 9 * * MON#2,3L", 3), ["01-12", "01-28", "02-09"]);
    assert_eq!(days("0 9 * * 7", 2), ["01-04", "01-11"]);
    assert_eq!(days("0 9 * * 0", 2), ["01-04", "01-11"]);
    assert_eq!(days("0 9 * * FRI-SUN", 4), ["01-02", "01-03", "01-04", "01-09"]);
    assert_eq!(days("0 9 13 * 5", 3), ["01-02", "01-09", "01-13"], "one or the other");
    assert_eq!(days("0 9 */15 * 1", 3), ["01-05", "01-12", "01-16"], "a step is given, too");
    assert_eq!(days("0 9 ? * mon", 2), ["01-05", "01-12"]);
    assert_eq!(days("0 9 29 2 *", 1), ["02-29"]);
    assert_eq!(days("  0   9\t1 jan-mar/2   ?  ", 2), ["03-01", "01-01"]);
    assert_eq!(days("@weekends", 3), ["01-03", "01-04", "01-10"]);
    assert_eq!(days("@weekly", 1), ["01-04"]);
    let times = |expression: &str, count| {
        let schedule = cron(expression, Tz::UTC);
        let runs =
            std::iter::successors(schedule.next_after(now()), |run| schedule.next_after(*run));
        runs.take(count).map(|run| run.format("%H:%M:%S").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(times("5/25 * * * *", 3), ["12:05:00", "12:30:00", "12:55:00"]);
    assert_eq!(times("0-10/5 * * * *", 4), ["12:05:00", "12:10:00", "13:00:00", "13:05:00"]);
    assert_eq!(times("*/30 1 * * * *", 2), ["12:01:00", "12:01:30"], "six fields");
    assert_eq!(times("@hourly", 1), ["13:00:00"]);
}

#[test]
fn an_instant_is_said_with_its_date_when_it_is_far() {
    let say = |instant: &str| describe(at(instant), BERLIN, now());
    assert_eq!(say("2026-01-14T12:30:00Z"), "Wed 13:30 Europe/Berlin");
    assert_eq!(say("2026-01-20T08:00:00Z"), "Tue 09:00 Europe/Berlin");
    assert_eq!(say("2026-01-21T08:00:00Z"), "Wed 2026-01-21 09:00 Europe/Berlin");
    assert_eq!(say("2026-01-13T08:00:05Z"), "Tue 2026-01-13 09:00:05 Europe/Berlin");
}

#[test]
fn what_1x_stored_is_read_again() {
    let short = Schedule::stored("interval", "60", BERLIN, now()).unwrap();
    assert_eq!(
        short.next_after(now()),
        Some(now() + TimeDelta::minutes(1)),
        "as often as 1.x looks"
    );
    let over = Schedule::stored("once", "2020-01-01T00:00:00", BERLIN, now()).unwrap();
    assert_eq!(over.next_after(now()), None);
    // Quirk 13: its next run was reckoned in another zone than its value is read in.
    let once = Schedule::stored("once", "2026-01-14T14:00:00", BERLIN, now()).unwrap();
    let due = once.due(now(), now()).unwrap();
    assert_eq!((due.planned, due.next), (now(), None), "once is once");
}
