//! From a queued message to its end: the work of one group at a time.
//!
//! [`state`] decides (pure); [`actor`] carries it out, one task a
//! group, with [`give`] for the way to the guest and [`mail`] for the way back;
//! [`rows`] is what it does to the ledger; [`guest`] starts and ends containers;
//! [`shares`] the owner's directories that a group sees; [`legacy`] what groups that
//! came from 1.x have besides; `budget` is what a day may cost;
//! [`slots`] shares the cap among groups; [`dispatch`] wakes the right group.

pub mod actor;
mod budget;
pub mod dispatch;
mod give;
pub mod guest;
pub mod legacy;
mod mail;
mod memory;
pub mod rows;
pub mod shares;
pub mod slots;
pub mod state;
