//! The life of the link: when a connection is made, what ends it, and what then.
//!
//! The library connects again by itself, for ever and with growing pauses, as long
//! as that can help. What it gives up for good is one of the states of [`Link`], and
//! none of those is tried again unasked but the end of a ban. One task owns all this;
//! others see the row, and leave a [`Wish`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use whatsapp_rust::prelude::{Client, Event};
use whatsapp_rust::wacore::types::presence::ReceiptType;

use super::client::{self, Running};
use super::contacts;
use super::hook::{self, Hook};
use super::link::{self, Happened, Link, State, Wish, removed};
use super::rooms;
use super::send::WhatsApp;
use super::store;
use crate::channel::Inlet;
use crate::crash;
use crate::db::{self, now_ms};
use crate::outbox::Outbox;

/// How often is looked whether the machine slept or the connection hangs.
const LOOK: Duration = Duration::from_secs(5);
/// The time from one look to the next, by the wall clock, that means sleep: of the
/// machine or of this process alone.
const SLEPT: Duration = Duration::from_secs(15);
/// How long a connection may take to carry messages before it is made anew.
const HANGS: Duration = Duration::from_secs(180);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// The pause after something that should not happen.
const PAUSE: Duration = Duration::from_secs(30);

/// The owner of the connection.
pub struct Life {
    whatsapp: WhatsApp,
    hook: Hook,
    outbox: Option<Outbox>,
    poke: Arc<Notify>,
    state: watch::Sender<Link>,
}

/// How a connection ended.
enum Ended {
    /// The daemon ends.
    Stopped,
    /// The owner wants something else.
    Wish(Wish),
    /// For good; the row says why.
    Over,
    /// The link is no more, as this says: its keys are to go.
    Forget(Happened),
    /// It is to be made anew after a pause.
    Again(Duration),
}

impl Life {
    /// Of this channel. Without an inlet it links an account and receives nothing.
    pub fn new(whatsapp: WhatsApp, inlet: Option<Inlet>, outbox: Option<Outbox>) -> Life {
        let hook = Hook::new(whatsapp.clone(), inlet);
        Life { whatsapp, hook, outbox, poke: Arc::default(), state: watch::Sender::default() }
    }

    /// Notified when there may be a wish.
    pub fn poke(&self) -> Arc<Notify> {
        self.poke.clone()
    }

    /// How things stand, from now on.
    pub fn watch(&self) -> watch::Receiver<Link> {
        self.state.subscribe()
    }

