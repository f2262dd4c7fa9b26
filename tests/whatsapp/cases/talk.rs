//! Chats of two: texts, notes to oneself, typing, ticks, answers, corrections.

use whatsapp_rust::prelude::{Event, MessageBuilderExt as _, MessageExt as _, wa};
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

use super::client::Device;
use super::server::{Draft, Server, Shown};

#[tokio::test]
async fn a_stranger_and_a_device_talk() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;

    let id = bert.send(&anna.jid(), "good morning").await;
    let info = device.text("good morning").await;
    assert_eq!(info.id, id);
    assert_eq!(info.source.chat, bert.jid());
    assert_eq!(info.push_name, "Bert");
    bert.wait_tick(&id, "delivered").await;
    // The owner's phone shows what was said to the owner.
    assert_eq!(anna.wait_text("good morning").await.chat, bert.jid());

    let id = device.say(&bert.jid(), "to you as well").await;
    let shown = bert.wait_text("to you as well").await;
    assert_eq!((&shown.id, &shown.chat), (&id, &anna.jid()));
    assert_eq!(shown.sender.device, device.number);
    // And what was said in the owner's name.
    let copy = anna.wait_text("to you as well").await;
    assert!(copy.from_me);
    assert_eq!(copy.chat, bert.jid());
}

#[tokio::test]
async fn a_note_to_oneself_goes_both_ways() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::linked(&server, &anna).await;
    anna.send(&anna.jid(), "remember the milk").await;
    let info = device.text("remember the milk").await;
    assert!(info.source.is_from_me);
    assert_eq!(info.source.chat, anna.jid());
    device.say(&anna.jid(), "I will").await;
    let shown = anna.wait_text("I will").await;
    assert_eq!(shown.chat, anna.jid());
    assert!(shown.from_me);
}

#[tokio::test]
async fn what_the_owner_says_to_others_reaches_the_device_as_the_owners() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    anna.send(&bert.jid(), "between us").await;
    let info = device.text("between us").await;
    assert!(info.source.is_from_me);
    assert_eq!(info.source.chat, bert.jid());
    bert.wait_text("between us").await;
}

#[tokio::test]
async fn a_second_device_is_written_to_as_soon_as_it_is_linked() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    device.say(&bert.jid(), "to your phone").await;
    bert.wait_text("to your phone").await;
    let mut second = Device::linked(&server, &bert).await;
    let number = device.number;
    anna.wait_taken(number).await;
    device.say(&bert.jid(), "to your computer too").await;
    second.text("to your computer too").await;
    second.say(&anna.jid(), "from my computer").await;
    device.text("from my computer").await;
    assert!(bert.wait_text("from my computer").await.from_me);
}

#[tokio::test]
async fn typing_and_reading_are_seen() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    device.client.chatstate().send_composing(&bert.jid()).await.unwrap();
    let typing = |screen: &super::server::Screen| {
        let typing = |(_, who, state): &(_, _, String)| *who == anna.jid() && state == "composing";
        screen.states.iter().any(typing).then_some(())
    };
    bert.wait_screen("typing", typing).await;
    bert.typing(&anna.jid(), "composing");
    let typing = |event: &Event| matches!(event, Event::ChatPresence(_)).then_some(());
    device.event("typing", typing).await;

    let id = bert.send(&anna.jid(), "did you see this?").await;
    let info = device.text("did you see this?").await;
    device.client.mark_as_read(&info.source.chat, None, &[&id]).await.unwrap();
    bert.wait_tick(&id, "read").await;

    let id = device.say(&bert.jid(), "yes").await;
    let shown = bert.wait_text("yes").await;
    bert.mark(&shown, "read");
    let read = |event: &Event| match event {
        Event::Receipt(receipt) => {
            let read = format!("{:?}", receipt.r#type) == "Read";
            (read && receipt.message_ids.contains(&id)).then_some(())
        }
        _ => None,
    };
    device.event("the read receipt", read).await;
}

