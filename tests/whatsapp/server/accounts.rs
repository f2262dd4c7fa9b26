//! People: a number, a LID, a name, a phone, and the devices linked to it, with what
//! the directory says of them and what waits for them while they are away.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::Result;
use tokio::sync::mpsc::UnboundedSender;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::iq::prekeys::{
    OneTimePreKeyNode, PreKeyBundleUserNode, SignedPreKeyNode,
};
use whatsapp_rust::wacore::libsignal::protocol::{
    IdentityKey, PreKeyBundle, PublicKey, SignalProtocolError,
};
use whatsapp_rust::wacore::protocol::ProtocolNode as _;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::node::seconds;

/// Which of an account's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Index of the account.
    pub account: usize,
    /// 0 is the phone.
    pub device: u16,
}

/// One person.
pub struct Account {
    /// Digits only.
    pub phone: String,
    /// The digits of its LID.
    pub lid: String,
    /// As others see it.
    pub name: String,
    /// The directory tells nobody which LID and number belong together.
    pub unresolved: bool,
    /// Its chats are kept under LIDs; linked devices are told so.
    pub migrated: bool,
    /// The phone's public keys.
    pub bundle: Bundle,
    /// Linked devices by number.
    pub devices: BTreeMap<u16, Device>,
    /// The phone's mail.
    pub inbox: UnboundedSender<Node>,
    /// Who is told of its presence.
    pub watchers: Vec<Address>,
    /// What linked devices keep in common: patches by collection.
    pub patches: HashMap<String, Vec<Vec<u8>>>,
    pub next_device: u16,
}

/// A linked device.
pub struct Device {
    /// By which it is recognised at log-in.
    pub noise_key: [u8; 32],
    pub bundle: Bundle,
    /// The identity that the phone and the device signed.
    pub identity: Vec<u8>,
    /// Its place in the signed list of devices.
    pub key_index: u32,
    /// The connection that it is logged in on.
    pub connection: Option<u64>,
    /// It asked for its mail; until then nothing is delivered.
    pub active: bool,
    /// It has the phone's key for common settings.
    pub has_app_state_key: bool,
    /// What it has not acknowledged, oldest first.
    pub mail: VecDeque<Mail>,
    /// How many of the mail were waiting when it came back.
    pub backlog: usize,
}

/// A stanza on its way to a linked device, kept until it is acknowledged.
pub struct Mail {
    pub node: Node,
    /// Sent on the present connection.
    pub sent: bool,
}

/// Public keys, as the directory hands them out.
#[derive(Clone, Default)]
pub struct Bundle {
    pub registration: u32,
    pub identity: [u8; 32],
    pub signed_id: u32,
    pub signed: [u8; 32],
    pub signature: Vec<u8>,
    /// Each is handed out once.
    pub one_time: VecDeque<(u32, [u8; 32])>,
}

impl Account {
    /// Its address by number.
    pub fn pn(&self, device: u16) -> Jid {
        Jid::pn_device(&self.phone, device)
    }

    /// Its address by LID.
    pub fn lid(&self, device: u16) -> Jid {
        Jid::lid_device(&self.lid, device)
    }

    /// Its address, in the way that `like` is addressed.
    pub fn like(&self, like: &Jid, device: u16) -> Jid {
        match like.is_lid() {
            true => self.lid(device),
            false => self.pn(device),
        }
    }

    /// Its address in the other way, where the directory tells.
    pub fn other(&self, than: &Jid) -> Option<Jid> {
        (!self.unresolved).then(|| match than.is_lid() {
            true => self.pn(than.device),
            false => self.lid(than.device),
        })
    }

    /// All its devices, the phone first.
    pub fn all_devices(&self) -> Vec<u16> {
        std::iter::once(0).chain(self.devices.keys().copied()).collect()
    }

    /// The list of linked devices, as the phone signs it. The signature is left out:
    /// no client of ours checks it.
    pub fn key_index_list(&self) -> Vec<u8> {
        let indexes: Vec<u32> = self.devices.values().map(|device| device.key_index).collect();
        let details = wa::ADVKeyIndexList {
            raw_id: Some(1),
            timestamp: Some(seconds()),
            current_index: Some(indexes.iter().copied().max().unwrap_or(0)),
            valid_indexes: indexes,
            ..Default::default()
        };
        wa::ADVSignedKeyIndexList { details: Some(details.encode_to_vec()), ..Default::default() }
            .encode_to_vec()
    }
}

