//! What a row of the outbox is on a phone: one message, or one for each of its files
//! and for a text that cannot stand beneath its file. It sends nothing but the files.

use whatsapp_rust::prelude::{Client, MessageBuilderExt, MessageField, wa};

use super::media;
use super::send::WhatsApp;
use crate::channel::SendError;
use crate::db::{self, OutboxRow};

impl WhatsApp {
    /// The messages of a row (one, unless it has several files) and the chat's timer.
    pub(super) async fn build(
        &self,
        client: &Client,
        row: &OutboxRow,
    ) -> Result<(Vec<wa::Message>, Option<u32>), SendError> {
        let (jid, quoted) = (row.chat_jid.clone(), row.reply_to.clone());
        let (quoted, timer) = self
            .ledger()
            .write(move |c| {
                let quoted = match quoted {
                    Some(id) => db::messages::by_key(c, &jid, &id)?,
                    None => None,
                };
                Ok((quoted, db::groups::timer(c, &jid)?))
            })
            .await
            .map_err(|e| SendError::Later(e.to_string()))?;
        let text = self.signed(&row.text);
        let mut messages = Vec::new();
        for (part, file) in row.attachments.iter().enumerate() {
            let caption = text.clone().filter(|_| part == 0);
            // A file that cannot be had is no reason to say nothing.
            let message = match media::upload(self, client, file, caption).await {
                Ok(message) => message,
                Err(error) if self.client().is_none() => {
                    tracing::debug!(%error, "a file was not uploaded");
                    return Err(SendError::Offline);
                }
                Err(error) => {
                    return Err(SendError::Later(format!("the file was not uploaded: {error:#}")));
                }
            };
            let silent = message.audio_message.is_set() && part == 0;
            messages.push(message);
            if let Some(text) = text.clone().filter(|_| silent) {
                // Phones show no text with sound.
                messages.push(wa::Message::text(text));
            }
        }
        if messages.is_empty() {
            let text = text.unwrap_or_default();
            messages.push(match &quoted {
                Some(quoted) => wa::Message::text_with_context(text, quote(client, quoted)),
                None => wa::Message::text(text),
            });
        }
        Ok((messages, timer))
    }

    /// On a number that the owner shares, what the assistant says begins with its name.
    fn signed(&self, text: &str) -> Option<String> {
        let config = self.config();
        match (text.is_empty(), config.own_number) {
            (true, _) => None,
            (false, true) => Some(text.to_owned()),
            (false, false) => Some(format!("{}: {text}", config.assistant_name)),
        }
    }
}

fn quote(client: &Client, quoted: &db::StoredMessage) -> wa::ContextInfo {
    let own = || client.pn().map(|pn| pn.to_non_ad().to_string()).unwrap_or_default();
    wa::ContextInfo {
        stanza_id: Some(quoted.id.clone()),
        participant: Some(if quoted.from_me { own() } else { quoted.sender.clone() }),
        quoted_message: MessageField::some(wa::Message::text(quoted.content.clone())),
        ..Default::default()
    }
}
