//! WhatsApp, in this process: a linked device of the owner's account.
//!
//! [`Life`] owns the connection from the first link to the last breath, [`WhatsApp`]
//! is the channel that the outbox sends through, [`Link`] is the row that says how
//! things stand. Keys and sessions are in `store/whatsapp.db`; nothing else writes
//! there. What people wrote goes through [`Inlet`](super::Inlet) and is acknowledged
//! after that. None of this decides who may speak or what is answered.

mod ack;
pub mod alert;
mod client;
mod compose;
mod contacts;
mod hook;
mod http;
pub mod inbound;
mod life;
pub mod link;
mod media;
mod presence;
pub mod qr;
mod rooms;
mod send;
mod store;
mod task;
mod voice;

pub use life::Life;
pub use link::{Link, State};
pub use send::{CHANNEL, WhatsApp};
pub use task::LinkTask;
