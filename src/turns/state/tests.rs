//! The state machine's table, as `docs/ARCHITECTURE.md` shows it, single rules,
//! and whole histories in a model world that dies at every effect.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::db::LONGEST_PAUSE;
use crate::ipc::record::{Session, TurnKind};

mod company;
mod histories;
mod table;

const RULES: Rules = Rules {
    attempts: 3,
    attempts_in_all: 20,
    turn: 1000,
    idle: 500,
    start: 60,
    grace: 10,
    notice: 180,
    backoff: 2,
    once: false,
    apart: false,
};
const ID: Incarnation = Incarnation(7);

fn open(id: i64) -> OpenTurn {
    OpenTurn {
        id: TurnId(id),
        kind: TurnKind::Message,
        session: Session::Group,
        incarnation: Some(ID),
        cost: 0,
        attempt: 1,
        not_before: 0,
        deadline: Some(1000),
        created_at: 0,
        noticed: false,
        trusted: true,
    }
}

/// Whose chat knows that it takes long.
fn told(id: i64) -> OpenTurn {
    OpenTurn { noticed: true, ..open(id) }
}

fn state(guest: Guest, turns: &[OpenTurn]) -> State {
    State {
        guest,
        turns: turns.iter().map(Turn::from).collect(),
        heard_others: false,
        work: false,
        draining: false,
        barred: false,
        held: 0,
    }
}

fn live(turns: &[OpenTurn]) -> State {
    let since = turns.is_empty().then_some(0);
    let guest = Guest::Live { id: ID, quiet_since: since, idle_since: since, background: 0 };
    state(guest, turns)
}

/// Feeds events one after the other; returns the last effects.
fn after(mut s: State, events: &[(i64, Event)]) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    for (now, event) in events {
        (s, effects) = step(&RULES, &s, event, *now);
    }
    (s, effects)
}

#[test]
fn work_leads_to_a_place_an_incarnation_a_claim_and_a_process() {
    let (s, effects) = step(&RULES, &state(Guest::Absent, &[]), &Event::Work, 0);
    assert_eq!(effects, [Effect::AskSlot]);
    let (s, effects) = step(&RULES, &s, &Event::Slot, 0);
    assert_eq!(effects, [Effect::Open { fresh: false }]);
    let (_, effects) = step(&RULES, &s, &Event::Opened(ID), 0);
    assert_eq!(effects, [Effect::Claim, Effect::Spawn]);
}

#[test]
fn a_follow_up_is_claimed_at_once_while_the_first_turn_runs() {
    let (_, effects) = step(&RULES, &live(&[open(1)]), &Event::Work, 5);
    assert_eq!(effects, [Effect::Claim]);
}

#[test]
fn gq_03_a_task_that_waits_goes_before_messages_that_wait() {
    let task = OpenTurn { kind: TurnKind::Task, incarnation: None, deadline: None, ..open(1) };
    let waiting = State { work: true, ..state(Guest::Waiting { since: 0 }, &[task]) };
    let (s, _) = step(&RULES, &waiting, &Event::Slot, 0);
    let (_, effects) = step(&RULES, &s, &Event::Opened(ID), 0);
    assert_eq!(effects, [Effect::Give(TurnId(1)), Effect::Claim, Effect::Spawn]);
}

#[test]
fn where_the_budget_is_spent_what_runs_is_put_back_and_nothing_is_begun_before_midnight() {
    let (s, effects) = step(&RULES, &live(&[open(1)]), &Event::Held(400), 10);
    assert_eq!(effects, [Effect::Interrupt(TurnId(1))]);
    let (s, effects) = step(&RULES, &s, &Event::Work, 11);
    assert_eq!(effects, [], "a message waits");
    let failed = Event::Failed { turns: vec![TurnId(1)], retryable: true };
    let (s, effects) = step(&RULES, &s, &failed, 12);
    assert_eq!(effects, [Effect::Requeue { turn: TurnId(1), not_before: 12, costs: false }]);
    let (s, effects) = after(s, &[(100, Event::Tick), (399, Event::Tick)]);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Give(_) | Effect::Claim)), "{effects:?}");
    let (_, effects) =
        after(s.clone(), &[(300, Event::Exited), (301, Event::Buried { crash: false })]);
    assert!(!effects.contains(&Effect::AskSlot), "{effects:?}");
    let (s, effects) = step(&RULES, &s, &Event::Tick, 400);
    assert_eq!(effects, [Effect::Give(TurnId(1)), Effect::Claim], "without a word of waiting");
    let (_, effects) = after(s, &[(401, Event::Held(490)), (402, Event::Held(0))]);
    assert_eq!(effects, [], "the interrupted turn comes back by its record");
}

