//! A scripted phone: the test is its owner. It sends, shows what arrives, scans codes,
//! and does what a phone does by itself: receipts, keys for its linked devices, a
//! second try for what a device could not read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Result, bail};
use tokio::sync::watch;
use whatsapp_rust::wacore::download::DownloadUtils;
use whatsapp_rust::wacore_binary::Jid;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::waproto::whatsapp as wa;

use super::accounts::{Account, Address, AppState};
use super::compose::Draft;
use super::faults::{Armed, What, When};
use super::node::{NodeBuilder, SERVER, now};
use super::pairing;
use super::screen::{File, Screen, Shown};
use super::signal::Keys;
use super::state::{Shared, State};
use super::{directory, router};

/// A person with a phone. A clone is the same phone.
#[derive(Clone)]
pub struct Phone {
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
    pub(super) keys: Keys,
    pub(super) settings: Arc<AppState>,
    pub(super) screen: Arc<Mutex<Screen>>,
    pub(super) memory: Arc<Mutex<Memory>>,
    /// One thing at a time: sessions advance with every message.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// False while the phone is switched off.
    pub(super) on: Arc<watch::Sender<bool>>,
}

/// What the phone remembers of what it sent.
#[derive(Default)]
pub struct Memory {
    /// By message id: the chat, as it was addressed, and the message.
    pub sent: HashMap<String, (Jid, wa::Message)>,
    /// Who can read this phone's messages to a group, by group and device.
    pub given: HashSet<(String, String)>,
}

/// A linked device, as its phone lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    pub device: u16,
    /// A connection is logged in.
    pub online: bool,
    /// It takes mail.
    pub active: bool,
    /// Stanzas that it has not acknowledged.
    pub waiting: usize,
    /// One-time keys that the server still has of it.
    pub keys: usize,
}

impl Phone {
    /// The address by number.
    pub fn jid(&self) -> Jid {
        self.account(|account| account.pn(0))
    }

    /// The address by LID.
    pub fn lid(&self) -> Jid {
        self.account(|account| account.lid(0))
    }

    /// The number, digits only.
    pub fn number(&self) -> String {
        self.account(|account| account.phone.clone())
    }

    /// Scans the code that a device shows, and waits until the device is linked. The
    /// device's number, or why it was not linked.
    pub async fn scan(&self, code: &str) -> Result<u16> {
        let connection = {
            let mut state = self.shared.lock();
            pairing::scan(&mut state, self.index, &self.keys.identity(), code)?
        };
        self.linked(connection).await
    }

    /// Types the digits that a device shows; otherwise as [`Phone::scan`].
    pub async fn enter(&self, digits: &str) -> Result<u16> {
        let number = self.number();
        let (connection, wrapped) = pairing::wanted(&self.shared.lock(), &number)?;
        let digits = digits.to_owned();
        let typed = move || pairing::type_digits(&wrapped, connection, &digits);
        let hello = tokio::task::spawn_blocking(typed).await??;
        let identity = self.keys.identity();
        pairing::say_hello(&mut self.shared.lock(), hello, &identity)?;
        let answered = || {
            let state = self.shared.lock();
            let Some(offer) = state.offers.get(&connection) else { return Some(false) };
            offer.digits.as_ref().is_some_and(|digits| digits.finish.is_some()).then_some(true)
        };
        if !self.shared.wait("the device's answer to the digits", answered).await {
            bail!("the device went away");
        }
        pairing::finish_digits(&mut self.shared.lock(), connection, self.index, &identity)?;
        self.linked(connection).await
    }

    async fn linked(&self, connection: u64) -> Result<u16> {
        let look = || {
            let state = self.shared.lock();
            match state.offers.get(&connection) {
                None => Some(Ok(state.accounts[self.index].next_device - 1)),
                Some(offer) => offer.refused.clone().map(Err),
            }
        };
        let device = match self.shared.wait("the device to be linked", look).await {
            Ok(device) => device,
            Err(code) => bail!("the device refused: {code}"),
        };
        if !self.account(|account| account.devices.contains_key(&device)) {
            bail!("the device went away");
        }
        Ok(device)
    }

    /// The linked devices.
    pub fn devices(&self) -> Vec<Linked> {
        self.account(|account| {
            let linked = account.devices.iter().map(|(number, device)| Linked {
                device: *number,
                online: device.connection.is_some(),
                active: device.active,
                waiting: device.mail.len(),
                keys: device.bundle.one_time.len(),
            });
            linked.collect()
        })
    }

