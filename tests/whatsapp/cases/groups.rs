//! Groups.

use whatsapp_rust::prelude::Event;
use whatsapp_rust::wacore_binary::JidExt as _;

use super::client::Device;
use super::server::{Change, Server};

#[tokio::test]
async fn a_group_is_listed_and_talked_in() {
    for by_lid in [false, true] {
        let server = Server::start().await;
        let anna = server.person("4915700000001", "Anna");
        let bert = server.person("4915700000002", "Bert");
        let carl = server.person("4915700000003", "Carl");
        let family = server.group("Family", &bert, &[&anna, &carl], by_lid);
        let mut device = Device::linked(&server, &anna).await;

        let listed = device.client.groups().get_participating().await.unwrap();
        assert_eq!(listed[&family.jid()].subject.as_str(), "Family");
        assert_eq!(listed[&family.jid()].participants.len(), 3);

        bert.send(&family.jid(), "dinner at seven").await;
        let info = device.text("dinner at seven").await;
        assert!(info.source.is_group && info.source.chat == family.jid());
        let author = if by_lid { bert.lid() } else { bert.jid() };
        assert_eq!(info.source.sender, author);
        carl.wait_text("dinner at seven").await;

        device.say(&family.jid(), "I will be there").await;
        for phone in [&bert, &carl] {
            let shown = phone.wait_text("I will be there").await;
            assert_eq!(shown.chat, family.jid());
            assert_eq!(shown.sender.device, device.number);
        }
        // Now everybody has the keys: a second round without them.
        bert.send(&family.jid(), "good").await;
        device.text("good").await;
        device.say(&family.jid(), "bye").await;
        carl.wait_text("bye").await;
    }
}

#[tokio::test]
async fn changes_of_a_group_are_told() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let carl = server.person("4915700000003", "Carl");
    let family = server.group("Family", &bert, &[&anna], false);
    let mut device = Device::linked(&server, &anna).await;
    device.say(&family.jid(), "hello").await;
    bert.wait_text("hello").await;

    family.add(&bert, &carl);
    device.event("the addition", told("add")).await;
    device.say(&family.jid(), "welcome").await;
    carl.wait_text("welcome").await;
    family.rename(&bert, "Friends");
    device.event("the new name", told("subject")).await;
    family.announcement(&bert, true);
    device.event("the restriction", told("announcement")).await;
    let id = device.say(&family.jid(), "may I?").await;
    assert_eq!(refusal(&mut device, &id).await, "403");
    family.change(&bert, &Change::Announcement(false));
    family.remove(&bert, &anna);
    device.event("the removal", told("remove")).await;
    let id = device.client.send_text(&family.jid(), "still here").await;
    // The client may know already that it is not a member.
    if let Ok(sent) = id {
        assert_eq!(refusal(&mut device, &sent.message_id).await, "403");
    }
    assert!(carl.received().iter().all(|shown| shown.text != "still here"));
}

#[tokio::test]
async fn a_device_founds_a_group() {
    use whatsapp_rust::wacore::iq::groups::{GroupCreateOptions, GroupParticipantOptions};
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let device = Device::linked(&server, &anna).await;
    let options = GroupCreateOptions {
        participants: vec![GroupParticipantOptions::from_phone(bert.jid())],
        ..GroupCreateOptions::new("Plans")
    };
    let group = device.client.groups().create_group(options).await.unwrap();
    let jid = group.metadata.id;
    assert!(jid.is_group());
    device.say(&jid, "let us begin").await;
    assert_eq!(bert.wait_text("let us begin").await.chat, jid);
}

fn told(what: &'static str) -> impl Fn(&Event) -> Option<()> {
    move |event| match event {
        Event::GroupUpdate(update) => (update.action.tag_name() == what).then_some(()),
        _ => None,
    }
}

async fn refusal(device: &mut Device, id: &str) -> String {
    let refused = |event: &Event| match event {
        Event::ServerAck(ack) if ack.id == id => ack.error.clone(),
        _ => None,
    };
    device.event("the refusal", refused).await
}