#[test]
fn a_group_that_waits_for_a_place_gives_it_up_when_the_budget_is_spent() {
    let waiting = State { work: true, ..state(Guest::Waiting { since: 0 }, &[]) };
    let (s, effects) = step(&RULES, &waiting, &Event::Held(900), 10);
    assert_eq!((effects, &s.guest), (vec![Effect::FreeSlot], &Guest::Absent));
    let (_, effects) = step(&RULES, &s, &Event::Held(0), 11);
    assert_eq!(effects, [Effect::AskSlot]);
}

#[test]
fn one_result_may_end_several_turns_and_names_none_twice() {
    let (s, effects) =
        step(&RULES, &live(&[open(1), open(2)]), &Event::Done(vec![TurnId(2), TurnId(1)]), 5);
    assert_eq!(effects, [Effect::Complete(vec![TurnId(1), TurnId(2)])]);
    let (_, effects) = step(&RULES, &s, &Event::Done(vec![TurnId(1)]), 6);
    assert_eq!(effects, []);
}

#[test]
fn an_outage_costs_nothing_keeps_the_conversation_and_ends() {
    let out = Event::Outage(vec![TurnId(1)]);
    let rules = Rules { idle: 30 * LONGEST_PAUSE, ..RULES };
    let mut s = live(&[told(1)]);
    for attempt in 1..19 {
        let (next, effects) = step(&rules, &s, &out, 0);
        let pause = 2 * 3_i64.pow(attempt.min(10) - 1);
        let not_before = pause.min(LONGEST_PAUSE);
        assert_eq!(effects, [Effect::Requeue { turn: TurnId(1), not_before, costs: false }]);
        let (next, effects) = step(&rules, &next, &Event::Tick, not_before);
        assert_eq!(effects, [Effect::Give(TurnId(1))], "in the same conversation");
        s = step(&rules, &next, &Event::Claimed(OpenTurn { attempt: attempt + 1, ..told(1) }), 0).0;
    }
    let (_, effects) = step(&rules, &s, &out, 0);
    assert_eq!(effects, [Effect::GiveUp { turn: TurnId(1), why: Why::Failed }]);
}

#[test]
fn a_clock_that_jumps_moves_every_span_along() {
    for by in [1_000_000, -1_000_000] {
        let (s, effects) = step(&RULES, &live(&[told(1)]), &Event::Jumped(by), 100 + by);
        assert_eq!(effects, []);
        assert_eq!(step(&RULES, &s, &Event::Tick, 170 + by).1, []);
        let (_, effects) = step(&RULES, &s, &Event::Tick, 1000 + by);
        assert_eq!(effects, [Effect::Interrupt(TurnId(1))]);
    }
}

#[test]
fn a_failure_is_tried_again_with_growing_pauses_then_told() {
    let failed = |id| Event::Failed { turns: vec![TurnId(id)], retryable: true };
    let (s, effects) = step(&RULES, &live(&[open(1)]), &failed(1), 10);
    assert_eq!(effects, [Effect::Requeue { turn: TurnId(1), not_before: 12, costs: true }]);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 12);
    assert_eq!(effects, [Effect::Give(TurnId(1))]);
    let (s, effects) = step(&RULES, &s, &failed(1), 20);
    assert_eq!(effects, [Effect::Requeue { turn: TurnId(1), not_before: 26, costs: true }]);
    // The last attempt begins afresh: the guest with the old conversation goes.
    let (s, effects) = step(&RULES, &s, &Event::Tick, 26);
    assert_eq!(effects, [Effect::Close]);
    let (s, _) = step(&RULES, &s, &Event::Exited, 27);
    let (s, effects) = step(&RULES, &s, &Event::Buried { crash: false }, 27);
    assert_eq!(effects, [Effect::Dead(ID), Effect::Clean(ID), Effect::FreeSlot, Effect::AskSlot]);
    let (s, effects) = step(&RULES, &s, &Event::Slot, 27);
    assert_eq!(effects, [Effect::Open { fresh: true }]);
    let (s, _) = step(&RULES, &s, &Event::Opened(Incarnation(8)), 27);
    let (s, effects) = step(&RULES, &s, &failed(1), 28);
    assert_eq!(effects, [Effect::GiveUp { turn: TurnId(1), why: Why::Failed }]);
    assert_eq!(s.turns, []);
}

