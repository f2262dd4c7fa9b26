//! What a phone shows: chats as their owner sees them. The same message a second time
//! changes nothing, as on a real phone, but it is counted.

use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

/// A message on the screen.
#[derive(Debug, Clone)]
pub struct Shown {
    pub id: String,
    /// Whom or which group it was said to, or who said it: the chat's name above it.
    /// People go by their number, whichever way the message was addressed.
    pub chat: Jid,
    /// Who said it, as the stanza has it; the device is the one that it was sent from.
    pub sender: Jid,
    /// The owner said it.
    pub from_me: bool,
    /// It was typed on this phone.
    pub here: bool,
    /// Text, caption or file name.
    pub text: String,
    /// What it answers: id and text.
    pub quoted: Option<(String, String)>,
    /// Who is mentioned.
    pub mentions: Vec<String>,
    pub file: Option<File>,
    /// Vanishes after so many seconds.
    pub vanishes: Option<u32>,
    pub once: bool,
    pub edited: bool,
    pub deleted: bool,
    /// Who, and which emoji.
    pub reactions: Vec<(Jid, String)>,
    /// How often it arrived.
    pub arrivals: usize,
    /// As it was, without the wrappers.
    pub message: wa::Message,
}

/// A file that came with a message.
#[derive(Debug, Clone)]
pub struct File {
    pub kind: MediaType,
    pub mime: String,
    pub name: Option<String>,
    /// A voice note.
    pub voice: bool,
    pub seconds: Option<u32>,
    pub path: String,
    pub key: Vec<u8>,
}

/// A message that was decrypted.
pub struct Arrival {
    pub id: String,
    pub chat: Jid,
    pub sender: Jid,
    pub from_me: bool,
    pub here: bool,
    pub message: wa::Message,
}

/// A receipt that the phone was given: the ticks under a message.
#[derive(Debug, Clone)]
pub struct Tick {
    pub ids: Vec<String>,
    /// `delivered`, `inactive`, `read`, `played`.
    pub kind: String,
    /// The device that it came from.
    pub from: Jid,
    pub chat: Jid,
}

/// Everything that a phone shows.
#[derive(Default)]
pub struct Screen {
    pub shown: Vec<Shown>,
    pub ticks: Vec<Tick>,
    /// Chat, person, and `composing`, `recording`, `paused`, `available`, `unavailable`.
    pub states: Vec<(Jid, Jid, String)>,
    /// "Waiting for this message": what could not be decrypted, and did not come again.
    pub unreadable: Vec<String>,
    /// Ids that came again with other words.
    pub altered: Vec<String>,
    /// What happened in groups: group and what, as `add`, `remove`, `subject`.
    pub events: Vec<(Jid, String)>,
}

impl Shown {
    /// How another message refers to it.
    pub fn key(&self) -> wa::MessageKey {
        wa::MessageKey {
            remote_jid: Some(self.chat.to_string()),
            from_me: Some(self.from_me),
            id: Some(self.id.clone()),
            participant: self.chat.is_group().then(|| self.sender.to_non_ad_string()),
        }
    }
}

impl Screen {
    pub fn find(&self, id: &str) -> Option<&Shown> {
        self.shown.iter().find(|shown| shown.id == id)
    }

