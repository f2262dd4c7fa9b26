//! What arrives -> what the ledger stores.
//!
//! Pure: a decrypted message, what the envelope says of it and our own addresses
//! come in; out comes a message as every channel hands it over, with the addresses
//! that the envelope proves to be one person's, or the reason why there is nothing
//! to store. It downloads nothing, resolves no address and decides nothing about
//! who may speak: that is the inlet's, in the commit that stores the message.
//!
//! Nothing that a person wrote is dropped in silence. A kind of message that is not
//! known becomes a text that says so; only what people never see is left out.

mod kinds;

use chrono::SecondsFormat;
use whatsapp_rust::Server;
use whatsapp_rust::prelude::{Jid, MessageInfo, wa};
use whatsapp_rust::wacore::download::Downloadable;
use whatsapp_rust::wacore::types::message::MessageSource;

use crate::db::Incoming;

/// The account that the channel is logged in with.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its phone number's address.
    pub pn: Option<&'a Jid>,
    /// Its LID.
    pub lid: Option<&'a Jid>,
    /// The assistant's name, if the number is the assistant's alone: then to mention
    /// the number is to call the assistant. Else it is to mention the owner.
    pub assistant: Option<&'a str>,
}

/// A message that somebody wrote.
pub struct Received<'a> {
    /// As the inlet takes it. The content is a caption, if a file came.
    pub incoming: Incoming,
    /// The file that came with it.
    pub media: Option<Media<'a>>,
    /// After how many seconds messages of the chat vanish (0: never), if it says that.
    pub timer: Option<u32>,
}

/// A file that waits to be downloaded.
pub struct Media<'a> {
    /// What it is to people.
    pub kind: MediaKind,
    /// Its type, as the sender says.
    pub mime: String,
    /// Its name, as the sender says; made up from its kind where there is none.
    pub name: String,
    /// What the client downloads.
    pub file: &'a dyn Downloadable,
}

/// What a file is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A video, or a round video note.
    Video,
    /// An audio file.
    Audio,
    /// What somebody said into the telephone.
    Voice,
    /// Any file.
    Document,
    /// A sticker.
    Sticker,
}

/// Reads a message; or why there is nothing to store.
pub fn read<'a>(
    message: &'a wa::Message,
    info: &MessageInfo,
    own: Own<'_>,
) -> Result<Received<'a>, &'static str> {
    if let Some(reason) = no_chat(&info.source) {
        return Err(reason);
    }
    let base = kinds::unwrap(message);
    let mut incoming = envelope(info, own);
    let (mut media, mut timer) = (None, None);
    if let Some(change) = base.protocol_message.as_option() {
        protocol(change, &mut incoming, own)?;
    } else if let Some(reaction) = base.reaction_message.as_option() {
        let target = reaction.key.as_option().and_then(|key| key.id.clone());
        incoming.reacts_to = Some(target.ok_or("a reaction to nothing")?);
        let emoji = reaction.text.clone().filter(|emoji| !emoji.is_empty());
        incoming.content = emoji.ok_or("a reaction was taken back")?;
    } else {
        media = content(base, &mut incoming, own)?;
        // A plain text without any context says nothing of it, nor does one to a list.
        let context = kinds::context(base).filter(|_| info.source.chat.server != Server::Broadcast);
        timer = context.map(|context| context.expiration.unwrap_or(0));
    }
    Ok(Received { incoming, media, timer })
}

/// The timer that somebody set for a chat, 0 for none, if that is what a message is.
/// In groups WhatsApp itself says it.
pub fn timer(message: &wa::Message, info: &MessageInfo) -> Option<(String, u32)> {
    use wa::message::protocol_message::Type;
    let change = kinds::unwrap(message).protocol_message.as_option()?;
    let set = change.r#type == Some(Type::EPHEMERAL_SETTING) && no_chat(&info.source).is_none();
    let direct = !matches!(info.source.chat.server, Server::Group | Server::Broadcast);
    (set && direct).then(|| (plain(&info.source.chat), change.ephemeral_expiration.unwrap_or(0)))
}

/// What a message says, and its file.
fn content<'a>(
    base: &'a wa::Message,
    incoming: &mut Incoming,
    own: Own<'_>,
) -> Result<Option<Media<'a>>, &'static str> {
    let media = kinds::media(base);
    incoming.content = kinds::text(base, media.is_some())?;
    if let Some(context) = kinds::context(base) {
        incoming.mentions = context.mentioned_jid.iter().filter_map(|jid| address(jid)).collect();
        incoming.reply_to = quote(context);
    }
    mention_self(incoming, own);
    Ok(media)
}

/// What stands for a message of which the envelope alone could be read.
pub fn unread(info: &MessageInfo, own: Own<'_>) -> Option<Incoming> {
    let content = "[a message that could not be read here]".into();
    let is_message = no_chat(&info.source).is_none();
    is_message.then(|| Incoming { content, is_unread: true, ..envelope(info, own) })
}

/// Why nothing from there is a message to us.
fn no_chat(source: &MessageSource) -> Option<&'static str> {
    let chat = &source.chat;
    match chat.server {
        Server::Newsletter => Some("a post of a channel"),
        Server::Bot => Some("a conversation with Meta's assistant"),
        Server::Call => Some("a call"),
        Server::Broadcast if chat.user == "status" => Some("a status"),
        // Its chat would be the one with oneself, where the owner talks to us.
        Server::Broadcast if source.is_from_me => Some("what the owner tells a list of people"),
        _ => None,
    }
}

