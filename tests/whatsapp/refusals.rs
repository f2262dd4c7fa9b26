//! What WhatsApp refuses, and what comes of it.

use crate::rig::Rig;
use crate::server::{What, When};
use crate::support::Home;

/// Without reactions, which are messages too: the fault is to hit the answer.
fn quiet(home: &mut Home) {
    home.set("NANOCLAW_REACTIONS", "off");
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_server_gets_the_same_message_again_and_the_phone_shows_it_once() {
    let rig = Rig::linked_with(quiet).await;
    rig.owner.fault(When::Message, What::Fail(503));
    rig.owner.send(&rig.owner.jid(), "hello").await;
    let answer = rig.owner.wait_text("Andy: echo: hello").await;
    rig.wait_ledger("SELECT attempts || ' ' || (state <> 'pending') FROM outbox", "2 1").await;
    assert_eq!(rig.owner.screen().find(&answer.id).unwrap().arrivals, 1);
    assert_eq!(rig.home.ledger::<String>("SELECT channel_id FROM outbox"), answer.id);
}

#[tokio::test(flavor = "current_thread")]
async fn an_acknowledgement_that_is_lost_with_the_connection_repeats_the_same_id() {
    let rig = Rig::linked_with(quiet).await;
    rig.owner.fault(When::Ack, What::Drop);
    rig.owner.send(&rig.owner.jid(), "hello").await;
    let answer = rig.owner.wait_text("Andy: echo: hello").await;
    rig.wait_ledger("SELECT (state <> 'pending') || '' FROM outbox", "1").await;
    let shown = rig.owner.shown();
    let answers: Vec<_> = shown.iter().filter(|m| m.text == answer.text).collect();
    assert_eq!(answers.len(), 1, "one message, however often it arrived");
}

#[tokio::test(flavor = "current_thread")]
async fn a_chat_that_may_not_be_written_to_fails_at_once_and_says_so() {
    let rig = Rig::linked_with(quiet).await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    rig.owner.fault(When::Message, What::Fail(403));
    ann.send(&rig.owner.jid(), "hello").await;
    rig.wait_ledger("SELECT state FROM outbox", "failed").await;
    let error: String = rig.home.ledger("SELECT error FROM outbox");
    assert!(error.contains("may not write"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_restricted_account_sends_nothing_for_a_while_and_status_leads_with_it() {
    let mut rig = Rig::linked_with(quiet).await;
    rig.owner.fault(When::Message, What::Fail(463));
    rig.owner.send(&rig.owner.jid(), "hello").await;
    rig.wait_ledger("SELECT state || ' ' || attempts FROM outbox", "pending 1").await;
    let status = rig.status().await;
    assert!(status["whatsapp"]["restricted_until"].is_i64());
    let first = status["problems"][0].as_str().unwrap();
    assert!(first.contains("463"), "{first}");
    // A restart does not end it: the server would take the next one.
    rig.stop().await;
    rig.start().await;
    rig.wait_ledger("SELECT state || ' ' || (attempts > 3) FROM outbox", "pending 1").await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_that_is_refused_is_tried_by_the_person_s_other_one() {
    let rig = Rig::linked_with(quiet).await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    rig.owner.fault(When::Message, What::Fail(400));
    ann.send(&rig.owner.jid(), "hello").await;
    ann.wait_text("Andy: echo: hello").await;
    rig.wait_ledger("SELECT (state <> 'pending') || ' ' || attempts FROM outbox", "1 1").await;
}
