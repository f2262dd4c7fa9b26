//! Linking a device, and logging in again.

use whatsapp_rust::prelude::Event;

use super::client::Device;
use super::server::{Server, What, When};

#[tokio::test]
async fn a_device_is_linked_by_qr_code_and_resumes() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::linked(&server, &anna).await;
    assert_eq!(device.client.push_name(), "Anna");
    assert_eq!(device.client.lid().unwrap().user, anna.lid().user);
    device = device.restarted(&server).await;
    device.connected().await;
    assert_eq!(anna.devices().len(), 1);
    assert!(anna.devices()[0].online);
}

#[tokio::test]
async fn a_device_is_linked_by_digits() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::fresh(&server, Some(anna.number())).await;
    let digits = digits(&mut device).await;
    anna.enter(&digits).await.unwrap();
    device.connected().await;
}

#[tokio::test]
async fn wrong_digits_link_nothing() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::fresh(&server, Some(anna.number())).await;
    digits(&mut device).await;
    let refused = anna.enter("AAAA-AAAA").await.unwrap_err();
    assert!(refused.to_string().contains("wrong digits"), "{refused}");
    assert!(anna.devices().is_empty());
}

#[tokio::test]
async fn digits_may_be_refused() {
    let server = Server::start().await;
    server.fault(When::Digits, What::Fail(429));
    let mut device = Device::fresh(&server, Some("4915700000001".to_owned())).await;
    let refused = |event: &Event| match event {
        Event::PairingCodeError(error) => error.rejection.map(|rejection| rejection.code()),
        _ => None,
    };
    assert_eq!(device.event("the refusal", refused).await, 429);
}

#[tokio::test]
async fn an_old_code_links_nothing() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::fresh(&server, None).await;
    let code = device.code().await;
    server.expire_codes();
    let refused = anna.scan(&code).await.unwrap_err();
    assert!(refused.to_string().contains("no longer valid"), "{refused}");
}

#[tokio::test]
async fn a_device_refuses_a_phone_that_cannot_prove_itself() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::fresh(&server, None).await;
    let code = device.code().await;
    anna.fault(When::Linked, What::Garble);
    let refused = anna.scan(&code).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    assert!(anna.devices().is_empty());
}

async fn digits(device: &mut Device) -> String {
    let digits = |event: &Event| match event {
        Event::PairingCode(code) => Some(code.code.clone()),
        _ => None,
    };
    device.event("digits", digits).await
}
