//! What goes wrong, as the real client sees it.

use std::time::Duration;

use whatsapp_rust::prelude::{Event, wa};

use super::client::Device;
use super::server::{Phone, Server, What, When};

async fn pair() -> (Server, Phone, Phone, Device) {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let device = Device::linked(&server, &anna).await;
    (server, anna, bert, device)
}

#[tokio::test]
async fn a_cut_connection_comes_back_with_the_mail() {
    let (_server, anna, bert, mut device) = pair().await;
    device.forget();
    anna.cut(device.number);
    bert.send(&anna.jid(), "while you were away").await;
    device.text("while you were away").await;
    device.connected().await;
}

#[tokio::test]
async fn sockets_break_at_every_step() {
    let (server, anna, bert, mut device) = pair().await;
    for (when, what) in [
        (When::Connect, What::Drop),
        (When::Hello, What::Drop),
        (When::Login, What::Drop),
        (When::Login, What::DropMidFrame),
        (When::Deliver, What::DropMidFrame),
    ] {
        let text = format!("after {when:?} {what:?}");
        match when {
            When::Connect | When::Hello => server.fault(when, what),
            _ => anna.fault(when, what),
        }
        // Without waiting for the client's patience to grow with each attempt.
        device = device.restarted(&server).await;
        bert.send(&anna.jid(), text.as_str()).await;
        device.text(&text).await;
        assert_eq!(server.faults_waiting(), 0);
    }
}

#[tokio::test]
async fn a_message_is_lost_before_and_handed_on_without_an_ack() {
    let (_server, anna, bert, mut device) = pair().await;
    bert.send(&anna.jid(), "hi").await;
    device.text("hi").await;
    for (when, arrives) in [(When::Message, false), (When::Ack, true), (When::Acked, true)] {
        device.forget();
        anna.fault(when, What::Drop);
        let text = format!("at {when:?}");
        device.say(&bert.jid(), &text).await;
        device.connected().await;
        if arrives {
            bert.wait_text(&text).await;
        }
        device.say(&bert.jid(), &format!("after {text}")).await;
        bert.wait_text(&format!("after {text}")).await;
        let came = bert.received().iter().any(|shown| shown.text == text);
        assert_eq!(came, arrives, "{when:?}");
    }
}

#[tokio::test]
async fn a_message_is_refused() {
    let (_server, anna, bert, mut device) = pair().await;
    for code in [463, 479, 503] {
        anna.fault(When::Message, What::Fail(code));
        let id = device.say(&bert.jid(), "hello?").await;
        let refused = |event: &Event| match event {
            Event::ServerAck(ack) if ack.id == id => ack.error.clone(),
            _ => None,
        };
        assert_eq!(device.event("the refusal", refused).await, code.to_string());
    }
    assert!(bert.received().is_empty());
}

#[tokio::test]
async fn the_same_message_twice_is_shown_once() {
    let (_server, _anna, bert, device) = pair().await;
    let options = || {
        let mut options = whatsapp_rust::SendOptions::default();
        options.message_id = Some("3EB0TWICE".to_owned());
        options
    };
    for _ in 0..2 {
        let message = wa::Message { conversation: Some("once".to_owned()), ..Default::default() };
        let chat = bert.jid();
        device.client.send_message_with_options(&chat, message, options()).await.unwrap();
    }
    let twice = |shown: &super::server::Shown| shown.text == "once" && shown.arrivals == 2;
    bert.wait_for("the second arrival", twice).await;
    assert_eq!(bert.received().len(), 1);
}

#[tokio::test]
async fn stanzas_come_twice_and_out_of_order() {
    let (_server, anna, bert, mut device) = pair().await;
    bert.send(&anna.jid(), "hi").await;
    device.text("hi").await;
    anna.fault(When::Deliver, What::Twice);
    bert.send(&anna.jid(), "twin").await;
    bert.send(&anna.jid(), "next").await;
    device.text("next").await;
    assert_eq!(device.count("twin"), 1);
    anna.fault(When::Deliver, What::Late);
    bert.send(&anna.jid(), "early").await;
    bert.send(&anna.jid(), "overtaking").await;
    device.text("early").await;
    device.text("overtaking").await;
}

