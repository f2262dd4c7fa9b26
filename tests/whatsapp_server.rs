//! The test server for WhatsApp, with the real client code against it: what the server
//! promises to other tests, and that two makes of clients understand each other.
#![allow(clippy::unwrap_used)]

#[path = "whatsapp/cases/baileys.rs"]
mod baileys;
#[path = "whatsapp/client.rs"]
mod client;
#[path = "whatsapp/cases/console.rs"]
mod console;
#[path = "whatsapp/cases/faults.rs"]
mod faults;
#[path = "whatsapp/cases/groups.rs"]
mod groups;
#[path = "whatsapp/cases/lid.rs"]
mod lid;
#[path = "whatsapp/cases/link.rs"]
mod link;
#[path = "whatsapp/cases/mail.rs"]
mod mail;
#[path = "whatsapp/cases/media.rs"]
mod media;
#[path = "whatsapp/cases/peer.rs"]
mod peer;
#[path = "whatsapp/server/mod.rs"]
mod server;
#[path = "whatsapp/cases/talk.rs"]
mod talk;
