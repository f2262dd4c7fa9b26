//! Each kind of message, as the network sends it, and what is stored of it.
#![allow(clippy::unwrap_used)]

use wa::message as kind;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::prelude::{Jid, MessageInfo, wa};
use whatsapp_rust::wacore::types::message::MessageSource;

use super::*;

const TIME: i64 = 1_767_225_600;

mod kinds;

fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

/// From Ann, by LID, in the family's group.
fn info() -> MessageInfo {
    MessageInfo {
        source: MessageSource {
            chat: jid("1-2@g.us"),
            sender: jid("111:3@lid"),
            sender_alt: Some(jid("49170@s.whatsapp.net")),
            is_group: true,
            ..Default::default()
        },
        id: "3EB0AA".into(),
        push_name: "Ann".into(),
        timestamp: chrono::DateTime::from_timestamp(TIME, 0).unwrap(),
        ..Default::default()
    }
}

fn own() -> (Jid, Jid) {
    (jid("49199@s.whatsapp.net"), jid("999@lid"))
}

fn read_as<'a>(
    message: &'a wa::Message,
    info: &MessageInfo,
    assistant: Option<&str>,
) -> Result<Received<'a>, &'static str> {
    let (pn, lid) = own();
    read(message, info, Own { pn: Some(&pn), lid: Some(&lid), assistant })
}

fn received(message: &wa::Message) -> Received<'_> {
    read_as(message, &info(), None).unwrap_or_else(|reason| panic!("nothing: {reason}"))
}

#[track_caller]
fn shows(message: wa::Message, text: &str) {
    assert_eq!(received(&message).incoming.content, text);
}

fn nothing(message: wa::Message) -> &'static str {
    match read_as(&message, &info(), None) {
        Err(reason) => reason,
        Ok(received) => panic!("{:?}", received.incoming),
    }
}

fn text(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.into()), ..Default::default() }
}

fn wrapped(message: wa::Message) -> MessageField<kind::FutureProofMessage> {
    MessageField::some(kind::FutureProofMessage { message: MessageField::some(message) })
}

fn key(id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey { id: Some(id.into()), ..Default::default() })
}

fn image(caption: Option<&str>) -> kind::ImageMessage {
    kind::ImageMessage {
        mimetype: Some("image/jpeg".into()),
        caption: caption.map(str::to_owned),
        file_length: Some(1_234),
        ..Default::default()
    }
}

#[test]
fn wa_12_a_text_has_its_sender_place_and_time_and_both_addresses() {
    let message = text("hello");
    let incoming = received(&message).incoming;
    assert_eq!(incoming.jid, "1-2@g.us");
    assert_eq!((incoming.sender.as_str(), incoming.sender_name.as_str()), ("111@lid", "Ann"));
    assert_eq!((incoming.id.as_str(), incoming.content.as_str()), ("3EB0AA", "hello"));
    assert_eq!(incoming.timestamp, "2026-01-01T00:00:00.000Z");
    assert!(incoming.is_group && !incoming.from_me && !incoming.trusted);
    let ann = ("111@lid".to_owned(), "49170@s.whatsapp.net".to_owned());
    let me = ("999@lid".to_owned(), "49199@s.whatsapp.net".to_owned());
    assert_eq!(incoming.aliases, [ann, me]);
}

