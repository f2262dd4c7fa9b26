//! What is said in a chat, as the chat's network shows it.
//!
//! The address says which network that is. WhatsApp has signs of its own for bold and
//! the like; the socket's clients and the terminal get what the agent wrote.

use super::{split, whatsapp};

/// The longest piece of an answer, in characters: what every network shows whole.
pub const PIECE: usize = 4000;

/// The most of a text that a chat gets, in characters: far more than anybody reads on a
/// telephone, and little enough to be looked through while the ledger waits.
pub const MOST: usize = 64_000;

/// The messages in which `text` goes to `jid`.
pub fn pieces(jid: &str, text: &str) -> Vec<String> {
    let cut = text.char_indices().nth(MOST).map(|(at, _)| {
        let left = text[at..].chars().count();
        format!("{}\n\n[{left} more characters are left out]", &text[..at])
    });
    let text = cut.as_deref().unwrap_or(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_nobody_reads_to_its_end_is_cut_and_says_so() {
        for jid in ["t:1", "1@g.us"] {
            let said = pieces(jid, &"word ".repeat(MOST));
            assert!(said.len() <= MOST / PIECE + 2, "{}", said.len());
            let last = said.last().map(String::as_str).unwrap_or_default();
            assert!(last.ends_with("[256000 more characters are left out]"), "{last}");
        }
    }

    /// What costs is counted in looks at a character, and each of these was once a
    /// matter of minutes: a test that hangs fails.
    #[test]
    fn texts_that_are_made_to_take_long_do_not() {
        let table = format!("a|b\n-|-\n{}\n{}", "|".repeat(25_000), "|\n".repeat(15_000));
        let heads = format!("a|{}\n-|-\n{}", "b".repeat(30_000), "1|2\n".repeat(800));
        let fence = format!("```\n{}", "a\n".repeat(31_000));
        let stars = "*a _b ~c <d [e ".repeat(4_000);
        for text in [table, heads, fence, stars] {
            let said = pieces("1@g.us", &text);
            assert!(said.iter().map(String::len).sum::<usize>() < 4 * MOST, "it grows");
        }
    }
}
