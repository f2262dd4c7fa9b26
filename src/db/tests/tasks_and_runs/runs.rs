//! Runs: what begins once, what waits, what is made up for, what is noted.

use super::*;

#[test]
fn a_run_begins_once_with_its_turn_and_its_next() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let new = NewTask { script: Some("echo".into()), ..new_task("cron", "0 * * * *") };
    let task = tasks::create(&c, &new, BERLIN, noon()).unwrap();
    let planned = noon() + HOUR;
    assert_eq!(occurrences::next_wake(&c).unwrap(), Some(planned));
    assert_eq!(occurrences::due(&c, planned - 1).unwrap(), []);
    let due = occurrences::due(&c, planned).unwrap();
    assert_eq!((due[0].id.as_str(), due[0].planned), (task.id.as_str(), planned));
    assert_eq!(
        occurrences::begin(&c, &task.id, planned, BERLIN, planned - 1).unwrap(),
        Begun::NotDue
    );
    // What is rolled back has not been.
    c.execute_batch("SAVEPOINT change").unwrap();
    assert!(begin(&c, planned).is_some());
    c.execute_batch("ROLLBACK TO change; RELEASE change").unwrap();
    assert_eq!(
        (count(&c, "turns"), count(&c, "occurrences"), get(&c, &task.id).next_run),
        (0, 0, Some(planned))
    );

    let (turn, at, late) = begin(&c, planned + 900).unwrap();
    assert_eq!((at, late, get(&c, &task.id).next_run), (planned, false, Some(planned + HOUR)));
    assert_eq!(
        occurrences::begin(&c, &task.id, planned, BERLIN, planned + 900).unwrap(),
        Begun::NotDue
    );
    let row: (String, String, String, bool) = c
        .query_row(
            "SELECT state, prompt, folder, trusted FROM turns WHERE id = ?1",
            [turn.0],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
        )
        .unwrap();
    assert_eq!((row.0.as_str(), row.2.as_str(), row.3), ("queued", "family", true));
    assert!(
        row.1.starts_with("[SCHEDULED TASK: this runs automatically")
            && row.1.ends_with("]\n\nwater the plants")
    );
    assert_eq!(occurrences::script(&c, turn).unwrap().as_deref(), Some("echo"));
    let occurrence = occurrences::of_turn(&c, turn).unwrap().unwrap();
    assert_eq!(
        (occurrence.task, occurrence.planned, occurrence.late),
        (task.id.clone(), planned, false)
    );
    // The clock goes back an hour: what ran does not run again.
    turns::complete(&c, turn, true).unwrap();
    c.execute("UPDATE scheduled_tasks SET next_run = '2026-01-14T13:00:00.000Z'", []).unwrap();
    assert_eq!(begin(&c, planned + 1), None);
    assert_eq!((count(&c, "turns"), get(&c, &task.id).next_run), (1, Some(planned + HOUR)));
}

#[test]
fn after_a_downtime_a_task_runs_once_late_and_says_so() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1h");
    let now = noon() + 10 * HOUR + 30 * MINUTE;
    let (turn, planned, late) = begin(&c, now).unwrap();
    assert_eq!((planned, late), (noon() + 10 * HOUR, true));
    assert_eq!(get(&c, &task.id).next_run, Some(noon() + 11 * HOUR), "ts_04: ahead, on the grid");
    let prompt = prompt(&c, turn);
    assert!(
        prompt.contains("It is 30 minutes late") && prompt.contains("Earlier runs were missed"),
        "{prompt}"
    );
    assert_eq!(begin(&c, now), None);
    assert_eq!((count(&c, "turns"), count(&c, "occurrences")), (1, 1));
}

#[test]
fn a_task_waits_for_its_own_latest_run() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1m");
    let (turn, ..) = begin(&c, noon() + MINUTE).unwrap();
    let later = noon() + 5 * MINUTE + 100;
    assert_eq!(occurrences::due(&c, later).unwrap(), []);
    assert_eq!(occurrences::next_wake(&c).unwrap(), None);
    assert_eq!(
        occurrences::begin(&c, &task.id, noon() + 2 * MINUTE, BERLIN, later).unwrap(),
        Begun::NotDue
    );
    end(&c, turn, "done", later);
    assert_eq!(occurrences::next_wake(&c).unwrap(), Some(noon() + 2 * MINUTE), "at once");
    assert_eq!(begin(&c, later).unwrap().1, noon() + 5 * MINUTE);
}

