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

/// Waits for a silence: the code, how many refusals there were, for how many minutes.
async fn wait_silence(rig: &Rig, wanted: &str) {
    let minutes =
        "CAST(round((value ->> '$.quiet.until' - unixepoch() * 1000) / 60000.0) AS INTEGER)";
    let quiet = format!(
        "SELECT value ->> '$.quiet.code' || ' ' || (value ->> '$.quiet.times') || ' ' || {minutes}
         FROM settings WHERE key = 'whatsapp'"
    );
    rig.wait_ledger(&quiet, wanted).await;
}

/// The silence is over, and WhatsApp refuses with this code, or does not.
async fn go_on(rig: &mut Rig, code: Option<u16>) {
    rig.stop().await;
    rig.home.ledger::<String>(
        "UPDATE settings SET value = json_set(value, '$.quiet.until', 1) WHERE key = 'whatsapp' RETURNING key",
    );
    rig.home.ledger::<i64>("UPDATE outbox SET not_before = 0 RETURNING id");
    if let Some(code) = code {
        rig.owner.fault(When::Message, What::Fail(code));
    }
    rig.start().await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_is_asked_to_send_less_is_silent_for_longer_each_time_until_something_is_taken() {
    let mut rig = Rig::linked_with(quiet).await;
    rig.owner.fault(When::Message, What::Fail(463));
    rig.owner.send(&rig.owner.jid(), "hello").await;
    wait_silence(&rig, "463 1 10").await;
    let status = rig.status().await;
    let first = status["problems"][0].as_str().unwrap();
    assert!(first.contains("restricts what this account may send (463, 1 in a row)"), "{first}");
    // A restart does not end it, and what waits costs no attempt.
    rig.stop().await;
    rig.start().await;
    rig.owner.send(&rig.owner.jid(), "and more").await;
    let waiting = "SELECT group_concat(state || ' ' || attempts) FROM outbox";
    rig.wait_ledger(waiting, "pending 1,pending 0").await;
    rig.wait_ledger("SELECT (error LIKE '%(463, 1 in a row)%') || '' FROM outbox", "1").await;
    go_on(&mut rig, Some(463)).await;
    wait_silence(&rig, "463 2 20").await;
    go_on(&mut rig, Some(429)).await;
    wait_silence(&rig, "429 3 4").await;
    // Who asks WhatsApp is told until when.
    rig.server.restrict(chrono::Utc::now().timestamp() + 3 * 60 * 60);
    go_on(&mut rig, Some(463)).await;
    wait_silence(&rig, "463 4 180").await;
    go_on(&mut rig, None).await;
    rig.owner.wait_text("Andy: echo: hello").await;
    rig.owner.wait_text("Andy: echo: and more").await;
    rig.wait_ledger(
        "SELECT COALESCE(value ->> '$.quiet', 'none') FROM settings WHERE key = 'whatsapp'",
        "none",
    )
    .await;
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
