//! NanoClaw: a personal Claude assistant that you message on WhatsApp.
//!
//! The way of a message: [`channel`] -> [`db`] -> [`turns`] -> [`container`]
//! -> [`agent`] (in the guest) -> [`db`] -> [`outbox`] -> [`channel`].
//!
//! Without the feature `host` only what runs in the guest is left: [`agent`], and
//! what it shares with the host.
#![forbid(unsafe_code)]

pub mod agent;
#[cfg(feature = "host")]
pub mod backup;
#[cfg(feature = "host")]
pub mod channel;
#[cfg(feature = "host")]
pub mod cli;
#[cfg(feature = "host")]
pub mod clock;
#[cfg(feature = "host")]
pub mod config;
#[cfg(feature = "host")]
pub mod container;
pub mod crash;
#[cfg(feature = "host")]
pub mod daemon;
#[cfg(feature = "host")]
pub mod db;
#[cfg(feature = "host")]
pub mod doctor;
pub mod files;
pub mod ids;
pub mod ipc;
#[cfg(feature = "host")]
pub mod isolation;
#[cfg(target_os = "linux")]
pub mod machine;
#[cfg(feature = "host")]
pub mod outbox;
#[cfg(feature = "host")]
pub mod prices;
#[cfg(feature = "host")]
pub mod prompt;
#[cfg(feature = "host")]
pub mod proxy;
#[cfg(feature = "host")]
pub mod requests;
#[cfg(feature = "host")]
pub mod router;
#[cfg(feature = "host")]
pub mod schedule;
#[cfg(feature = "host")]
pub mod scheduler;
pub mod tree;
#[cfg(feature = "host")]
pub mod turns;
pub mod unix;
#[cfg(feature = "host")]
pub mod upgrade;

#[cfg(not(feature = "host"))]
pub use agent::main;
#[cfg(feature = "host")]
pub use cli::main;
