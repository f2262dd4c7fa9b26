//! Linking a device: the codes that it shows, and what the phone does when its owner
//! scans one or types the digits. The device's proofs are checked as WhatsApp does.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::crypto::hkdf_sha256;
use whatsapp_rust::wacore::libsignal::crypto::{CryptographicMac, aes_256_gcm_decrypt};
use whatsapp_rust::wacore::libsignal::protocol::{IdentityKeyPair, KeyPair, PublicKey};
use whatsapp_rust::wacore::pair_code::PairCodeUtils;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::waproto::whatsapp as wa;

use super::accounts::{Account, Address, Bundle, Device};
use super::directory;
use super::faults::{What, When};
use super::node::{
    NodeBuilder, SERVER, attr, child, child_bytes, number, refusal, result, seconds,
};
use super::signal::raw;
use super::state::State;

/// How many codes a device gets before it must connect again.
const REFS: usize = 6;

/// A device that is not linked and shows a code.
pub struct Offer {
    pub noise_key: [u8; 32],
    pub bundle: Bundle,
    /// The codes that may be scanned.
    pub refs: Vec<String>,
    pub digits: Option<Digits>,
    /// The phone took it; the device has not answered yet.
    pub linking: Option<Linking>,
    /// The device refused what the phone said, with this code.
    pub refused: Option<String>,
}

/// A device that asked for digits to be typed.
pub struct Digits {
    /// The number that its owner gave.
    pub phone: String,
    /// The device's key, locked with the digits.
    wrapped: Vec<u8>,
    reference: Vec<u8>,
    /// The phone's answer: its short-lived key, kept for the device's answer.
    primary: Option<(KeyPair, [u8; 32])>,
    /// The device's answer, for the phone.
    pub finish: Option<Node>,
}

pub struct Linking {
    pub account: usize,
    pub device: u16,
    key_index: u32,
}

/// Reads what a device says of itself at its first log-in.
pub fn offer(
    noise_key: [u8; 32],
    data: wa::client_payload::DevicePairingRegistrationData,
    codes: Option<usize>,
) -> Result<Offer> {
    let field = |value: Option<Vec<u8>>| value.context("the registration lacks a field");
    let bundle = Bundle {
        registration: number(&field(data.e_regid)?),
        identity: key(&field(data.e_ident)?)?,
        signed_id: number(&field(data.e_skey_id)?),
        signed: key(&field(data.e_skey_val)?)?,
        signature: field(data.e_skey_sig)?,
        ..Default::default()
    };
    let refs =
        (0..codes.unwrap_or(REFS)).map(|_| STANDARD.encode(rand::random::<[u8; 32]>())).collect();
    Ok(Offer { noise_key, bundle, refs, digits: None, linking: None, refused: None })
}

/// The codes, as the device is given them.
pub fn codes(offer: &Offer, id: u64) -> Node {
    let refs = offer.refs.iter();
    let refs = refs.map(|text| NodeBuilder::new("ref").bytes(text.as_bytes()).build());
    NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "set")
        .attr("id", id.to_string())
        .attr("xmlns", "md")
        .children([NodeBuilder::new("pair-device").children(refs).build()])
        .build()
}

/// The phone scans: the connection that shows this code is told that it is linked.
pub fn scan(
    state: &mut State,
    account: usize,
    identity: &IdentityKeyPair,
    text: &str,
) -> Result<u64> {
    let text = text.rsplit('#').next().unwrap_or_default();
    let parts: Vec<&str> = text.split(',').collect();
    ensure!(parts.len() >= 4, "not a code of a device to link: {text:?}");
    let (connection, offer) = state
        .offers
        .iter()
        .find(|(_, offer)| offer.refs.iter().any(|known| known == parts[0]))
        .context("this code is no longer valid")?;
    let connection = *connection;
    ensure!(STANDARD.decode(parts[1])? == offer.noise_key, "another device's noise key");
    ensure!(STANDARD.decode(parts[2])? == offer.bundle.identity, "another device's identity");
    let secret = STANDARD.decode(parts[3])?;
    link(state, connection, account, identity, &secret)?;
    Ok(connection)
}

/// The device asks for digits.
pub fn ask_for_digits(state: &mut State, connection: u64, query: &Node, request: &Node) {
    let answer = match state.faults.take(When::Digits, None) {
        Some(What::Fail(code)) => refusal(query, code, refusal_text(code)),
        _ => {
            let reference = rand::random::<[u8; 16]>().to_vec();
            let digits = Digits {
                phone: attr(request, "jid").unwrap_or_default().replace("@s.whatsapp.net", ""),
                wrapped: child_bytes(request, "link_code_pairing_wrapped_companion_ephemeral_pub"),
                reference: reference.clone(),
                primary: None,
                finish: None,
            };
            let Some(offer) = state.offers.get_mut(&connection) else { return };
            offer.digits = Some(digits);
            let reference = NodeBuilder::new("link_code_pairing_ref").bytes(reference).build();
            let body = NodeBuilder::new("link_code_companion_reg")
                .attr("stage", "companion_hello")
                .children([reference]);
            result(query).children([body.build()]).build()
        }
    };
    state.send(connection, answer);
}