#[tokio::test]
async fn answers_corrections_deletions_and_reactions_are_shown() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    let chat = bert.jid();

    // From the device: what Bert's phone shows.
    let id = device.say(&chat, "first").await;
    let first = bert.wait_text("first").await;
    let edited =
        wa::Message { conversation: Some("first, corrected".into()), ..Default::default() };
    device.client.edit_message(&chat, &id, edited).await.unwrap();
    let corrected = bert.wait_text("first, corrected").await;
    assert!(corrected.edited && corrected.id == first.id);
    let revoke = whatsapp_rust::RevokeType::Sender;
    device.client.revoke_message(&chat, &id, revoke).await.unwrap();
    bert.wait_for("the deletion", |shown| shown.id == id && shown.deleted).await;

    // From Bert: what the device is told.
    let id = bert.send(&anna.jid(), "a question").await;
    let (question, info) = device.message("the question", |_, info| info.id == id).await;
    let key = wa::MessageKey {
        remote_jid: Some(chat.to_string()),
        from_me: Some(false),
        id: Some(id.clone()),
        ..Default::default()
    };
    device.client.send_reaction(&chat, key, "👍").await.unwrap();
    let liked = |shown: &Shown| shown.id == id && !shown.reactions.is_empty();
    assert_eq!(bert.wait_for("the reaction", liked).await.reactions[0].1, "👍");
    let context = whatsapp_rust::wacore::proto_helpers::build_quote_context(
        id.clone(),
        info.source.sender.to_string(),
        &question,
    );
    let answer = wa::Message::text_with_context("an answer", context);
    device.client.send_message(&chat, answer).await.unwrap();
    let answer = bert.wait_text("an answer").await;
    assert_eq!(answer.quoted, Some((id, "a question".to_owned())));

    bert.send(&anna.jid(), Draft::text("and you?").quoting(&answer)).await;
    let quotes = |message: &wa::Message, _: &_| {
        let base = message.get_base_message();
        let context = base.extended_text_message.as_option()?.context_info.as_option()?;
        Some(context.stanza_id.as_deref()? == answer.id)
    };
    device.message("the answer", |message, info| quotes(message, info) == Some(true)).await;
}

#[tokio::test]
async fn wrapped_messages_are_understood() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let bert = server.person("4915700000002", "Bert");
    let mut device = Device::linked(&server, &anna).await;
    bert.send(&anna.jid(), Draft::text("gone tomorrow").vanishing(86_400)).await;
    device.text("gone tomorrow").await;
    bert.send(&anna.jid(), Draft::text("you there").mentioning(&[anna.jid()])).await;
    device.text("you there").await;
    let id = bert.send(&anna.jid(), "a slip").await;
    bert.send(&anna.jid(), Draft::edit(&anna.jid(), &id, "a text")).await;
    bert.send(&anna.jid(), Draft::revoke(&anna.jid(), &id)).await;
    for kind in [Type::MESSAGE_EDIT, Type::REVOKE] {
        let of = |message: &wa::Message, _: &_| {
            let protocol = message.get_base_message().protocol_message.as_option();
            protocol.is_some_and(|protocol| {
                let about = protocol.key.as_option().and_then(|key| key.id.as_ref());
                protocol.r#type == Some(kind) && about == Some(&id)
            })
        };
        device.message(&format!("{kind:?}"), of).await;
    }
}

#[tokio::test]
async fn a_device_is_asked_for_more_keys_before_they_run_out() {
    let server = Server::start().await;
    let anna = server.person("4915700000001", "Anna");
    let mut device = Device::linked(&server, &anna).await;
    anna.wait_ready(device.number).await;
    for number in 10..30 {
        let stranger = server.person(&format!("49157000000{number}"), "Stranger");
        let text = format!("from {number}");
        stranger.send(&anna.jid(), text.as_str()).await;
        device.text(&text).await;
    }
    anna.wait_keys(device.number, 10).await;
}
