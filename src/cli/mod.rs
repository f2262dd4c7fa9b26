//! The command line: one file a subcommand.

mod args;
#[cfg(feature = "whatsapp")]
mod auth;
mod chat;
pub mod exit;
mod explain;
mod groups;
mod start;
mod status;
mod tasks;

pub use args::main;