#[tokio::test]
async fn a_garbled_message_is_said_again() {
    let (_server, anna, bert, mut device) = pair().await;
    bert.send(&anna.jid(), "hi").await;
    device.text("hi").await;
    anna.fault(When::Deliver, What::Garble);
    let id = bert.send(&anna.jid(), "clearly").await;
    assert_eq!(device.text("clearly").await.id, id);
    bert.send(&anna.jid(), "and on").await;
    device.text("and on").await;
    device.say(&bert.jid(), "understood").await;
    bert.wait_text("understood").await;
}

#[tokio::test]
async fn a_phone_that_lost_its_sessions_asks_again() {
    let (_server, _anna, bert, mut device) = pair().await;
    // Each knows the other's keys by now.
    device.say(&bert.jid(), "one").await;
    bert.wait_text("one").await;
    bert.send(&device.client.pn().unwrap().to_non_ad(), "two").await;
    device.text("two").await;
    device.say(&bert.jid(), "three").await;
    bert.wait_text("three").await;
    bert.lose_sessions();
    device.say(&bert.jid(), "four").await;
    bert.wait_text("four").await;
    assert!(bert.screen().unreadable.is_empty());
}

#[tokio::test]
async fn log_ins_are_refused() {
    type Like = fn(&Event) -> bool;
    let cases: [(What, Like); 5] = [
        (What::Fail(401), |event| matches!(event, Event::LoggedOut(_))),
        (What::Fail(403), |event| matches!(event, Event::LoggedOut(_) | Event::ConnectFailure(_))),
        (What::Fail(405), |event| matches!(event, Event::ClientOutdated(_))),
        (What::Ban { code: 101, seconds: 3600 }, |event| matches!(event, Event::TemporaryBan(_))),
        (What::StreamError(503), |event| {
            matches!(event, Event::StreamError(_) | Event::Disconnected(_))
        }),
    ];
    for (what, like) in cases {
        let (server, anna, _, mut device) = pair().await;
        anna.fault(When::Login, what.clone());
        device = device.restarted(&server).await;
        device.event(&format!("{what:?}"), |event| like(event).then_some(())).await;
    }
}

#[tokio::test]
async fn a_busy_server_is_tried_again() {
    let (server, anna, bert, mut device) = pair().await;
    anna.fault(When::Login, What::Fail(503));
    device = device.restarted(&server).await;
    device.connected().await;
    device.say(&bert.jid(), "at last").await;
    bert.wait_text("at last").await;
}

#[tokio::test]
async fn a_device_is_replaced_or_taken_off_the_list() {
    let (_server, anna, _, mut device) = pair().await;
    anna.replace(device.number);
    let replaced = |event: &Event| matches!(event, Event::StreamReplaced(_)).then_some(());
    device.event("the replacement", replaced).await;

    // By a second program on the same keys.
    let (server, _, _, mut device) = pair().await;
    let mut second = Device::on(&server, device.store.clone(), None).await;
    device.event("the replacement", replaced).await;
    second.connected().await;

    let (server, anna, _, mut device) = pair().await;
    anna.unlink(device.number);
    let out = |event: &Event| matches!(event, Event::LoggedOut(_)).then_some(());
    device.event("the end of the link", out).await;
    device = device.restarted(&server).await;
    device.event("the refusal", out).await;
    assert!(anna.devices().is_empty());
}

#[tokio::test]
async fn a_device_takes_itself_off_the_list() {
    let (_server, anna, _, device) = pair().await;
    device.client.logout().await;
    anna.wait_unlinked().await;
}

#[tokio::test]
async fn a_slow_and_a_silent_server() {
    let (server, anna, bert, mut device) = pair().await;
    anna.fault(When::Message, What::Delay(Duration::from_millis(300)));
    let id = device.say(&bert.jid(), "slowly").await;
    let acked = |id: String| {
        move |event: &Event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(()),
            _ => None,
        }
    };
    device.event("the late acknowledgement", acked(id)).await;
    anna.fault(When::Message, What::Silence);
    let id = device.say(&bert.jid(), "into the void").await;
    let arrived = |entry: &super::server::Entry| entry.sent("message") && entry.is("id", &id);
    server.wait_log("the message", arrived).await;
    assert!(bert.received().iter().all(|shown| shown.text != "into the void"));
    // Half open: the server reads nothing any more; the next message is not even seen.
    anna.cut(device.number);
    device.forget();
    device.connected().await;
    anna.fault(When::Message, What::Deaf);
    device.say(&bert.jid(), "seen, not read").await;
    let unseen = device.say(&bert.jid(), "unseen").await;
    server.wait_faults().await;
    assert!(!server.log().iter().any(|entry| entry.is("id", &unseen)));
}