/// Who wrote where and when.
fn envelope(info: &MessageInfo, own: Own<'_>) -> Incoming {
    let source = &info.source;
    let sender = plain(&source.sender);
    let mut aliases = Vec::new();
    pair(&mut aliases, Some(&source.sender), source.sender_alt.as_ref());
    pair(&mut aliases, own.lid, own.pn);
    // Of a list the library says that it is a group.
    let is_direct = source.chat.server != Server::Group;
    let jid = match source.chat.server {
        // A broadcast list reaches us as a direct message of whoever sent it.
        Server::Broadcast => sender.clone(),
        _ => plain(&source.chat),
    };
    if is_direct {
        let other = if source.is_from_me {
            source.recipient_alt.as_ref().or(info.peer_recipient_pn.as_ref())
        } else {
            source.sender_alt.as_ref()
        };
        pair(&mut aliases, Some(&source.chat), other);
    }
    let name = match info.push_name.trim() {
        "" => info.verified_name.as_ref().and_then(|v| v.name.as_deref()).unwrap_or_default(),
        name => name,
    };
    Incoming {
        jid,
        id: info.id.to_string(),
        sender,
        sender_name: name.to_owned(),
        timestamp: info.timestamp.to_rfc3339_opts(SecondsFormat::Millis, true),
        is_group: !is_direct,
        from_me: source.is_from_me,
        aliases,
        ..Incoming::default()
    }
}

/// Notes a LID and a phone number that are one person's, in this order.
fn pair(aliases: &mut Vec<(String, String)>, one: Option<&Jid>, other: Option<&Jid>) {
    let (Some(one), Some(other)) = (one, other) else { return };
    let found = if one.server.is_lid_family() && other.server.is_pn_family() {
        (plain(one), plain(other))
    } else if one.server.is_pn_family() && other.server.is_lid_family() {
        (plain(other), plain(one))
    } else {
        return;
    };
    if !aliases.contains(&found) {
        aliases.push(found);
    }
}

/// An address as the ledger has it: without device, in one spelling.
pub fn plain(jid: &Jid) -> String {
    let user = jid.user_base();
    match jid.server {
        server if server.is_pn_family() || server == Server::Legacy => {
            format!("{user}@{}", Server::Pn)
        }
        server if server.is_lid_family() => format!("{user}@{}", Server::Lid),
        _ => jid.to_non_ad_string(),
    }
}

/// [`plain`] for an address in a message; none if it is not one.
pub fn address(text: &str) -> Option<String> {
    text.parse::<Jid>().ok().map(|jid| plain(&jid))
}

/// An edit, a deletion, or what clients tell each other.
fn protocol(
    change: &wa::message::ProtocolMessage,
    incoming: &mut Incoming,
    own: Own<'_>,
) -> Result<(), &'static str> {
    use wa::message::protocol_message::Type;
    let target = change.key.as_option().and_then(|key| key.id.clone());
    match (change.r#type, target) {
        (Some(Type::REVOKE), Some(target)) => {
            incoming.id = target;
            incoming.deleted = true;
        }
        (Some(Type::MESSAGE_EDIT), Some(target)) => {
            let edited = change.edited_message.as_option().ok_or("an edit without a text")?;
            content(kinds::unwrap(edited), incoming, own)?;
            incoming.edit_of = Some(target);
        }
        _ => return Err("what clients tell each other"),
    }
    Ok(())
}

/// The quoted message: id, sender, text. The sender is an address here; the inlet
/// puts a name in its place.
fn quote(context: &wa::ContextInfo) -> Option<(String, String, String)> {
    let id = context.stanza_id.clone().filter(|id| !id.is_empty())?;
    let sender = context.participant.as_deref().and_then(address).unwrap_or_default();
    let text = context.quoted_message.as_option().map(|quoted| {
        let quoted = kinds::unwrap(quoted);
        let media = kinds::media(quoted);
        let text = kinds::text(quoted, media.is_some()).unwrap_or_default();
        match (media, text.is_empty()) {
            (Some(media), true) => format!("[{}]", media.kind.word()),
            _ => text,
        }
    });
    Some((id, sender, text.unwrap_or_default()))
}

/// Puts the assistant's name where its number is mentioned, so that a mention calls
/// it. The owner's own number stays a mention of the owner.
fn mention_self(incoming: &mut Incoming, own: Own<'_>) {
    let Some(name) = own.assistant else { return };
    for jid in [own.pn, own.lid].into_iter().flatten() {
        if incoming.mentions.contains(&plain(jid)) {
            incoming.mentions.retain(|mention| *mention != plain(jid));
            incoming.calls_assistant = true;
            let token = format!("@{}", jid.user_base());
            incoming.content = incoming.content.replace(&token, &format!("@{name}"));
        }
    }
}

impl MediaKind {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            MediaKind::Image => "picture",
            MediaKind::Video => "video",
            MediaKind::Audio => "audio file",
            MediaKind::Voice => "voice note",
            MediaKind::Document => "file",
            MediaKind::Sticker => "sticker",
        }
    }
}

#[cfg(test)]
mod tests;
