//! People who go by LID.

use super::client::Device;
use super::server::{Person, Server};

#[tokio::test]
async fn a_migrated_account_talks_by_lid() {
    let server = Server::start().await;
    let anna = server.person_with(Person {
        number: "4915700000001".to_owned(),
        name: "Anna".to_owned(),
        migrated: true,
        ..Default::default()
    });
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    bert.send(&anna.lid(), "by lid").await;
    let info = device.text("by lid").await;
    assert_eq!(info.source.chat, bert.lid());
    assert_eq!(info.source.sender_alt.map(|jid| jid.user), Some(bert.jid().user));
    device.say(&bert.lid(), "the same way").await;
    bert.wait_text("the same way").await;
    let sent = server.wait_log("the message", |entry| entry.sent("message")).await;
    assert_eq!(sent.attr("to"), Some(bert.lid().to_string()));
    // To the number: the client goes by LID on its own.
    device.say(&bert.jid(), "to the number").await;
    bert.wait_text("to the number").await;
    anna.send(&anna.lid(), "note").await;
    assert!(device.text("note").await.source.is_from_me);
}

#[tokio::test]
async fn a_chat_moves_from_number_to_lid() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    bert.send(&anna.jid(), "by number").await;
    let before = device.text("by number").await;
    assert_eq!(before.source.chat, bert.jid());
    device.say(&bert.jid(), "answer one").await;
    bert.wait_text("answer one").await;
    bert.send(&anna.lid(), "by lid").await;
    let after = device.text("by lid").await;
    assert_eq!(after.source.chat, bert.lid());
    assert_eq!(after.source.sender_alt.map(|jid| jid.user), Some(bert.jid().user));
    device.say(&after.source.chat, "answer two").await;
    let shown = bert.wait_text("answer two").await;
    // On Bert's phone it is one chat.
    assert_eq!(shown.chat, anna.jid());
}

#[tokio::test]
async fn somebody_nobody_knows_the_number_of() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let ghost = server.person_with(Person {
        number: "4915700000009".to_owned(),
        name: "Ghost".to_owned(),
        unresolved: true,
        ..Default::default()
    });
    let mut device = Device::linked(&server, &anna).await;
    ghost.send(&anna.lid(), "guess who").await;
    let info = device.text("guess who").await;
    assert_eq!(info.source.chat, ghost.lid());
    assert_eq!(info.source.sender_alt, None);
    device.say(&ghost.lid(), "no idea").await;
    ghost.wait_text("no idea").await;
}
