//! Receiving: what the library has decrypted goes into the ledger, and is
//! acknowledged to WhatsApp after that. A message that could not be stored is not
//! acknowledged; it comes again with the next connection.
//!
//! Nothing is sent from here: the library holds the sender's session meanwhile.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use whatsapp_rust::prelude::{Client, InboundMessage, MessageInfo};
use whatsapp_rust::wacore::types::events::{DecryptFailMode, UndecryptableMessage};
use whatsapp_rust::{InboundDurabilityHook, NodeBuilder, RetryRequestOptions, anyhow};

use super::inbound::{self, Own};
use super::media;
use super::send::{CHANNEL, WhatsApp};
use crate::channel::Inlet;
use crate::crash;
use crate::db;

/// The pause before the ledger is tried again.
const PAUSE: Duration = Duration::from_secs(5);

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
        let (mut stored, mut lost) = (Vec::new(), false);
        for one in batch {
            let id = one.info.id.as_str();
            let received = match inbound::read(&one.message, &one.info, own) {
                Ok(received) => received,
                Err(reason) => {
                    tracing::debug!(id, reason, "nothing to store");
                    if let Some((jid, seconds)) = inbound::timer(&one.message, &one.info) {
                        self.whatsapp.note_timer(&jid, seconds).await;
                    }
                    continue;
                }
            };
            if self.is_ours(&received.incoming).await? {
                continue;
            }
            // The library's word of it is missing where a message comes once more.
            if let Some(seconds) = received.timer {
                self.whatsapp.note_timer(&received.incoming.jid, seconds).await;
            }
            let mut incoming = received.incoming;
            let mut offers = Vec::new();
            if let Some(media) = received.media
                && inlet.wants_files(&incoming).await
            {
                let brought = media::bring(&self.whatsapp, client, &one.info, &media).await;
                // Its message comes again, and then perhaps with the file.
                lost = brought.offer.is_err() && !client.is_connected();
                if lost {
                    break;
                }
                incoming.content = media::with_heard(&brought.heard, &incoming.content);
                offers.push(brought.offer);
                let taken = inlet.receive(CHANNEL, incoming, offers).await;
                crash::point("whatsapp before removing", &"file");
                brought.laid.remove().await;
                stored.push(taken);
                continue;
            }
            stored.push(inlet.receive(CHANNEL, incoming, offers).await);
        }
        for taken in stored {
            taken.await?;
        }
        anyhow::ensure!(!lost, "the connection was lost while a file was fetched");
        Ok(())
    }

    /// Notes a message that could not be decrypted. Its sender's phone is asked for it
    /// again, by the library or by [`ask_again`]; see [`Inlet::give_up_unread`].
    pub fn unread(&self, client: &Client, message: &UndecryptableMessage) {
        let (pn, lid) = (client.pn(), client.lid());
        let own = Own { pn: pn.as_ref(), lid: lid.as_ref(), assistant: None };
        let found = inbound::unread(&message.info, own);
        // What phones hide if they cannot read it, people never see.
        if let Some(incoming) = found.filter(|_| message.decrypt_fail_mode == DecryptFailMode::Show)
        {
            tracing::warn!(id = incoming.id, "a message cannot be read yet");
            let ledger = self.whatsapp.ledger().clone();
            // WhatsApp takes it for received: nobody else will say that it came.
            tokio::spawn(async move {
                loop {
                    let message = incoming.clone();
                    match ledger.write(move |c| db::unread::note(c, message)).await {
                        Ok(()) => return,
                        Err(error) => tracing::error!(%error, "cannot note what cannot be read"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
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

/// Sees to it that a message which cannot be read comes again. The library asks its
/// sender's phone, but not for what the account's own phone wrote, which it
/// acknowledges. That is what the owner says, so it is asked for here; with our keys,
/// since the session may be lost, and then nothing of that phone's could be read.
pub async fn ask_again(client: Arc<Client>, info: Arc<MessageInfo>) {
    let id = info.id.as_str();
    let Some(recipient) = info.source.recipient.as_ref().filter(|_| info.source.is_self_fanout())
    else {
        return;
    };
    let stanza = NodeBuilder::new("message")
        .attr("id", id)
        .attr("from", &info.source.sender)
        .attr("recipient", recipient)
        .attr("t", info.timestamp.timestamp())
        .build();
    let options = RetryRequestOptions::new().with_force_include_keys(true);
    if let Err(error) = client.request_message_retry(&stanza.as_node_ref(), options).await {
        tracing::error!(id, %error, "the phone could not be asked for it");
    }
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(
        &self,
        client: Arc<Client>,
        batch: &[InboundMessage],
    ) -> anyhow::Result<()> {
        crash::point("whatsapp before taking", &"batch");
        let taken = self.take(&client, batch).await;
        crash::point("whatsapp after taking", &"batch");
        if let Err(error) = &taken
            && self.inlet.is_some()
            && client.is_connected()
        {
            tracing::error!(%error, messages = batch.len(), "messages could not be stored; WhatsApp keeps them");
            self.whatsapp.come_again(client);
        }
        taken
    }
}
