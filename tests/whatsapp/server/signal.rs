//! A phone's Signal endpoint: its keys, its sessions, its sender keys, in memory.
//! The server itself never looks into a message; only the phones do.
//!
//! Peers are addressed by their LID, whatever the stanza says: one person, one
//! session, as on a real phone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::libsignal::protocol as signal;
use whatsapp_rust::wacore::libsignal::protocol::{
    CiphertextMessage, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey,
    IdentityKeyPair, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage,
    ProtocolAddress, SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SessionRecord,
    SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, Timestamp,
    UsePQRatchet,
};
use whatsapp_rust::wacore::types::jid::JidExt as _;
use whatsapp_rust::wacore_binary::Jid;

use super::accounts::Bundle;
use super::node::seconds;

type Outcome<T> = std::result::Result<T, SignalProtocolError>;

const SIGNED: u32 = 1;
const ONE_TIME: u32 = 20;

/// The keys of one phone. A clone is another handle on the same keys.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    identity: IdentityKeyPair,
    registration: u32,
    signed: SignedPreKeyRecord,
    one_time: HashMap<PreKeyId, PreKeyRecord>,
    identities: HashMap<String, IdentityKey>,
    sessions: HashMap<String, SessionRecord>,
    sender_keys: HashMap<String, SenderKeyRecord>,
}

impl Keys {
    pub fn generate() -> Keys {
        let rng = &mut rng();
        let identity = IdentityKeyPair::generate(rng);
        let pair = KeyPair::generate(rng);
        let signature =
            identity.private_key().calculate_signature(&pair.public_key.serialize(), rng).unwrap();
        let time = Timestamp::from_epoch_millis(seconds() * 1000);
        let one_time = (1..=ONE_TIME).map(|id| {
            let id = PreKeyId::from(id);
            (id, PreKeyRecord::new(id, &KeyPair::generate(&mut self::rng())))
        });
        let inner = Inner {
            registration: rand::random::<u16>().into(),
            signed: SignedPreKeyRecord::new(SIGNED.into(), time, &pair, &signature),
            one_time: one_time.collect(),
            identity,
            identities: HashMap::new(),
            sessions: HashMap::new(),
            sender_keys: HashMap::new(),
        };
        Keys { inner: Arc::new(Mutex::new(inner)) }
    }

    /// What the directory hands out for this phone.
    pub fn bundle(&self) -> Bundle {
        let inner = self.lock();
        let key = |record: &PreKeyRecord| {
            let public = record.public_key().unwrap();
            (u32::from(record.id().unwrap()), raw(&public))
        };
        Bundle {
            registration: inner.registration,
            identity: raw(inner.identity.public_key()),
            signed_id: SIGNED,
            signed: raw(&inner.signed.public_key().unwrap()),
            signature: inner.signed.signature().unwrap().to_vec(),
            one_time: inner.one_time.values().map(key).collect(),
        }
    }

    /// The account's own key, which vouches for linked devices.
    pub fn identity(&self) -> IdentityKeyPair {
        self.lock().identity.clone()
    }

    pub fn knows(&self, peer: &Jid) -> bool {
        self.lock().sessions.contains_key(peer.to_protocol_address().as_str())
    }

    pub fn lose_sessions(&self) {
        let mut inner = self.lock();
        inner.sessions.clear();
        inner.sender_keys.clear();
    }

    /// Begins a session (anew) with a device, from what the directory has of it.
    pub async fn begin(&self, peer: &Jid, bundle: &PreKeyBundle) -> Result<()> {
        let address = peer.to_protocol_address();
        let (mut sessions, mut identities) = (self.clone(), self.clone());
        let rng = &mut rng();
        signal::process_prekey_bundle(
            &address,
            &mut sessions,
            &mut identities,
            bundle,
            rng,
            UsePQRatchet::No,
        )
        .await?;
        Ok(())
    }

    /// Encrypts for a device; the kind is `pkmsg` or `msg`.
    pub async fn encrypt(&self, peer: &Jid, plaintext: &[u8]) -> Result<(&'static str, Vec<u8>)> {
        let address = peer.to_protocol_address();
        let (mut sessions, mut identities) = (self.clone(), self.clone());
        match signal::message_encrypt(plaintext, &address, &mut sessions, &mut identities).await? {
            CiphertextMessage::PreKeySignalMessage(m) => Ok(("pkmsg", m.serialized().to_vec())),
            CiphertextMessage::SignalMessage(m) => Ok(("msg", m.serialized().to_vec())),
            _ => bail!("an unexpected kind of ciphertext"),
        }
    }