    /// Runs until `stop`, then says goodbye.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let (mut wish, mut first) = (self.wish().await, true);
        loop {
            // What cannot be read is not connected.
            let link = self.whatsapp.ledger().write(link::read).await.unwrap_or_default();
            self.state.send_replace(link.clone());
            let go = match wish.take() {
                Some(Wish::Link(phone)) => Some(phone),
                // The phone lists the device until it is told: see `serve`.
                Some(Wish::Unlink) if link.is_linked() => {
                    _ = self.whatsapp.ledger().write(|c| link::wish(c, &Wish::Unlink)).await;
                    self.poke.notify_one();
                    Some(None)
                }
                Some(Wish::Unlink) => {
                    self.forget(removed()).await;
                    None
                }
                Some(Wish::Cancel) => None,
                // The start of the daemon is somebody's wish, and so is the end of a ban.
                None if first || link.state == State::Banned => {
                    link.may_connect(now_ms()).then_some(None)
                }
                None if link.state == State::Down => Some(None),
                None => None,
            };
            first = false;
            let Some(phone) = go else {
                if !link.is_linked() && link.state == State::Linking {
                    self.note(Happened::NotLinked("linking was interrupted".into())).await;
                }
                let rest = async {
                    match link.until.filter(|_| link.state == State::Banned) {
                        Some(until) => {
                            let left = until.saturating_sub(now_ms()).max(1_000);
                            sleep(Duration::from_millis(left.unsigned_abs())).await;
                        }
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = &mut stop => return,
                    wanted = self.next_wish() => wish = Some(wanted),
                    () = rest => {}
                }
                continue;
            };
            match self.connection(phone, stop.as_mut()).await {
                Ended::Stopped => return,
                Ended::Wish(wanted) => wish = Some(wanted),
                Ended::Over => {}
                Ended::Forget(happened) => self.forget(happened).await,
                Ended::Again(pause) => {
                    self.note(Happened::Lost("it is made anew".into())).await;
                    tokio::select! {
                        () = &mut stop => return,
                        wanted = self.next_wish() => wish = Some(wanted),
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// One run of the library, and its goodbye.
    async fn connection(
        &self,
        phone: Option<String>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Ended {
        let config = self.whatsapp.config();
        let before = self.note(Happened::Begun).await;
        if !before.is_linked() {
            // Of a link that is no more, or was not made whole.
            self.wipe();
        } else if !config.whatsapp_store().exists() {
            return Ended::Forget(Happened::LoggedOut("its keys are gone".into()));
        }
        let phone = phone.filter(|_| !before.is_linked());
        let opened = async {
            let store = store::open(&config.whatsapp_store()).await?;
            client::start(config, store, self.hook.clone(), phone).await
        };
        let mut running = match opened.await {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "WhatsApp cannot be started");
                if before.is_linked() {
                    return Ended::Again(PAUSE);
                }
                self.note(Happened::NotLinked(format!("{error:#}"))).await;
                return Ended::Over;
            }
        };
        let ended = self.serve(&mut running, stop).await;
        self.whatsapp.connected(None);
        // What the library has not written yet is written now.
        let _ = tokio::time::timeout(GOODBYE, running.handle.client().disconnect()).await;
        ended
    }

    async fn serve(
        &self,
        running: &mut Running,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Ended {
        let mut last: Option<Happened> = None;
        let (mut looked, mut since) = (SystemTime::now(), Instant::now());
        let mut look = interval_at(since + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(event) = running.events.recv() => {
                    if let Some(happened) = self.take(running, &event).await {
                        if matches!(happened, Happened::Connected(..) | Happened::Lost(_)) {
                            since = Instant::now();
                        }
                        if matches!(happened, Happened::NotLinked(_)) {
                            return Ended::Over;
                        }
                        last = Some(happened);
                    }
                }
                () = &mut running.handle => return ended(last),
                () = &mut stop => return Ended::Stopped,
                () = self.poke.notified() => match self.wish().await {
                    None => {}
                    Some(Wish::Unlink) => {
                        let client = running.handle.client();
                        let _ = client.wait_for_connected(GOODBYE).await;
                        client.logout().await;
                        crash::point("whatsapp before wiping", &"keys");
                        return Ended::Forget(removed());
                    }
                    Some(Wish::Cancel) if !self.state.borrow().is_linked() => {
                        self.note(Happened::NotLinked("linking was cancelled".into())).await;
                        return Ended::Over;
                    }
                    // A new code, perhaps of the other kind.
                    Some(wish @ Wish::Link(_)) if !self.state.borrow().is_linked() => {
                        return Ended::Wish(wish);
                    }
                    // Who asks to connect while it is down waits no longer.
                    Some(Wish::Link(_)) if self.state.borrow().state == State::Down => {
                        return Ended::Again(Duration::ZERO);
                    }
                    Some(Wish::Link(_) | Wish::Cancel) => {}
                },
                _ = look.tick() => {
                    if self.state.borrow().has_run_out(now_ms()) {
                        let why = "nobody typed the code in time: run `nanoclaw auth whatsapp` again";
                        self.note(Happened::NotLinked(why.into())).await;
                        return Ended::Over;
                    }
                    let passed = SystemTime::now().duration_since(looked).unwrap_or_default();
                    looked = SystemTime::now();
                    let slept = passed > SLEPT;
                    let carries = self.whatsapp.client().is_some();
                    let client = running.handle.client();
                    let hangs = !carries && client.is_connected() && since.elapsed() > HANGS;
                    if !(slept || hangs) || !self.state.borrow().is_linked() {
                        if carries {
                            self.hook.give_up().await;
                        }
                        continue;
                    }
                    tracing::info!(slept, "making the connection anew");
                    if slept && !carries {
                        // Its pause may last a quarter of an hour; the network is back now.
                        return Ended::Again(Duration::ZERO);
                    }
                    since = Instant::now();
                    client.reconnect_immediately().await;
                }
            }
        }
    }

    /// What an event leads to; what it means for how things stand.
    async fn take(&self, running: &Running, event: &Arc<Event>) -> Option<Happened> {
        let client = running.handle.client();
        crash::point("whatsapp hearing", event);
        contacts::take(&self.whatsapp, event).await;
        let happened = match &**event {
            Event::ServerAck(ack) => {
                if ack.class.as_deref().is_none_or(|class| class == "message") {
                    self.whatsapp.acks().tell(&ack.id, ack.error.clone());
                }
                return None;
            }
            Event::Receipt(receipt) => {
                use ReceiptType::{Delivered, Inactive, Played, Read};
                if matches!(receipt.r#type, Delivered | Read | Played | Inactive) {
                    let (ids, ledger) = (receipt.message_ids.to_vec(), self.whatsapp.ledger());
                    ledger.note("a delivery", move |c| db::outbox::delivered(c, &ids)).await;
                    crash::point("whatsapp after noting", &"delivery");
                }
                return None;
            }
            Event::Messages(batch) if !batch.hook_committed => {
                // Recovered by the phone, past the hook. It is not sent again, and it
                // must not hold up the events either.
                let (hook, batch) = (self.hook.clone(), batch.clone());
                tokio::spawn(async move {
                    if let Err(error) = hook.take(&client, &batch.messages).await {
                        tracing::error!(%error, "a message that the phone recovered was not stored");
                    }
                });
                return None;
            }
            Event::UndecryptableMessage(message) => {
                self.hook.unread(&client, message);
                tokio::spawn(hook::ask_again(client, message.info.clone()));
                return None;
            }
            Event::GroupUpdate(update) => {
                rooms::changed(&self.whatsapp, client, update.group_jid.clone());
                return None;
            }
            Event::Connected(_) => {
                let jid = |jid: Option<whatsapp_rust::Jid>| jid.map(|j| j.to_non_ad().to_string());
                let connected = Happened::Connected(jid(client.pn()), jid(client.lid()));
                self.note(connected.clone()).await;
                self.connected(&client).await;
                return Some(connected);
            }
            other => client::happened(other)?,
        };
        if !matches!(happened, Happened::Qr(..) | Happened::Code(..) | Happened::Paired(..)) {
            self.whatsapp.connected(None);
        }
        self.note(happened.clone()).await;
        Some(happened)
    }

    async fn connected(&self, client: &Arc<Client>) {
        // The library says "online" at a login; the owner's phone would be silent then.
        if let Err(error) = client.presence().set_unavailable().await {
            tracing::debug!(%error, "presence was not set");
        }
        // Who writes sees that it arrived, although nobody is online.
        client.set_force_active_delivery_receipts(true);
        self.link_self().await;
        self.whatsapp.connected(Some(client.clone()));
        if let Some(outbox) = &self.outbox {
            outbox.wake();
            rooms::all(&self.whatsapp, client.clone(), outbox.clone());
        }
    }

    /// Links the chat with oneself to main, once for each account.
    async fn link_self(&self) {
        let (link, own) = (self.state.borrow().clone(), self.whatsapp.config().own_number);
        let adopt = move |c: &rusqlite::Connection| link::adopt(c, &link, own);
        self.whatsapp.ledger().note("your chat with yourself as main's", adopt).await;
    }

    /// Removes the keys of a link that is no more.
    async fn forget(&self, happened: Happened) {
        self.wipe();
        crash::point("whatsapp after wiping", &"keys");
        self.note(happened).await;
    }

    fn wipe(&self) {
        if let Err(error) = store::wipe(&self.whatsapp.config().whatsapp_store()) {
            tracing::error!(%error, "the keys of the link are still there");
        }
    }

    async fn note(&self, happened: Happened) -> Link {
        crash::point("whatsapp before", &happened);
        let name = crash::name(&happened);
        let noted = self.whatsapp.ledger().write(move |c| link::note(c, &happened)).await;
        crash::point("whatsapp after", &name);
        match noted {
            Ok((before, after)) => {
                if before.state != after.state {
                    tracing::info!(from = ?before.state, to = ?after.state, "WhatsApp");
                }
                self.state.send_replace(after.clone());
                after
            }
            Err(error) => {
                tracing::error!(%error, "cannot note how things stand with WhatsApp");
                self.state.borrow().clone()
            }
        }
    }

    async fn wish(&self) -> Option<Wish> {
        let wish = self.whatsapp.ledger().write(link::take_wish).await.unwrap_or_default();
        wish.inspect(|wish| crash::point("whatsapp obeying", wish))
    }

    async fn next_wish(&self) -> Wish {
        loop {
            let poked = self.poke.notified();
            if let Some(wish) = self.wish().await {
                return wish;
            }
            poked.await;
        }
    }
}

/// The library has given up; what had happened last says why.
fn ended(last: Option<Happened>) -> Ended {
    match last {
        Some(out @ Happened::LoggedOut(_)) => Ended::Forget(out),
        Some(happened) if happened.is_final() => Ended::Over,
        _ => {
            tracing::warn!("the connection ended by itself");
            Ended::Again(PAUSE)
        }
    }
}
