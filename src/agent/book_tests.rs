#![allow(clippy::unwrap_used)]
use super::*;
use crate::ipc::record::Session;

fn turn(n: i64, kind: TurnKind) -> Turn {
    Turn {
        turn: TurnId(n),
        attempt: 1,
        uuid: format!("u{n}"),
        kind,
        session: Session::Group,
        deadline_ms: 1000,
        prompt: "p".into(),
        script: None,
        images: Vec::new(),
    }
}

fn book(turns: &[i64]) -> Book {
    let mut book = Book::default();
    for &n in turns {
        book.add(turn(n, TurnKind::Message));
        assert!(matches!(book.give(), Some(Next::Give(_))));
    }
    book
}

fn naming(uuids: &[&str]) -> RunEnd {
    RunEnd { named: Some(uuids.iter().map(|u| (*u).into()).collect()), ..RunEnd::default() }
}

fn over(turns: &[i64]) -> Ended {
    Ended::Turns { turns: turns.iter().map(|&n| TurnId(n)).collect(), interrupted: false }
}

#[test]
fn a_result_ends_the_turns_that_it_names() {
    let mut b = book(&[1, 2, 3]);
    assert_eq!(b.result(&naming(&["u1", "u3"])), over(&[1, 3]));
    assert_eq!(b.result(&naming(&["u1"])), Ended::Nothing, "told twice");
    assert_eq!(b.result(&naming(&["u2"])), over(&[2]));
    assert!(b.is_empty());
}

#[test]
fn in_older_builds_a_result_ends_every_turn_given_before_it() {
    let mut b = book(&[1, 2]);
    assert_eq!(b.result(&RunEnd::default()), over(&[1, 2]));
    assert_eq!(b.result(&RunEnd::default()), Ended::Nothing);
}

#[test]
fn a_result_that_names_nothing_of_ours_is_the_clis_own() {
    let mut b = book(&[1]);
    b.lifecycle("u1", Lifecycle::Started, Instant::now());
    assert_eq!(b.result(&RunEnd::default()), Ended::SelfStarted);
    assert_eq!(b.result(&naming(&["u1"])), over(&[1]));
    let own = RunEnd { self_started: true, ..RunEnd::default() };
    assert_eq!(book(&[2]).result(&own), Ended::SelfStarted);
}

#[test]
fn a_dropped_duplicate_is_over_at_once() {
    let mut b = book(&[1, 2]);
    let now = Instant::now();
    assert_eq!(b.lifecycle("u1", Lifecycle::Completed, now), (Some(TurnId(1)), false));
    let mut again = turn(9, TurnKind::Message);
    again.uuid = "u2".into();
    b.add(again);
    assert_eq!(
        b.give(),
        Some(Next::Known(TurnId(9))),
        "the same process says nothing at all about it"
    );
}

#[test]
fn a_folded_line_completed_before_the_result_ends_with_it() {
    let mut b = book(&[1, 2]);
    let now = Instant::now();
    for u in ["u1", "u2"] {
        b.lifecycle(u, Lifecycle::Started, now);
    }
    assert_eq!(b.lifecycle("u2", Lifecycle::Completed, now), (None, false));
    assert!(
        b.overdue(now + NO_RESULT).is_empty(),
        "turn 1 still runs, so its result may name both"
    );
    assert_eq!(b.result(&naming(&["u1"])), over(&[1, 2]));
}

#[test]
fn a_line_done_with_but_never_named_ends_after_a_while() {
    let mut b = book(&[1]);
    let now = Instant::now();
    b.lifecycle("u1", Lifecycle::Started, now);
    b.lifecycle("u1", Lifecycle::Completed, now);
    assert!(b.overdue(now + NO_RESULT / 2).is_empty());
    assert_eq!(b.overdue(now + NO_RESULT), vec![TurnId(1)]);
}

#[test]
fn a_task_goes_to_an_idle_cli_and_nothing_joins_it() {
    let mut b = book(&[1]);
    b.add(turn(2, TurnKind::Task));
    b.add(turn(3, TurnKind::Message));
    assert_eq!(b.give(), None, "the CLI is busy");
    b.result(&naming(&["u1"]));
    assert!(matches!(b.give(), Some(Next::Give(t)) if t.turn == TurnId(2)));
    assert_eq!(b.give(), None, "nothing joins a task");
    assert_eq!(b.result(&naming(&["u2"])), over(&[2]));
    assert!(matches!(b.give(), Some(Next::Give(t)) if t.turn == TurnId(3)));
}

#[test]
fn a_task_waits_for_a_run_that_the_cli_started() {
    let mut b = Book::default();
    b.run_begins();
    b.add(turn(1, TurnKind::Task));
    assert_eq!(b.give(), None);
    b.result(&RunEnd { self_started: true, ..RunEnd::default() });
    assert!(b.give().is_some());
}

#[test]
fn stopping_touches_the_run_of_that_turn_only() {
    let now = Instant::now();
    let mut b = book(&[1, 2]);
    b.add(turn(3, TurnKind::Task));
    b.lifecycle("u1", Lifecycle::Started, now);
    assert_eq!(b.stop(TurnId(3), now), Stop::Removed);
    assert_eq!(b.stop(TurnId(2), now), Stop::TakeBack("u2".into()));
    assert_eq!(b.lifecycle("u2", Lifecycle::Cancelled, now), (Some(TurnId(2)), false));
    assert_eq!(b.stop(TurnId(1), now), Stop::Interrupt);
    assert!(!b.is_stuck(now, NO_RESULT) && b.is_stuck(now + NO_RESULT, NO_RESULT));
    assert_eq!(
        b.result(&naming(&["u1"])),
        Ended::Turns { turns: vec![TurnId(1)], interrupted: true }
    );
    assert_eq!(b.stop(TurnId(1), now), Stop::Unknown);
}

#[test]
fn a_hopeless_run_leaves_those_that_wait_behind_it() {
    let mut b = book(&[1, 2]);
    b.lifecycle("u1", Lifecycle::Started, Instant::now());
    assert_eq!(b.end_run(), vec![TurnId(1)]);
    assert_eq!(b.take_all(), vec![TurnId(2)]);
}

#[test]
fn a_call_belongs_to_the_latest_open_turn_or_else_the_last() {
    let mut b = book(&[1, 2]);
    assert_eq!(b.latest(), Some(TurnId(2)));
    b.result(&naming(&["u2"]));
    assert_eq!(b.latest(), Some(TurnId(1)));
    b.result(&naming(&["u1"]));
    assert_eq!(b.latest(), Some(TurnId(2)));
}
