//! The guest as a process, driven through real mailbox directories: first with a
//! stand-in for the CLI, where faults can be ordered, then with the real CLI
//! against a scripted model.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "guest/faults.rs"]
mod faults;
#[path = "guest/host.rs"]
mod host;
#[path = "guest/model.rs"]
mod model;
#[path = "guest/real_cli.rs"]
mod real_cli;
#[path = "guest/stand_in.rs"]
mod stand_in;
