//! The guest: what runs in a group's container.
//!
//! `nanoclaw agent` ([`run()`]) takes turns from the mailbox, drives the Claude
//! Code CLI over its line protocol and writes back what came of them;
//! `nanoclaw mcp` ([`mcp`]) is started by the CLI and gives the model our tools.
//! Nothing here is trusted by the host, and nothing here holds a secret.
//!
//! The way of a turn: [`crate::ipc::guest`] -> [`run`] -> [`session`] (what the
//! turn's state is: [`book`]) -> [`cli`] ([`frames`]) -> mailbox.

pub mod archive;
pub mod book;
pub mod cli;
pub mod failure;
pub mod frames;
mod images;
#[cfg(not(feature = "host"))]
mod main;
pub mod mcp;
pub mod place;
pub mod processes;
pub mod relay;
pub mod run;
pub mod script;
pub mod session;
pub mod shared;
pub mod tools;

#[cfg(not(feature = "host"))]
pub use main::main;
pub use run::run;
