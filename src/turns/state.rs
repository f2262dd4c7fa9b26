//! The heart: `(state, event) -> (state, effects)` for one group, pure.
//!
//! The clock is an argument, the ledger's facts come in by events, everything
//! that happens goes out as [`Effect`]s. The caller carries the effects out in
//! order; those that change rows are one commit, and only when that commit is
//! durable does the new state count. So a crash, or a full disk, at any point
//! leaves the old state, which the rows still say.
//!
//! The table of states and events, and what a crash before and after each effect
//! leaves behind, stands in `docs/ARCHITECTURE.md`; a test keeps it true.

mod facts;
mod step;

pub use step::step;

use crate::db::OpenTurn;
use crate::ids::{Incarnation, TurnId};
use crate::ipc::record::Session;

/// Times and limits, in milliseconds unless named otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Attempts of a turn that may fail before its chat is told so.
    pub attempts: u32,
    /// Attempts in all, those that our own end interrupted included.
    pub attempts_in_all: u32,
    /// What a turn may take.
    pub turn: i64,
    /// How long a guest without work stays.
    pub idle: i64,
    /// What a guest may take from its start to `ready`.
    pub start: i64,
    /// What a guest may take to obey an interrupt or a close.
    pub grace: i64,
    /// When the chat is told that a turn still runs.
    pub notice: i64,
    /// Pause before attempt two; it triples with each further one.
    pub backoff: i64,
    /// Whether each guest ends with its turn and gets no second one.
    pub once: bool,
    /// Whether a guest that has had a turn of somebody else ends when it has none any
    /// more: what they left running there must not act beside the owner's turns.
    pub apart: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            attempts: 3,
            attempts_in_all: 20,
            turn: 30 * 60_000,
            idle: 30 * 60_000,
            start: 60_000,
            grace: 10_000,
            notice: 3 * 60_000,
            backoff: 2_000,
            once: false,
            apart: false,
        }
    }
}

/// A group's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// There is none.
    Absent,
    /// There is none; one of the places under the cap was asked for.
    Waiting {
        /// Since when.
        since: i64,
    },
    /// Its process runs, or is about to; it has not said `ready`.
    Starting {
        /// Which.
        id: Incarnation,
        /// Since when.
        since: i64,
    },
    /// It takes turns.
    Live {
        /// Which.
        id: Incarnation,
        /// Since when it has had no open turn.
        quiet_since: Option<i64>,
        /// Since when it has had nothing to do: its background tasks count as work for
        /// as long as a turn may take.
        idle_since: Option<i64>,
        /// Live background tasks of its CLI.
        background: u32,
    },
    /// `close` was written: nothing more is claimed for it.
    Closing {
        /// Which.
        id: Incarnation,
        /// When it is stopped by force.
        until: i64,
    },
    /// It is being stopped by force.
    Stopping {
        /// Which.
        id: Incarnation,
    },
    /// Its process is gone, or the host was; what it left is not yet in the rows.
    Lost {
        /// Which.
        id: Incarnation,
    },
}

/// How far an open turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No guest has it.
    Queued {
        /// Not before.
        not_before: i64,
    },
    /// A guest has it.
    Given {
        /// Until.
        deadline: i64,
    },
    /// The guest was told to stop working on it.
    Interrupted {
        /// When the guest is stopped by force.
        until: i64,
        /// Why.
        why: Why,
    },
}

impl Phase {
    /// Whether a guest has the turn.
    pub fn is_given(self) -> bool {
        !matches!(self, Phase::Queued { .. })
    }
}

/// Why a turn was interrupted or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It failed as often as it may, or in a way that no repetition mends.
    Failed,
    /// It took too long.
    Deadline,
    /// The host ended in the middle of it too often.
    Interrupted,
    /// The daemon is ending; this costs no attempt.
    Drain,
    /// The day's budget is spent; this costs no attempt.
    Budget,
}

/// An open turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number.
    pub id: TurnId,
    /// Failed attempts.
    pub cost: u32,
    /// Attempts begun.
    pub attempt: u32,
    /// Made at.
    pub created_at: i64,
    /// Whether the chat was told that it still runs.
    pub noticed: bool,
    /// Whether every message in it is the owner's.
    pub trusted: bool,
    /// Which conversation it belongs to.
    pub session: Session,
    /// Whether it is a run of a task.
    pub is_task: bool,
    /// How far it is.
    pub phase: Phase,
}

