//! The command line: one file a subcommand.

mod args;
mod chat;
pub mod exit;
mod explain;
mod groups;
pub mod plain;
mod start;
mod status;
mod tasks;

pub use args::main;