#[test]
fn what_no_repetition_mends_is_told_at_once() {
    let event = Event::Failed { turns: vec![TurnId(1)], retryable: false };
    let (_, effects) = step(&RULES, &live(&[open(1)]), &event, 10);
    assert_eq!(effects, [Effect::GiveUp { turn: TurnId(1), why: Why::Failed }]);
}

#[test]
fn a_turn_that_takes_too_long_is_interrupted_then_stopped_then_told() {
    let (s, effects) = step(&RULES, &live(&[open(1)]), &Event::Tick, 1000);
    assert_eq!(effects, [Effect::Interrupt(TurnId(1)), Effect::Notice(TurnId(1))]);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 1010);
    assert_eq!(effects, [Effect::Stop]);
    let (s, effects) = step(&RULES, &s, &Event::Exited, 1011);
    assert_eq!(effects, [Effect::Bury]);
    let (_, effects) = step(&RULES, &s, &Event::Buried { crash: false }, 1011);
    assert_eq!(effects[0], Effect::GiveUp { turn: TurnId(1), why: Why::Deadline });
}

#[test]
fn our_own_end_costs_no_attempt() {
    let drained = after(
        live(&[open(1)]),
        &[
            (1, Event::Drain),
            (2, Event::DrainNow),
            (3, Event::Exited),
            (4, Event::Buried { crash: false }),
        ],
    );
    assert_eq!(drained.1[0], Effect::Requeue { turn: TurnId(1), not_before: 4, costs: false });
    assert_eq!((drained.0.turns[0].cost, drained.0.guest), (0, Guest::Absent));
    let crashed =
        after(state(Guest::Lost { id: ID }, &[open(1)]), &[(4, Event::Buried { crash: true })]);
    assert_eq!(crashed.1[0], Effect::Requeue { turn: TurnId(1), not_before: 4, costs: false });
}

#[test]
fn a_guest_that_dies_again_and_again_fails_its_turn() {
    let mut s = live(&[open(1)]);
    let mut given_up = false;
    for round in 0..3 {
        let now = round * 100;
        let end = after(s, &[(now, Event::Exited), (now, Event::Buried { crash: false })]);
        given_up |= end.1.contains(&Effect::GiveUp { turn: TurnId(1), why: Why::Failed });
        s = after(
            end.0,
            &[
                (now + 50, Event::Tick),
                (now + 50, Event::Slot),
                (now + 50, Event::Opened(ID)),
                (now + 51, Event::Ready),
            ],
        )
        .0;
    }
    assert!(given_up);
}

#[test]
fn an_outage_of_the_host_costs_no_turn_its_time() {
    let lost = state(Guest::Lost { id: ID }, &[open(1)]);
    let (s, effects) = step(&RULES, &lost, &Event::Buried { crash: true }, 9_000_000);
    assert_eq!(
        effects[0],
        Effect::Requeue { turn: TurnId(1), not_before: 9_000_000, costs: false }
    );
    assert_eq!(s.turns[0].cost, 0);
}

#[test]
fn nothing_overtakes_a_turn_that_waits_for_its_next_attempt() {
    let failed = Event::Failed { turns: vec![TurnId(1)], retryable: true };
    let (s, _) = step(&RULES, &live(&[open(1)]), &failed, 10);
    let (s, effects) = step(&RULES, &s, &Event::Work, 11);
    assert_eq!(effects, []);
    assert_eq!(step(&RULES, &s, &Event::Tick, 12).1, [Effect::Give(TurnId(1)), Effect::Claim]);
}

#[test]
fn who_is_interrupted_too_often_is_told_so() {
    let worn = OpenTurn { attempt: 20, ..open(1) };
    let lost = state(Guest::Lost { id: ID }, &[worn]);
    let (_, effects) = step(&RULES, &lost, &Event::Buried { crash: true }, 1);
    assert_eq!(effects[0], Effect::GiveUp { turn: TurnId(1), why: Why::Interrupted });
}

#[test]
fn a_stop_that_failed_is_tried_again() {
    let (s, effects) = step(&RULES, &live(&[open(1)]), &Event::Runaway, 1);
    assert_eq!(effects, [Effect::Stop]);
    assert_eq!(step(&RULES, &s, &Event::Tick, 2).1, [Effect::Stop]);
}