fn refusal_text(code: u16) -> &'static str {
    match code {
        400 => "bad-request",
        403 => "forbidden",
        429 => "rate-overlimit",
        452 => "feature-not-available",
        _ => "internal-server-error",
    }
}

/// What the phone says to a device whose digits were typed on it.
pub struct Hello {
    pub connection: u64,
    ephemeral: KeyPair,
    wrapped: [u8; 80],
    companion: [u8; 32],
}

/// The phone opens the device's key with the digits. Takes a while, without the lock.
pub fn type_digits(wrapped: &[u8], connection: u64, code: &str) -> Result<Hello> {
    let code = code.replace('-', "").to_uppercase();
    let companion = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped, &code)?;
    let ephemeral = KeyPair::generate(&mut rand::rng());
    let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&raw(&ephemeral.public_key), &code);
    Ok(Hello { connection, ephemeral, wrapped, companion })
}

/// Where the digits for this number are shown.
pub fn wanted(state: &State, phone: &str) -> Result<(u64, Vec<u8>)> {
    let asks = |offer: &Offer| offer.digits.as_ref().is_some_and(|digits| digits.phone == phone);
    let found = state.offers.iter().find(|(_, offer)| asks(offer));
    let (connection, offer) = found.context("no device asks for digits for this number")?;
    let wrapped = offer.digits.as_ref().map(|digits| digits.wrapped.clone());
    Ok((*connection, wrapped.unwrap_or_default()))
}

/// Sends the phone's part to the device.
pub fn say_hello(state: &mut State, hello: Hello, identity: &IdentityKeyPair) -> Result<()> {
    let id = state.number().to_string();
    let offer = state.offers.get_mut(&hello.connection).context("the device is gone")?;
    let digits = offer.digits.as_mut().context("it asks for no digits any more")?;
    let field = |tag: &'static str, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes).build();
    let body =
        NodeBuilder::new("link_code_companion_reg").attr("stage", "primary_hello").children([
            field("link_code_pairing_wrapped_primary_ephemeral_pub", &hello.wrapped),
            field("primary_identity_pub", &raw(identity.public_key())),
            field("link_code_pairing_ref", &digits.reference),
        ]);
    digits.primary = Some((hello.ephemeral, hello.companion));
    let notification = NodeBuilder::new("notification")
        .attr("from", SERVER)
        .attr("type", "link_code_companion_reg")
        .attr("id", id)
        .children([body.build()])
        .build();
    state.send(hello.connection, notification);
    Ok(())
}

/// The phone opens the device's answer; the digits were wrong if it cannot.
pub fn finish_digits(
    state: &mut State,
    connection: u64,
    account: usize,
    identity: &IdentityKeyPair,
) -> Result<()> {
    let offer = state.offers.get_mut(&connection).context("the device is gone")?;
    let companion_identity = offer.bundle.identity;
    let digits = offer.digits.as_mut().context("it asks for no digits any more")?;
    let finish = digits.finish.take().context("the device has not answered")?;
    let (ephemeral, companion) = digits.primary.take().context("the phone said nothing")?;
    let wrapped = child_bytes(&finish, "link_code_pairing_wrapped_key_bundle");
    ensure!(wrapped.len() > 44, "a key bundle of {} bytes", wrapped.len());
    let agree = |private: &whatsapp_rust::wacore::libsignal::protocol::PrivateKey,
                 with: &[u8; 32]| {
        let with = PublicKey::from_djb_public_key_bytes(with)?;
        anyhow::Ok(private.calculate_agreement(&with)?.to_vec())
    };
    let shared = agree(&ephemeral.private_key, &companion)?;
    let info = b"link_code_pairing_key_bundle_encryption_key";
    let key: [u8; 32] =
        hkdf_sha256(&shared, 32, Some(&wrapped[..32]), info)?.as_slice().try_into()?;
    let mut bundle = Vec::new();
    let opened =
        aes_256_gcm_decrypt(&key, wrapped[32..44].try_into()?, b"", &wrapped[44..], &mut bundle);
    if opened.is_err() {
        bail!("wrong digits");
    }
    ensure!(bundle.len() == 96 && bundle[..32] == companion_identity, "not the device's bundle");
    let agreed = agree(identity.private_key(), &companion_identity)?;
    let secret = hkdf_sha256(&[&shared, &agreed, &bundle[64..]].concat(), 32, None, b"adv_secret")?;
    link(state, connection, account, identity, &secret)
}

