#![allow(clippy::unwrap_used)]

use super::*;

fn linked(state: State) -> Link {
    Link {
        state,
        since: 5,
        pn: Some("49170@s.whatsapp.net".into()),
        lid: Some("9@lid".into()),
        ..Link::default()
    }
}

#[test]
fn a_link_goes_from_code_to_connection() {
    let mut link = Link::default();
    for (happened, state) in [
        (Happened::Begun, State::Linking),
        (Happened::Qr("2@a".into(), 60), State::Linking),
        (Happened::Code("ABCD".into(), 180), State::Linking),
        (Happened::Paired("49170@s.whatsapp.net".into(), "9@lid".into()), State::Connecting),
        (Happened::Connected(None, None), State::Connected),
        (Happened::Lost("the stream ended".into()), State::Down),
        (Happened::Begun, State::Down),
        (Happened::Connected(None, None), State::Connected),
    ] {
        link = link.after(&happened, 7);
        assert_eq!(link.state, state, "{happened:?}");
    }
    assert_eq!(link.pn.as_deref(), Some("49170@s.whatsapp.net"));
    assert_eq!((link.qr, link.code, link.detail), (None, None, None));
}

#[test]
fn a_code_to_type_holds_as_long_as_it_says_whatever_becomes_of_those_to_scan() {
    let mut link = Link::default().after(&Happened::Begun, 1);
    for happened in [
        Happened::Qr("a".into(), 60),
        Happened::Code("ABCD".into(), 180),
        Happened::Qr("b".into(), 80),
    ] {
        link = link.after(&happened, 2);
    }
    assert_eq!((link.qr.as_deref(), link.code.as_deref()), (Some("b"), Some("ABCD")));
    assert!(!link.has_run_out(180) && link.has_run_out(181));
    let scanned = link.after(&Happened::Paired("1@s.whatsapp.net".into(), "2@lid".into()), 3);
    assert!(!scanned.has_run_out(999));
}

#[test]
fn how_long_it_is_down_counts_from_the_first_loss() {
    let down = linked(State::Connected).after(&Happened::Lost("a".into()), 100);
    let again = down.after(&Happened::Begun, 200).after(&Happened::Lost("b".into()), 300);
    assert_eq!((down.since, again.since), (100, 100));
    assert_eq!(again.after(&Happened::Connected(None, None), 400).since, 400);
}

#[test]
fn a_removed_device_has_no_account_and_a_banned_one_waits() {
    let out = linked(State::Connected).after(&Happened::LoggedOut("phone".into()), 9);
    assert!(!out.is_linked() && !out.may_connect(10) && out.is_broken());
    let banned = linked(State::Connected).after(&Happened::Banned(50, "spam".into()), 9);
    assert!(!banned.may_connect(49) && banned.may_connect(50));
    let replaced = linked(State::Connected).after(&Happened::Replaced, 9);
    assert!(replaced.is_linked() && replaced.is_broken());
}

#[test]
fn silence_grows_with_each_refusal_is_what_whatsapp_says_and_ends_with_what_is_taken() {
    let refused = |link: &Link, code: &str, until| {
        let next = link.after(&Happened::Refused(code.into(), until), 0);
        assert_eq!((next.state, next.since), (link.state, link.since));
        let minutes = next.quiet.as_ref().unwrap().until / MINUTE;
        (next, minutes)
    };
    let mut link = linked(State::Connected);
    for expected in [10, 20, 40, 80, 160, 320, 360, 360] {
        let (next, minutes) = refused(&link, "463", None);
        assert_eq!(minutes, expected);
        // A lost connection changes nothing about it.
        link =
            next.after(&Happened::Lost("x".into()), 1).after(&Happened::Connected(None, None), 5);
        link.since = 5;
    }
    assert_eq!(refused(&link, "463", Some(7 * MINUTE)).1, 7);
    link = link.after(&Happened::Taken, 9);
    assert_eq!(link.quiet, None);
    assert_eq!(refused(&link, "429", None).1, 1);
}

#[test]
fn each_state_has_its_own_sentence() {
    let all = [
        State::Unlinked,
        State::Linking,
        State::Connecting,
        State::Connected,
        State::Down,
        State::LoggedOut,
        State::Replaced,
        State::Banned,
        State::Outdated,
        State::Rejected,
    ];
    let mut said: Vec<String> = all
        .iter()
        .map(|&state| Link { until: Some(0), ..linked(state) }.sentence(chrono_tz::UTC))
        .collect();
    assert!(said.iter().all(|text| !text.contains("@s.whatsapp.net")));
    said.sort();
    said.dedup();
    assert_eq!(said.len(), all.len());
}
