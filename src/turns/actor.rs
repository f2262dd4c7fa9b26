//! One group's task: takes events, asks [`state`](super::state) what to do, and
//! does it. What it knows beyond the state is only how to reach the guest.
//!
//! The order in which a step is carried out is what makes a crash harmless: rows
//! first, in one commit; only then the new state, and everything the outside sees.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::budget;
use super::guest::{self, Guest, Host};
use super::rows::{self, Ended, Payload};
use super::slots::Place;
use super::state::{self, Effect, Event, Rules, State};
use crate::clock::Clock;
use crate::crash;
use crate::db::usage::Spent;
use crate::db::{self, now_ms};
use crate::ids::{Folder, TurnId};
use crate::ipc::record::HostRecord;
use crate::lock::lock;

/// What an actor is told.
#[derive(Debug)]
pub enum Message {
    /// An event of the state machine (dispatcher, slots, daemon).
    Event(Event),
    /// A place under the cap (slots).
    Place(Place),
    /// The guest wrote into its mailbox (watch).
    Mail,
    /// The ledger may have turns that the actor does not know (dispatcher).
    Turns,
}

/// How often an actor with a guest or an open turn looks by itself.
pub(super) const SAFETY_NET: Duration = Duration::from_secs(2);

/// One group's task.
pub struct Actor {
    pub(super) host: Arc<Host>,
    pub(super) folder: Folder,
    pub(super) state: State,
    pub(super) guest: Option<Guest>,
    pub(super) own: UnboundedSender<Message>,
    /// What to tell people when the guest's end fails a turn.
    pub(super) last_error: Option<String>,
    /// What the model was used for and no row has yet.
    pub(super) spent: Vec<Spent>,
    /// Where each given turn's answer goes: there the assistant is seen at work.
    pub(super) working: BTreeMap<TurnId, String>,
    /// Whether the incarnation to bury is of a host that had died.
    pub(super) crash: bool,
    /// Before this the mailbox, which had more than is taken in one go, is left alone.
    pub(super) reads_from: Option<Instant>,
    /// Times and limits, with what the group wants otherwise.
    pub(super) rules: Rules,
    clock: Clock,
    place: Option<Place>,
    asking: Option<JoinHandle<()>>,
}

impl Actor {
    /// Runs until told to drain and nothing is left alive.
    pub async fn run(
        host: Arc<Host>,
        folder: Folder,
        state: State,
        own: UnboundedSender<Message>,
        mut inbox: UnboundedReceiver<Message>,
    ) {
        let crash = state.incarnation().is_some();
        let mut actor = Actor {
            rules: host.rules,
            host,
            folder,
            state,
            guest: None,
            place: None,
            asking: None,
            own,
            crash,
            spent: Vec::new(),
            working: BTreeMap::new(),
            last_error: None,
            reads_from: None,
            clock: Clock::default(),
        };
        actor.weigh().await;
        actor.handle(Event::Tick).await;
        // Kept through whatever else arrives, or a stream of messages would put every
        // deadline off.
        let mut tick = Instant::now() + SAFETY_NET;
        while !actor.is_drained() {
            let rest = actor.state.guest != state::Guest::Absent
                || !actor.state.turns.is_empty()
                || actor.state.barred;
            let at = tick.min(Instant::now() + actor.pause());
            let message = tokio::select! {
                message = inbox.recv() => message,
                ended = exited(&mut actor.guest) => {
                    actor.note_exit(&ended);
                    Some(Message::Event(Event::Exited))
                }
                () = tokio::time::sleep_until(at), if rest => {
                    tick = Instant::now() + SAFETY_NET;
                    Some(Message::Event(Event::Tick))
                }
            };
            let jump = actor.clock.jump();
            if jump != 0 {
                actor.handle(Event::Jumped(jump)).await;
            }
            match message {
                None => return,
                Some(Message::Mail) => {
                    actor.host.watch.looking(&actor.folder);
                    actor.read_mail().await;
                }
                Some(Message::Turns) => {
                    actor.weigh().await;
                    actor.find_turns().await;
                }
                Some(Message::Place(place)) => {
                    actor.place = Some(place);
                    actor.handle(Event::Slot).await;
                }
                Some(Message::Event(event)) => {
                    // Records that were written before an end count before it.
                    if matches!(event, Event::Tick | Event::Work) {
                        actor.weigh().await;
                    }
                    if matches!(event, Event::Tick) {
                        actor.look_for_bar().await;
                        actor.read_mail().await;
                        if actor.guest.is_some() {
                            actor.read_legacy(actor.state.incarnation()).await;
                        }
                    }
                    actor.handle(event).await;
                }
            }
        }
    }

    /// Whether what the group demanded is still demanded: its settings may change
    /// while it waits.
    async fn look_for_bar(&mut self) {
        if !self.state.barred {
            return;
        }
        let folder = self.folder.clone();
        let group =
            self.write("cannot read the ledger", move |c| db::groups::by_folder(c, &folder));
        if group.await.is_some_and(|group| group.is_none_or(|group| !group.container.vm)) {
            self.handle(Event::Barred(false)).await;
        }
    }

    fn is_drained(&self) -> bool {
        self.state.draining && self.state.guest == state::Guest::Absent
    }

    fn pause(&self) -> Duration {
        let now = now_ms();
        let due = self.state.turns.iter().filter_map(|t| match t.phase {
            state::Phase::Queued { not_before } if not_before > now => Some(not_before - now),
            _ => None,
        });
        due.min()
            .map_or(SAFETY_NET, |ms| Duration::from_millis(ms.unsigned_abs() + 1).min(SAFETY_NET))
    }

