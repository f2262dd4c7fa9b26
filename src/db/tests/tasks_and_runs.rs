//! Tasks: what is refused, what moves, what stays.

use chrono::DateTime;
use chrono_tz::Tz;

use super::*;
use crate::ipc::record::Session;

mod runs;

const BERLIN: Tz = Tz::Europe__Berlin;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A Wednesday, 13:00 in Berlin.
fn noon() -> i64 {
    ms("2026-01-14T12:00:00Z")
}

fn ms(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

fn new_task(kind: &str, value: &str) -> NewTask {
    NewTask {
        id: None,
        folder: family(),
        chat_jid: "1".into(),
        prompt: "water the plants".into(),
        schedule_type: kind.into(),
        schedule_value: value.into(),
        zone: None,
        context_mode: Session::Isolated,
        script: None,
        trusted: true,
    }
}

fn created(c: &Connection, kind: &str, value: &str) -> Task {
    tasks::create(c, &new_task(kind, value), BERLIN, noon()).unwrap()
}

fn get(c: &Connection, id: &str) -> Task {
    tasks::get(c, id).unwrap().unwrap()
}

/// Begins what is due, and returns the first turn.
fn begin(c: &Connection, now: i64) -> Option<(TurnId, i64, bool)> {
    let due = occurrences::due(c, now).unwrap();
    let begun =
        due.iter().map(|due| occurrences::begin(c, &due.id, due.planned, BERLIN, now).unwrap());
    begun.collect::<Vec<_>>().into_iter().find_map(|begun| match begun {
        Begun::Turn { turn, planned, late, .. } => Some((turn, planned, late)),
        _ => None,
    })
}

fn end(c: &Connection, turn: TurnId, said: &str, now: i64) {
    assert!(turns::complete(c, turn, false).unwrap());
    occurrences::finished(c, turn, true, Some(said), now).unwrap();
}

fn prompt(c: &Connection, turn: TurnId) -> String {
    c.query_row("SELECT prompt FROM turns WHERE id = ?1", [turn.0], |r| r.get(0)).unwrap()
}

fn count(c: &Connection, table: &str) -> i64 {
    c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
}

#[test]
fn db_22_and_ipc_22_24_a_task_is_stored_with_its_next_run() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let cron = created(&c, "cron", " 0 9  * * 1-5 ");
    assert_eq!(cron.next_run, Some(ms("2026-01-15T08:00:00Z")));
    assert_eq!(cron.schedule_value, "0 9 * * 1-5");
    assert_eq!((cron.status, cron.created_at, cron.zone), (TaskStatus::Active, noon(), None));
    let interval = created(&c, "interval", "1h");
    assert_eq!(
        (interval.schedule_value.as_str(), interval.next_run),
        ("3600000", Some(noon() + HOUR))
    );
    let tokyo = NewTask { zone: Some(Tz::Asia__Tokyo), ..new_task("once", "2026-02-01T09:00:00") };
    let tokyo = tasks::create(&c, &tokyo, BERLIN, noon()).unwrap();
    assert_eq!(tokyo.next_run, Some(ms("2026-02-01T00:00:00Z")));
    let ids: Vec<_> = tasks::list(&c, None).unwrap().into_iter().map(|task| task.id).collect();
    assert_eq!(ids, [tokyo.id.clone(), interval.id, cron.id], "newest first");
    assert!(tokyo.id.starts_with("task-1768392000000-") && tokyo.id.len() == 25, "{}", tokyo.id);
    // As 1.x writes it.
    let text: String = c
        .query_row("SELECT next_run FROM scheduled_tasks WHERE id = ?1", [&tokyo.id], |r| r.get(0))
        .unwrap();
    assert_eq!(text, "2026-02-01T00:00:00.000Z");
}

