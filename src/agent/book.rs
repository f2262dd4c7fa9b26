//! Which turns one CLI has, and which of them a frame ends. Pure: the clock and
//! the frames are arguments.
//!
//! A run of the CLI and a turn are not the same. The CLI folds a user line into a
//! running run, merges several into one, drops one whose uuid it has seen, and
//! starts runs by itself. What a result ends is what it names; older builds name
//! nothing, and there a result ends every turn given before it.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::frames::{Lifecycle, RunEnd};
use crate::ids::TurnId;
use crate::ipc::record::{Turn, TurnKind};

/// How long a user line may be `completed` before we believe that no result will
/// name it.
const NO_RESULT: Duration = Duration::from_secs(5);

/// The turns of one CLI.
#[derive(Debug, Default)]
pub struct Book {
    waiting: VecDeque<Turn>,
    open: Vec<Open>,
    /// Every uuid that this process was given: it drops a second one in silence.
    given: HashSet<String>,
    /// The build names uuids, so a result without names is the CLI's own.
    names: bool,
    /// A run goes on.
    running: bool,
    latest: Option<TurnId>,
}

#[derive(Debug)]
struct Open {
    turn: TurnId,
    uuid: String,
    task: bool,
    started: bool,
    completed: Option<Instant>,
    interrupted: Option<Instant>,
}

/// What to do about the next waiting turn.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Write its user line.
    Give(Turn),
    /// The CLI has had this uuid and would drop it: the turn is over, without a
    /// text.
    Known(TurnId),
}

/// How to stop a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It had not been given; it is over.
    Removed,
    /// It is running: interrupt the run.
    Interrupt,
    /// It waits behind another run: take back the line with this uuid.
    TakeBack(String),
    /// It is not ours, or over.
    Unknown,
}

/// What a result means.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The end of these turns; `interrupted` if we had asked for it.
    Turns {
        /// Oldest first, never empty.
        turns: Vec<TurnId>,
        /// Whether we asked for it.
        interrupted: bool,
    },
    /// A run that the CLI started by itself.
    SelfStarted,
    /// Turns that were over already.
    Nothing,
}

impl Book {
    /// Takes a turn in.
    pub fn add(&mut self, turn: Turn) {
        self.waiting.push_back(turn);
    }

    /// The next turn that may go to the CLI now. In order, so that neither a task
    /// nor what came after it waits for ever: a task goes to an idle CLI, and
    /// nothing joins it.
    pub fn give(&mut self) -> Option<Next> {
        let turn = self.waiting.front()?;
        let task = turn.kind == TurnKind::Task;
        let idle = self.open.is_empty() && !self.running;
        if (task && !idle) || self.open.iter().any(|o| o.task) {
            return None;
        }
        let turn = self.waiting.pop_front()?;
        self.latest = Some(turn.turn);
        if !self.given.insert(turn.uuid.clone()) {
            return Some(Next::Known(turn.turn));
        }
        self.open.push(Open {
            turn: turn.turn,
            uuid: turn.uuid.clone(),
            task,
            started: false,
            completed: None,
            interrupted: None,
        });
        Some(Next::Give(turn))
    }

    /// A run begins.
    pub fn run_begins(&mut self) {
        self.running = true;
    }

    /// A user line moved on. Returns the turn that is over without any result,
    /// and whether a turn to be stopped has just begun.
    pub fn lifecycle(
        &mut self,
        uuid: &str,
        state: Lifecycle,
        now: Instant,
    ) -> (Option<TurnId>, bool) {
        self.names = true;
        let Some(at) = self.open.iter().position(|o| o.uuid == uuid) else { return (None, false) };
        let open = &mut self.open[at];
        match state {
            Lifecycle::Queued => (None, false),
            Lifecycle::Started => {
                self.running = true;
                open.started = true;
                (None, open.interrupted.is_some())
            }
            // Folded lines are completed just before the result that names them;
            // a dropped one was never started.
            Lifecycle::Completed | Lifecycle::Cancelled if open.started => {
                open.completed = Some(now);
                (None, false)
            }
            Lifecycle::Completed | Lifecycle::Cancelled => (Some(self.open.remove(at).turn), false),
        }
    }

    /// A run ended.
    pub fn result(&mut self, end: &RunEnd) -> Ended {
        self.running = false;
        self.names |= end.named.is_some();
        let names = self.names || end.self_started;
        let is_over = |open: &mut Open| match &end.named {
            Some(named) => named.contains(&open.uuid) || open.completed.is_some(),
            None => !names,
        };
        let over: Vec<Open> = self.open.extract_if(.., is_over).collect();
        if !over.is_empty() {
            let interrupted = over.iter().any(|o| o.interrupted.is_some());
            return Ended::Turns { turns: over.iter().map(|o| o.turn).collect(), interrupted };
        }
        match &end.named {
            Some(named) if named.iter().any(|uuid| self.given.contains(uuid)) => Ended::Nothing,
            None if !names => Ended::Nothing,
            _ => Ended::SelfStarted,
        }
    }

    /// Ends the turns of the present run, and leaves those that wait behind it.
    pub fn end_run(&mut self) -> Vec<TurnId> {
        let any = self.open.iter().any(|o| o.started);
        self.open.extract_if(.., |o| o.started || !any).map(|o| o.turn).collect()
    }

    /// Turns whose user line is done with and that no result has named.
    pub fn overdue(&mut self, now: Instant) -> Vec<TurnId> {
        if self.open.iter().any(|o| o.completed.is_none()) {
            return Vec::new();
        }
        let late = |o: &mut Open| o.completed.is_some_and(|at| now.duration_since(at) >= NO_RESULT);
        self.open.extract_if(.., late).map(|o| o.turn).collect()
    }

    /// Asks for the end of a turn.
    pub fn stop(&mut self, turn: TurnId, now: Instant) -> Stop {
        if let Some(at) = self.waiting.iter().position(|t| t.turn == turn) {
            self.waiting.remove(at);
            return Stop::Removed;
        }
        let others = self.open.iter().any(|o| o.turn != turn && o.started);
        let Some(open) = self.open.iter_mut().find(|o| o.turn == turn) else {
            return Stop::Unknown;
        };
        open.interrupted = Some(now);
        if !open.started && others { Stop::TakeBack(open.uuid.clone()) } else { Stop::Interrupt }
    }

    /// Whether we asked for this turn's end.
    pub fn is_stopped(&self, uuid: &str) -> bool {
        self.open.iter().any(|o| o.uuid == uuid && o.interrupted.is_some())
    }

    /// Whether a turn is still open although its end was asked for `patience` ago.
    pub fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        self.open.iter().any(|o| o.interrupted.is_some_and(|at| now.duration_since(at) >= patience))
    }

    /// Every turn that is not over: all of them end with the CLI.
    pub fn take_all(&mut self) -> Vec<TurnId> {
        let open = self.open.drain(..).map(|o| o.turn);
        open.chain(self.waiting.drain(..).map(|t| t.turn)).collect()
    }

    /// Whether no turn is left.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// The latest open turn, or else the last one.
    pub fn latest(&self) -> Option<TurnId> {
        self.open.last().map(|o| o.turn).or(self.latest)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
