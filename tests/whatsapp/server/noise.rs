//! The responder of the Noise handshake, in both shapes that WhatsApp has: XX at the
//! first contact, IK where the client remembers the server's key. The certificate
//! chain is really signed, so a strict peer that is told our root accepts it.

use anyhow::{Context as _, Result, ensure};
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::handshake::NoiseHandshake;
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore::noise::NoiseCipher;
use whatsapp_rust::wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, WA_CONN_HEADER};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::cert_chain::noise_certificate::Details;

use super::node::seconds;

const DAY: u64 = 86_400;

/// The server's long-lived key and its certificates; the same after a restart.
pub struct Identity {
    root: KeyPair,
    static_key: KeyPair,
    certificates: Vec<u8>,
}

/// What a finished handshake leaves.
pub struct Secured {
    pub write: NoiseCipher,
    pub read: NoiseCipher,
    /// The client's key, by which a linked device is known.
    pub client: [u8; 32],
    /// The encoded `ClientPayload`.
    pub payload: Vec<u8>,
}

/// A handshake after the client's first message.
pub struct Answered {
    /// What to send now.
    pub hello: Vec<u8>,
    noise: NoiseHandshake,
    ephemeral: KeyPair,
    /// Known already: the client spoke IK.
    early: Option<([u8; 32], Vec<u8>)>,
}

impl Identity {
    pub fn generate() -> Identity {
        let (root, intermediate, static_key) = (key(), key(), key());
        let certificates = wa::CertChain {
            intermediate: MessageField::some(certificate(&root, 0, 1, &intermediate)),
            leaf: MessageField::some(certificate(&intermediate, 1, 2, &static_key)),
        };
        Identity { root, static_key, certificates: certificates.encode_to_vec() }
    }

    /// The key that signs the chain.
    pub fn root(&self) -> [u8; 32] {
        public(&self.root)
    }

    /// Answers the first message of a client.
    pub fn answer(&self, first: &[u8]) -> Result<Answered> {
        let hello = wa::HandshakeMessage::decode_from_slice(first)?
            .client_hello
            .into_option()
            .context("no ClientHello")?;
        let theirs: [u8; 32] = array(hello.ephemeral)?;
        let pattern = match hello.r#static {
            Some(_) => NOISE_PATTERN_IK,
            None => NOISE_PATTERN_XX,
        };
        let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER)?;
        let ephemeral = key();
        let ours = private(&ephemeral);
        let server = private(&self.static_key);
        let mut early = None;
        if let Some(encrypted) = hello.r#static {
            noise.authenticate(&public(&self.static_key));
            noise.authenticate(&theirs);
            noise.mix_shared_secret(&server, &theirs)?;
            let client: [u8; 32] = array(Some(noise.decrypt(&encrypted)?))?;
            noise.mix_shared_secret(&server, &client)?;
            let payload = noise.decrypt(&hello.payload.context("no payload")?)?;
            noise.authenticate(&public(&ephemeral));
            noise.mix_shared_secret(&ours, &theirs)?;
            noise.mix_shared_secret(&ours, &client)?;
            early = Some((client, payload));
        } else {
            noise.authenticate(&theirs);
            noise.authenticate(&public(&ephemeral));
            noise.mix_shared_secret(&ours, &theirs)?;
        }
        let r#static = match early {
            Some(_) => None,
            None => {
                let encrypted = noise.encrypt(&public(&self.static_key))?;
                noise.mix_shared_secret(&server, &theirs)?;
                Some(encrypted)
            }
        };
        let answer = wa::HandshakeMessage {
            server_hello: MessageField::some(wa::handshake_message::ServerHello {
                ephemeral: Some(public(&ephemeral).to_vec()),
                r#static,
                payload: Some(noise.encrypt(&self.certificates)?),
                ..Default::default()
            }),
            ..Default::default()
        };
        Ok(Answered { hello: answer.encode_to_vec(), noise, ephemeral, early })
    }
}

impl Answered {
    /// Whether the client owes another message.
    pub fn waits(&self) -> bool {
        self.early.is_none()
    }

    /// Ends the handshake, with the client's second message where it owes one.
    pub fn finish(mut self, second: Option<&[u8]>) -> Result<Secured> {
        let (client, payload) = match (self.early, second) {
            (Some(early), _) => early,
            (None, Some(second)) => {
                let finish = wa::HandshakeMessage::decode_from_slice(second)?
                    .client_finish
                    .into_option()
                    .context("no ClientFinish")?;
                let encrypted = finish.r#static.context("no static key")?;
                let client: [u8; 32] = array(Some(self.noise.decrypt(&encrypted)?))?;
                self.noise.mix_shared_secret(&private(&self.ephemeral), &client)?;
                let payload = self.noise.decrypt(&finish.payload.context("no payload")?)?;
                (client, payload)
            }
            (None, None) => anyhow::bail!("the client did not finish"),
        };
        // The names are the client's: what it writes, we read.
        let (theirs, ours) = self.noise.finish()?;
        Ok(Secured { write: ours, read: theirs, client, payload })
    }
}

fn certificate(
    issuer: &KeyPair,
    issuer_serial: u32,
    serial: u32,
    of: &KeyPair,
) -> wa::cert_chain::NoiseCertificate {
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(public(of).to_vec()),
        not_before: Some(seconds() - DAY),
        not_after: Some(seconds() + 365 * DAY),
    }
    .encode_to_vec();
    let signature = issuer.private_key.calculate_signature(&details, &mut rand::rng()).unwrap();
    wa::cert_chain::NoiseCertificate { details: Some(details), signature: Some(signature.to_vec()) }
}

fn key() -> KeyPair {
    KeyPair::generate(&mut rand::rng())
}

fn public(pair: &KeyPair) -> [u8; 32] {
    pair.public_key.public_key_bytes().try_into().unwrap()
}

fn private(pair: &KeyPair) -> Vec<u8> {
    pair.private_key.serialize().to_vec()
}

fn array(bytes: Option<Vec<u8>>) -> Result<[u8; 32]> {
    let bytes = bytes.context("a key is missing")?;
    ensure!(bytes.len() == 32, "a key of {} bytes", bytes.len());
    Ok(bytes.try_into().unwrap())
}
