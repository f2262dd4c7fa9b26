//! The command line: one file a subcommand.

mod args;
mod chat;
mod doctor;
pub mod exit;
mod explain;
mod groups;
mod image;
mod start;
mod status;
mod tasks;

pub use args::main;
