//! What a guest and its turns owe each other: who waits for whom, who ends with whom.

use super::*;

#[test]
fn no_attempt_overtakes_that_of_an_earlier_message() {
    let queued =
        |id, not_before| OpenTurn { incarnation: None, deadline: None, not_before, ..open(id) };
    let alone = OpenTurn { kind: TurnKind::Task, session: Session::Isolated, ..queued(3, 0) };
    // The later one comes first in the list, as after a claim, and its pause is shorter.
    let s = live(&[queued(2, 2), queued(1, 6), alone]);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 3);
    assert_eq!(
        effects,
        [Effect::Give(TurnId(3))],
        "a run of a task that is alone waits for nobody"
    );
    let (_, effects) = step(&RULES, &s, &Event::Tick, 6);
    assert_eq!(effects, [Effect::Give(TurnId(1)), Effect::Give(TurnId(2))]);
}

#[test]
fn the_last_attempt_of_a_turn_with_its_own_conversation_ends_no_other() {
    let last = OpenTurn {
        session: Session::Isolated,
        incarnation: None,
        deadline: None,
        cost: 2,
        ..open(1)
    };
    let (_, effects) = step(&RULES, &live(std::slice::from_ref(&last)), &Event::Tick, 1);
    assert_eq!(effects, [Effect::Give(TurnId(1))]);
    let (_, effects) =
        step(&RULES, &live(&[OpenTurn { session: Session::Group, ..last }]), &Event::Tick, 1);
    assert_eq!(effects, [Effect::Close]);
}

#[test]
fn background_tasks_keep_a_guest_for_as_long_as_a_turn_and_no_longer() {
    let done = (2, Event::Done(vec![TurnId(1)]));
    let (s, _) = after(live(&[open(1)]), &[(1, Event::Background(1)), done]);
    // It says again and again that there is something to do.
    let (s, _) = after(s, &[(500, Event::Background(0)), (501, Event::Background(1))]);
    assert_eq!(s.idle_since(), None);
    let (s, effects) = step(&RULES, &s, &Event::Tick, 1_002);
    assert_eq!((s.idle_since(), effects), (Some(1_002), vec![]));
    assert_eq!(step(&RULES, &s, &Event::Evict, 1_003).1, [Effect::Close]);
    let (s, _) = step(&RULES, &s, &Event::Background(2), 1_004);
    assert_eq!(step(&RULES, &s, &Event::Tick, 1_502).1, [Effect::Close]);
}

#[test]
fn a_guest_that_heard_somebody_else_ends_with_that_turn_where_rights_differ() {
    let rules = Rules { apart: true, ..RULES };
    let theirs = OpenTurn { trusted: false, ..open(1) };
    let (s, _) = step(&rules, &live(&[]), &Event::Claimed(theirs), 1);
    // The owner's next message is worked on meanwhile, and waits for nothing.
    let (s, effects) = step(&rules, &s, &Event::Work, 2);
    assert_eq!(effects, [Effect::Claim]);
    let (s, _) = step(&rules, &s, &Event::Claimed(open(2)), 2);
    let (s, effects) = step(&rules, &s, &Event::Done(vec![TurnId(1)]), 3);
    assert_eq!(effects, [Effect::Complete(vec![TurnId(1)])]);
    let (s, effects) = step(&rules, &s, &Event::Done(vec![TurnId(2)]), 4);
    assert_eq!(effects, [Effect::Complete(vec![TurnId(2)]), Effect::Close]);
    // The next one has heard nobody.
    let (s, _) = step(&rules, &s, &Event::Exited, 5);
    let events = [
        (5, Event::Buried { crash: false }),
        (6, Event::Work),
        (7, Event::Slot),
        (8, Event::Opened(Incarnation(8))),
    ];
    assert!(!after(s, &events).0.heard_others);
    // Elsewhere all have the same rights.
    let (s, _) =
        step(&RULES, &live(&[]), &Event::Claimed(OpenTurn { trusted: false, ..open(1) }), 1);
    let (_, effects) = step(&RULES, &s, &Event::Done(vec![TurnId(1)]), 2);
    assert_eq!(effects, [Effect::Complete(vec![TurnId(1)])]);
}