#[test]
fn ipc_04_23_25_26_27_what_cannot_run_creates_nothing() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    for (kind, value) in [
        ("cron", "not a cron"),
        ("interval", "abc"),
        ("interval", "0"),
        ("once", "not-a-date"),
        ("once", "2026-01-01T00:00:00"),
        ("daily", "9"),
    ] {
        let refused = tasks::create(&c, &new_task(kind, value), BERLIN, noon()).unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(_)), "{kind} {value}: {refused}");
    }
    let elsewhere = NewTask { chat_jid: "2".into(), ..new_task("interval", "1h") };
    let said = tasks::create(&c, &elsewhere, BERLIN, noon()).unwrap_err().to_string();
    assert!(said.contains("2 is no chat of the group family"), "{said}");
    let silent = NewTask { prompt: " ".into(), ..new_task("interval", "1h") };
    assert!(tasks::create(&c, &silent, BERLIN, noon()).is_err());
    let named = NewTask { id: Some("mine".into()), ..new_task("interval", "1h") };
    tasks::create(&c, &named, BERLIN, noon()).unwrap();
    assert!(tasks::create(&c, &named, BERLIN, noon()).is_err(), "not replaced");
    assert_eq!(count(&c, "scheduled_tasks"), 1);
}

#[test]
fn ipc_28_to_31_the_context_is_group_or_else_isolated() {
    let contexts = [Some("group"), Some("isolated"), Some("bogus"), None]
        .map(|word| tasks::context(word.map(str::to_owned)));
    assert_eq!(contexts, [Session::Group, Session::Isolated, Session::Isolated, Session::Isolated]);
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    for session in [Session::Group, Session::Isolated] {
        let new = NewTask { context_mode: session, ..new_task("interval", "1h") };
        let task = tasks::create(&c, &new, BERLIN, noon()).unwrap();
        assert_eq!(task.context_mode, session);
        begin(&c, noon() + HOUR).unwrap();
        let turn = turns::open(&c, TurnId(get(&c, &task.id).turn.unwrap())).unwrap();
        assert_eq!((turn.session, turn.kind), (session, crate::ipc::record::TurnKind::Task));
        tasks::cancel(&c, &task.id).unwrap();
    }
}

#[test]
fn ts_03_once_is_completed_and_cannot_be_resumed_or_paused() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "once", "2026-01-14T14:00:00");
    let (turn, ..) = begin(&c, noon() + HOUR).unwrap();
    let done = get(&c, &task.id);
    assert_eq!((done.status, done.next_run), (TaskStatus::Completed, None));
    end(&c, turn, "reminded", noon() + HOUR + 5000);
    for refused in [
        tasks::resume(&c, &task.id, BERLIN, noon() + HOUR).map(drop),
        tasks::pause(&c, &task.id, None).map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("no run left"));
    }
    // A new time makes it run again.
    let change = Change { schedule_value: Some("2026-01-15T09:00:00".into()), ..Change::default() };
    let again = tasks::update(&c, &task.id, &change, BERLIN, noon() + 2 * HOUR).unwrap();
    assert_eq!(
        (again.status, again.next_run),
        (TaskStatus::Active, Some(ms("2026-01-15T08:00:00Z")))
    );
}

#[test]
fn db_23_a_paused_task_does_not_run_and_resumes_at_its_next_time() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1h");
    let paused = tasks::pause(&c, &task.id, None).unwrap();
    assert_eq!((paused.status, paused.next_run), (TaskStatus::Paused, Some(noon() + HOUR)));
    let now = noon() + 3 * HOUR + 1;
    assert_eq!(
        (occurrences::due(&c, now).unwrap(), occurrences::next_wake(&c).unwrap()),
        (vec![], None)
    );
    let resumed = tasks::resume(&c, &task.id, BERLIN, now).unwrap();
    assert_eq!(
        (resumed.status, resumed.next_run),
        (TaskStatus::Active, Some(noon() + 4 * HOUR)),
        "on its grid"
    );
    // A reminder whose time went by meanwhile.
    let once = created(&c, "once", "2026-01-14T14:00:00");
    tasks::pause(&c, &once.id, None).unwrap();
    let said = tasks::resume(&c, &once.id, BERLIN, now).unwrap_err().to_string();
    assert!(said.contains("update_task"), "{said}");
    assert!(tasks::pause(&c, "none", None).unwrap_err().to_string().contains("list_tasks"));
}