#[test]
fn a_direct_chat_knows_the_other_side_by_both_addresses() {
    let message = text("hi");
    let mut info = info();
    info.source = MessageSource {
        chat: jid("49170@s.whatsapp.net"),
        sender: jid("49170:2@s.whatsapp.net"),
        sender_alt: Some(jid("111@lid")),
        ..Default::default()
    };
    let Ok(theirs) = read_as(&message, &info, None) else { panic!() };
    assert_eq!(theirs.incoming.jid, "49170@s.whatsapp.net");
    assert!(!theirs.incoming.is_group);
    assert_eq!(theirs.incoming.aliases[0], ("111@lid".into(), "49170@s.whatsapp.net".into()));
    // What the owner writes to somebody, on the phone.
    info.source = MessageSource {
        chat: jid("111@lid"),
        sender: jid("999@lid"),
        is_from_me: true,
        recipient_alt: Some(jid("49170@s.whatsapp.net")),
        ..Default::default()
    };
    let Ok(mine) = read_as(&message, &info, None) else { panic!() };
    assert!(mine.incoming.from_me);
    assert!(mine.incoming.aliases.contains(&("111@lid".into(), "49170@s.whatsapp.net".into())));
    // A broadcast list reaches us as its sender's direct message.
    info.source = MessageSource {
        chat: jid("123@broadcast"),
        sender: jid("49170@s.whatsapp.net"),
        is_group: true,
        ..Default::default()
    };
    let Ok(list) = read_as(&message, &info, None) else { panic!() };
    assert_eq!(list.incoming.jid, "49170@s.whatsapp.net");
    assert!(!list.incoming.is_group);
}

#[test]
fn what_the_owner_tells_a_list_of_people_is_no_order() {
    let (message, mut info) = (text("sell the house"), info());
    info.source = MessageSource {
        chat: jid("123@broadcast"),
        sender: jid("49199@s.whatsapp.net"),
        is_from_me: true,
        is_group: true,
        ..Default::default()
    };
    let (pn, lid) = own();
    let own = Own { pn: Some(&pn), lid: Some(&lid), assistant: None };
    assert!(read(&message, &info, own).is_err_and(|reason| reason.contains("list")));
    assert!(unread(&info, own).is_none());
}

#[test]
fn wa_16_to_18_texts_and_captions_are_the_content() {
    let extended = kind::ExtendedTextMessage { text: Some("long".into()), ..Default::default() };
    shows(
        wa::Message { extended_text_message: MessageField::some(extended), ..Default::default() },
        "long",
    );
    shows(
        wa::Message {
            image_message: MessageField::some(image(Some("look"))),
            ..Default::default()
        },
        "look",
    );
    let video = kind::VideoMessage { caption: Some("watch".into()), ..Default::default() };
    shows(wa::Message { video_message: MessageField::some(video), ..Default::default() }, "watch");
}

#[test]
fn wrappers_are_looked_through_in_any_order() {
    let document = kind::DocumentMessage {
        file_name: Some("plan.pdf".into()),
        mimetype: Some("application/pdf".into()),
        caption: Some("the plan".into()),
        file_length: Some(9),
        ..Default::default()
    };
    let inner =
        wa::Message { document_message: MessageField::some(document), ..Default::default() };
    let captioned =
        wa::Message { document_with_caption_message: wrapped(inner), ..Default::default() };
    let ephemeral = wa::Message { ephemeral_message: wrapped(captioned), ..Default::default() };
    let sent = wa::Message {
        device_sent_message: MessageField::some(kind::DeviceSentMessage {
            message: MessageField::some(ephemeral),
            ..Default::default()
        }),
        ..Default::default()
    };
    let received = received(&sent);
    assert_eq!(received.incoming.content, "the plan");
    let media = received.media.as_ref().unwrap();
    assert_eq!(
        (media.kind, media.name.as_str(), media.file.file_length()),
        (MediaKind::Document, "plan.pdf", Some(9))
    );
    shows(
        wa::Message { view_once_message_v2: wrapped(text("once")), ..Default::default() },
        "once",
    );
    shows(wa::Message { lottie_sticker_message: wrapped(text("x")), ..Default::default() }, "x");
    shows(
        wa::Message { group_mentioned_message: wrapped(text("@all")), ..Default::default() },
        "@all",
    );
}