    /// Shows what arrived: a message, or a change to one.
    pub fn arrive(&mut self, arrival: Arrival) {
        self.unreadable.retain(|id| *id != arrival.id);
        if let Some(known) = self.shown.iter_mut().find(|shown| shown.id == arrival.id) {
            known.arrivals += 1;
            let base = arrival.message.get_base_message();
            if !known.edited && known.text != text(base) {
                self.altered.push(arrival.id);
            }
            return;
        }
        let base = arrival.message.get_base_message();
        let protocol = base.protocol_message.as_option();
        if let Some(protocol) = protocol {
            let target = protocol.key.as_option().and_then(|key| key.id.clone());
            let target = self.shown.iter_mut().find(|shown| Some(&shown.id) == target.as_ref());
            let (Some(target), Some(kind)) = (target, protocol.r#type) else { return };
            match kind {
                Type::REVOKE => target.deleted = true,
                Type::MESSAGE_EDIT => {
                    if let Some(edited) = protocol.edited_message.as_option() {
                        target.text = text(edited);
                        target.edited = true;
                    }
                }
                _ => {}
            }
            return;
        }
        if let Some(reaction) = base.reaction_message.as_option() {
            let target = reaction.key.as_option().and_then(|key| key.id.clone());
            let target = self.shown.iter_mut().find(|shown| Some(&shown.id) == target.as_ref());
            if let Some(target) = target {
                let who = arrival.sender.to_non_ad();
                target.reactions.retain(|(by, _)| *by != who);
                let emoji = reaction.text.clone().unwrap_or_default();
                if !emoji.is_empty() {
                    target.reactions.push((who, emoji));
                }
            }
            return;
        }
        let shown = show(&arrival, base);
        if !shown.text.is_empty() || shown.file.is_some() {
            self.shown.push(shown);
        }
    }
}

fn show(arrival: &Arrival, base: &wa::Message) -> Shown {
    let context = context(base);
    let quoted = context.and_then(|context| {
        let words = context.quoted_message.as_option().map(text).unwrap_or_default();
        Some((context.stanza_id.clone()?, words))
    });
    Shown {
        id: arrival.id.clone(),
        chat: arrival.chat.clone(),
        sender: arrival.sender.clone(),
        from_me: arrival.from_me,
        here: arrival.here,
        text: text(base),
        quoted,
        mentions: context.map(|context| context.mentioned_jid.clone()).unwrap_or_default(),
        file: file(base),
        vanishes: context.and_then(|context| context.expiration),
        once: arrival.message.is_view_once(),
        edited: false,
        deleted: false,
        reactions: Vec::new(),
        arrivals: 1,
        message: base.clone(),
    }
}

/// The words of a message: text, caption or file name.
fn text(message: &wa::Message) -> String {
    let words = message.text_content().or_else(|| message.get_caption());
    let name = || message.get_base_message().document_message.as_option()?.file_name.as_deref();
    words.or_else(name).unwrap_or_default().to_owned()
}

fn context(message: &wa::Message) -> Option<&wa::ContextInfo> {
    let of = |part: Option<&wa::ContextInfo>| part.is_some();
    let parts = [
        message.extended_text_message.as_option().and_then(|p| p.context_info.as_option()),
        message.image_message.as_option().and_then(|p| p.context_info.as_option()),
        message.video_message.as_option().and_then(|p| p.context_info.as_option()),
        message.audio_message.as_option().and_then(|p| p.context_info.as_option()),
        message.document_message.as_option().and_then(|p| p.context_info.as_option()),
    ];
    parts.into_iter().find(|part| of(*part)).flatten()
}

pub fn file(message: &wa::Message) -> Option<File> {
    macro_rules! file {
        ($part:expr, $kind:ident, $name:expr, $voice:expr, $seconds:expr) => {
            if let Some(part) = $part.as_option() {
                return Some(File {
                    kind: MediaType::$kind,
                    mime: part.mimetype.clone().unwrap_or_default(),
                    name: $name(part),
                    voice: $voice(part),
                    seconds: $seconds(part),
                    path: part.direct_path.clone().unwrap_or_default(),
                    key: part.media_key.clone().unwrap_or_default(),
                });
            }
        };
    }
    use wa::message as m;
    file!(message.image_message, Image, |_: &_| None, |_: &_| false, |_: &_| None);
    file!(
        message.audio_message,
        Audio,
        |_: &_| None,
        |part: &m::AudioMessage| part.ptt.unwrap_or(false),
        |part: &m::AudioMessage| part.seconds
    );
    file!(message.video_message, Video, |_: &_| None, |_: &_| false, |part: &m::VideoMessage| part
        .seconds);
    file!(
        message.document_message,
        Document,
        |part: &m::DocumentMessage| part.file_name.clone(),
        |_: &_| false,
        |_: &_| None
    );
    file!(message.sticker_message, Sticker, |_: &_| None, |_: &_| false, |_: &_| None);
    None
}
