//! How a phone sends: it encrypts for each device of the chat, and hands the stanza to
//! the router as any device would.

use anyhow::{Context as _, Result, anyhow};
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::messages::{MessageUtils, wrap_device_sent};
use whatsapp_rust::wacore::send::{media_type_from_message, stanza_type_from_message};
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::accounts::Address;
use super::compose::Draft;
use super::node::{NodeBuilder, attr, child, child_bytes, jid, number};
use super::phone::Phone;
use super::screen::Arrival;
use super::{directory, router};

impl Phone {
    /// Sends a draft; the message's id.
    pub(super) async fn post(&self, chat: &Jid, mut draft: Draft) -> Result<String> {
        let _turn = self.turn.lock().await;
        let id = draft.id.clone().unwrap_or_else(new_id);
        if let Some((file, kind)) = draft.encrypted() {
            let mut state = self.shared.lock();
            let path = state.media.store(kind, file.data_to_upload.clone());
            draft.stored(&file, &path);
            state.files.insert(id.clone(), (path, file.media_key.to_vec()));
        }
        let edit = draft.edit;
        let message = draft.wrapped();
        let mut stanza = NodeBuilder::new("message")
            .attr("to", chat)
            .attr("id", id.as_str())
            .attr("type", stanza_type_from_message(&message));
        if let Some(edit) = edit {
            stanza = stanza.attr("edit", edit);
        }
        let content = match chat.is_group() {
            true => self.for_group(chat, &message).await?,
            false => vec![self.for_person(chat, &message).await?],
        };
        let sent = (chat.clone(), message.clone());
        self.memory.lock().unwrap().sent.insert(id.clone(), sent);
        let stanza = stanza.children(content).build();
        let handed = router::hand_on(&mut self.shared.lock(), self.at(), &stanza);
        match handed {
            // A note to oneself without a linked device reaches nobody.
            Err(404) if self.is_me(chat) => Ok(()),
            Err(code) => Err(anyhow!("the server refused the message: {code}")),
            Ok(()) => Ok(()),
        }?;
        let sender = self.account(|account| account.like(chat, 0));
        let chat = self.by_number(chat);
        let (from_me, here) = (true, true);
        let shown = Arrival { id: id.clone(), chat, sender, from_me, here, message };
        self.screen().arrive(shown);
        Ok(id)
    }

    /// A word to a linked device alone, which nobody sees.
    pub(super) async fn whisper(&self, device: u16, message: &wa::Message) -> Result<()> {
        let _turn = self.turn.lock().await;
        let me = Address { account: self.index, device };
        let plaintext = MessageUtils::encode_and_pad(message);
        let enc = self.seal(me, &plaintext, None).await?;
        let stanza = NodeBuilder::new("message")
            .attr("to", self.account(|account| account.pn(device)))
            .attr("id", new_id())
            .attr("type", "text")
            .attr("category", "peer")
            .children([enc])
            .build();
        let handed = router::hand_on(&mut self.shared.lock(), self.at(), &stanza);
        handed.map_err(|code| anyhow!("no such device: {code}"))
    }

    /// Sends a message again, to a device that could not read it.
    pub(super) async fn again(&self, receipt: &Node) -> Result<()> {
        let _turn = self.turn.lock().await;
        let id = attr(receipt, "id").context("a receipt without an id")?;
        let known = self.memory.lock().unwrap().sent.get(&id).cloned();
        let (chat, mut message) = known.with_context(|| format!("{id} was not sent by us"))?;
        let from = jid(receipt, "participant").or_else(|| jid(receipt, "from"));
        let from = from.context("a receipt from nobody")?;
        let at = self.shared.lock().find_device(&from).context("an unknown device")?;
        let count = child(receipt, "retry").and_then(|retry| attr(retry, "count"));
        self.begin(at, child(receipt, "keys")).await?;
        if chat.is_group() {
            let key = self.keys.sender_key(&chat, &self.lid()).await?;
            message.sender_key_distribution_message = distribution(&chat, key);
        } else if at.account == self.index {
            message = wrap_device_sent(message, chat.to_string());
        }
        let plaintext = MessageUtils::encode_and_pad(&message);
        let enc = self.seal(at, &plaintext, count.or(Some("1".to_owned()))).await?;
        let mut stanza = NodeBuilder::new("message")
            .attr("id", id)
            .attr("type", stanza_type_from_message(&message))
            .children([enc]);
        stanza = match chat.is_group() {
            true => stanza.attr("to", &chat).attr("participant", from),
            false => stanza.attr("to", from).attr("recipient", &chat),
        };
        let stanza = stanza.build();
        let handed = router::hand_on(&mut self.shared.lock(), self.at(), &stanza);
        handed.map_err(|code| anyhow!("the server refused the second try: {code}"))
    }

    fn is_me(&self, chat: &Jid) -> bool {
        self.shared.lock().find(chat) == Some(self.index)
    }

