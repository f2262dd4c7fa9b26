//! What is said in a chat, as the chat's network shows it.
//!
//! The address says which network that is. WhatsApp has signs of its own for bold and
//! the like; the socket's clients and the terminal get what the agent wrote.

use super::{split, whatsapp};

/// The longest piece of an answer, in characters: what every network shows whole.
pub const PIECE: usize = 4000;

/// The messages in which `text` goes to `jid`.
pub fn pieces(jid: &str, text: &str) -> Vec<String> {
    if is_whatsapp(jid) {
        split::split(&whatsapp::format(text), PIECE)
    } else {
        split::split(text, PIECE)
    }
}

/// Whether this is an address of WhatsApp's.
pub fn is_whatsapp(jid: &str) -> bool {
    ["@s.whatsapp.net", "@lid", "@g.us"].iter().any(|server| jid.ends_with(server))
}
