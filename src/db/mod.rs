//! The ledger: `store/messages.db`, and the only place with SQL.
//!
//! One thread owns the writing connection. Callers hand it closures; those that
//! wait at the same time share one transaction, and so one sync, each behind a
//! savepoint of its own. A caller is answered only after the commit: what it is
//! told is durable.

mod claim;
pub mod files;
pub mod groups;
pub mod history;
pub mod incarnations;
mod ledger;
pub mod marks;
pub mod messages;
pub mod migrate;
pub mod occurrences;
pub mod outbox;
pub mod pace;
pub mod past;
pub mod people;
pub mod requests;
pub mod retention;
pub mod rooms;
pub mod sessions;
pub mod settings;
mod sql;
pub mod tasks;
pub mod told;
mod trace;
pub mod turns;
pub mod unread;
pub mod usage;

pub use claim::{Claim, claim};
pub use files::Attachment;
pub use groups::{Chat, Group, NewGroup, Speakers};
pub use ledger::{Ledger, LedgerError, Result, Trouble, copy_database, refuse, whole};
pub use marks::{Emoji, Mark};
pub use messages::{Incoming, MessageState, Stored, StoredMessage};
pub use migrate::{Origin, SCHEMA_VERSION};
pub use occurrences::Begun;
pub use outbox::{Delivery, NewRow, OutboxRow};
pub use requests::{Asked, digest};
pub use rooms::{Closed, Member, Room};
pub use tasks::{Change, NewTask, Task, TaskStatus};
pub use turns::{Claimed, LONGEST_PAUSE, OpenTurn, Tokens, TurnRow};

/// Milliseconds since 1970: the ledger's clock.
pub fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests;