    async fn for_person(&self, chat: &Jid, message: &wa::Message) -> Result<Node> {
        let theirs = MessageUtils::encode_and_pad(message);
        let ours = wrap_device_sent(message.clone(), chat.to_string());
        let ours = MessageUtils::encode_and_pad(&ours);
        let targets = {
            let state = self.shared.lock();
            let whom = state.find(chat).with_context(|| format!("nobody has {chat}"))?;
            let mut accounts = vec![whom, self.index];
            accounts.dedup();
            self.devices_of(&state, &accounts)
        };
        let mut parts = Vec::new();
        for at in targets {
            let plaintext = if at.account == self.index { &ours } else { &theirs };
            let enc = self.seal_for(at, plaintext, message).await?;
            let device = self.shared.lock().accounts[at.account].like(chat, at.device);
            parts.push(NodeBuilder::new("to").attr("jid", device).children([enc]).build());
        }
        Ok(NodeBuilder::new("participants").children(parts).build())
    }

    async fn for_group(&self, chat: &Jid, message: &wa::Message) -> Result<Vec<Node>> {
        let me = self.lid();
        let targets = {
            let state = self.shared.lock();
            let group = state.group(chat).context("no such group")?;
            let members: Vec<usize> = group.members.keys().copied().collect();
            self.devices_of(&state, &members)
        };
        let key = wa::Message {
            sender_key_distribution_message: {
                let key = self.keys.sender_key(chat, &me).await?;
                distribution(chat, key)
            },
            ..Default::default()
        };
        let key = MessageUtils::encode_and_pad(&key);
        let mut parts = Vec::new();
        for at in targets {
            let device = self.shared.lock().accounts[at.account].lid(at.device);
            let given = (chat.to_string(), device.to_string());
            if self.memory.lock().unwrap().given.insert(given) {
                let enc = self.seal(at, &key, None).await?;
                parts.push(NodeBuilder::new("to").attr("jid", device).children([enc]).build());
            }
        }
        let sealed = MessageUtils::encode_and_pad(message);
        let sealed = self.keys.encrypt_group(chat, &me, &sealed).await?;
        let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", "skmsg").bytes(sealed);
        if let Some(kind) = media_type_from_message(message) {
            enc = enc.attr("mediatype", kind);
        }
        Ok(vec![NodeBuilder::new("participants").children(parts).build(), enc.build()])
    }

    /// All devices of these accounts but this phone.
    fn devices_of(&self, state: &super::state::State, accounts: &[usize]) -> Vec<Address> {
        let of = |account: usize| {
            let devices = state.accounts[account].all_devices().into_iter();
            devices.map(move |device| Address { account, device })
        };
        accounts.iter().flat_map(|account| of(*account)).filter(|at| *at != self.at()).collect()
    }

    async fn seal_for(&self, at: Address, plain: &[u8], message: &wa::Message) -> Result<Node> {
        let mut enc = self.seal(at, plain, None).await?;
        if let Some(kind) = media_type_from_message(message) {
            enc.attrs.insert("mediatype", kind);
        }
        Ok(enc)
    }

    /// Encrypts for one device, beginning a session where there is none.
    async fn seal(&self, at: Address, plaintext: &[u8], count: Option<String>) -> Result<Node> {
        let peer = self.shared.lock().accounts[at.account].lid(at.device);
        if !self.keys.knows(&peer) {
            self.begin(at, None).await?;
        }
        let (kind, data) = self.keys.encrypt(&peer, plaintext).await?;
        let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind).bytes(data);
        if let Some(count) = count {
            enc = enc.attr("count", count);
        }
        Ok(enc.build())
    }

    /// Begins a session, with the keys that a device sent along or the directory's.
    async fn begin(&self, at: Address, sent: Option<&Node>) -> Result<()> {
        let (peer, bundle) = {
            let mut state = self.shared.lock();
            let account = &mut state.accounts[at.account];
            let peer = account.lid(at.device);
            let bundle = match at.device {
                0 => &mut account.bundle,
                device => &mut account.devices.get_mut(&device).context("unlinked")?.bundle,
            };
            if let Some(key) = sent.and_then(|keys| child(keys, "key")) {
                let public = child_bytes(key, "value").try_into();
                let public = public.map_err(|_| anyhow!("a key has 32 bytes"))?;
                bundle.one_time.push_front((number(&child_bytes(key, "id")), public));
            }
            let taken = bundle.take(at.device)?;
            directory::few_left(&mut state, at);
            (peer, taken)
        };
        self.keys.begin(&peer, &bundle).await
    }
}

fn distribution(
    group: &Jid,
    key: Vec<u8>,
) -> MessageField<wa::message::SenderKeyDistributionMessage> {
    MessageField::some(wa::message::SenderKeyDistributionMessage {
        group_id: Some(group.to_string()),
        axolotl_sender_key_distribution_message: Some(key),
    })
}

/// As phones choose them: "3A", and chance.
fn new_id() -> String {
    let chance: [u8; 9] = rand::random();
    chance.iter().fold("3A".to_owned(), |id, byte| format!("{id}{byte:02X}"))
}
