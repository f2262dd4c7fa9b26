//! Where people write: `trait Channel`, and the ways built in.
//!
//! A channel hands messages to [`Inlet`] and acknowledges them to its network
//! only when that says they are stored. It sends what the outbox gives it and
//! decides nothing about who may speak.

mod files;
mod identify;
mod inlet;
mod lines;
pub mod pacing;
pub mod socket;
pub mod terminal;
#[cfg(feature = "whatsapp")]
pub mod whatsapp;
pub mod wire;

use crate::container::Boxed;
use crate::db::{MessageState, OutboxRow};

pub use crate::db::Mark;
pub use files::{Offer, Place};
pub use inlet::{Inlet, Taken};

/// Why a message could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The channel has no connection. It says so when it has one again; this
    /// costs no attempt.
    #[error("the channel is not connected")]
    Offline,
    /// The network refused; another attempt may help.
    #[error("{0}")]
    Later(String),
    /// The network refused for good.
    #[error("{0}")]
    Never(String),
}

/// Whether a row of the outbox goes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It goes.
    Now,
    /// Not before this time (milliseconds), and why. It costs no attempt.
    At(i64, String),
    /// Never, and why.
    Never(String),
}

/// A way to reach people.
pub trait Channel: Send + Sync {
    /// Its name, as in `chats.channel`.
    fn name(&self) -> &str;

    /// Whether it can reach this address.
    fn owns(&self, jid: &str) -> bool;

    /// Sends a row of the outbox under the id that the row carries. Returns when
    /// the network took it.
    fn send<'a>(&'a self, row: &'a OutboxRow) -> Boxed<'a, Result<(), SendError>>;

    /// Whether a row may go now. Asked before each attempt.
    fn pace<'a>(&'a self, _: &'a OutboxRow) -> Boxed<'a, crate::db::Result<Pace>> {
        Box::pin(std::future::ready(Ok(Pace::Now)))
    }

    /// Shows or hides that the assistant is at work.
    fn typing(&self, jid: &str, on: bool);

    /// Says that a message came to its end, after everything that its turn had to
    /// say was sent.
    fn settled(&self, jid: &str, message: &str, state: MessageState);

    /// Shows that these messages were read. A channel that cannot does nothing.
    fn read<'a>(&'a self, _: &'a [Mark]) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(async { Ok(()) })
    }

    /// Puts an emoji on a message in place of the one that was there; an empty one
    /// takes that away. A channel that cannot does nothing.
    fn react<'a>(&'a self, _: &'a Mark, _: &'a str) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(async { Ok(()) })
    }
}
