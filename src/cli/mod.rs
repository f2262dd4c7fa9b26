//! The command line: one file a subcommand.

mod args;
#[cfg(feature = "whatsapp")]
mod auth;
mod backup;
mod chat;
mod doctor;
pub mod exit;
mod explain;
mod groups;
mod image;
pub mod plain;
mod start;
mod status;
mod tasks;
mod usage;

pub use args::main;