    /// Decrypts what a device sent.
    pub async fn decrypt(&self, peer: &Jid, kind: &str, data: &[u8]) -> Result<Vec<u8>> {
        let message = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(data)?),
            "msg" => CiphertextMessage::SignalMessage(SignalMessage::try_from(data)?),
            other => bail!("unknown kind of message {other}"),
        };
        let address = peer.to_protocol_address();
        let (mut sessions, mut identities, mut prekeys) =
            (self.clone(), self.clone(), self.clone());
        let decrypted = signal::message_decrypt(
            &message,
            &address,
            &mut sessions,
            &mut identities,
            &mut prekeys,
            self,
            &mut rng(),
            UsePQRatchet::No,
        )
        .await?;
        Ok(decrypted.plaintext)
    }

    /// The key with which this phone's messages to a group can be read.
    pub async fn sender_key(&self, group: &Jid, me: &Jid) -> Result<Vec<u8>> {
        let mut store = self.clone();
        let name = sender_key_name(group, me);
        let rng = &mut rng();
        let message =
            signal::create_sender_key_distribution_message(&name, &mut store, rng).await?;
        Ok(message.serialized().to_vec())
    }

    /// Forgets the own key for a group: a member left.
    pub fn forget_sender_key(&self, group: &Jid, me: &Jid) {
        self.lock().sender_keys.remove(sender_key_name(group, me).cache_key());
    }

    /// Encrypts for a group.
    pub async fn encrypt_group(&self, group: &Jid, me: &Jid, plain: &[u8]) -> Result<Vec<u8>> {
        let mut store = self.clone();
        let name = sender_key_name(group, me);
        let rng = &mut rng();
        let message = signal::group_encrypt(&mut store, &name, plain, rng).await?;
        Ok(message.serialized().to_vec())
    }

    /// Learns how to read a member's messages.
    pub async fn learn_sender_key(&self, group: &Jid, from: &Jid, message: &[u8]) -> Result<()> {
        let message = SenderKeyDistributionMessage::try_from(message)?;
        let mut store = self.clone();
        let name = sender_key_name(group, from);
        signal::process_sender_key_distribution_message(&name, &message, &mut store).await?;
        Ok(())
    }

    pub async fn decrypt_group(&self, group: &Jid, from: &Jid, data: &[u8]) -> Result<Vec<u8>> {
        let mut store = self.clone();
        let name = sender_key_name(group, from);
        signal::group_decrypt(data, &mut store, &name).await.context("group message")
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// Chance that may be held across an await.
fn rng() -> StdRng {
    rand::make_rng()
}

/// A key without its type byte.
pub fn raw(key: &signal::PublicKey) -> [u8; 32] {
    key.public_key_bytes().try_into().unwrap()
}

fn sender_key_name(group: &Jid, from: &Jid) -> SenderKeyName {
    SenderKeyName::from_parts(&group.to_string(), from.to_protocol_address().as_str())
}

#[async_trait]
impl signal::IdentityKeyStore for Keys {
    async fn get_identity_key_pair(&self) -> Outcome<IdentityKeyPair> {
        Ok(self.lock().identity.clone())
    }

    async fn get_local_registration_id(&self) -> Outcome<u32> {
        Ok(self.lock().registration)
    }

    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> Outcome<IdentityChange> {
        let old = self.lock().identities.insert(address.as_str().to_owned(), *identity);
        Ok(match old {
            Some(old) if old != *identity => IdentityChange::ReplacedExisting,
            _ => IdentityChange::NewOrUnchanged,
        })
    }

    /// A phone goes on talking to a contact whose keys changed.
    async fn is_trusted_identity(
        &self,
        _: &ProtocolAddress,
        _: &IdentityKey,
        _: Direction,
    ) -> Outcome<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Outcome<Option<IdentityKey>> {
        Ok(self.lock().identities.get(address.as_str()).copied())
    }
}

#[async_trait]
impl signal::PreKeyStore for Keys {
    async fn get_pre_key(&self, id: PreKeyId) -> Outcome<PreKeyRecord> {
        self.lock().one_time.get(&id).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Outcome<()> {
        self.lock().one_time.insert(id, record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Outcome<()> {
        self.lock().one_time.remove(&id);
        Ok(())
    }
}

#[async_trait]
impl signal::SignedPreKeyStore for Keys {
    async fn get_signed_pre_key(&self, _: SignedPreKeyId) -> Outcome<SignedPreKeyRecord> {
        Ok(self.lock().signed.clone())
    }

    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        record: &SignedPreKeyRecord,
    ) -> Outcome<()> {
        self.lock().signed = record.clone();
        Ok(())
    }
}

#[async_trait]
impl signal::SessionStore for Keys {
    async fn load_session(&self, address: &ProtocolAddress) -> Outcome<Option<SessionRecord>> {
        Ok(self.lock().sessions.get(address.as_str()).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Outcome<bool> {
        Ok(self.lock().sessions.contains_key(address.as_str()))
    }

    async fn store_session(
        &mut self,
        address: &ProtocolAddress,
        record: SessionRecord,
    ) -> Outcome<()> {
        self.lock().sessions.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

#[async_trait]
impl signal::SenderKeyStore for Keys {
    async fn store_sender_key(
        &mut self,
        name: &SenderKeyName,
        record: SenderKeyRecord,
    ) -> Outcome<()> {
        self.lock().sender_keys.insert(name.cache_key().to_owned(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> Outcome<Option<SenderKeyRecord>> {
        Ok(self.lock().sender_keys.get(name.cache_key()).cloned())
    }
}
