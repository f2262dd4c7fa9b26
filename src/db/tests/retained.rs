//! What is kept for ever, what for a time, and the account of what was spent.

use super::*;
use crate::ipc::record::Session;

const DAY: i64 = 24 * 60 * 60_000;

fn count(c: &Connection, what: &str) -> i64 {
    c.query_row(&format!("SELECT count(*) FROM {what}"), [], |r| r.get(0)).unwrap()
}

/// A turn of a message that was answered, with a call, a notice and an incarnation.
fn answered(c: &Connection, id: &str) -> TurnId {
    messages::store(c, &message("1", id), MessageState::Queued, None).unwrap();
    let guest = incarnations::open(c, &family(), "bwrap").unwrap();
    let turn = claimed(c, guest).unwrap().open.id;
    let asked = Asked { ok: true, result: 1.into() };
    requests::store(c, turn, 1, ("t", "d", 1), &1.into(), &asked).unwrap();
    for key in ["notice:working", "answer"] {
        let row = NewRow { turn: Some(turn), key, part: 0, jid: "1", text: "the boiler" };
        outbox::add(c, &row).unwrap();
    }
    while let Some(row) = outbox::head(c, "1").unwrap() {
        outbox::settle(c, row.id, &Delivery::Sent).unwrap();
    }
    usage::enter(c, turn, &spent("2026-01-01", 5)).unwrap();
    turns::complete(c, turn, false).unwrap();
    incarnations::dead(c, guest, "ended").unwrap();
    turn
}

/// A run of a task that was done.
fn ran(c: &Connection, task: &str, now: i64) -> TurnId {
    let due = occurrences::due(c, now).unwrap();
    let due = due.iter().find(|due| due.id == task).unwrap();
    let begun = occurrences::begin(c, task, due.planned, chrono_tz::UTC, now).unwrap();
    let Begun::Turn { turn, .. } = begun else { panic!("{begun:?}") };
    let row = NewRow { turn: Some(turn), key: "answer", part: 0, jid: "1", text: "watered" };
    outbox::add(c, &row).unwrap();
    outbox::settle(c, outbox::head(c, "1").unwrap().unwrap().id, &Delivery::Sent).unwrap();
    turns::complete(c, turn, false).unwrap();
    occurrences::finished(c, turn, true, Some("watered"), now).unwrap();
    turn
}

fn prune_all(c: &Connection, before: i64) {
    while retention::prune(c, before).unwrap() {}
}

#[test]
fn what_was_said_and_spent_stays_and_the_bookkeeping_goes() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    answered(&c, "a");
    assert!(told::once(&c, "x").unwrap() && !told::once(&c, "x").unwrap());
    prune_all(&c, now_ms() - DAY);
    assert_eq!((count(&c, "requests"), count(&c, "incarnations"), count(&c, "outbox")), (1, 1, 2));
    prune_all(&c, now_ms() + DAY);
    assert_eq!((count(&c, "requests"), count(&c, "incarnations"), count(&c, "outbox")), (0, 0, 1));
    assert!(told::once(&c, "x").unwrap());
    let found = history::page(&c, "family", Some("boiler"), END, 10).unwrap();
    assert_eq!(found.len(), 1, "the answer is found for ever");
    let m = &messages::by_id(&c, "a").unwrap()[0];
    let turn = turns::row(&c, m.turn.unwrap()).unwrap().unwrap();
    assert_eq!((m.state.as_str(), turn.state.as_str(), turn.spent), ("answered", "done", 5));
    assert_eq!(turns::prompt(&c, TurnId(turn.id)).unwrap(), "");
    assert_eq!(usage::since(&c, "2026-01-01").unwrap()[0].cost, 5);
    assert_eq!(
        count(&c, "turns INDEXED BY turns_whole WHERE ended_at IS NOT NULL AND prompt <> ''"),
        0
    );
}

#[test]
fn of_old_runs_the_log_stays_and_the_latest_run_of_a_task_as_a_whole() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let new = NewTask {
        id: None,
        folder: family(),
        chat_jid: "1".into(),
        prompt: "water".into(),
        schedule_type: "interval".into(),
        schedule_value: "60000".into(),
        zone: None,
        context_mode: Session::Group,
        script: None,
        trusted: true,
    };
    let start = now_ms();
    let task = tasks::create(&c, &new, chrono_tz::UTC, start).unwrap().id;
    let runs: Vec<TurnId> = (1..=3).map(|n| ran(&c, &task, start + n * 60_000)).collect();
    prune_all(&c, now_ms() + DAY);
    assert_eq!((count(&c, "turns"), count(&c, "occurrences")), (1, 1));
    assert!(turns::row(&c, runs[2].0).unwrap().is_some());
    assert_eq!(occurrences::runs(&c, &task, 10).unwrap().len(), 3);
    assert_eq!(history::page(&c, "family", Some("watered"), END, 10).unwrap().len(), 3);
    // The task goes on, and does not run again what it ran.
    assert_eq!(occurrences::due(&c, start + 3 * 60_000).unwrap(), []);
    ran(&c, &task, start + 4 * 60_000);
    prune_all(&c, now_ms() + DAY);
    assert_eq!(count(&c, "turns"), 1, "the third is the latest no more");
    tasks::cancel(&c, &task).unwrap();
}

#[test]
fn what_is_open_or_not_sent_is_never_pruned() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    let guest = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, guest).unwrap().open.id;
    let row = NewRow { turn: Some(turn), key: "notice:working", part: 0, jid: "1", text: "x" };
    outbox::add(&c, &row).unwrap();
    prune_all(&c, now_ms() + DAY);
    assert_ne!(turns::prompt(&c, turn).unwrap(), "");
    turns::fail(&c, turn, "broken").unwrap();
    prune_all(&c, now_ms() + DAY);
    assert_eq!((count(&c, "outbox"), count(&c, "incarnations")), (1, 1));
    assert_ne!(turns::prompt(&c, turn).unwrap(), "", "its notice is not sent");
}

#[test]
fn a_day_is_summed_by_group_and_model_and_against_both_limits() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let turn = answered(&c, "a");
    usage::enter(&c, turn, &spent("2026-01-01", 7)).unwrap();
    usage::enter(&c, turn, &spent("2026-01-02", 9)).unwrap();
    let today = |day| usage::today(&c, &family(), day).unwrap();
    assert_eq!((today("2026-01-01").all, today("2026-01-01").own), (12, 12));
    assert_eq!((today("2026-01-02").own, today("2026-01-03").all), (9, 0));
    usage::set_limit(&c, &family(), Some(3)).unwrap();
    assert_eq!(today("2026-01-02").own_limit, Some(3));
    let other = usage::today(&c, &Folder::parse("other").unwrap(), "2026-01-01").unwrap();
    assert_eq!((other.all, other.own, other.own_limit), (12, 0, None));
    let lines = usage::since(&c, "2026-01-01").unwrap();
    assert_eq!(
        lines.iter().map(|l| l.day.as_str()).collect::<Vec<_>>(),
        ["2026-01-02", "2026-01-01"]
    );
    assert_eq!((lines[1].tokens.input, lines[1].cost), (20, 12));
    assert_eq!(turns::row(&c, turn.0).unwrap().unwrap().spent, 21);
}
