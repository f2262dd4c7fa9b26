//! NanoClaw: a personal Claude assistant that you message on WhatsApp.
//!
//! The way of a message: [`channel`] -> [`db`] -> [`turns`] -> [`container`]
//! -> [`agent`] (in the guest) -> [`db`] -> [`outbox`] -> [`channel`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod container;
pub mod ids;
pub mod ipc;
