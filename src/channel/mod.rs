//! Where people write: `trait Channel`, and the ways built in.
//!
//! A channel hands messages to [`Inlet`] and acknowledges them to its network
//! only when that says they are stored. It sends what the outbox gives it and
//! decides nothing about who may speak.

mod files;
mod inlet;
mod lines;
pub mod socket;
pub mod terminal;
pub mod wire;

use crate::container::Boxed;
use crate::db::{MessageState, OutboxRow};

pub use files::Place;
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

/// A way to reach people.
pub trait Channel: Send + Sync {
    /// Its name, as in `chats.channel`.
    fn name(&self) -> &str;

    /// Whether it can reach this address.
    fn owns(&self, jid: &str) -> bool;

    /// Sends a row of the outbox under the id that the row carries. Returns when
    /// the network took it.
    fn send<'a>(&'a self, row: &'a OutboxRow) -> Boxed<'a, Result<(), SendError>>;

    /// Shows or hides that the assistant is at work.
    fn typing(&self, jid: &str, on: bool);

    /// Says that a message came to its end, after everything that its turn had to
    /// say was sent.
    fn settled(&self, jid: &str, message: &str, state: MessageState);
}
