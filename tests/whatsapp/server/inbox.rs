//! What a phone does with what arrives: decrypts, shows, sends its receipt, and helps
//! its linked devices.

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc::UnboundedReceiver;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::aes_256_gcm_encrypt;
use whatsapp_rust::wacore::messages::decode_plaintext;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::media_retry_notification::ResultType;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

use super::accounts::Address;
use super::node::{NodeBuilder, attr, bytes, child, children, jid, now};
use super::phone::Phone;
use super::router;
use super::screen::{Arrival, Tick};

/// How often a phone asks for a message that it cannot read.
const MOST_TRIES: u8 = 4;

impl Phone {
    /// Takes the phone's mail for as long as the server lives.
    pub(super) async fn live(self, mut mail: UnboundedReceiver<Node>) {
        let mut on = self.on.subscribe();
        while let Some(node) = mail.recv().await {
            if on.wait_for(|on| *on).await.is_err() {
                return;
            }
            if let Err(error) = self.take(&node).await
                && std::env::var_os("WHATSAPP_SERVER_LOG").is_some()
            {
                eprintln!("phone {}: {error:#}", self.number());
            }
            self.shared.changed();
        }
    }

    async fn take(&self, node: &Node) -> Result<()> {
        match node.tag.as_ref() {
            "message" => self.message(node).await,
            "receipt" => self.receipt(node).await,
            "keys" => self.welcome(node).await,
            "chatstate" => {
                let body = children(node).first().context("an empty chatstate")?;
                let recording = attr(body, "media").is_some();
                let state = if recording { "recording" } else { body.tag.as_ref() };
                self.state(node, state);
                Ok(())
            }
            "presence" => {
                self.state(node, &attr(node, "type").unwrap_or_default());
                Ok(())
            }
            "notification" => {
                self.group_event(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn state(&self, node: &Node, state: &str) {
        let Some(from) = jid(node, "from") else { return };
        let who = jid(node, "participant").unwrap_or_else(|| from.clone());
        self.screen().states.push((self.by_number(&from), self.by_number(&who), state.to_owned()));
    }

    fn group_event(&self, node: &Node) {
        let (Some(group), Some(action)) = (jid(node, "from"), children(node).first()) else {
            return;
        };
        if action.tag == "remove" {
            // Who left must not read on: a new key for the others.
            self.memory.lock().unwrap().given.retain(|(of, _)| *of != group.to_string());
            self.keys.forget_sender_key(&group, &self.lid());
        }
        self.screen().events.push((group, action.tag.to_string()));
    }

    /// A linked device has brought its keys: now it gets the key of the settings.
    async fn welcome(&self, node: &Node) -> Result<()> {
        let device = attr(node, "device").and_then(|device| device.parse().ok()).unwrap_or(0);
        let at = Address { account: self.index, device };
        let known = self.shared.lock().device(at).map(|device| device.has_app_state_key);
        if known != Some(false) {
            return Ok(());
        }
        self.whisper(device, &self.settings.share()).await?;
        if let Some(device) = self.shared.lock().device(at) {
            device.has_app_state_key = true;
        }
        Ok(())
    }

    async fn message(&self, node: &Node) -> Result<()> {
        let id = attr(node, "id").context("a message without an id")?;
        let from = jid(node, "from").context("a message from nowhere")?;
        let sender = jid(node, "participant").unwrap_or_else(|| from.clone());
        let opened = self.open_all(node, &from, &sender).await;
        let message = match opened {
            Ok(message) => message,
            Err(error) => {
                // What is shown already is waited for no more.
                if self.screen().find(&id).is_none() {
                    self.screen().unreadable.push(id.clone());
                }
                self.ask_again(node, &sender);
                bail!("{id} from {sender} cannot be read: {error:#}");
            }
        };
        let Some(message) = message else { return Ok(()) };
        if attr(node, "category").as_deref() == Some("peer") {
            return self.peer(&sender, &message).await;
        }
        let from_me = self.shared.lock().find(&sender) == Some(self.index);
        let (chat, message) = unwrapped(node, from, message);
        if !from_me {
            self.tell(node, &sender, None);
        }
        let chat = self.by_number(&chat);
        self.screen().arrive(Arrival { id, chat, sender, from_me, here: false, message });
        Ok(())
    }

    /// Decrypts every part; the last one that says something.
    async fn open_all(&self, node: &Node, from: &Jid, sender: &Jid) -> Result<Option<wa::Message>> {
        let _turn = self.turn.lock().await;
        let peer = {
            let state = self.shared.lock();
            let at = state.find_device(sender).context("an unknown sender")?;
            state.accounts[at.account].lid(at.device)
        };
        let mut found = None;
        for enc in children(node).iter().filter(|part| part.tag == "enc") {
            let kind = attr(enc, "type").unwrap_or_default();
            let data = bytes(enc);
            let plaintext = match kind.as_str() {
                "skmsg" => self.keys.decrypt_group(from, &peer, &data).await?,
                kind => self.keys.decrypt(&peer, kind, &data).await?,
            };
            let mut message = decode_plaintext(&plaintext, 2)?;
            if let Some(key) = message.sender_key_distribution_message.take() {
                let key = key.axolotl_sender_key_distribution_message.unwrap_or_default();
                self.keys.learn_sender_key(from, &peer, &key).await?;
            }
            if found.is_none() || kind == "skmsg" || message.encoded_len() > 0 {
                found = Some(message);
            }
        }
        Ok(found)
    }

    /// A word of a linked device to its phone.
    async fn peer(&self, sender: &Jid, message: &wa::Message) -> Result<()> {
        let protocol = message.protocol_message.as_option();
        let asks = protocol.and_then(|protocol| protocol.r#type);
        if asks == Some(Type::APP_STATE_SYNC_KEY_REQUEST) {
            self.whisper(sender.device, &self.settings.share()).await?;
        }
        Ok(())
    }

    async fn receipt(&self, node: &Node) -> Result<()> {
        let kind = attr(node, "type").unwrap_or_else(|| "delivered".to_owned());
        match kind.as_str() {
            "retry" => return self.again(node).await,
            "server-error" => return self.bring_again(node),
            _ => {}
        }
        let from = jid(node, "from").context("a receipt from nowhere")?;
        let listed = child(node, "list").map(children).unwrap_or_default().iter();
        let ids = attr(node, "id").into_iter().chain(listed.filter_map(|item| attr(item, "id")));
        let tick = Tick {
            ids: ids.collect(),
            kind,
            chat: self.by_number(&from),
            from: jid(node, "participant").unwrap_or(from),
        };
        self.screen().ticks.push(tick);
        Ok(())
    }

    /// "I have it."
    fn tell(&self, node: &Node, sender: &Jid, retry: Option<Vec<Node>>) {
        let to = jid(node, "from").unwrap_or_else(|| sender.clone());
        let kind = retry.as_ref().map(|_| "retry");
        let mut receipt = NodeBuilder::new("receipt")
            .attr("id", attr(node, "id").unwrap_or_default())
            .attr("to", &to)
            .attr("t", now());
        if to.is_group() {
            receipt = receipt.attr("participant", sender);
        }
        if let Some(retry) = retry {
            receipt = receipt.attr("type", "retry").children([retry, self.fresh_keys()].concat());
        }
        let receipt = receipt.build();
        router::pass_receipt(&mut self.shared.lock(), self.at(), &receipt, &to, kind);
    }

    /// "I cannot read this, say it again."
    fn ask_again(&self, node: &Node, sender: &Jid) {
        let counts = children(node).iter().filter_map(|enc| attr(enc, "count")?.parse().ok());
        let count = counts.max().unwrap_or(0u8) + 1;
        let retry = NodeBuilder::new("retry")
            .attr("v", "1")
            .attr("count", count.to_string())
            .attr("id", attr(node, "id").unwrap_or_default())
            .attr("t", attr(node, "t").unwrap_or_default());
        if count <= MOST_TRIES {
            self.tell(node, sender, Some(vec![retry.build()]));
        }
    }

    /// The phone's keys, for a session anew.
    fn fresh_keys(&self) -> Vec<Node> {
        let mut state = self.shared.lock();
        let bundle = &mut state.accounts[self.index].bundle;
        let id = bundle.registration.to_be_bytes().to_vec();
        let handed = bundle.hand_out(Jid::pn(""), None);
        let keys = children(&handed).iter().filter(|part| part.tag != "registration").cloned();
        vec![
            NodeBuilder::new("registration").bytes(id).build(),
            NodeBuilder::new("keys").children(keys.collect::<Vec<_>>()).build(),
        ]
    }

    /// A device could not fetch a file any more: the phone brings it again, under a new
    /// path. In real life it is the sender's phone; here the owner's does it for them.
    fn bring_again(&self, node: &Node) -> Result<()> {
        let id = attr(node, "id").context("a receipt without an id")?;
        let from = jid(node, "from").context("a receipt from nowhere")?;
        let about = child(node, "rmr").context("no word about the message")?;
        let mut state = self.shared.lock();
        let at = state.find_device(&from).context("an unknown device")?;
        let found = state.files.get(&id).cloned();
        let path = found.as_ref().and_then(|(path, _)| state.media.restore(path));
        let body = match (found, path) {
            (Some((_, key)), Some(path)) => sealed_path(&id, &key, &path)?,
            _ => NodeBuilder::new("error").attr("code", "2").build(),
        };
        let notification = NodeBuilder::new("notification")
            .attr("type", "mediaretry")
            .attr("id", id)
            .attr("from", from.to_non_ad())
            .attr("t", now())
            .children([body, about.clone()])
            .build();
        state.deliver(at, notification);
        Ok(())
    }

    /// The address by number of whoever this is, where one is known.
    pub(super) fn by_number(&self, jid: &Jid) -> Jid {
        let state = self.shared.lock();
        match state.find(jid).filter(|_| !jid.is_group()) {
            Some(index) => state.accounts[index].pn(0),
            None => jid.to_non_ad(),
        }
    }
}

/// What an own device said elsewhere comes wrapped, with the chat's name.
fn unwrapped(node: &Node, from: Jid, mut message: wa::Message) -> (Jid, wa::Message) {
    if let Some(mut sent) = message.device_sent_message.take() {
        let chat = sent.destination_jid.take().and_then(|jid| jid.parse().ok());
        return (chat.unwrap_or(from), sent.message.take().unwrap_or_default());
    }
    (jid(node, "recipient").unwrap_or(from), message)
}

/// Where the file is now, readable for who has the message.
fn sealed_path(id: &str, media_key: &[u8], path: &str) -> Result<Node> {
    let plaintext = wa::MediaRetryNotification {
        stanza_id: Some(id.to_owned()),
        direct_path: Some(path.to_owned()),
        result: Some(ResultType::SUCCESS),
        ..Default::default()
    }
    .encode_to_vec();
    let mut key = [0; 32];
    hkdf_sha256_into(media_key, None, b"WhatsApp Media Retry Notification", &mut key)?;
    let iv: [u8; 12] = rand::random();
    let mut sealed = Vec::new();
    aes_256_gcm_encrypt(&key, &iv, id.as_bytes(), &plaintext, &mut sealed)?;
    let parts = [
        NodeBuilder::new("enc_p").bytes(sealed).build(),
        NodeBuilder::new("enc_iv").bytes(iv.to_vec()).build(),
    ];
    Ok(NodeBuilder::new("encrypt").children(parts).build())
}