    /// Waits until a linked device takes its mail and has the phone's settings.
    pub async fn wait_ready(&self, device: u16) {
        let ready = || {
            self.account(|account| {
                let device = account.devices.get(&device)?;
                (device.active && device.has_app_state_key).then_some(())
            })
        };
        self.shared.wait("a device to be ready", ready).await;
    }

    /// Waits until the server has so many one-time keys of a linked device, or more.
    pub async fn wait_keys(&self, device: u16, least: usize) {
        let enough = || {
            let left = self.account(|account| account.devices[&device].bundle.one_time.len());
            (left >= least).then_some(())
        };
        self.shared.wait("a device to bring more keys", enough).await;
    }

    /// Waits until a linked device has no connection.
    pub async fn wait_offline(&self, device: u16) {
        let gone = || {
            self.account(|account| account.devices.get(&device)?.connection.is_none().then_some(()))
        };
        self.shared.wait("a device to go away", gone).await;
    }

    /// Waits until nobody is linked.
    pub async fn wait_unlinked(&self) {
        let none = || self.account(|account| account.devices.is_empty().then_some(()));
        self.shared.wait("the last device to be unlinked", none).await;
    }

    /// Waits until a linked device has acknowledged all that it was sent.
    pub async fn wait_taken(&self, device: u16) {
        let taken =
            || self.account(|account| account.devices.get(&device)?.mail.is_empty().then_some(()));
        self.shared.wait("a device to acknowledge its mail", taken).await;
    }

    /// Writes somebody into the address book, which was empty; linked devices are told.
    pub fn know(&self, whom: &Jid, name: &str) {
        const COLLECTION: &str = "critical_unblock_low";
        let patch = self.settings.contact_patch(whom, name);
        let mut state = self.shared.lock();
        let patches = &mut state.accounts[self.index].patches;
        let before = patches.insert(COLLECTION.to_owned(), vec![patch]);
        assert!(before.is_none_or(|patches| patches.is_empty()));
        let changed = NodeBuilder::new("collection").attr("name", COLLECTION).attr("version", "1");
        let notification = NodeBuilder::new("notification")
            .attr("from", SERVER)
            .attr("type", "server_sync")
            .attr("id", state.number().to_string())
            .attr("t", now())
            .children([changed.build()])
            .build();
        let devices: Vec<u16> = state.accounts[self.index].devices.keys().copied().collect();
        for device in devices {
            state.deliver(Address { account: self.index, device }, notification.clone());
        }
    }

    /// From now on the network says which number belongs to the LID.
    pub fn resolve(&self) {
        self.shared.lock().accounts[self.index].unresolved = false;
    }

    /// "Log out" on the phone's list of devices.
    pub fn unlink(&self, device: u16) {
        directory::remove(&mut self.shared.lock(), Address { account: self.index, device });
        self.shared.changed();
    }

    /// Another connection takes the place of the device's one.
    pub fn replace(&self, device: u16) {
        self.with_connection(device, |state, open| router::conflict(state, open, "replaced"));
    }

    /// Ends the device's connection with such an error.
    pub fn stream_error(&self, device: u16, code: u16) {
        self.with_connection(device, |state, open| state.apply(open, &What::StreamError(code)));
    }

    /// Cuts the device's connection.
    pub fn cut(&self, device: u16) {
        self.with_connection(device, State::close);
    }

    /// Nothing more is written to the device; what it writes is read.
    pub fn silence(&self, device: u16) {
        self.with_connection(device, |state, open| state.apply(open, &What::Silence));
    }

    fn with_connection(&self, device: u16, act: impl FnOnce(&mut State, u64)) {
        let mut state = self.shared.lock();
        let at = Address { account: self.index, device };
        if let Some(connection) = state.device(at).and_then(|device| device.connection) {
            act(&mut state, connection);
        }
    }

    /// Arms a fault for this account's devices.
    pub fn fault(&self, when: When, what: What) {
        let armed = Armed { when, what, account: Some(self.index) };
        self.shared.lock().faults.arm(armed);
    }

    /// Says something in a chat; the message's id. A chat named by LID is spoken to
    /// from the own LID.
    pub async fn send(&self, chat: &Jid, draft: impl Into<Draft>) -> String {
        let outcome = self.post(chat, draft.into()).await;
        self.shared.changed();
        outcome.expect("the phone could not send")
    }