/// Everything that decides what happens next in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its container.
    pub guest: Guest,
    /// Its open turns, oldest first.
    pub turns: Vec<Turn>,
    /// Whether the guest has had a turn of somebody else.
    pub heard_others: bool,
    /// Whether messages may be waiting for a claim.
    pub work: bool,
    /// Whether the daemon is ending.
    pub draining: bool,
    /// Whether the group waits for a stronger isolation than there is.
    pub barred: bool,
    /// Nothing is begun before: the day's budget is spent.
    pub held: i64,
}

/// What happened. The comment says who tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages are queued for this group (the dispatcher).
    Work,
    /// A place under the cap is this group's (the slots).
    Slot,
    /// The incarnation has its number and its directories (the actor).
    Opened(Incarnation),
    /// The group does not exist any more (the actor).
    GroupGone,
    /// A claim or a repetition made this turn run (the actor).
    Claimed(OpenTurn),
    /// There was nothing to claim, or, if `again`, the ledger could not be written
    /// (the actor).
    NotClaimed {
        /// Whether to try again.
        again: bool,
    },
    /// The turn could not be given: the ledger could not be written (the actor).
    NotGiven(TurnId),
    /// The guest takes turns now (its mailbox).
    Ready,
    /// These turns ended well (its mailbox).
    Done(Vec<TurnId>),
    /// These turns ended badly (its mailbox).
    Failed {
        /// Which.
        turns: Vec<TurnId>,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// These turns found no model, which is not their fault (its mailbox).
    Outage(Vec<TurnId>),
    /// So many background tasks live in the guest's CLI (its mailbox).
    Background(u32),
    /// Whether there is no guest for this group because what it demands is not here
    /// (the actor).
    Barred(bool),
    /// Another group waits for a place (the slots).
    Evict,
    /// Nothing may be begun before this time, and what runs must end; a time that
    /// is over lets it go on (the actor).
    Held(i64),
    /// The guest broke a rule of the mailbox (the actor).
    Runaway,
    /// The process ended, or could not be started (the actor).
    Exited,
    /// The guest is verified dead and its mailbox is drained (the actor). `crash`:
    /// it was the host that had died.
    Buried {
        /// Whether the host had died.
        crash: bool,
    },
    /// The clock was set by so much, or the machine slept for so long (the actor).
    Jumped(i64),
    /// Time passed (the actor).
    Tick,
    /// The daemon is ending: finish what runs, begin nothing (the daemon).
    Drain,
    /// The grace for that is over (the daemon).
    DrainNow,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Rows: these turns end with an answer or in silence.
    Complete(Vec<TurnId>),
    /// Rows: the turn is given again at `not_before`.
    Requeue {
        /// Which.
        turn: TurnId,
        /// Not before.
        not_before: i64,
        /// Whether the attempt counts.
        costs: bool,
    },
    /// Rows: the turn ends and the chat is told why.
    GiveUp {
        /// Which.
        turn: TurnId,
        /// Why.
        why: Why,
    },
    /// Rows: the chat is told that the turn still runs.
    Notice(TurnId),
    /// Rows: nothing of the incarnation is left.
    Dead(Incarnation),
    /// Asks for a place under the cap; answered by [`Event::Slot`].
    AskSlot,
    /// Gives the place, or the request for it, back.
    FreeSlot,
    /// Opens an incarnation; `fresh` ones begin a new conversation.
    Open {
        /// Whether to leave the old conversation.
        fresh: bool,
    },
    /// Gives a queued turn to the guest: a row, then a record.
    Give(TurnId),
    /// Claims what waits and gives it to the guest, if there is one: rows, then a
    /// record.
    Claim,
    /// Starts the guest's process.
    Spawn,
    /// Tells the guest to stop working on a turn.
    Interrupt(TurnId),
    /// Tells the guest that nothing more will come.
    Close,
    /// Ends the guest by force.
    Stop,
    /// Verifies that the guest is dead and drains its mailbox.
    Bury,
    /// Deletes a dead guest's directory.
    Clean(Incarnation),
}

impl Effect {
    /// Whether it is a change of rows alone, to be committed with the others of
    /// its step.
    pub fn is_row(&self) -> bool {
        matches!(
            self,
            Effect::Complete(_)
                | Effect::Requeue { .. }
                | Effect::GiveUp { .. }
                | Effect::Notice(_)
                | Effect::Dead(_)
        )
    }
}

#[cfg(test)]
mod tests;
