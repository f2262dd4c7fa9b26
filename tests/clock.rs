//! The clock is set, the zone is another, the machine sleeps: nothing is stopped too
//! early or too late for it, and tasks keep their times.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Client, Home, eventually};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// An installation whose wall clock can be set; `None` without a C compiler.
fn home() -> Option<Home> {
    let mut home = Home::new();
    let file = home.path().join("clock");
    if !home.preload("clock.c") {
        return None;
    }
    std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
    home.set("CLOCK_FILE", file.to_str().unwrap());
    home.add_group("family", "t:1");
    Some(home)
}

/// Puts the clock so many seconds off, for all that runs.
fn set(home: &Home, seconds: i64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(home.path().join("clock")).unwrap();
    file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
}

fn running(home: &Home) {
    eventually("the turn to run", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'running'") == 1
    });
}

/// When a task runs next, in seconds from the true now.
fn next(home: &Home) -> i64 {
    let (code, out, error) = home.run(&["tasks", "list", "--json"]);
    assert_eq!(code, 0, "{error}");
    let tasks: Value = serde_json::from_str(&out).unwrap();
    let next = tasks[0]["next_run"].as_i64().unwrap_or_else(|| panic!("{tasks}"));
    next / 1000 - chrono::Utc::now().timestamp()
}

#[test]
fn a_clock_that_is_set_ends_no_turn_early_and_none_late() {
    let Some(mut home) = home() else { return };
    home.set("CONTAINER_TIMEOUT", "10000");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "think:4000 say:in my own time");
    running(&home);
    set(&home, 8 * HOUR);
    client.answer("t:1", "in my own time");
    client.message("t:1", "b", "hang");
    running(&home);
    set(&home, -YEAR);
    let began = Instant::now();
    client.answer("t:1", "longer than a turn may");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    // A year ago is as good a time as any, also for what tries again and for a restart.
    client.message("t:1", "c", "say:here and then");
    client.answer("t:1", "here and then");
    client.heard(|h| assert_eq!(h.sends.len(), 3, "{:?}", h.sends));
}

#[test]
fn a_clock_that_was_far_ahead_stops_no_task() {
    let Some(home) = home() else { return };
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    for schedule in [["--every", "1h"], ["--cron", "0 * * * *"]] {
        let add = ["tasks", "add", "family", "say:the hour", schedule[0], schedule[1]];
        let (code, _, error) = home.run(&add);
        assert_eq!(code, 0, "{error}");
    }
    // Somebody connects, as the clock is looked at once a minute otherwise.
    let look = |prefix| Client::connect(&home, prefix).hang_up();
    set(&home, YEAR);
    look("u:");
    let runs = || client.heard(|h| h.sends.iter().filter(|s| s.2.contains("the hour")).count());
    eventually("both to run", || runs() == 2);
    assert!(next(&home) > YEAR - HOUR);
    set(&home, 0);
    look("v:");
    let planned = "SELECT count(*) FROM scheduled_tasks WHERE next_run < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+61 minutes')";
    eventually("the tasks to be planned anew", || home.ledger::<i64>(planned) == 2);
    assert_eq!(runs(), 2);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn another_zone_counts_from_the_next_start_on() {
    let Some(mut home) = home() else { return };
    let add = ["tasks", "add", "family", "say:morning", "--cron", "0 9 * * *"];
    assert_eq!(home.run(&add).0, 0);
    let hours = |home: &Home, zone: &str| -> bool {
        let next = chrono::Utc::now() + chrono::TimeDelta::seconds(next(home) + 30);
        let zone: chrono_tz::Tz = zone.parse().unwrap();
        next.with_timezone(&zone).format("%H:%M").to_string() == "09:00"
    };
    assert!(hours(&home, "Europe/Berlin"));
    home.set("TZ", "America/New_York");
    let _daemon = home.start();
    eventually("nine there", || hours(&home, "America/New_York"));
}

#[test]
fn a_machine_that_sleeps_for_hours_goes_on_where_it_was() {
    let Some(mut home) = home() else { return };
    home.set("CONTAINER_TIMEOUT", "20000");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    let add = ["tasks", "add", "family", "say:it is time", "--every", "1h", "--isolated"];
    let (code, _, error) = home.run(&add);
    assert_eq!(code, 0, "{error}");
    client.message("t:1", "a", "think:3000 say:good morning");
    running(&home);
    let mut asleep = home.guests();
    asleep.push(daemon.pid());
    let signal = |signal| {
        for pid in &asleep {
            let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            let _ = kill_process(pid, signal);
        }
    };
    signal(Signal::STOP);
    // What is written meanwhile waits in the socket.
    client.message("t:1", "b", "say:you were away");
    set(&home, 8 * HOUR + HOUR / 2);
    support::pause(Duration::from_secs(2));
    signal(Signal::CONT);
    client.answer("t:1", "good morning");
    client.answer("t:1", "you were away");
    // The clock is looked at within a minute. Of eight runs the latest is made up for.
    client.wait_for(Duration::from_secs(90), "the task", |h| {
        h.sends.iter().any(|s| s.2.contains("it is time"))
    });
    client
        .heard(|h| assert!(!h.sends.iter().any(|s| s.2.contains("longer than")), "{:?}", h.sends));
    assert!(home.ledger::<bool>("SELECT late AND count(*) = 1 FROM occurrences"));
}