#[test]
fn files_are_named_by_what_they_are() {
    let message =
        wa::Message { image_message: MessageField::some(image(None)), ..Default::default() };
    let picture = received(&message);
    let media = picture.media.as_ref().unwrap();
    assert_eq!((picture.incoming.content.as_str(), media.name.as_str()), ("", "picture.jpg"));
    assert_eq!((media.mime.as_str(), media.file.file_length()), ("image/jpeg", Some(1_234)));
    let voice = kind::AudioMessage {
        mimetype: Some("audio/ogg; codecs=opus".into()),
        ptt: Some(true),
        ..Default::default()
    };
    let song = kind::AudioMessage { ptt: None, ..voice.clone() };
    let message = wa::Message { audio_message: MessageField::some(voice), ..Default::default() };
    let note = received(&message);
    let media = note.media.as_ref().unwrap();
    assert_eq!(media.kind, MediaKind::Voice);
    assert_eq!(media.name, "voice-note.ogg");
    let message = wa::Message { audio_message: MessageField::some(song), ..Default::default() };
    assert_eq!(received(&message).media.as_ref().unwrap().kind, MediaKind::Audio);
    let sticker = kind::StickerMessage { emojis: Some("😀".into()), ..Default::default() };
    let message =
        wa::Message { sticker_message: MessageField::some(sticker), ..Default::default() };
    let sticker = received(&message);
    assert_eq!(sticker.incoming.content, "[sticker 😀]");
    assert_eq!(sticker.media.as_ref().unwrap().kind, MediaKind::Sticker);
}

