//! A WhatsApp server for tests, complete enough that the real client code, and
//! unmodified Baileys, link to it and talk: see `tests/whatsapp/README.md`.
//!
//! [`Server`] is the whole of it; [`Server::person`] gives an account with a scripted
//! [`Phone`]. What can go wrong is [`When`] and [`What`]. Everything is in memory and
//! on loopback, and nothing here is part of the program.
//!
//! The way of a stanza: `listener` -> `connection` (`websocket`, `noise`) -> `router`
//! -> `state` (the mail of each device) -> `connection`, or `inbox` of a phone.
#![allow(dead_code, missing_docs, unused_imports, clippy::unwrap_used)]

mod accounts;
mod compose;
mod connection;
mod directory;
mod faults;
mod groups;
mod inbox;
mod listener;
mod log;
mod media;
mod node;
mod noise;
mod pairing;
mod phone;
mod post;
mod router;
mod screen;
mod service;
mod signal;
mod state;
mod websocket;

pub use compose::Draft;
pub use faults::{What, When};
pub use groups::Change;
pub use log::{Direction, Entry};
pub use phone::{Linked, Phone};
pub use screen::{File, Screen, Shown, Tick};
pub use service::{Group, Person, Server};
