//! The socket channel's lines: one JSON object each, in both directions.
//!
//! What a client writes is checked here, once; behind this module a message has
//! an address, an id and a timestamp that the ledger can order by.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Offer, offers};
use crate::db::{Attachment, Incoming, MessageState, OutboxRow};

/// The longest line that is read, in bytes: twice the longest text, for what JSON
/// escapes.
pub const MAX_LINE: usize = 8 << 20;
/// The longest text that is stored, in bytes.
pub const MAX_CONTENT: usize = 4 << 20;
const MAX_NAME: usize = 1024;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromClient {
    /// First line: which addresses it serves.
    Hello {
        /// Its name, such as `telegram`.
        channel: String,
        /// What all its addresses begin with, such as `tg:`.
        prefix: String,
        /// `typing`, `react`, `files`, and `status` for the ends of messages.
        #[serde(default)]
        capabilities: Vec<String>,
    },
    /// Somebody wrote.
    Message(Box<Message>),
    /// A chat exists or has a new name.
    Chat {
        /// Its address.
        jid: String,
        /// Its name.
        name: String,
        /// Whether several people are in it.
        #[serde(default)]
        is_group: bool,
    },
    /// The network took a `send`.
    Sent {
        /// Of the `send`.
        id: String,
    },
    /// The network refused a `send`.
    Failed {
        /// Of the `send`.
        id: String,
        /// Why.
        #[serde(default)]
        error: String,
        /// Whether another attempt may help.
        #[serde(default)]
        retryable: bool,
    },
}

/// A `message` line.
#[derive(Debug, Deserialize)]
pub struct Message {
    jid: String,
    id: String,
    sender: String,
    sender_name: String,
    content: String,
    timestamp: String,
    #[serde(default)]
    is_group: bool,
    #[serde(default)]
    from_me: bool,
    #[serde(default)]
    reply_to: Option<Quote>,
    #[serde(default)]
    edit_of: Option<String>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    attachments: Value,
}

#[derive(Debug, Deserialize)]
struct Quote {
    id: String,
    #[serde(default)]
    sender_name: String,
    #[serde(default)]
    text: String,
}

/// What the daemon says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToClient<'a> {
    /// Answers `hello`.
    Welcome {
        /// Where attachments are exchanged.
        files: &'a str,
    },
    /// The message is durable.
    Ack {
        /// Its chat.
        jid: &'a str,
        /// Its id.
        id: &'a str,
    },
    /// Something to send. Repeated under the same id until `sent` or a final
    /// `failed`.
    Send {
        /// The network's message id to use.
        id: &'a str,
        /// Where to.
        jid: &'a str,
        /// What.
        text: &'a str,
        /// The message that it quotes.
        reply_to: Option<&'a str>,
        /// Files to send along.
        attachments: &'a [Attachment],
    },
    /// The assistant is at work, or no longer.
    Typing {
        /// Where.
        jid: &'a str,
        /// Whether.
        on: bool,
    },
    /// A message shows this emoji in place of any other (for clients with the
    /// capability `react`).
    React {
        /// Its chat.
        jid: &'a str,
        /// Its id.
        id: &'a str,
        /// Empty: none any more.
        emoji: &'a str,
    },
    /// A message came to its end (for clients with the capability `status`).
    Status {
        /// Its chat.
        jid: &'a str,
        /// Its id.
        id: &'a str,
        /// `answered`, `failed`, `context` or `ignored`.
        state: MessageState,
    },
    /// A line was not accepted; the connection lives on.
    Error {
        /// Why.
        error: &'a str,
    },
}