    fn note_exit(&mut self, status: &str) {
        tracing::info!(group = %self.folder, status, "the guest ended");
        let tail = self.guest.as_ref().map(|g| lock(&g.complaint).clone());
        self.last_error = Some(match tail.filter(|t| !t.is_empty()) {
            Some(tail) => format!("the agent's container ended ({status}): {tail}"),
            None => format!("the agent's container ended ({status})"),
        });
    }

    /// Handles an event and all that follow from it.
    pub(super) async fn handle(&mut self, event: Event) {
        self.apply(event, None, Payload::default()).await;
    }

    /// One step: decide, commit the rows, then act. `record` is the number of the
    /// mailbox record that the event came from; its effect and its number are one
    /// commit. `false` if the ledger refused: then nothing has changed.
    pub(super) async fn apply(
        &mut self,
        event: Event,
        record: Option<u64>,
        payload: Payload,
    ) -> bool {
        let Some(mut events) = self.step(event, record, payload).await else { return false };
        while let Some(event) = events.pop_front() {
            if let Some(more) = self.step(event, None, Payload::default()).await {
                events.extend(more);
            }
        }
        let idle = self.state.idle_since();
        self.host.slots.note(&self.folder, idle, &self.own);
        self.rest();
        true
    }

    /// Stops showing that the assistant is at work where no turn is given any more.
    fn rest(&mut self) {
        let at_work = |id: &TurnId| {
            let mut given = self.state.turns.iter().filter(|t| t.phase.is_given());
            given.any(|t| t.id == *id)
        };
        let (working, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.working).into_iter().partition(|(id, _)| at_work(id));
        self.working = working;
        for jid in ended.values().filter(|jid| !self.working.values().any(|other| other == *jid)) {
            self.host.outbox.typing(jid, false);
        }
    }

    async fn step(
        &mut self,
        event: Event,
        record: Option<u64>,
        payload: Payload,
    ) -> Option<VecDeque<Event>> {
        let (next, effects) = state::step(&self.rules, &self.state, &event, now_ms());
        if !self.commit(&effects, record, payload).await {
            return None;
        }
        if event != Event::Tick {
            tracing::debug!(group = %self.folder, ?event, ?effects);
        }
        self.state = next;
        let mut events = VecDeque::new();
        for effect in effects.iter().filter(|e| !e.is_row()) {
            crash::point("before", effect);
            events.extend(self.act(effect).await);
            crash::point("after", effect);
        }
        Some(events)
    }

    pub(super) async fn commit(
        &mut self,
        effects: &[Effect],
        record: Option<u64>,
        mut payload: Payload,
    ) -> bool {
        let rows: Vec<Effect> = effects.iter().filter(|e| e.is_row()).cloned().collect();
        if rows.is_empty() {
            return true;
        }
        self.collect(&budget::day(now_ms(), self.host.config.timezone).name);
        payload.spent = self.spent.clone();
        if payload.error.is_none() {
            payload.error = self.last_error.clone();
        }
        let at = record.zip(self.state.incarnation());
        let committed = self.write("not committed; trying again", move |c| {
            if let Some((number, id)) = at
                && !db::incarnations::advance(c, id, number)?
            {
                return Ok(Ended::default());
            }
            rows::apply(c, &rows, &payload)
        });
        let Some(Ended { turns: ended, runs }) = committed.await else { return false };
        effects.iter().filter(|e| e.is_row()).for_each(|e| crash::point("after", e));
        if runs {
            self.host.tasks.notify_one();
        }
        self.spent.clear();
        self.host.outbox.wake();
        ended.into_iter().for_each(|turn| self.host.outbox.ended(turn));
        true
    }

    /// One step in the ledger. If that refuses it, the log says `what`, and what stays to
    /// be done is found again by the tick.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        what: &str,
        step: impl FnOnce(&Connection) -> db::Result<T> + Send + 'static,
    ) -> Option<T> {
        let done = self.host.ledger.write(step).await;
        done.inspect_err(|error| tracing::error!(group = %self.folder, %error, "{what}")).ok()
    }

    /// Carries out an effect that is more than rows.
    async fn act(&mut self, effect: &Effect) -> Option<Event> {
        match effect {
            Effect::AskSlot => {
                let (slots, own) = (self.host.slots.clone(), self.own.clone());
                self.asking = Some(tokio::spawn(async move {
                    if let Some(place) = slots.place().await {
                        // Dropped, and so given back, if the actor is gone.
                        let _ = own.send(Message::Place(place));
                    }
                }));
            }
            Effect::FreeSlot => {
                self.place = None;
                if let Some(asking) = self.asking.take() {
                    asking.abort();
                }
            }
            Effect::Open { fresh } => return self.open(*fresh).await,
            Effect::Claim => return Some(self.claim().await),
            Effect::Give(turn) => return Some(self.give(*turn).await),
            Effect::Spawn => return self.spawn().await,
            Effect::Interrupt(turn) => self.tell(&HostRecord::Interrupt { turn: *turn }).await,
            Effect::Close => self.tell(&HostRecord::Close).await,
            Effect::Stop => {
                let guest = self.guest.as_mut()?;
                match guest::end(&self.host, guest.id).await {
                    Ok(()) => guest.let_go(),
                    Err(error) => {
                        tracing::error!(group = %self.folder, %error, "cannot stop the guest");
                    }
                }
            }
            Effect::Bury => return self.bury().await,
            Effect::Clean(id) => self.clean(*id).await,
            // Rows, which are committed already.
            Effect::Complete(_)
            | Effect::Requeue { .. }
            | Effect::GiveUp { .. }
            | Effect::Notice(_)
            | Effect::Dead(_) => {}
        }
        None
    }
}

async fn exited(guest: &mut Option<Guest>) -> String {
    match guest {
        Some(guest) => guest.exited().await,
        None => std::future::pending().await,
    }
}
