//! What the guest's main loop and its sessions have in common: where to tell the
//! host, whose conversation a session is, and what it may be told to do.

use std::rc::Rc;

use tokio::sync::{Semaphore, mpsc};

use super::failure::Failure;
use super::place::Place;
use super::tools::Tools;
use crate::ids::TurnId;
use crate::ipc::record::{GuestRecord, Start, Turn};

/// What all sessions of a guest share.
#[derive(Debug)]
pub struct Shared {
    /// Where things are.
    pub place: Place,
    /// What the host told at the start.
    pub start: Start,
    /// The relay's port.
    pub port: u16,
    /// The tool calls.
    pub tools: Rc<Tools>,
    /// Records for the host.
    pub out: mpsc::Sender<GuestRecord>,
    /// For isolated sessions.
    pub places: Semaphore,
}

/// Isolated sessions at a time.
pub const ISOLATED: usize = 2;

impl Shared {
    /// Tells the host. When nobody writes any more the guest is on its way out.
    pub async fn tell(&self, record: GuestRecord) {
        let _ = self.out.send(record).await;
    }

    /// Tells the host that `turns` failed.
    pub async fn fail(&self, turns: Vec<TurnId>, failure: Failure) {
        self.tell(failure.record(turns)).await;
    }
}

/// Whose conversation it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The group's own.
    Group,
    /// One task's, forgotten afterwards.
    Isolated(TurnId),
}

impl Kind {
    /// What marks its processes and calls.
    pub fn tag(&self) -> String {
        match self {
            Kind::Group => "group".into(),
            Kind::Isolated(turn) => format!("task-{turn}"),
        }
    }
}

/// What a session is told by the guest's main loop.
#[derive(Debug)]
pub enum Command {
    /// A turn to work on.
    Turn(Turn),
    /// Stop working on a turn of this session, if it has it.
    Interrupt(TurnId),
    /// End when no turn is open.
    Close,
    /// End now, for this reason.
    Abort(Failure),
}