    /// Lets the other side see "typing": `composing`, `recording` or `paused`.
    pub fn typing(&self, chat: &Jid, state: &str) {
        let kind = if state == "paused" { "paused" } else { "composing" };
        let mut body = NodeBuilder::new(kind);
        if state == "recording" {
            body = body.attr("media", "audio");
        }
        let node = NodeBuilder::new("chatstate").attr("to", chat).children([body.build()]);
        router::chat_state(&mut self.shared.lock(), self.at(), &node.build());
    }

    /// Tells the sender that a message was `read` or `played`.
    pub fn mark(&self, shown: &Shown, kind: &str) {
        let to = if shown.chat.is_group() { &shown.chat } else { &shown.sender };
        let mut node = NodeBuilder::new("receipt")
            .attr("to", to)
            .attr("id", shown.id.as_str())
            .attr("type", kind)
            .attr("t", now());
        if shown.chat.is_group() {
            node = node.attr("participant", &shown.sender);
        }
        let node = node.build();
        router::pass_receipt(&mut self.shared.lock(), self.at(), &node, to, Some(kind));
        self.shared.changed();
    }

    /// Everything on the screen, oldest first.
    pub fn shown(&self) -> Vec<Shown> {
        self.screen().shown.clone()
    }

    /// What arrived: everything but what was typed on this phone.
    pub fn received(&self) -> Vec<Shown> {
        self.shown().into_iter().filter(|shown| !shown.here).collect()
    }

    /// Waits, for as long as it takes, for messages after the first `count`.
    pub async fn after(&self, count: usize) -> Vec<Shown> {
        let look = || {
            let screen = self.screen();
            (screen.shown.len() > count).then(|| screen.shown[count..].to_vec())
        };
        self.shared.watch(look).await
    }

    /// Waits for a message like that.
    pub async fn wait_for(&self, what: &str, like: impl Fn(&Shown) -> bool) -> Shown {
        let look = || self.screen().shown.iter().find(|shown| like(shown)).cloned();
        self.shared.wait(&format!("{what} on {}'s phone", self.number()), look).await
    }

    /// Waits for a message to arrive that says exactly that.
    pub async fn wait_text(&self, text: &str) -> Shown {
        self.wait_for(&format!("{text:?}"), |shown| !shown.here && shown.text == text).await
    }

    /// Waits until the screen is as it should be.
    pub async fn wait_screen<T>(&self, what: &str, like: impl Fn(&Screen) -> Option<T>) -> T {
        let look = || like(&self.screen());
        self.shared.wait(&format!("{what} on {}'s phone", self.number()), look).await
    }

    /// Waits for a tick of that kind under an own message: `delivered`, `read`, ...
    pub async fn wait_tick(&self, id: &str, kind: &str) {
        let like = |screen: &Screen| {
            let wanted = |ids: &[String], of: &str| of == kind && ids.iter().any(|one| one == id);
            screen.ticks.iter().any(|tick| wanted(&tick.ids, &tick.kind)).then_some(())
        };
        self.wait_screen(&format!("the tick {kind}"), like).await;
    }

    /// The bytes of a file that came.
    pub fn open(&self, file: &File) -> Result<Vec<u8>> {
        let Some(blob) = self.shared.lock().media.blob(&file.path) else {
            bail!("no such file: {}", file.path);
        };
        Ok(DownloadUtils::verify_and_decrypt(&blob, &file.key, file.kind)?)
    }

    /// Where the file of an own message lies, to let it expire.
    pub fn file_of(&self, id: &str) -> Option<String> {
        let memory = self.memory.lock().unwrap();
        let message = &memory.sent.get(id)?.1;
        super::screen::file(message).map(|file| file.path)
    }

    /// The phone loses its sessions, as after a new installation: it cannot read what
    /// devices that do not know go on to send, and asks them to say it again.
    pub fn lose_sessions(&self) {
        self.keys.lose_sessions();
        self.memory.lock().unwrap().given.clear();
    }

    /// Switches the phone off: what is sent to it waits.
    pub fn switch_off(&self) {
        self.on.send_replace(false);
    }

    pub fn switch_on(&self) {
        self.on.send_replace(true);
    }

    pub fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap()
    }

    pub(super) fn at(&self) -> Address {
        Address { account: self.index, device: 0 }
    }

    pub(super) fn account<T>(&self, look: impl FnOnce(&Account) -> T) -> T {
        look(&self.shared.lock().accounts[self.index])
    }
}
