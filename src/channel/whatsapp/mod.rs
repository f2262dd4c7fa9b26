//! WhatsApp, in process.

pub mod inbound;
