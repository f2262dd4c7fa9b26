//! Receiving: what the library has decrypted goes into the ledger, and is
//! acknowledged to WhatsApp after that. A message that could not be stored is not
//! acknowledged; it comes again with the next connection.
//!
//! Nothing is sent from here: the library holds the sender's session meanwhile.

use std::sync::Arc;

use async_trait::async_trait;
use whatsapp_rust::prelude::{Client, InboundMessage};
use whatsapp_rust::wacore::types::events::{DecryptFailMode, UndecryptableMessage};
use whatsapp_rust::{InboundDurabilityHook, anyhow};

use super::inbound::{self, Own};
use super::media;
use super::send::{CHANNEL, WhatsApp};
use crate::channel::Inlet;
use crate::db;

/// Takes what arrives. Cheap to clone.
#[derive(Clone)]
pub struct Hook {
    whatsapp: WhatsApp,
    /// None while only a link is being made: then everything waits at WhatsApp.
    inlet: Option<Inlet>,
}

impl Hook {
    /// Of this channel, into this inlet.
    pub fn new(whatsapp: WhatsApp, inlet: Option<Inlet>) -> Hook {
        Hook { whatsapp, inlet }
    }

    /// Stores a batch, in its order. Files are fetched before their message takes its
    /// place; the batch is durable when this resolves.
    pub async fn take(&self, client: &Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let Some(inlet) = &self.inlet else { anyhow::bail!("only linking") };
        let (pn, lid) = (client.pn(), client.lid());
        let config = self.whatsapp.config();
        let assistant = config.own_number.then_some(config.assistant_name.as_str());
        let own = Own { pn: pn.as_ref(), lid: lid.as_ref(), assistant };
        let mut stored = Vec::new();
        for one in batch {
            let id = one.info.id.as_str();
            let received = match inbound::read(&one.message, &one.info, own) {
                Ok(received) => received,
                Err(reason) => {
                    tracing::debug!(id, reason, "nothing to store");
                    continue;
                }
            };
            if self.is_ours(&received.incoming).await? {
                continue;
            }
            self.whatsapp.note_timer(&received.incoming.jid, one.info.ephemeral_expiration).await;
            let mut incoming = received.incoming;
            let mut offers = Vec::new();
            if let Some(media) = received.media
                && inlet.wants_files(&incoming).await
            {
                let brought = media::bring(&self.whatsapp, client, &one.info, &media).await;
                incoming.content = media::with_heard(&brought.heard, &incoming.content);
                offers.push(brought.offer);
                let taken = inlet.receive(CHANNEL, incoming, offers).await;
                if let Some(path) = brought.path {
                    // What stays is removed by the sweep of the next start.
                    let _ = tokio::fs::remove_file(path).await;
                }
                stored.push(taken);
                continue;
            }
            stored.push(inlet.receive(CHANNEL, incoming, offers).await);
        }
        for taken in stored {
            taken.await?;
        }
        Ok(())
    }

    /// Notes a message that could not be decrypted. The library asks its sender's phone
    /// for it again, and the owner's; see [`Inlet::give_up_unread`].
    pub async fn unread(&self, client: &Client, message: &UndecryptableMessage) {
        let (pn, lid) = (client.pn(), client.lid());
        let own = Own { pn: pn.as_ref(), lid: lid.as_ref(), assistant: None };
        let found = inbound::unread(&message.info, own);
        // What phones hide if they cannot read it, people never see.
        if let Some(incoming) = found.filter(|_| message.decrypt_fail_mode == DecryptFailMode::Show)
        {
            tracing::warn!(id = incoming.id, "a message cannot be read yet");
            let note = move |c: &rusqlite::Connection| db::unread::note(c, incoming);
            self.whatsapp.ledger().note("a message that cannot be read", note).await;
        }
    }

    /// Tells of messages that did not come again.
    pub async fn give_up(&self) {
        if let Some(inlet) = &self.inlet
            && let Err(error) = inlet.give_up_unread(CHANNEL).await
        {
            tracing::error!(%error, "messages that cannot be read were not told of");
        }
    }

    /// Whether it is what we sent ourselves, and came back.
    async fn is_ours(&self, incoming: &db::Incoming) -> db::Result<bool> {
        if !incoming.from_me {
            return Ok(false);
        }
        let id = incoming.id.clone();
        self.whatsapp.ledger().write(move |c| db::outbox::is_known(c, &id)).await
    }
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(
        &self,
        client: Arc<Client>,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        let taken = self.take(&client, batch).await;
        if let Err(error) = &taken
            && self.inlet.is_some()
        {
            tracing::error!(%error, messages = batch.len(), "messages could not be stored; WhatsApp keeps them");
            self.whatsapp.come_again(client);
        }
        taken
    }
}
