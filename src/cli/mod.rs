//! The command line: one file a subcommand.

mod args;
mod backup;
mod chat;
pub mod exit;
mod explain;
mod groups;
mod start;
mod status;
mod tasks;
mod usage;

pub use args::main;
