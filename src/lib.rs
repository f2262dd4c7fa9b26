//! NanoClaw: a personal Claude assistant that you message on WhatsApp.
//!
//! The way of a message: [`channel`] -> [`db`] -> [`turns`] -> [`container`]
//! -> [`agent`] (in the guest) -> [`db`] -> [`outbox`] -> [`channel`].
//!
//! Without the feature `host` only what runs in the guest is left: [`agent`], and
//! what it shares with the host.
#![forbid(unsafe_code)]

/// What only the daemon's program has. The name is the one that rustfmt looks into.
macro_rules! cfg_if {
    (if #[$host:meta] { $($item:item)* }) => { $(#[$host] $item)* };
}

pub mod agent;
pub mod crash;
pub mod files;
pub mod ids;
pub mod ipc;
pub mod lock;
#[cfg(target_os = "linux")]
pub mod machine;
pub mod tree;
pub mod unix;

cfg_if! {
    if #[cfg(feature = "host")] {
        pub mod backup;
        pub mod channel;
        pub mod cli;
        pub mod clock;
        pub mod config;
        pub mod container;
        pub mod daemon;
        pub mod db;
        pub mod doctor;
        pub mod isolation;
        pub mod outbox;
        pub mod prices;
        pub mod prompt;
        pub mod proxy;
        pub mod requests;
        pub mod router;
        pub mod schedule;
        pub mod scheduler;
        pub mod turns;
        pub mod upgrade;

        pub use cli::main;
    }
}

#[cfg(not(feature = "host"))]
pub use agent::main;
