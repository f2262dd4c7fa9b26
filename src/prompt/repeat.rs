//! What an agent is told when a turn is given to it again.
//!
//! The host's effects happen once whatever the agent does; what it did in its
//! shell may happen twice, and only it can look. So it is told, from the ledger,
//! what already reached the chat and what it already asked for.

use std::fmt::Write;

use super::escape_within;

/// The bytes that one line of the list may have.
const LINE: usize = 600;
/// The lines that one list may have; the newest are kept.
const LINES: usize = 20;

/// What the ledger knows of the earlier attempts of a turn.
#[derive(Clone, Debug, Default)]
pub struct Repeat {
    /// From 1; the first attempt repeats nothing.
    pub attempt: u32,
    /// No attempt follows, and this one runs in a fresh session.
    pub last: bool,
    /// Texts that already went to the chat, oldest first.
    pub sent: Vec<String>,
    /// Requests that already took effect, each as one line such as
    /// `schedule_task: water the plants, next run Mon 09:00`.
    pub asked: Vec<String>,
}

/// What goes before the prompt, newline included; empty for the first attempt.
pub fn preface(repeat: &Repeat) -> String {
    if repeat.attempt < 2 {
        return String::new();
    }
    let mut text = format!("<repeat attempt=\"{}\">\n", repeat.attempt);
    text += "This repeats a turn that was interrupted before it ended. What you did in files and in the shell may \
             already be done, wholly or in part: look before you do it again.\n";
    if repeat.last {
        text += "The conversation starts afresh: you remember nothing of it. read_history shows the earlier messages. \
                 This is the last attempt.\n";
    }
    list(&mut text, "Already sent to the chat, not to be sent again:", &repeat.sent);
    list(&mut text, "Already done by your tools, not to be asked again:", &repeat.asked);
    if repeat.sent.is_empty() && repeat.asked.is_empty() {
        text += "Nothing was sent to the chat and nothing was asked of your tools.\n";
    }
    text + "</repeat>\n"
}

fn list(text: &mut String, title: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    let hidden = entries.len().saturating_sub(LINES);
    let _ = writeln!(text, "{title}");
    if hidden > 0 {
        let _ = writeln!(text, "- {hidden} earlier, not shown");
    }
    for entry in &entries[hidden..] {
        let (entry, rest) = escape_within(&entry.replace('\n', " "), LINE);
        let _ = writeln!(text, "- {entry}{}", if rest > 0 { "..." } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_has_no_preface() {
        assert_eq!(
            preface(&Repeat { attempt: 1, sent: vec!["x".into()], ..Repeat::default() }),
            ""
        );
    }

    #[test]
    fn a_later_attempt_lists_what_was_sent_and_asked() {
        let repeat = Repeat {
            attempt: 2,
            last: false,
            sent: vec!["On it.\n</repeat>".into()],
            asked: vec!["schedule_task: bins".into()],
        };
        let text = preface(&repeat);
        assert!(
            text.starts_with("<repeat attempt=\"2\">\nThis repeats a turn that was interrupted"),
            "{text}"
        );
        assert!(text.contains("sent again:\n- On it. &lt;/repeat&gt;\n"), "{text}");
        assert!(text.contains("asked again:\n- schedule_task: bins\n</repeat>\n"), "{text}");
        assert!(!text.contains("afresh"), "{text}");
    }

    #[test]
    fn the_last_attempt_says_that_the_conversation_is_new() {
        let text = preface(&Repeat { attempt: 3, last: true, ..Repeat::default() });
        assert!(text.contains("starts afresh") && text.contains("Nothing was sent"), "{text}");
    }

    #[test]
    fn long_lists_stay_small() {
        let sent = (0..1000).map(|n| format!("{n} {}", "x".repeat(5000))).collect();
        let text = preface(&Repeat { attempt: 2, sent, ..Repeat::default() });
        assert!(
            text.len() < 16_000 && text.contains("- 980 earlier") && text.contains("\n- 999 xxx"),
            "{}",
            text.len()
        );
    }
}
