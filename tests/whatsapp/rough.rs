//! Rough days: sockets that break at every step, stanzas that are repeated, late or
//! damaged, and a ledger that cannot be written. Each message is answered, once.

use std::time::Duration;

use crate::rig::Rig;
use crate::server::{Phone, What, When};
use crate::support::Home;

/// Without reactions, which are messages too: the fault is to hit what it is meant for.
fn quiet(home: &mut Home) {
    home.set("NANOCLAW_REACTIONS", "off");
}

/// Ann, whose chat is served, and who had an answer.
async fn ann(rig: &Rig) -> Phone {
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    ann.send(&rig.owner.jid(), "hello").await;
    ann.wait_text("Andy: echo: hello").await;
    ann
}

/// That Ann's phone shows each of these answers once, and could read everything.
fn answered_once(ann: &Phone, texts: &[String]) {
    let shown = ann.shown();
    for text in texts {
        let answers = shown.iter().filter(|m| !m.here && m.text.contains(text.as_str()));
        assert_eq!(answers.count(), 1, "answers to {text}");
    }
    assert_eq!(ann.screen().unreadable, Vec::<String>::new());
}

#[tokio::test(flavor = "current_thread")]
async fn a_socket_may_break_at_every_step_of_a_connection() {
    let mut rig = Rig::linked_with(quiet).await;
    let ann = ann(&rig).await;
    let mut texts = Vec::new();
    for (when, what) in [
        (When::Connect, What::Drop),
        (When::Hello, What::Drop),
        (When::Login, What::Drop),
        (When::Login, What::DropMidFrame),
        (When::Login, What::Fail(503)),
        (When::Login, What::StreamError(503)),
        (When::Login, What::Delay(Duration::from_secs(2))),
        (When::Deliver, What::Drop),
        (When::Deliver, What::DropMidFrame),
    ] {
        let text = format!("{}. {when:?} {what:?}", texts.len());
        // A new daemon, whose patience did not grow with what was before.
        rig.stop().await;
        match when {
            When::Connect | When::Hello => rig.server.fault(when, what),
            _ => rig.owner.fault(when, what),
        }
        ann.send(&rig.owner.jid(), text.as_str()).await;
        rig.start().await;
        ann.wait_text(&format!("Andy: echo: {text}")).await;
        assert_eq!(rig.server.faults_waiting(), 0, "{text}");
        texts.push(text);
    }
    answered_once(&ann, &texts);
}

#[tokio::test(flavor = "current_thread")]
async fn what_happens_to_stanzas_on_their_way_is_made_good() {
    let mut rig = Rig::linked_with(quiet).await;
    let ann = ann(&rig).await;
    let mut texts = Vec::new();
    for (when, what) in [
        (When::Deliver, What::Twice),
        (When::Deliver, What::Garble),
        (When::Deliver, What::StreamError(500)),
        (When::Message, What::Drop),
        (When::Message, What::DropMidFrame),
        (When::Message, What::Delay(Duration::from_secs(2))),
        (When::Message, What::StreamError(503)),
        (When::Ack, What::Drop),
        (When::Acked, What::Drop),
    ] {
        let text = format!("{}. {when:?} {what:?}", texts.len());
        rig.owner.fault(when, what);
        ann.send(&rig.owner.jid(), text.as_str()).await;
        ann.wait_text(&format!("Andy: echo: {text}")).await;
        assert_eq!(rig.server.faults_waiting(), 0, "{text}");
        texts.push(text);
        rig.wait_ledger("SELECT count(*) || '' FROM outbox WHERE state = 'pending'", "0").await;
        rig.stop().await;
        rig.start().await;
    }
    // The first comes after the second; both are answered.
    rig.owner.fault(When::Deliver, What::Late);
    for text in ["overtaken", "overtaking"] {
        ann.send(&rig.owner.jid(), text).await;
        texts.push(text.to_owned());
    }
    for text in &texts[texts.len() - 2..] {
        ann.wait_for(text, |m| !m.here && m.text.contains(text.as_str())).await;
    }
    answered_once(&ann, &texts);
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM outbox WHERE key LIKE 'notice%'"), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_into_a_connection_that_nobody_reads_goes_again_under_its_id() {
    let rig = Rig::linked_with(quiet).await;
    let ann = ann(&rig).await;
    rig.owner.fault(When::Message, What::Deaf);
    ann.send(&rig.owner.jid(), "are you there?").await;
    eventually_async("the answer", || {
        ann.shown().iter().any(|m| m.text == "Andy: echo: are you there?")
    })
    .await;
    answered_once(&ann, &["Andy: echo: are you there?".to_owned()]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_ledger_cannot_take_is_not_acknowledged_and_comes_again() {
    let rig = Rig::linked_with(quiet).await;
    let ann = ann(&rig).await;
    let other = rusqlite::Connection::open(rig.home.path().join("store/messages.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ann.send(&rig.owner.jid(), "in vain, at first").await;
    eventually_async("the refusal", || rig.home.log().contains("WhatsApp keeps them")).await;
    let waiting = rig.owner.devices().iter().map(|device| device.waiting).sum::<usize>();
    assert_eq!(waiting, 1, "WhatsApp was not told that it is stored");
    other.execute_batch("ROLLBACK").unwrap();
    rig.owner.cut(rig.device);
    ann.wait_text("Andy: echo: in vain, at first").await;
    rig.owner.wait_taken(rig.device).await;
    answered_once(&ann, &["in vain, at first".to_owned()]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_be_read_is_noted_as_soon_as_the_ledger_can_be_written() {
    let rig = Rig::linked_with(quiet).await;
    let ann = ann(&rig).await;
    let other = rusqlite::Connection::open(rig.home.path().join("store/messages.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    rig.owner.fault(When::Deliver, What::Garble);
    ann.send(&rig.owner.jid(), "lost on the way").await;
    ann.switch_off();
    eventually_async("the refusal", || rig.home.log().contains("cannot note what")).await;
    other.execute_batch("ROLLBACK").unwrap();
    let noted = "SELECT json_array_length(value) || '' FROM settings WHERE key = 'unread'";
    rig.wait_ledger(noted, "1").await;
}

/// Waits for what takes longer than phones are patient for.
async fn eventually_async(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1_200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}");
}