/// The `send` line of a row. Files lie beneath `directory`; to a client that does
/// not show them the text says which there are.
pub fn send(row: &OutboxRow, directory: &Path, shows_files: bool) -> String {
    let mut attachments = row.attachments.clone();
    for file in &mut attachments {
        file.path = directory.join(&file.path).display().to_string();
    }
    let text = if shows_files || attachments.is_empty() {
        Cow::Borrowed(row.text.as_str())
    } else {
        let names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
        let note = format!("[a file that this channel cannot show: {}]", names.join(", "));
        Cow::Owned(format!("{}\n{note}", row.text).trim_start().to_owned())
    };
    ToClient::Send {
        id: &row.channel_id,
        jid: &row.chat_jid,
        text: &text,
        reply_to: row.reply_to.as_deref(),
        attachments: &attachments,
    }
    .line()
}

impl ToClient<'_> {
    /// The line, with its end.
    pub fn line(&self) -> String {
        // Only strings, numbers and booleans: cannot fail to serialise.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

impl Message {
    /// Takes out the files that it brings.
    pub fn offers(&mut self) -> Vec<Result<Offer, String>> {
        offers(self.attachments.take())
    }

    /// Checks the message against the client's prefix.
    pub fn check(self, prefix: &str, trusted: bool) -> Result<Incoming, String> {
        if !self.jid.starts_with(prefix) {
            return Err(format!(
                "{:?} is outside this client's prefix {prefix:?}",
                clip(&self.jid)
            ));
        }
        for (name, value, least) in [
            ("jid", &self.jid, 1),
            ("id", &self.id, 1),
            ("sender", &self.sender, 0),
            ("sender_name", &self.sender_name, 0),
        ] {
            if value.len() < least || value.len() > MAX_NAME || value.contains(['\0', '\n', '\r']) {
                return Err(format!(
                    "{name} must be {least} to {MAX_NAME} bytes on one line, without NUL"
                ));
            }
        }
        if self.content.len() > MAX_CONTENT {
            return Err(format!(
                "the text of {:?} has {} bytes; at most {MAX_CONTENT} are taken. It was not stored",
                clip(&self.id),
                self.content.len()
            ));
        }
        let time = chrono::DateTime::parse_from_rfc3339(&self.timestamp).map_err(|e| {
            format!("timestamp {:?}: {e}; write 2026-01-01T00:00:00.001Z", clip(&self.timestamp))
        })?;
        Ok(Incoming {
            jid: self.jid,
            id: self.id,
            sender_name: if self.sender_name.is_empty() {
                self.sender.clone()
            } else {
                self.sender_name
            },
            sender: self.sender,
            content: self.content,
            timestamp: time.to_utc().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            is_group: self.is_group,
            from_me: self.from_me,
            trusted,
            reply_to: self.reply_to.map(|q| (q.id, q.sender_name, q.text)),
            edit_of: self.edit_of,
            deleted: self.deleted,
            ..Incoming::default()
        })
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Result<Incoming, String> {
        match serde_json::from_str(json).map_err(|e| e.to_string())? {
            FromClient::Message(m) => m.check("tg:", false),
            other => Err(format!("{other:?}")),
        }
    }

    const SIX: &str = r#"{"type":"message","jid":"tg:1","id":"m1","sender":"u1","sender_name":"Ann","content":"hi","timestamp":"2026-01-01T01:00:00+01:00"}"#;

    #[test]
    fn six_fields_suffice_and_time_becomes_utc() {
        let m = message(SIX).expect("accepted");
        assert_eq!(m.timestamp, "2026-01-01T00:00:00.000Z");
        assert!(!m.from_me && !m.trusted && !m.is_group);
    }

    #[test]
    fn each_bad_field_is_named() {
        for (from, to, word) in [
            ("tg:1", "wa:1", "prefix"),
            ("\"m1\"", "\"\"", "id must"),
            ("2026-01-01T01:00:00+01:00", "yesterday", "timestamp"),
            ("\"u1\"", "\"a\\u0000b\"", "sender must"),
        ] {
            let error = message(&SIX.replace(from, to)).expect_err(to);
            assert!(error.contains(word), "{error}");
        }
        assert!(message(&SIX.replace(",\"id\":\"m1\"", "")).expect_err("no id").contains("id"));
    }
}