#[test]
fn who_waits_long_for_a_place_is_told() {
    let (s, _) = step(&RULES, &state(Guest::Absent, &[]), &Event::Work, 0);
    assert_eq!(step(&RULES, &s, &Event::Tick, 179).1, []);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 180);
    assert_eq!(effects, [Effect::Claim]);
    let queued = OpenTurn { incarnation: None, deadline: None, attempt: 0, ..open(1) };
    let (s, _) = step(&RULES, &s, &Event::Claimed(queued), 180);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 182);
    assert_eq!(effects, [Effect::Notice(TurnId(1))]);
    let (s, _) = step(&RULES, &s, &Event::Slot, 183);
    assert_eq!(
        step(&RULES, &s, &Event::Opened(ID), 183).1,
        [Effect::Give(TurnId(1)), Effect::Spawn]
    );
}

#[test]
fn idle_means_no_turn_and_no_background_task() {
    let (s, _) =
        after(live(&[open(1)]), &[(1, Event::Background(1)), (2, Event::Done(vec![TurnId(1)]))]);
    assert_eq!(s.idle_since(), None);
    let (s, effects) = step(&RULES, &s, &Event::Evict, 3);
    assert_eq!(effects, []);
    let (s, _) = step(&RULES, &s, &Event::Background(0), 4);
    assert_eq!(s.idle_since(), Some(4));
    assert_eq!(step(&RULES, &s, &Event::Evict, 5).1, [Effect::Close]);
    assert_eq!(step(&RULES, &s, &Event::Tick, 504).1, [Effect::Close]);
}

#[test]
fn nothing_is_claimed_for_a_guest_that_was_told_to_close() {
    let (s, _) = step(&RULES, &live(&[]), &Event::Evict, 0);
    let (s, effects) = step(&RULES, &s, &Event::Work, 1);
    assert_eq!(effects, []);
    let (_, effects) = after(s, &[(2, Event::Exited), (3, Event::Buried { crash: false })]);
    assert_eq!(effects.last(), Some(&Effect::AskSlot), "the work was not forgotten");
}

#[test]
fn what_the_ledger_refuses_waits_for_the_tick() {
    let (s, _) = step(&RULES, &live(&[]), &Event::Work, 0);
    let (s, effects) = step(&RULES, &s, &Event::NotClaimed { again: true }, 1);
    assert_eq!(effects, []);
    assert_eq!(step(&RULES, &s, &Event::Tick, 2).1, [Effect::Claim]);
}

#[test]
fn a_guest_that_never_gets_ready_is_stopped() {
    let s = state(Guest::Starting { id: ID, since: 0 }, &[open(1)]);
    assert_eq!(step(&RULES, &s, &Event::Tick, 59).1, []);
    assert_eq!(step(&RULES, &s, &Event::Tick, 60).1, [Effect::Stop]);
}

#[test]
fn a_group_that_is_barred_gets_no_container_and_goes_on_when_it_is_not() {
    let waiting = State { work: true, ..state(Guest::Waiting { since: 0 }, &[]) };
    let (s, effects) = step(&RULES, &waiting, &Event::Barred(true), 1);
    assert_eq!((s.guest.clone(), effects), (Guest::Absent, vec![Effect::FreeSlot]));
    for event in [Event::Work, Event::Tick] {
        assert_eq!(step(&RULES, &s, &event, 4000).1, [], "nothing is started or said");
    }
    let (s, effects) = step(&RULES, &s, &Event::Barred(false), 5000);
    assert_eq!((s.guest, effects), (Guest::Waiting { since: 5000 }, vec![Effect::AskSlot]));
}

#[test]
fn a_disposable_container_ends_with_its_turn_and_gets_no_second_one() {
    let once = Rules { once: true, ..RULES };
    let (s, effects) = step(&once, &live(&[open(1)]), &Event::Work, 1);
    assert_eq!(effects, [], "what comes meanwhile waits");
    let (s, effects) = step(&once, &s, &Event::Done(vec![TurnId(1)]), 2);
    assert_eq!(effects, [Effect::Complete(vec![TurnId(1)]), Effect::Close]);
    let (s, _) = step(&once, &s, &Event::Exited, 3);
    let (_, effects) = step(&once, &s, &Event::Buried { crash: false }, 4);
    assert!(effects.contains(&Effect::AskSlot), "the next container takes it: {effects:?}");
}
