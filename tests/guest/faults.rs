//! What goes wrong, ordered from the stand-in: every fault is told, none leaves
//! anything behind.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nanoclaw::ids::TurnId;
use nanoclaw::ipc::record::{HostRecord, TurnKind};

use super::host::{Guest, ids, room, stand_in, stand_in_with, turn};

const SECOND: Duration = Duration::from_secs(1);

pub fn guest() -> Guest {
    Guest::start(room(), &stand_in(), None)
}

fn seen(text: &str) -> Option<String> {
    Some(format!("echo: {text}"))
}

#[test]
fn a_model_error_is_a_failure_and_the_session_goes_on() {
    let mut g = guest();
    for (n, status, retry) in [(1, 529, true), (2, 404, false), (3, 401, false), (4, 429, true)] {
        g.turn(n, &format!("error:{status}"));
        let (turns, error, retryable) = g.failure();
        assert_eq!((turns, retryable), (ids(&[n]), retry), "{error}");
        assert!(error.contains(&status.to_string()), "{error}");
    }
    g.turn(5, "say:alive");
    assert_eq!(g.answer(), (ids(&[5]), Some("alive".into())));
    g.close();
}

#[test]
fn a_refused_credential_is_told_within_a_second() {
    let mut g = guest();
    g.turn(1, "say:warm");
    g.answer();
    let asked = Instant::now();
    g.turn(2, "retry401");
    let (turns, error, retryable) = g.failure();
    assert!(asked.elapsed() < SECOND, "{:?}", asked.elapsed());
    assert_eq!((turns, retryable), (ids(&[2]), false));
    assert!(error.contains("credential"), "{error}");
    g.turn(3, "say:after");
    assert_eq!(
        g.answer(),
        (ids(&[3]), Some("after".into())),
        "the interrupted run must not end turn 3"
    );
    g.close();
}

#[test]
fn a_crash_fails_the_open_turns_with_its_reason_and_ends_the_guest() {
    let mut g = guest();
    g.turn(1, "crash");
    let (turns, error, retryable) = g.failure();
    assert_eq!((turns, retryable), (ids(&[1]), true));
    assert!(error.contains("told to crash") && error.contains("101"), "{error}");
    assert!(!g.exit(10 * SECOND).success());
}

#[test]
fn a_cli_that_cannot_start_is_told_even_without_a_turn() {
    let dir = room();
    let cli = stand_in_with(&dir, "STANDIN_START=crash");
    let mut g = Guest::start(dir, &cli, None);
    let (turns, error, retryable) = g.failure();
    assert_eq!((turns, retryable), (vec![], true));
    assert!(error.contains("told to crash at the start"), "{error}");
    assert!(!g.exit(10 * SECOND).success());

    let mut g = Guest::start(room(), Path::new("/nowhere/claude"), None);
    let (_, error, _) = g.failure();
    assert!(error.contains("cannot be started"), "{error}");
    assert!(!g.exit(10 * SECOND).success());
}

#[test]
fn a_slow_start_loses_nothing() {
    let dir = room();
    let cli = stand_in_with(&dir, "STANDIN_START=slow:1500");
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "early");
    assert_eq!(g.answer(), (ids(&[1]), seen("early")));
    g.close();
}

#[test]
fn without_our_tools_a_turn_fails_loudly() {
    let dir = room();
    let cli = stand_in_with(&dir, "STANDIN_MCP=failed");
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "hello");
    let (turns, error, retryable) = g.failure();
    assert_eq!((turns, retryable), (ids(&[1]), true));
    assert!(error.contains("tools did not start"), "{error}");
    assert!(!g.exit(10 * SECOND).success());
}

#[test]
fn an_interrupted_run_fails_with_all_that_was_folded_into_it() {
    let mut g = guest();
    g.turn(1, "hang");
    g.turn(2, "more");
    sleep(SECOND / 2);
    g.send(HostRecord::Interrupt { turn: TurnId(1) });
    assert_eq!(g.failure(), (ids(&[1, 2]), "interrupted".into(), true));
    g.turn(3, "say:next");
    assert_eq!(g.answer(), (ids(&[3]), Some("next".into())));
    g.close();
}

#[test]
fn a_cli_that_ignores_an_interrupt_is_stopped() {
    let mut g = guest();
    g.turn(1, "deaf");
    sleep(SECOND / 2);
    g.send(HostRecord::Interrupt { turn: TurnId(1) });
    let (turns, error, retryable) = g.failure();
    assert_eq!((turns, retryable), (ids(&[1]), true));
    assert!(error.contains("interrupt"), "{error}");
    assert!(!g.exit(10 * SECOND).success());
    assert_eq!(g.processes(), Vec::<String>::new());
}

#[test]
fn when_the_host_dies_everything_dies_at_once() {
    let mut g = guest();
    g.turn(1, "say:up");
    g.answer();
    g.turn(2, "hang");
    let mut task = turn(3, "p");
    (task.kind, task.script) = (TurnKind::Task, Some("setsid sleep 300 & sleep 300".into()));
    g.send(HostRecord::Turn(task));
    sleep(SECOND);
    assert!(
        g.processes().iter().filter(|p| p.contains("sleep")).count() >= 2,
        "{:?}",
        g.processes()
    );
    g.abandon();
    assert!(!g.exit(5 * SECOND).success());
    assert_eq!(g.processes(), Vec::<String>::new());
}

#[test]
fn a_flood_neither_grows_memory_nor_hides_the_answer() {
    let mut g = guest();
    g.turn(1, "flood say:dry");
    assert_eq!(g.answer(), (ids(&[1]), Some("dry".into())));
    assert!(g.peak_memory() < 100, "{} MB", g.peak_memory());
    g.close();
}
