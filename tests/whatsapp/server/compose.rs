//! What a person can say on a phone: texts, files, answers, reactions, corrections.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::upload::{EncryptedMedia, encrypt_media};
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message as m;

use super::media::HOST;
use super::node::seconds;
use super::screen::Shown;

/// A message before it is sent.
#[derive(Clone, Default)]
pub struct Draft {
    pub message: wa::Message,
    /// A file to be uploaded with it.
    pub file: Option<(MediaType, Vec<u8>)>,
    /// The stanza's `edit`: 1 a correction, 7 a deletion.
    pub edit: Option<&'static str>,
    /// Shown once, then gone.
    once: bool,
    /// Gone after so many seconds.
    vanishes: Option<u32>,
    /// Chosen by the test instead of by chance.
    pub id: Option<String>,
}

impl From<&str> for Draft {
    fn from(text: &str) -> Draft {
        Draft::text(text)
    }
}

impl From<wa::Message> for Draft {
    fn from(message: wa::Message) -> Draft {
        Draft { message, ..Default::default() }
    }
}

impl Draft {
    pub fn text(text: &str) -> Draft {
        let text = m::ExtendedTextMessage { text: Some(text.to_owned()), ..Default::default() };
        let message =
            wa::Message { extended_text_message: MessageField::some(text), ..Default::default() };
        message.into()
    }

    pub fn image(bytes: &[u8], caption: &str) -> Draft {
        let image = m::ImageMessage {
            mimetype: Some("image/png".to_owned()),
            caption: Some(caption.to_owned()).filter(|caption| !caption.is_empty()),
            ..Default::default()
        };
        let message =
            wa::Message { image_message: MessageField::some(image), ..Default::default() };
        Draft { file: Some((MediaType::Image, bytes.to_vec())), ..message.into() }
    }

    pub fn voice(bytes: &[u8], length: u32) -> Draft {
        let audio = m::AudioMessage {
            mimetype: Some("audio/ogg; codecs=opus".to_owned()),
            ptt: Some(true),
            seconds: Some(length),
            ..Default::default()
        };
        let message =
            wa::Message { audio_message: MessageField::some(audio), ..Default::default() };
        Draft { file: Some((MediaType::Audio, bytes.to_vec())), ..message.into() }
    }

    pub fn document(bytes: &[u8], name: &str, mime: &str) -> Draft {
        let document = m::DocumentMessage {
            mimetype: Some(mime.to_owned()),
            file_name: Some(name.to_owned()),
            ..Default::default()
        };
        let message =
            wa::Message { document_message: MessageField::some(document), ..Default::default() };
        Draft { file: Some((MediaType::Document, bytes.to_vec())), ..message.into() }
    }

    /// Takes a reaction back when `emoji` is empty.
    pub fn reaction(to: &Shown, emoji: &str) -> Draft {
        let reaction = m::ReactionMessage {
            key: MessageField::some(to.key()),
            text: Some(emoji.to_owned()),
            sender_timestamp_ms: Some(seconds() as i64 * 1000),
            ..Default::default()
        };
        wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() }.into()
    }

    /// A correction of an own message.
    pub fn edit(chat: &Jid, id: &str, text: &str) -> Draft {
        let edited = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
        let protocol = m::ProtocolMessage {
            key: MessageField::some(own_key(chat, id)),
            r#type: Some(m::protocol_message::Type::MESSAGE_EDIT),
            edited_message: MessageField::some(edited),
            timestamp_ms: Some(seconds() as i64 * 1000),
            ..Default::default()
        };
        let message =
            wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() };
        Draft { edit: Some("1"), ..message.into() }
    }

    /// "Delete for everyone" of an own message.
    pub fn revoke(chat: &Jid, id: &str) -> Draft {
        let protocol = m::ProtocolMessage {
            key: MessageField::some(own_key(chat, id)),
            r#type: Some(m::protocol_message::Type::REVOKE),
            ..Default::default()
        };
        let message =
            wa::Message { protocol_message: MessageField::some(protocol), ..Default::default() };
        Draft { edit: Some("7"), ..message.into() }
    }

    /// As an answer to what the phone shows.
    pub fn quoting(mut self, shown: &Shown) -> Draft {
        let context = self.context();
        context.stanza_id = Some(shown.id.clone());
        context.participant = Some(shown.sender.to_non_ad_string());
        context.quoted_message = MessageField::some(shown.message.clone());
        self
    }

    pub fn mentioning(mut self, people: &[Jid]) -> Draft {
        self.context().mentioned_jid = people.iter().map(Jid::to_string).collect();
        self
    }

    /// In a chat whose messages vanish.
    pub fn vanishing(mut self, after: u32) -> Draft {
        self.vanishes = Some(after);
        self.context().expiration = Some(after);
        self
    }

    /// To be looked at once.
    pub fn once(mut self) -> Draft {
        self.once = true;
        self
    }

    pub fn with_id(mut self, id: &str) -> Draft {
        self.id = Some(id.to_owned());
        self
    }

    /// The file, encrypted, and its kind as part of a path.
    pub fn encrypted(&self) -> Option<(EncryptedMedia, &'static str)> {
        let (kind, bytes) = self.file.as_ref()?;
        Some((encrypt_media(bytes, *kind).unwrap(), kind.mms_type()))
    }

    /// Tells the message where its file is.
    pub fn stored(&mut self, file: &EncryptedMedia, path: &str) {
        let length = self.file.as_ref().map(|(_, bytes)| bytes.len() as u64);
        macro_rules! fill {
            ($($kind:ident),*) => {$(
                if let Some(part) = self.message.$kind.as_option_mut() {
                    part.url = Some(format!("https://{HOST}{path}"));
                    part.direct_path = Some(path.to_owned());
                    part.media_key = Some(file.media_key.to_vec());
                    part.file_sha256 = Some(file.file_sha256.to_vec());
                    part.file_enc_sha256 = Some(file.file_enc_sha256.to_vec());
                    part.file_length = length;
                    part.media_key_timestamp = Some(seconds() as i64);
                }
            )*};
        }
        fill!(image_message, audio_message, document_message);
    }

    /// The message with its wrappers.
    pub fn wrapped(self) -> wa::Message {
        let wrap = |message| {
            MessageField::some(m::FutureProofMessage { message: MessageField::some(message) })
        };
        let mut message = self.message;
        if self.once {
            let view_once_message_v2 = wrap(message);
            message = wa::Message { view_once_message_v2, ..Default::default() };
        }
        if self.vanishes.is_some() {
            let ephemeral_message = wrap(message);
            message = wa::Message { ephemeral_message, ..Default::default() };
        }
        message
    }

    fn context(&mut self) -> &mut wa::ContextInfo {
        let message = &mut self.message;
        let field = if let Some(image) = message.image_message.as_option_mut() {
            &mut image.context_info
        } else if let Some(audio) = message.audio_message.as_option_mut() {
            &mut audio.context_info
        } else if let Some(document) = message.document_message.as_option_mut() {
            &mut document.context_info
        } else {
            let text = message.extended_text_message.as_option_mut();
            &mut text.expect("a message that can have a context").context_info
        };
        if field.is_unset() {
            *field = MessageField::some(wa::ContextInfo::default());
        }
        field.as_option_mut().unwrap()
    }
}

fn own_key(chat: &Jid, id: &str) -> wa::MessageKey {
    wa::MessageKey {
        remote_jid: Some(chat.to_string()),
        from_me: Some(true),
        id: Some(id.to_owned()),
        participant: None,
    }
}
