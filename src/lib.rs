//! NanoClaw: a personal Claude assistant that you message on WhatsApp.
//!
//! The way of a message: [`channel`] -> [`db`] -> [`turns`] -> [`container`]
//! -> [`agent`] (in the guest) -> [`db`] -> [`outbox`] -> [`channel`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod backup;
pub mod channel;
pub mod cli;
pub mod config;
pub mod container;
pub mod daemon;
pub mod db;
pub mod files;
pub mod ids;
pub mod ipc;
pub mod outbox;
pub mod prices;
pub mod prompt;
pub mod proxy;
pub mod requests;
pub mod router;
pub mod schedule;
pub mod scheduler;
pub mod tree;
pub mod turns;
pub mod unix;
pub mod upgrade;