/// The phone vouches for the device, and the server tells the device so.
fn link(
    state: &mut State,
    connection: u64,
    account: usize,
    identity: &IdentityKeyPair,
    secret: &[u8],
) -> Result<()> {
    let owner = &mut state.accounts[account];
    let device = owner.next_device;
    owner.next_device += 1;
    let key_index = u32::from(device);
    let (pn, lid) = (owner.pn(device), owner.lid(device));
    let migrated = owner.migrated;
    let offer = state.offers.get_mut(&connection).context("the device is gone")?;
    ensure!(offer.linking.is_none(), "this device is being linked already");
    offer.refs.clear();
    offer.refused = None;
    offer.linking = Some(Linking { account, device, key_index });
    let details = wa::ADVDeviceIdentity {
        raw_id: Some(1),
        timestamp: Some(seconds()),
        key_index: Some(key_index),
        ..Default::default()
    }
    .encode_to_vec();
    let signed = [&[6, 0], details.as_slice(), &offer.bundle.identity].concat();
    let signature = identity.private_key().calculate_signature(&signed, &mut rand::rng())?;
    let inner = wa::ADVSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(raw(identity.public_key()).to_vec()),
        account_signature: Some(signature.to_vec()),
        ..Default::default()
    }
    .encode_to_vec();
    let mut hmac = mac(secret, &inner);
    let fault = state.faults.take(When::Linked, Some(account));
    if fault == Some(What::Garble) {
        hmac[0] ^= 1;
    }
    let outer = wa::ADVSignedDeviceIdentityHMAC {
        details: Some(inner),
        hmac: Some(hmac),
        ..Default::default()
    };
    let props =
        wa::ClientPairingProps { is_chat_db_lid_migrated: Some(migrated), ..Default::default() };
    let success = NodeBuilder::new("pair-success").children([
        NodeBuilder::new("device-identity").bytes(outer.encode_to_vec()).build(),
        NodeBuilder::new("device").attr("jid", pn).attr("lid", lid).build(),
        NodeBuilder::new("platform").attr("name", "android").build(),
        NodeBuilder::new("client-props").bytes(props.encode_to_vec()).build(),
    ]);
    let id = state.number().to_string();
    let iq = NodeBuilder::new("iq")
        .attr("from", SERVER)
        .attr("type", "set")
        .attr("id", id)
        .attr("xmlns", "md")
        .attr("t", seconds().to_string())
        .children([success.build()]);
    match fault {
        Some(What::Garble) | None => state.send(connection, iq.build()),
        Some(other) => state.apply(connection, &other),
    }
    Ok(())
}

/// The device's answer to `pair-success`: it is linked, and must log in anew.
pub fn signed(state: &mut State, connection: u64, answer: &Node) -> Result<()> {
    let Some(offer) = state.offers.get_mut(&connection) else { return Ok(()) };
    if attr(answer, "type").as_deref() == Some("error") {
        offer.linking = None;
        let code = child(answer, "error").and_then(|error| attr(error, "code"));
        offer.refused = Some(code.unwrap_or_default());
        return Ok(());
    }
    let Some(sign) = child(answer, "pair-device-sign") else { return Ok(()) };
    let offer = state.offers.remove(&connection).context("no offer")?;
    let linking = offer.linking.context("the phone has not taken this device")?;
    let identity = child_bytes(sign, "device-identity");
    check(&state.accounts[linking.account], &offer.bundle.identity, &identity)?;
    let device = Device {
        noise_key: offer.noise_key,
        bundle: offer.bundle,
        identity,
        key_index: linking.key_index,
        connection: None,
        active: false,
        has_app_state_key: false,
        mail: Default::default(),
        backlog: 0,
    };
    let at = Address { account: linking.account, device: linking.device };
    state.accounts[at.account].devices.insert(at.device, device);
    directory::announce(state, at, "add");
    state.apply(connection, &What::StreamError(515));
    Ok(())
}

/// Whether the device really signed.
fn check(account: &Account, device: &[u8; 32], identity: &[u8]) -> Result<()> {
    let signed = wa::ADVSignedDeviceIdentity::decode_from_slice(identity)?;
    let details = signed.details.unwrap_or_default();
    let message = [&[6, 1], details.as_slice(), device, &account.bundle.identity].concat();
    let signature = signed.device_signature.context("the device did not sign")?;
    let key = PublicKey::from_djb_public_key_bytes(device)?;
    ensure!(key.verify_signature(&message, &signature), "the device's signature is wrong");
    Ok(())
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = CryptographicMac::new("HmacSha256", key).unwrap();
    mac.update(data);
    mac.finalize()
}

fn key(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().context("a key has 32 bytes")
}