impl Bundle {
    /// The keys for a first message, as a stanza; uses up a one-time key.
    pub fn hand_out(&mut self, jid: Jid, identity: Option<Vec<u8>>) -> Node {
        let one_time = self.one_time.pop_front();
        PreKeyBundleUserNode {
            jid,
            registration_id: self.registration,
            identity_key: self.identity.to_vec(),
            signed_pre_key: SignedPreKeyNode::new(
                self.signed_id,
                self.signed.to_vec(),
                self.signature.clone(),
            ),
            one_time_pre_key: one_time.map(|(id, key)| OneTimePreKeyNode::new(id, key.to_vec())),
            device_identity: identity,
        }
        .into_node()
    }

    /// The same, for a phone.
    pub fn take(&mut self, device: u16) -> Result<PreKeyBundle> {
        let one_time = match self.one_time.pop_front() {
            Some((id, key)) => Some((id.into(), PublicKey::from_djb_public_key_bytes(&key)?)),
            None => None,
        };
        let bundle: Result<_, SignalProtocolError> = PreKeyBundle::new(
            self.registration,
            u32::from(device).into(),
            one_time,
            self.signed_id.into(),
            PublicKey::from_djb_public_key_bytes(&self.signed)?,
            self.signature.clone(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&self.identity)?),
        );
        Ok(bundle?)
    }
}

/// The settings that linked devices share: a key, and one change under it, the name.
pub struct AppState {
    pub key_id: Vec<u8>,
    pub key: [u8; 32],
}

impl AppState {
    pub fn generate() -> AppState {
        AppState { key_id: rand::random::<[u8; 6]>().to_vec(), key: rand::random() }
    }

    /// The first patch of `critical_block`: the account's name.
    pub fn name_patch(&self, name: &str) -> Vec<u8> {
        let setting = wa::sync_action_value::PushNameSetting { name: Some(name.to_owned()) };
        let value = wa::SyncActionValue {
            push_name_setting: MessageField::some(setting),
            ..Default::default()
        };
        self.first_patch("critical_block", br#"["setting_pushName"]"#, value)
    }

    /// The first patch of `critical_unblock_low`: somebody in the address book.
    pub fn contact_patch(&self, jid: &Jid, name: &str) -> Vec<u8> {
        let contact = wa::sync_action_value::ContactAction {
            full_name: Some(name.to_owned()),
            ..Default::default()
        };
        let value = wa::SyncActionValue {
            contact_action: MessageField::some(contact),
            ..Default::default()
        };
        let index = serde_json::json!(["contact", jid.to_string()]).to_string();
        self.first_patch("critical_unblock_low", index.as_bytes(), value)
    }

    fn first_patch(&self, collection: &str, index: &[u8], value: wa::SyncActionValue) -> Vec<u8> {
        use whatsapp_rust::wacore::appstate;
        use whatsapp_rust::wacore::appstate::hash::{HashState, generate_patch_mac};

        let keys = appstate::expand_app_state_keys(&self.key);
        let value = wa::SyncActionValue { timestamp: Some(seconds() as i64 * 1000), ..value };
        let (mutation, _) = appstate::encode_record(
            wa::syncd_mutation::SyncdOperation::SET,
            index,
            &value,
            &keys,
            &self.key_id,
            &rand::random(),
            1,
        );
        let mut state = HashState { version: 1, ..Default::default() };
        let mutations = vec![mutation];
        let (_, outcome) = state.update_hash(&mutations, |_, _| Ok(None));
        outcome.unwrap();
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(1) }),
            mutations,
            snapshot_mac: Some(state.generate_snapshot_mac(collection, &keys.snapshot_mac)),
            key_id: MessageField::some(wa::KeyId { id: Some(self.key_id.clone()) }),
            device_index: Some(0),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, collection, &keys.patch_mac, 1));
        patch.encode_to_vec()
    }

    /// How the phone gives the key to a linked device.
    pub fn share(&self) -> wa::Message {
        use wa::message as m;
        let data = m::AppStateSyncKeyData {
            key_data: Some(self.key.to_vec()),
            fingerprint: MessageField::some(m::AppStateSyncKeyFingerprint {
                raw_id: Some(1),
                current_index: Some(1),
                device_indexes: vec![0, 1],
            }),
            timestamp: Some(seconds() as i64),
        };
        let key = m::AppStateSyncKey {
            key_id: MessageField::some(m::AppStateSyncKeyId { key_id: Some(self.key_id.clone()) }),
            key_data: MessageField::some(data),
        };
        wa::Message {
            protocol_message: MessageField::some(m::ProtocolMessage {
                r#type: Some(m::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
                app_state_sync_key_share: MessageField::some(m::AppStateSyncKeyShare {
                    keys: vec![key],
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}
