//! Delivery: the one owner of order, retry and back-off of what must reach a chat.
//!
//! Rows of one chat go out one after the other, rows of different chats side by
//! side. A row that cannot be sent is tried again with growing pauses, and given
//! up after [`GIVE_UP`]: visible in `status` and `explain`, and out of the way.

mod marks;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::channel::{Channel, Pace, SendError};
use crate::clock::Clock;
use crate::crash;
use crate::db::{self, Delivery, Emoji, Ledger, MessageState, OutboxRow, now_ms};
use crate::ids::TurnId;

/// How long a row is tried, in milliseconds.
pub const GIVE_UP: i64 = 24 * 60 * 60 * 1000;
/// For so long after a start, a sleep or a change of the clock nothing is given up:
/// channels connect first.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const FIRST_PAUSE: i64 = 1_000;
/// A row that is held up longer than this, in milliseconds, says why.
const SHOWN_PAUSE: i64 = 5_000;
const LONGEST_PAUSE: i64 = 5 * 60_000;

/// What the outbox is told.
#[derive(Debug)]
enum Note {
    /// There may be rows (who committed some; a channel that is connected again).
    Rows,
    /// A turn ended; when its chat's rows are out, its messages are settled.
    Ended(TurnId),
    /// The assistant is at work for a chat, or no longer.
    Typing(String, bool),
}

/// A handle to the delivery. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    notes: mpsc::UnboundedSender<Note>,
}

impl Outbox {
    /// Starts the delivery through these channels. It ends with the last handle.
    /// Messages that agents work on show `emoji`, if there are any.
    pub fn start(
        ledger: Ledger,
        channels: Vec<Arc<dyn Channel>>,
        emoji: Option<Emoji>,
    ) -> (Outbox, tokio::task::JoinHandle<()>) {
        let (notes, inbox) = mpsc::unbounded_channel();
        let look = Arc::new(Notify::new());
        let marks =
            Marks(look.clone(), marks::start(ledger.clone(), channels.clone(), emoji, look));
        let delivery = Courier {
            ledger,
            channels,
            marks,
            ended: HashMap::default(),
            busy: HashSet::default(),
            missed: HashSet::default(),
            rounds: JoinSet::new(),
            clock: Clock::default(),
            tries_since: Instant::now(),
        };
        let task = tokio::spawn(delivery.run(inbox));
        (Outbox { notes }, task)
    }

    /// Says that rows were committed, or that a channel can send again.
    pub fn wake(&self) {
        // The delivery is only gone when the daemon ends; rows wait for the next.
        let _ = self.notes.send(Note::Rows);
    }

    /// Says that the assistant is at work for a chat, or no longer.
    pub fn typing(&self, jid: &str, on: bool) {
        let _ = self.notes.send(Note::Typing(jid.into(), on));
    }

    /// Says that a turn ended.
    pub fn ended(&self, turn: TurnId) {
        let _ = self.notes.send(Note::Ended(turn));
    }
}

struct Courier {
    ledger: Ledger,
    channels: Vec<Arc<dyn Channel>>,
    marks: Marks,
    /// Turns that ended, by chat, whose messages are not settled yet.
    ended: HashMap<String, Vec<TurnId>>,
    busy: HashSet<String>,
    /// Chats that got something while they were busy.
    missed: HashSet<String>,
    rounds: JoinSet<Round>,
    clock: Clock,
    /// Since when rows could be tried.
    tries_since: Instant,
}

/// The task that shows marks; it ends with the courier.
struct Marks(Arc<Notify>, tokio::task::JoinHandle<()>);

impl Drop for Marks {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// What delivering to one chat led to.
struct Round {
    jid: String,
    again: Option<Duration>,
    /// Turns whose rows are not all out.
    ended: Vec<TurnId>,
}

impl Courier {
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut retry: Option<Instant> = None;
        loop {
            let pause = async {
                match retry {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                note = notes.recv() => match note.inspect(|_| self.marks.0.notify_one()) {
                    None => return,
                    Some(Note::Rows) => {
                        if !self.begin().await {
                            retry = Some(soon());
                        }
                    }
                    Some(Note::Typing(jid, on)) => {
                        if let Some(channel) = self.channels.iter().find(|c| c.owns(&jid)) {
                            channel.typing(&jid, on);
                        }
                    }
                    Some(Note::Ended(turn)) => self.note_end(turn).await,
                },
                Some(round) = self.rounds.join_next(), if !self.rounds.is_empty() => {
                    let Ok(round) = round else { continue };
                    self.busy.remove(&round.jid);
                    if !round.ended.is_empty() {
                        let later = self.ended.entry(round.jid.clone()).or_default();
                        later.splice(0..0, round.ended);
                    }
                    if let Some(pause) = round.again {
                        let at = Instant::now() + pause;
                        retry = Some(retry.map_or(at, |other| other.min(at)));
                    }
                    if self.missed.remove(&round.jid) {
                        self.deliver(round.jid);
                    }
                },
                () = pause => retry = if self.begin().await { None } else { Some(soon()) },
            }
        }
    }