#[test]
fn an_answer_quotes_what_it_answers_and_mentions_are_kept() {
    let context = wa::ContextInfo {
        stanza_id: Some("3EB0BB".into()),
        participant: Some("222:1@lid".into()),
        quoted_message: MessageField::some(wa::Message {
            image_message: MessageField::some(image(None)),
            ..Default::default()
        }),
        mentioned_jid: vec!["222@lid".into(), "49170@s.whatsapp.net".into(), "none".into()],
        ..Default::default()
    };
    let extended = kind::ExtendedTextMessage {
        text: Some("yes @222".into()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    let message =
        wa::Message { extended_text_message: MessageField::some(extended), ..Default::default() };
    let incoming = received(&message).incoming;
    let quoted = ("3EB0BB".to_owned(), "222@lid".to_owned(), "[picture]".to_owned());
    assert_eq!(incoming.reply_to, Some(quoted));
    assert_eq!(incoming.mentions[..2], ["222@lid", "49170@s.whatsapp.net"]);
}

#[test]
fn to_mention_the_assistant_s_own_number_is_to_call_it() {
    let mention = |said: &str, jid: &str| {
        let context = wa::ContextInfo { mentioned_jid: vec![jid.into()], ..Default::default() };
        let extended = kind::ExtendedTextMessage {
            text: Some(said.into()),
            context_info: MessageField::some(context),
            ..Default::default()
        };
        wa::Message { extended_text_message: MessageField::some(extended), ..Default::default() }
    };
    for message in [mention("hi @999", "999@lid"), mention("hi @49199", "49199@s.whatsapp.net")] {
        let Ok(called) = read_as(&message, &info(), Some("Andy")) else { panic!() };
        assert_eq!(called.incoming.content, "hi @Andy");
        assert!(called.incoming.calls_assistant && called.incoming.mentions.is_empty());
        // On a number that the owner shares it is the owner who is mentioned.
        let Ok(owner) = read_as(&message, &info(), None) else { panic!() };
        assert!(!owner.incoming.calls_assistant && owner.incoming.mentions.len() == 1);
    }
}

#[test]
fn a_message_says_itself_when_messages_of_its_chat_vanish() {
    let said = |expiration| {
        let context_info = wa::ContextInfo { expiration, ..Default::default() };
        let text = kind::ExtendedTextMessage {
            text: Some("hi".into()),
            context_info: MessageField::some(context_info),
            ..Default::default()
        };
        wa::Message { extended_text_message: MessageField::some(text), ..Default::default() }
    };
    assert_eq!(received(&said(Some(60))).timer, Some(60));
    assert_eq!(received(&said(None)).timer, Some(0));
    assert_eq!(received(&text("hi")).timer, None, "it has no place to say it in");
    let set = kind::ProtocolMessage {
        r#type: Some(kind::protocol_message::Type::EPHEMERAL_SETTING),
        ephemeral_expiration: Some(60),
        ..Default::default()
    };
    let set = wa::Message { protocol_message: MessageField::some(set), ..Default::default() };
    let mut info = info();
    assert_eq!(timer(&set, &info), None, "in a group it is WhatsApp that says it");
    info.source.chat = jid("49170@s.whatsapp.net");
    assert_eq!(timer(&set, &info), Some(("49170@s.whatsapp.net".into(), 60)));
    assert_eq!(timer(&text("hi"), &info), None);
}

#[test]
fn edits_deletions_and_reactions_name_their_message() {
    use kind::protocol_message::Type;
    let protocol = |kind_of, edited: Option<wa::Message>| wa::Message {
        protocol_message: MessageField::some(kind::ProtocolMessage {
            key: key("3EB0CC"),
            r#type: Some(kind_of),
            edited_message: edited.map_or_else(MessageField::none, MessageField::some),
            ..Default::default()
        }),
        ..Default::default()
    };
    let edit = wa::Message {
        edited_message: wrapped(protocol(Type::MESSAGE_EDIT, Some(text("better")))),
        ..Default::default()
    };
    let incoming = received(&edit).incoming;
    assert_eq!(incoming.edit_of.as_deref(), Some("3EB0CC"));
    assert_eq!((incoming.id.as_str(), incoming.content.as_str()), ("3EB0AA", "better"));
    let message = protocol(Type::REVOKE, None);
    let incoming = received(&message).incoming;
    assert!(incoming.deleted && incoming.id == "3EB0CC" && incoming.sender == "111@lid");
    let reaction = |emoji: &str| wa::Message {
        reaction_message: MessageField::some(kind::ReactionMessage {
            key: key("3EB0DD"),
            text: Some(emoji.into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = reaction("👍");
    let incoming = received(&message).incoming;
    assert_eq!((incoming.content.as_str(), incoming.reacts_to.as_deref()), ("👍", Some("3EB0DD")));
    assert!(nothing(reaction("")).contains("taken back"));
}

#[test]
fn what_people_never_see_is_nothing_with_a_reason() {
    use kind::protocol_message::Type;
    let of = |r#type| wa::Message {
        protocol_message: MessageField::some(kind::ProtocolMessage {
            r#type: Some(r#type),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(nothing(of(Type::HISTORY_SYNC_NOTIFICATION)).contains("clients"));
    assert!(nothing(of(Type::EPHEMERAL_SETTING)).contains("clients"));
    let keys = wa::Message {
        sender_key_distribution_message: MessageField::some(Default::default()),
        message_context_info: MessageField::some(Default::default()),
        ..Default::default()
    };
    assert!(nothing(keys).contains("keys"));
    nothing(wa::Message {
        album_message: MessageField::some(Default::default()),
        ..Default::default()
    });
    nothing(wa::Message {
        poll_update_message: MessageField::some(Default::default()),
        ..Default::default()
    });
    for chat in ["status@broadcast", "1@newsletter", "13135550002@bot"] {
        let mut info = info();
        info.source.chat = jid(chat);
        let message = text("x");
        assert!(read_as(&message, &info, None).is_err(), "{chat}");
    }
}

#[test]
fn one_person_is_written_in_one_way() {
    for (written, plain_form) in [
        ("49170:12@s.whatsapp.net", "49170@s.whatsapp.net"),
        ("49170@c.us", "49170@s.whatsapp.net"),
        ("49170:99@hosted", "49170@s.whatsapp.net"),
        ("111:3@lid", "111@lid"),
        ("111:99@hosted.lid", "111@lid"),
        ("1-2@g.us", "1-2@g.us"),
    ] {
        assert_eq!(plain(&jid(written)), plain_form);
    }
}
