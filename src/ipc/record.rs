//! What a mailbox file says, in both directions.
//!
//! One JSON object a file, at most [`MAX_RECORD`] bytes. Unknown fields are
//! ignored so that a newer guest and an older host still understand each other;
//! an unknown `type` is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Incarnation, TurnId};

/// The longest name of a request, in bytes.
pub const LONGEST_ID: usize = 200;

/// The largest record that a host reads, in bytes.
pub const MAX_RECORD: usize = 1024 * 1024;
/// The most records that may wait in `out` before the host takes the guest for
/// a runaway and stops it.
pub const MAX_WAITING: usize = 1000;

/// The file name of record `sequence`: `0000000000000001.json`.
pub fn file_name(sequence: u64) -> String {
    format!("{sequence:016}.json")
}

/// The sequence number in a file name, if it is one.
pub fn sequence(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".json")?;
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|&n| n > 0)
}

/// What the host tells its guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostRecord {
    /// Always the first record.
    Start(Start),
    /// One piece of work.
    Turn(Turn),
    /// The answer to a request of the guest.
    Reply {
        /// The request's id.
        request: String,
        /// Whether it was granted.
        ok: bool,
        /// What happened, when `ok`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// Why not, when not `ok`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Stop working on a turn; its end is still reported.
    Interrupt {
        /// The turn.
        turn: TurnId,
    },
    /// Nothing more will come: end when the running turns have ended.
    Close,
}

/// Who the guest is and how it shall start the CLI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// This start of the container.
    pub incarnation: Incarnation,
    /// The group's folder name.
    pub group: String,
    /// Whether this is the administering group.
    pub is_main: bool,
    /// The assistant's name, `Andy` unless configured.
    pub assistant_name: String,
    /// IANA zone of the owner.
    pub timezone: String,
    /// The CLI session to resume.
    pub session_id: Option<String>,
    /// The model to ask for, or the CLI's default.
    pub model: Option<String>,
}

/// What a turn is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// Messages of a chat.
    Message,
    /// An occurrence of a scheduled task.
    Task,
}

/// Which conversation a turn belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// The group's own, long conversation.
    Group,
    /// A conversation of its own, forgotten afterwards.
    Isolated,
}

/// One piece of work for the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The ledger's number.
    pub turn: TurnId,
    /// From 1; a later attempt repeats an interrupted one.
    pub attempt: u32,
    /// The uuid for the CLI's user line; the CLI silently drops one that it has
    /// seen, so it differs in each attempt.
    pub uuid: String,
    /// What the turn is about.
    pub kind: TurnKind,
    /// Which conversation it belongs to.
    pub session: Session,
    /// Milliseconds that the host gives it.
    pub deadline_ms: u64,
    /// The rendered prompt.
    pub prompt: String,
    /// For tasks: a script that decides whether to wake the model.
    pub script: Option<String>,
    /// Attachments that the model is to see, and not only to be told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
}

/// An image in the group's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// As the guest sees it, beneath `/workspace/group/attachments`.
    pub path: String,
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    pub mime: String,
}

/// What a guest tells its host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GuestRecord {
    /// The CLI is up and our tools are connected.
    Ready {
        /// The version that the CLI reported.
        cli_version: String,
    },
    /// The CLI's session id, whenever it changed.
    Session {
        /// The turn during which it was learnt.
        turn: TurnId,
        /// The id to resume with.
        session_id: String,
    },
    /// The answer and the end of these turns, in one record.
    Done {
        /// Every turn that this result ends.
        turns: Vec<TurnId>,
        /// The text for the chat; none when there is nothing to say.
        text: Option<String>,
    },
    /// These turns ended without an answer.
    Failed {
        /// Every turn that this ends.
        turns: Vec<TurnId>,
        /// One plain sentence.
        error: String,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// A result that the CLI started by itself, such as the end of a background
    /// task.
    Text {
        /// The CLI's uuid of the result.
        uuid: String,
        /// The text for the chat of the incarnation's latest turn.
        text: String,
    },
    /// What goes on beside the turns.
    State {
        /// Live background tasks of the CLI.
        background: u32,
    },
    /// A tool call that only the host can carry out.
    Request {
        /// Unique within the incarnation.
        id: String,
        /// The turn in whose course it was called.
        turn: TurnId,
        /// The tool's name.
        tool: String,
        /// The tool's arguments.
        arguments: Value,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn file_names_are_sixteen_digits() {
        assert_eq!(file_name(1), "0000000000000001.json");
        assert_eq!(sequence("0000000000000042.json"), Some(42));
        for bad in [
            "1.json",
            ".0000000000000001.json",
            "0000000000000000.json",
            "000000000000000a.json",
            "0000000000000001.tmp",
        ] {
            assert_eq!(sequence(bad), None, "{bad}");
        }
    }

    #[test]
    fn records_have_the_documented_form() {
        let host: HostRecord = serde_json::from_value(json!({
            "type": "turn", "turn": 42, "attempt": 1, "uuid": "u", "kind": "message",
            "session": "group", "deadline_ms": 1_800_000, "prompt": "p", "script": null,
        }))
        .expect("a turn record");
        assert!(matches!(host, HostRecord::Turn(Turn { turn: TurnId(42), .. })));
        assert_eq!(
            serde_json::to_value(HostRecord::Close).expect("close"),
            json!({"type": "close"})
        );
        let guest: GuestRecord = serde_json::from_value(
            json!({"type": "done", "turns": [42, 43], "text": null, "new": 1}),
        )
        .expect("done");
        assert_eq!(guest, GuestRecord::Done { turns: vec![TurnId(42), TurnId(43)], text: None });
        assert!(serde_json::from_value::<GuestRecord>(json!({"type": "dance"})).is_err());
    }
}