#[test]
fn ts_01_a_task_whose_group_or_chat_is_gone_pauses_and_says_why() {
    let (_dir, c) = ledger();
    with_family(&c, &["1", "2"]);
    let now = noon() + HOUR;
    let paused = |task: &Task| {
        let planned = get(&c, &task.id).next_run.unwrap();
        let begun = occurrences::begin(&c, &task.id, planned, BERLIN, now).unwrap();
        let Begun::Paused(reason) = begun else { panic!("{begun:?}") };
        let task = get(&c, &task.id);
        assert_eq!(
            (task.status, task.reason.as_deref(), task.turn),
            (TaskStatus::Paused, Some(reason.as_str()), None)
        );
        assert_eq!(task.next_run, Some(planned));
        reason
    };
    for (column, value, why) in [
        ("group_folder", "../../etc", "cannot name a group's folder"),
        ("group_folder", "nobody", "no group nobody"),
        ("chat_jid", "3", "no chat of the group"),
        ("schedule_value", "H H * * *", "is no interval"),
        ("schedule_type", "yearly", "no schedule type"),
    ] {
        let task = created(&c, "interval", "1h");
        c.execute(
            &format!("UPDATE scheduled_tasks SET {column} = ?2 WHERE id = ?1"),
            [&task.id, value],
        )
        .unwrap();
        let reason = paused(&task);
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(
        (occurrences::due(&c, now).unwrap(), count(&c, "turns")),
        (vec![], 0),
        "quirk 12: not every minute"
    );
    // The group is removed, and comes back.
    let task = created(&c, "interval", "1h");
    groups::remove(&c, &family()).unwrap();
    let gone = get(&c, &task.id);
    assert_eq!(
        (gone.status, gone.reason.as_deref()),
        (TaskStatus::Paused, Some("the group was removed"))
    );
    assert!(tasks::resume(&c, &task.id, BERLIN, now).is_err());
    with_family(&c, &["1"]);
    let back = tasks::resume(&c, &task.id, BERLIN, now).unwrap();
    assert_eq!(
        (back.status, back.reason, back.next_run),
        (TaskStatus::Active, None, Some(now + HOUR))
    );
}

#[test]
fn the_end_of_a_run_is_noted_once_and_the_newest_logs_are_kept() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1m");
    let other = created(&c, "once", "2026-01-14T13:30:00");
    let mut now = noon() + MINUTE;
    let rounds = i64::from(occurrences::KEPT) + 5;
    c.execute_batch("PRAGMA synchronous = OFF").unwrap();
    for round in 0..rounds {
        let due = occurrences::due(&c, now).unwrap();
        let mine = due.iter().find(|due| due.id == task.id).unwrap();
        let begun = occurrences::begin(&c, &task.id, mine.planned, BERLIN, now).unwrap();
        let Begun::Turn { turn, .. } = begun else { panic!("{begun:?}") };
        end(&c, turn, &format!("{round} {}", "x".repeat(500)), now + 1500);
        occurrences::finished(&c, turn, false, Some("again"), now + 1600).unwrap();
        now += MINUTE;
    }
    let runs = occurrences::runs(&c, &task.id, 1000).unwrap();
    assert_eq!(runs.len(), occurrences::KEPT as usize);
    assert!(runs[0].result.as_ref().unwrap().starts_with(&format!("{} xxx", rounds - 1)));
    assert_eq!((runs[0].status.as_str(), runs[0].error.as_deref()), ("success", None));
    assert!((1500..1500 + MINUTE).contains(&runs[0].duration_ms), "{}", runs[0].duration_ms);
    let shown = get(&c, &task.id);
    assert_eq!(shown.last_result.unwrap().chars().count(), 200);
    assert_eq!(shown.last_run, Some(now - MINUTE + 1500));
    // One that failed, and one that said nothing; another task's logs are not touched.
    let begun = occurrences::begin(&c, &other.id, other.next_run.unwrap(), BERLIN, now).unwrap();
    let Begun::Turn { turn, .. } = begun else { panic!("{begun:?}") };
    turns::fail(&c, turn, "the model is down").unwrap();
    occurrences::finished(&c, turn, false, Some("the model is down"), now).unwrap();
    assert_eq!(get(&c, &other.id).last_result.as_deref(), Some("Error: the model is down"));
    let (turn, ..) = begin(&c, now).unwrap();
    turns::complete(&c, turn, true).unwrap();
    occurrences::finished(&c, turn, true, None, now).unwrap();
    assert_eq!(get(&c, &task.id).last_result.as_deref(), Some("Completed"));
    assert_eq!(occurrences::runs(&c, &other.id, 10).unwrap().len(), 1);
}

#[test]
fn in_main_what_a_stranger_had_a_part_in_runs_alone() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    c.execute("UPDATE groups SET is_main = 1", []).unwrap();
    let session = |trusted: bool| {
        let new = NewTask { trusted, context_mode: Session::Group, ..new_task("interval", "1h") };
        let task = tasks::create(&c, &new, BERLIN, noon()).unwrap();
        let (turn, ..) = begin(&c, noon() + HOUR).unwrap();
        tasks::cancel(&c, &task.id).unwrap();
        turns::open(&c, turn).unwrap().session
    };
    assert_eq!((session(true), session(false)), (Session::Group, Session::Isolated));
}
