//! The kinds of messages that there are, each as a text that an agent can read.

use chrono::{DateTime, SecondsFormat};
use whatsapp_rust::prelude::wa;
use whatsapp_rust::wacore::download::Downloadable;

use super::{Media, MediaKind};
use crate::files;

/// Wrappers within wrappers that are looked into.
const DEPTH: usize = 12;
/// Characters of one contact card that are shown.
const CARD: usize = 1_000;

/// The message inside its wrappers: disappearing, view once, sent by another device
/// of the account, with a caption, in an album, and so on.
pub fn unwrap(message: &wa::Message) -> &wa::Message {
    let mut current = message;
    for _ in 0..DEPTH {
        let sent = current.device_sent_message.as_option().and_then(|m| m.message.as_option());
        let wrapped = [
            &current.ephemeral_message,
            &current.view_once_message,
            &current.view_once_message_v2,
            &current.view_once_message_v2_extension,
            &current.document_with_caption_message,
            &current.edited_message,
            &current.group_mentioned_message,
            &current.bot_invoke_message,
            &current.lottie_sticker_message,
            &current.associated_child_message,
            &current.poll_creation_option_image_message,
            &current.poll_creation_message_v4,
            &current.event_cover_image,
            &current.bot_task_message,
            &current.bot_forwarded_message,
            &current.question_message,
            &current.question_reply_message,
            &current.spoiler_message,
        ];
        let inner = wrapped.into_iter().find_map(|m| m.as_option()?.message.as_option());
        match sent.or(inner) {
            Some(inner) => current = inner,
            None => break,
        }
    }
    current
}

/// What a message says beside its text: whom it mentions, what it quotes.
pub fn context(m: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),*) => {
            None$(.or_else(|| m.$field.as_option().and_then(|f| f.context_info.as_option())))*
        };
    }
    first!(
        extended_text_message,
        image_message,
        video_message,
        ptv_message,
        audio_message,
        document_message,
        sticker_message,
        contact_message,
        contacts_array_message,
        location_message,
        live_location_message,
        poll_creation_message,
        poll_creation_message_v2,
        poll_creation_message_v3,
        poll_creation_message_v5,
        event_message,
        group_invite_message,
        buttons_response_message,
        list_response_message,
        template_button_reply_message,
        product_message
    )
}

/// The file of a message.
pub fn media(m: &wa::Message) -> Option<Media<'_>> {
    let of = |kind, mime: &Option<String>, name: Option<&str>, file| {
        let mime = mime.clone().unwrap_or_else(|| "application/octet-stream".into());
        let name = match name.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => made_up(kind, &mime),
        };
        Some(Media { kind, mime, name, file })
    };
    fn file<F: Downloadable>(file: &F) -> &dyn Downloadable {
        file
    }
    if let Some(f) = m.image_message.as_option() {
        of(MediaKind::Image, &f.mimetype, None, file(f))
    } else if let Some(f) = m.video_message.as_option().or(m.ptv_message.as_option()) {
        of(MediaKind::Video, &f.mimetype, None, file(f))
    } else if let Some(f) = m.audio_message.as_option() {
        let voice = f.ptt == Some(true);
        let kind = if voice { MediaKind::Voice } else { MediaKind::Audio };
        of(kind, &f.mimetype, None, file(f))
    } else if let Some(f) = m.document_message.as_option() {
        let name = f.file_name.as_deref().or(f.title.as_deref());
        of(MediaKind::Document, &f.mimetype, name, file(f))
    } else if let Some(f) = m.sticker_message.as_option() {
        of(MediaKind::Sticker, &f.mimetype, None, file(f))
    } else {
        None
    }
}

/// `picture.jpg`: most files come without a name.
fn made_up(kind: MediaKind, mime: &str) -> String {
    let word = kind.word().replace(' ', "-");
    let mime = mime.split(';').next().unwrap_or_default().trim();
    match files::extension_of(mime) {
        Some(extension) => format!("{word}.{extension}"),
        None => word,
    }
}

/// The text of a message, or why there is none to show.
pub fn text(m: &wa::Message, with_media: bool) -> Result<String, &'static str> {
    if let Some(text) = said(m) {
        return Ok(text);
    }
    if let Some(text) = shown(m) {
        return Ok(text);
    }
    if with_media {
        return Ok(m.sticker_message.as_option().map(sticker).unwrap_or_default());
    }
    if let Some(reason) = noise(m) {
        return Err(reason);
    }
    Ok(match known(m) {
        Some(kind) => format!("[message of a kind I cannot read: {kind}]"),
        None => "[message of a kind I cannot read]".into(),
    })
}