    /// Delivers to every chat with something to send; `false` if the ledger refused to
    /// say which.
    async fn begin(&mut self) -> bool {
        if self.clock.jump() != 0 {
            self.tries_since = Instant::now();
        }
        let chats = self.ledger.write(db::outbox::pending_chats).await;
        let chats = chats.inspect_err(|error| tracing::error!(%error, "cannot read the outbox"));
        let said = chats.is_ok();
        chats.into_iter().flatten().for_each(|jid| self.deliver(jid));
        said
    }

    async fn note_end(&mut self, turn: TurnId) {
        match self.ledger.write(move |c| db::turns::jid(c, turn)).await {
            Ok(jid) => {
                self.ended.entry(jid.clone()).or_default().push(turn);
                self.deliver(jid);
            }
            Err(error) => tracing::error!(%error, %turn, "cannot read a turn"),
        }
    }

    fn deliver(&mut self, jid: String) {
        if !self.busy.insert(jid.clone()) {
            self.missed.insert(jid);
            return;
        }
        let channel = self.channels.iter().find(|c| c.owns(&jid)).cloned();
        let ended = self.ended.remove(&jid).unwrap_or_default();
        let ledger = self.ledger.clone();
        let gives_up = self.tries_since.elapsed() >= PATIENCE;
        self.rounds.spawn(async move {
            let Some(channel) = channel else {
                if gives_up {
                    expire(&ledger, &jid).await;
                }
                // Or nobody would look again.
                let again = Some(PATIENCE).filter(|_| !gives_up);
                return Round { jid, again, ended };
            };
            match empty(&ledger, channel.as_ref(), &jid, gives_up).await {
                Ok(()) => {
                    settle(&ledger, channel.as_ref(), &jid, ended).await;
                    Round { jid, again: None, ended: Vec::new() }
                }
                Err(again) => Round { jid, again, ended },
            }
        });
    }
}

/// Sends what a chat has waiting. If rows remain it says when to come back, where a
/// pause may help.
async fn empty(
    ledger: &Ledger,
    channel: &dyn Channel,
    jid: &str,
    gives_up: bool,
) -> Result<(), Option<Duration>> {
    loop {
        let chat = jid.to_owned();
        let next =
            ledger.write(move |c| Ok((db::outbox::head(c, &chat)?, db::rooms::closed(c, &chat)?)));
        let (row, closed) = match next.await {
            Ok((Some(row), closed)) => (row, closed),
            Ok((None, _)) => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "cannot read the outbox");
                return Err(Some(Duration::from_secs(2)));
            }
        };
        let now = now_ms();
        // What is held up for longer than its day is given up when that is over.
        let last = row.created_at + GIVE_UP;
        // A longer pause is its channel's to say again, or of a clock that was set back.
        if (1..=LONGEST_PAUSE).contains(&(row.not_before - now)) {
            return Err(Some(Duration::from_millis(row.not_before.abs_diff(now))));
        }
        let pace = match closed {
            Some(closed) => Ok(Pace::Never(closed.reason().into())),
            None => channel.pace(&row).await,
        };
        crash::point("before sending", &"row");
        let delivery = match pace {
            Ok(Pace::Now) => match channel.send(&row).await {
                Ok(()) => Delivery::Sent,
                Err(error) => match after(&row, &error, now_ms(), gives_up) {
                    Some(delivery) => delivery,
                    // Whoever connects wakes us.
                    None => return Err(None),
                },
            },
            Ok(Pace::At(_, why)) if now >= last && gives_up => {
                Delivery::Failed { error: format!("given up after a day: {why}") }
            }
            Ok(Pace::At(at, why)) => {
                if at - now > SHOWN_PAUSE && at != row.not_before {
                    let id = row.id;
                    // If it cannot be noted the pace is asked for again, and says the same.
                    let _ = ledger.write(move |c| db::pace::hold(c, id, at, &why)).await;
                }
                let at = if now < last { at.min(last) } else { at };
                let pause = at.abs_diff(now_ms()).max(20);
                return Err(Some(Duration::from_millis(pause)));
            }
            Ok(Pace::Never(error)) => Delivery::Failed { error },
            Err(error) => {
                tracing::error!(%error, "cannot read the outbox");
                return Err(Some(Duration::from_secs(2)));
            }
        };
        tracing::debug!(row = row.id, outcome = ?delivery, "outbox");
        crash::point("after sending", &"row");
        let id = row.id;
        let noted = delivery.clone();
        if let Err(error) = ledger.write(move |c| db::outbox::settle(c, id, &noted)).await {
            // The row goes again under the same id, which the network knows.
            tracing::error!(%error, row = id, "sent, but could not note it");
            return Err(Some(Duration::from_secs(2)));
        }
        crash::point("after noting", &"row");
    }
}

