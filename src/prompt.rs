//! Messages -> the prompt of a turn.
//!
//! The form is 1.x's, so that memories and habits written for it keep working:
//!
//! ```text
//! <context timezone="Europe/Berlin" />
//! <messages>
//! <message sender="Ann" time="Jan 1, 2024, 1:30 PM">@Andy hi</message>
//! </messages>
//! ```
//!
//! Pure: the zone and the size come in as arguments. What people wrote is
//! escaped and can never close a tag. The way back is [`chat_text`]; what the
//! host itself says to people is in [`notices`].

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::db::StoredMessage;

pub mod chat_text;
pub mod files;
pub mod notices;
pub mod outgoing;
pub mod repeat;
pub mod split;
pub mod whatsapp;

/// The bytes that a prompt may have: about 50,000 tokens, and well within a
/// mailbox record after JSON has escaped it.
pub const BUDGET: usize = 200 * 1024;

/// The least budget that leaves room for a message.
const MIN_BUDGET: usize = 4096;

/// A rendered prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The text, at most the budget long.
    pub text: String,
    /// How many of the oldest messages are not in it.
    pub left_out: usize,
}

/// Renders `messages`, oldest first, in at most `budget` bytes (4096 where it is
/// less).
///
/// Where they do not fit, messages longer than half the budget are cut to that,
/// and then the oldest are left out; the prompt says both.
pub fn render(messages: &[StoredMessage], zone: Tz, budget: usize) -> Prompt {
    let budget = budget.max(MIN_BUDGET);
    let whole = assemble(&lines(messages, zone, usize::MAX), zone, 0);
    if whole.len() <= budget {
        return Prompt { text: whole, left_out: 0 };
    }
    // The frame is as long as it gets with a note of any count.
    let frame = assemble(&[], zone, usize::MAX).len();
    let mut room = budget - frame;
    let lines = lines(messages, zone, room / 2);
    let fitting = lines.iter().rev().take_while(|line| {
        let needed = line.len() + 1;
        let fits = needed <= room;
        room -= if fits { needed } else { 0 };
        fits
    });
    let left_out = lines.len() - fitting.count();
    Prompt { text: assemble(&lines[left_out..], zone, left_out), left_out }
}

fn assemble(lines: &[String], zone: Tz, left_out: usize) -> String {
    let note = match left_out {
        0 => String::new(),
        1 => "<left_out count=\"1\">The oldest message did not fit; read_history shows it.</left_out>\n".into(),
        n => format!("<left_out count=\"{n}\">The {n} oldest messages did not fit; read_history shows them.</left_out>\n"),
    };
    let zone = escape(zone.name());
    format!("<context timezone=\"{zone}\" />\n{note}<messages>\n{}\n</messages>", lines.join("\n"))
}

fn lines(messages: &[StoredMessage], zone: Tz, limit: usize) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            let line = line(message, zone, usize::MAX);
            if line.len() <= limit { line } else { self::line(message, zone, limit) }
        })
        .collect()
}

/// One `message` element of at most `limit` bytes.
fn line(message: &StoredMessage, zone: Tz, limit: usize) -> String {
    // A cut line keeps names and ids to a size that leaves room for text.
    let (of_name, of_quote) =
        if limit == usize::MAX { (limit, limit) } else { (limit / 16, limit / 4) };
    let attribute = |text: &str| escape_within(&text.replace(['\n', '\t'], " "), of_name).0;

    let mut head = format!(
        "<message sender=\"{}\" time=\"{}\"",
        attribute(&message.sender_name),
        local_time(message.timestamp.parse().unwrap_or_default(), zone)
    );
    if let Some(id) = &message.reply_to {
        head += &format!(" reply_to=\"{}\"", attribute(id));
    }
    // It called the agent in vain.
    if let Some(reason) = message.reason.as_ref().filter(|_| message.state == "context") {
        head += &format!(" not_answered=\"{}\"", attribute(reason));
    }
    head.push('>');
    if let (Some(_), Some(sender), Some(text)) =
        (&message.reply_to, &message.reply_sender, &message.reply_content)
    {
        let (text, rest) = escape_within(text, of_quote);
        let more = if rest > 0 { "..." } else { "" };
        head += &format!(
            "\n  <quoted_message from=\"{}\">{text}{more}</quoted_message>",
            attribute(sender)
        );
    }
    head += &files::elements(&message.attachments, of_quote);
    let tail = "</message>";
    let note = |rest: usize| {
        format!("\n[cut here: {rest} more bytes did not fit; read_history shows the whole message]")
    };
    let room = limit.saturating_sub(head.len() + tail.len() + note(usize::MAX).len());
    let (content, rest) = escape_within(&message.content, room);
    let note = if rest > 0 { note(rest) } else { String::new() };
    format!("{head}{content}{note}{tail}")
}

/// `Jan 1, 2024, 1:30 PM` in `zone`.
pub fn local_time(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone).format("%b %-d, %Y, %-I:%M %p").to_string()
}

/// `text` with `&`, `<`, `>` and `"` as entities and without control characters
/// other than newline and tab.
pub fn escape(text: &str) -> String {
    escape_within(text, usize::MAX).0
}

/// The longest beginning of [`escape`]d `text` within `limit` bytes, and how many
/// bytes of `text` are not in it.
fn escape_within(text: &str, limit: usize) -> (String, usize) {
    let mut escaped = String::with_capacity(text.len().min(limit));
    let mut one = [0; 4];
    for (at, c) in text.char_indices() {
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\n' | '\t' => c.encode_utf8(&mut one),
            c if c.is_control() => "",
            c => c.encode_utf8(&mut one),
        };
        if escaped.len() + piece.len() > limit {
            return (escaped, text.len() - at);
        }
        escaped += piece;
    }
    (escaped, 0)
}

#[cfg(test)]
mod tests;
