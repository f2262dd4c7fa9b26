//! What waits for a device while it is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use whatsapp_rust::prelude::Event;

use super::client::{Device, Taking};
use super::server::{Entry, Server};

#[tokio::test]
async fn mail_waits_for_a_device_and_comes_in_order() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    let (store, number) = (device.store.clone(), device.number);
    device.forget();
    device.stop().await;
    anna.wait_offline(number).await;
    for count in 0..12 {
        bert.send(&anna.jid(), format!("message {count}").as_str()).await;
    }
    let mut device = Device::on(&server, store, None).await;
    let info = device.text("message 11").await;
    assert!(info.is_offline);
    let preview = |event: &Event| match event {
        Event::OfflineSyncPreview(preview) => Some(preview.messages),
        _ => None,
    };
    assert_eq!(device.event("the preview", preview).await, 12);
    let done = |event: &Event| matches!(event, Event::OfflineSyncCompleted(_)).then_some(());
    device.event("the end of the backlog", done).await;
    for count in 0..12 {
        assert_eq!(device.count(&format!("message {count}")), 1);
    }
    anna.wait_taken(number).await;
    // Live again.
    bert.send(&anna.jid(), "and now").await;
    assert!(!device.text("and now").await.is_offline);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let device = Device::linked(&server, &anna).await;
    let (store, number) = (device.store.clone(), device.number);
    device.stop().await;
    anna.wait_offline(number).await;
    let taking = Arc::new(AtomicBool::new(false));
    let device = Device::start(&server, store.clone(), None, Some(Taking(taking.clone()))).await;
    anna.wait_ready(number).await;
    let id = bert.send(&anna.jid(), "hold this").await;
    let given = |entry: &Entry| entry.given("message") && entry.is("id", &id);
    server.wait_log("the message", given).await;
    device.stop().await;
    anna.wait_offline(number).await;
    assert_eq!(anna.devices()[0].waiting, 1);

    taking.store(true, Ordering::SeqCst);
    let mut device = Device::start(&server, store, None, Some(Taking(taking))).await;
    assert_eq!(device.text("hold this").await.id, id);
    anna.wait_taken(number).await;
}

#[tokio::test]
async fn the_server_restarts_and_keeps_everything() {
    let mut server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    device.say(&bert.jid(), "before").await;
    bert.wait_text("before").await;
    server.stop().await;
    bert.send(&anna.jid(), "meanwhile").await;
    server.resume().await;
    device.text("meanwhile").await;
    device.say(&bert.jid(), "after").await;
    bert.wait_text("after").await;
}

#[tokio::test]
async fn a_phone_that_is_off_gets_its_mail_later() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let device = Device::linked(&server, &anna).await;
    bert.switch_off();
    device.say(&bert.jid(), "are you there?").await;
    anna.wait_text("are you there?").await;
    assert!(bert.received().is_empty());
    bert.switch_on();
    bert.wait_text("are you there?").await;
}