/// When the ledger, which refused, is asked again.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

/// A row that no channel could take for a day is given up.
async fn expire(ledger: &Ledger, jid: &str) {
    let (jid, before) = (jid.to_owned(), now_ms() - GIVE_UP);
    ledger.note("what was given up", move |c| db::outbox::expire(c, &jid, before)).await;
}

/// What a failed attempt means for a row; `None` to wait for the connection.
fn after(row: &OutboxRow, error: &SendError, now: i64, gives_up: bool) -> Option<Delivery> {
    let spent = gives_up && now - row.created_at >= GIVE_UP;
    match error {
        SendError::Never(error) => Some(Delivery::Failed { error: error.clone() }),
        other if spent => {
            Some(Delivery::Failed { error: format!("given up after a day: {other}") })
        }
        SendError::Offline => None,
        SendError::Later(error) => {
            let pause = FIRST_PAUSE.saturating_mul(2_i64.saturating_pow(row.attempts.min(20)));
            Some(Delivery::Later { at: now + pause.min(LONGEST_PAUSE), error: error.clone() })
        }
    }
}

async fn settle(ledger: &Ledger, channel: &dyn Channel, jid: &str, ended: Vec<TurnId>) {
    for turn in ended {
        let messages = ledger.write(move |c| db::messages::of_turn(c, turn.0)).await;
        for message in messages.into_iter().flatten().filter(|m| m.chat_jid == jid) {
            let state = MessageState::from_word(&message.state);
            if let Some(state @ (MessageState::Answered | MessageState::Failed)) = state {
                channel.settled(jid, &message.id, state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attempts: u32, created_at: i64) -> OutboxRow {
        OutboxRow {
            id: 1,
            turn: None,
            key: "answer".into(),
            chat_jid: "t:1".into(),
            channel_id: "x".into(),
            text: "hi".into(),
            reply_to: None,
            state: "pending".into(),
            attempts,
            not_before: 0,
            error: None,
            created_at,
            sent_at: None,
            attachments: Vec::new(),
        }
    }

    #[test]
    fn pauses_grow_to_a_ceiling_and_end_after_a_day() {
        let later = SendError::Later("busy".into());
        let pause = |attempts| match after(&row(attempts, 0), &later, 1_000_000, true) {
            Some(Delivery::Later { at, .. }) => at - 1_000_000,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [pause(0), pause(1), pause(3), pause(12), pause(4_000_000)],
            [1_000, 2_000, 8_000, 300_000, 300_000]
        );
        assert!(matches!(after(&row(0, 0), &later, GIVE_UP, true), Some(Delivery::Failed { .. })));
    }

    #[test]
    fn a_lost_connection_costs_no_attempt_but_does_not_last_for_ever() {
        assert_eq!(after(&row(3, 0), &SendError::Offline, 5, true), None);
        assert!(matches!(
            after(&row(0, 0), &SendError::Offline, GIVE_UP, true),
            Some(Delivery::Failed { .. })
        ));
        // A daemon that has just begun, or woken, has not tried it for a day.
        assert_eq!(after(&row(0, 0), &SendError::Offline, GIVE_UP, false), None);
    }
}