#[test]
fn db_24_a_cancelled_task_leaves_its_history_and_its_open_run() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1h");
    let (first, ..) = begin(&c, noon() + HOUR).unwrap();
    end(&c, first, "one", noon() + HOUR);
    let (open, ..) = begin(&c, noon() + 2 * HOUR).unwrap();
    assert_eq!(tasks::cancel(&c, &task.id).unwrap(), Some(open));
    assert_eq!((tasks::get(&c, &task.id).unwrap(), count(&c, "task_run_logs")), (None, 0));
    end(&c, open, "two", noon() + 2 * HOUR);
    assert_eq!((count(&c, "task_run_logs"), count(&c, "occurrences")), (0, 2));
    assert_eq!(occurrences::of_turn(&c, open).unwrap().unwrap().task, task.id);
    let again = NewTask { id: Some(task.id), ..new_task("interval", "1h") };
    assert!(tasks::create(&c, &again, BERLIN, noon()).is_err(), "its name stays taken");
    let idle = created(&c, "interval", "1h");
    assert_eq!(tasks::cancel(&c, &idle.id).unwrap(), None);
}

#[test]
fn a_change_is_checked_as_a_whole_and_moves_the_next_run() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let task = created(&c, "interval", "1h");
    let now = noon() + 10 * MINUTE;
    let update = |change: Change| tasks::update(&c, &task.id, &change, BERLIN, now);
    let value = |value: &str| Change { schedule_value: Some(value.into()), ..Change::default() };
    // Quirk 10: the value alone, of whatever type the task has.
    let faster = update(value("30m")).unwrap();
    assert_eq!(
        (faster.schedule_value.as_str(), faster.next_run),
        ("1800000", Some(now + 30 * MINUTE))
    );
    assert!(update(value("0 9 * * *")).is_err(), "no interval");
    let kind = Change { schedule_type: Some("cron".into()), ..Change::default() };
    assert!(update(kind.clone()).is_err(), "1800000 is no cron expression");
    assert_eq!(get(&c, &task.id), faster, "nothing of what was refused");
    let cron = update(Change { schedule_value: Some("0 9 * * *".into()), ..kind }).unwrap();
    assert_eq!(cron.next_run, Some(ms("2026-01-15T08:00:00Z")));
    let moved = update(Change { zone: Some(Tz::Asia__Tokyo), ..Change::default() }).unwrap();
    assert_eq!(moved.next_run, Some(ms("2026-01-15T00:00:00Z")));
    // The rest, without the schedule.
    let text = Change {
        prompt: Some("feed the cat".into()),
        script: Some("true".into()),
        context_mode: Some(Session::Group),
        by_stranger: true,
        ..Change::default()
    };
    let changed = update(text).unwrap();
    assert_eq!(
        (changed.prompt.as_str(), changed.script.as_deref()),
        ("feed the cat", Some("true"))
    );
    assert_eq!((changed.context_mode, changed.trusted), (Session::Group, false));
    assert_eq!((changed.next_run, changed.zone.as_deref()), (moved.next_run, Some("Asia/Tokyo")));
    assert_eq!(
        update(Change { script: Some(String::new()), ..Change::default() }).unwrap().script,
        None
    );
    assert!(update(Change { prompt: Some("\n".into()), ..Change::default() }).is_err());
    // A paused one stays paused; a once moves.
    tasks::pause(&c, &task.id, None).unwrap();
    let once = Change {
        schedule_type: Some("once".into()),
        schedule_value: Some("2026-03-01T09:00:00".into()),
        ..Change::default()
    };
    let once = update(once).unwrap();
    assert_eq!(
        (once.status, once.next_run),
        (TaskStatus::Paused, Some(ms("2026-03-01T00:00:00Z")))
    );
}

#[test]
fn a_group_has_so_many_tasks_of_such_a_length_and_no_more() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let refused = |task: &NewTask| tasks::create(&c, task, BERLIN, noon()).unwrap_err().to_string();
    let long = NewTask { prompt: "x".repeat(70_000), ..new_task("interval", "1d") };
    assert!(refused(&long).contains("bytes at most"), "{}", refused(&long));
    let long = NewTask { script: Some("x".repeat(70_000)), ..new_task("interval", "1d") };
    assert!(refused(&long).contains("bytes at most"), "{}", refused(&long));
    let far = refused(&new_task("once", "+12026-01-01T00:00:00"));
    assert!(far.contains("time"), "{far}");
    let all: Vec<Task> = (0..200).map(|_| created(&c, "interval", "1d")).collect();
    let one_more = new_task("interval", "1d");
    assert!(refused(&one_more).contains("may have no more"), "{}", refused(&one_more));
    tasks::cancel(&c, &all[0].id).unwrap();
    tasks::create(&c, &one_more, BERLIN, noon()).unwrap();
}