/// What somebody typed: a text, or a caption.
fn said(m: &wa::Message) -> Option<String> {
    let caption = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    caption(&m.conversation)
        .or_else(|| m.extended_text_message.as_option().and_then(|t| caption(&t.text)))
        .or_else(|| m.image_message.as_option().and_then(|f| caption(&f.caption)))
        .or_else(|| m.video_message.as_option().and_then(|f| caption(&f.caption)))
        .or_else(|| m.ptv_message.as_option().and_then(|f| caption(&f.caption)))
        .or_else(|| m.document_message.as_option().and_then(|f| caption(&f.caption)))
}

/// What is not text, as text.
fn shown(m: &wa::Message) -> Option<String> {
    if let Some(place) = m.location_message.as_option() {
        let named = [&place.name, &place.address, &place.comment];
        let live = if place.is_live == Some(true) { "live location" } else { "location" };
        return Some(located(live, place.degrees_latitude, place.degrees_longitude, &named));
    }
    if let Some(place) = m.live_location_message.as_option() {
        let (latitude, longitude) = (place.degrees_latitude, place.degrees_longitude);
        return Some(located("live location", latitude, longitude, &[&place.caption]));
    }
    if let Some(contact) = m.contact_message.as_option() {
        return Some(card(contact));
    }
    if let Some(contacts) = m.contacts_array_message.as_option() {
        return Some(contacts.contacts.iter().map(card).collect::<Vec<_>>().join("\n"));
    }
    let polls = [
        &m.poll_creation_message,
        &m.poll_creation_message_v2,
        &m.poll_creation_message_v3,
        &m.poll_creation_message_v5,
        &m.poll_creation_message_v6,
    ];
    if let Some(poll) = polls.into_iter().find_map(|poll| poll.as_option()) {
        let options = poll.options.iter().filter_map(|option| option.option_name.as_deref());
        let options: Vec<String> = options.map(|option| format!("\n- {option}")).collect();
        let name = poll.name.as_deref().unwrap_or_default();
        return Some(format!("[poll] {name}{}", options.concat()));
    }
    if let Some(event) = m.event_message.as_option() {
        let word = if event.is_canceled == Some(true) { "event cancelled" } else { "event" };
        let at = |time: Option<i64>| time.and_then(|s| DateTime::from_timestamp(s, 0));
        let at = |time| at(time).map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
        let place = event.location.as_option().and_then(|place| place.name.clone());
        let parts = [
            event.name.clone(),
            at(event.start_time).map(|time| format!("begins {time}")),
            at(event.end_time).map(|time| format!("ends {time}")),
            place.map(|place| format!("at {place}")),
            event.description.clone(),
            event.join_link.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        return Some(format!("[{word}] {}", parts.join("; ")));
    }
    if let Some(invite) = m.group_invite_message.as_option() {
        let name = invite.group_name.as_deref().unwrap_or_default();
        let caption = invite.caption.as_deref().unwrap_or_default();
        return Some(format!("[invitation to the group {name}] {caption}").trim_end().to_owned());
    }
    if let Some(answer) = m.buttons_response_message.as_option() {
        use wa::__buffa::oneof::message::buttons_response_message::Response;
        return match &answer.response {
            Some(Response::SelectedDisplayText(text)) => Some(text.clone()),
            _ => answer.selected_button_id.clone(),
        };
    }
    if let Some(answer) = m.list_response_message.as_option() {
        return answer.title.clone();
    }
    if let Some(answer) = m.template_button_reply_message.as_option() {
        return answer.selected_display_text.clone();
    }
    if let Some(call) = m.call_log_messsage.as_option() {
        use wa::message::call_log_message::CallOutcome;
        let video = if call.is_video == Some(true) { "video call" } else { "call" };
        let missed = call.call_outcome == Some(CallOutcome::MISSED);
        let how = if missed { "missed ".into() } else { String::new() };
        let long = call.duration_secs.filter(|seconds| *seconds > 0);
        let long = long.map(|seconds| format!(", {seconds} s")).unwrap_or_default();
        return Some(format!("[{how}{video}{long}]"));
    }
    if m.call.is_set() {
        return Some("[call]".into());
    }
    if let Some(call) = m.scheduled_call_creation_message.as_option() {
        let at = call.scheduled_timestamp_ms.and_then(DateTime::from_timestamp_millis);
        let at = at.map(|time| format!(" at {}", time.to_rfc3339_opts(SecondsFormat::Secs, true)));
        let title = call.title.as_deref().unwrap_or_default();
        return Some(format!("[call planned{}] {title}", at.unwrap_or_default()));
    }
    None
}

fn located(
    word: &str,
    latitude: Option<f64>,
    longitude: Option<f64>,
    named: &[&Option<String>],
) -> String {
    let named: Vec<&str> =
        named.iter().filter_map(|text| text.as_deref()).filter(|text| !text.is_empty()).collect();
    let place = match (latitude, longitude) {
        (Some(latitude), Some(longitude)) => format!("[{word}: {latitude:.6}, {longitude:.6}]"),
        _ => format!("[{word}]"),
    };
    format!("{place} {}", named.join(", ")).trim_end().to_owned()
}

fn card(contact: &wa::message::ContactMessage) -> String {
    let name = contact.display_name.as_deref().unwrap_or_default();
    let lines = contact.vcard.as_deref().unwrap_or_default().lines();
    let wanted = |line: &&str| {
        let key = line.split([':', ';']).next().unwrap_or_default();
        // Apple's cards put "item1." before the key.
        matches!(key.rsplit('.').next().unwrap_or_default(), "TEL" | "EMAIL" | "ORG" | "ADR")
    };
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let details: Vec<String> = lines.filter(wanted).filter_map(value).collect();
    let details: String = details.join(", ").chars().take(CARD).collect();
    format!("[contact] {name}: {details}").trim_end_matches([':', ' ']).to_owned()
}

fn sticker(sticker: &wa::message::StickerMessage) -> String {
    let label = sticker.emojis.as_deref().or(sticker.accessibility_label.as_deref());
    format!("[sticker {}]", label.unwrap_or_default()).replace(" ]", "]")
}

/// Why a message is not one that people see.
fn noise(m: &wa::Message) -> Option<&'static str> {
    let noisy = [
        (m.album_message.is_set(), "the head of an album, whose pictures follow"),
        (
            m.poll_update_message.is_set(),
            "a vote in a poll, which only its author's phone can read",
        ),
        (m.enc_reaction_message.is_set(), "an encrypted reaction of an announcement group"),
        (m.enc_comment_message.is_set(), "an encrypted comment"),
        (m.enc_event_response_message.is_set(), "an answer to an event, which is encrypted"),
        (m.secret_encrypted_message.is_set(), "an encrypted change of a poll or event"),
        (m.pin_in_chat_message.is_set(), "a message was pinned"),
        (m.keep_in_chat_message.is_set(), "a disappearing message was kept"),
        (m.sticker_sync_rmr_message.is_set(), "what clients tell each other"),
        (m.request_phone_number_message.is_set(), "somebody asks for the phone number"),
        (m.placeholder_message.is_set(), "a message that the phone must send first"),
        (m.message_history_bundle.is_set(), "history for a new member"),
        (m.message_history_notice.is_set(), "history for a new member"),
        (m.poll_result_snapshot_message.is_set(), "the result of a poll"),
        (m.status_mention_message.is_set(), "a mention in a status"),
        (m.group_status_mention_message.is_set(), "a mention in a status"),
        (m.limit_sharing_message.is_set(), "a setting of the chat"),
        (m.group_root_key_share.is_set(), "keys"),
        (m.root_secret_distribute_message.is_set(), "keys"),
    ];
    if let Some((_, reason)) = noisy.into_iter().find(|(is, _)| *is) {
        return Some(reason);
    }
    // Keys come alone, too.
    let (one, other) =
        (&m.sender_key_distribution_message, &m.fast_ratchet_key_sender_key_distribution_message);
    let alone = || wa::Message {
        sender_key_distribution_message: one.clone(),
        fast_ratchet_key_sender_key_distribution_message: other.clone(),
        message_context_info: m.message_context_info.clone(),
        ..Default::default()
    };
    ((one.is_set() || other.is_set()) && *m == alone()).then_some("keys")
}

/// The kind of a message of which nothing else can be said.
fn known(m: &wa::Message) -> Option<&'static str> {
    macro_rules! any {
        ($($field:ident),*) => { $(m.$field.is_set())||* };
    }
    let kinds = [
        (
            any!(highly_structured_message, template_message, list_message, buttons_message)
                || any!(interactive_message, interactive_response_message),
            "business menu",
        ),
        (
            any!(send_payment_message, request_payment_message, decline_payment_request_message)
                || any!(cancel_payment_request_message, invoice_message, payment_invite_message)
                || any!(payment_reminder_message, split_payment_message),
            "payment",
        ),
        (any!(product_message, order_message), "product or order"),
        (any!(sticker_pack_message), "sticker pack"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}
