//! WhatsApp as its user has it: the real daemon against a server of our own, with
//! scripted phones around it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "whatsapp/files.rs"]
mod files;
#[path = "whatsapp/groups.rs"]
mod groups;
#[path = "whatsapp/kill.rs"]
mod kill;
#[path = "whatsapp/linking.rs"]
mod linking;
#[path = "whatsapp/other_make.rs"]
mod other_make;
#[path = "whatsapp/cases/peer.rs"]
mod peer;
#[path = "whatsapp/people.rs"]
mod people;
#[path = "whatsapp/refusals.rs"]
mod refusals;
#[path = "whatsapp/rig.rs"]
mod rig;
#[path = "whatsapp/rough.rs"]
mod rough;
#[path = "whatsapp/server/mod.rs"]
mod server;
#[path = "whatsapp/states.rs"]
mod states;
mod support;
#[path = "whatsapp/talking.rs"]
mod talking;
