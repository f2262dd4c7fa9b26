//! Messages: one state each, from the channel to the answer.
//!
//! `ignored(reason)`, `context` (shown with the next turn, once: `turn` is set
//! then), `queued`, `in_turn`, `answered`, `answered(silent)`, `failed(reason)`.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::files::{self, Attachment};
use super::ledger::Result;
use super::now_ms;
use super::sql::{Sql, row, words};
use crate::ids::TurnId;

/// The messages of a chat that are kept for the next turn to show, the newest: far more
/// than fit into a prompt. The others stay in the history.
const CONTEXT: u32 = 1_000;

/// A message as a channel hands it over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// The chat's address.
    pub jid: String,
    /// The network's id, unique in its chat.
    pub id: String,
    /// The sender's address.
    pub sender: String,
    /// The sender's name.
    pub sender_name: String,
    /// The text.
    pub content: String,
    /// When it was sent: UTC, ISO 8601 with milliseconds and `Z`.
    pub timestamp: String,
    /// Whether several people are in the chat.
    pub is_group: bool,
    /// Whether the owner's own account sent it.
    pub from_me: bool,
    /// Whether the owner sent it in a way that nobody else can (the terminal).
    pub trusted: bool,
    /// The quoted message: id, sender's name, text.
    pub reply_to: Option<(String, String, String)>,
    /// The id of the message that this one replaces.
    pub edit_of: Option<String>,
    /// Whether this withdraws the message with this id.
    pub deleted: bool,
    /// Its files, which lie in the group's folder already.
    pub attachments: Vec<Attachment>,
    /// The id of the message that this one, an emoji, is a reaction to.
    pub reacts_to: Option<String>,
    /// The addresses that it mentions; in the text they stand as `@` and what comes
    /// before their `@`.
    pub mentions: Vec<String>,
    /// Whether it mentions the assistant's own number.
    pub calls_assistant: bool,
    /// Addresses that are known by this message to be one person's: (LID, phone number).
    pub aliases: Vec<(String, String)>,
    /// Whether it stands for one that could not be decrypted: it asks for nothing, and
    /// its sender is asked to say it again.
    pub is_unread: bool,
}

words! {
    /// A message's state, as `messages.state`.
    pub enum MessageState {
        /// Will reach no agent.
        Ignored = "ignored",
        /// Reaches the agent with the next turn.
        Context = "context",
        /// Waits for a turn of its own making.
        Queued = "queued",
        /// Its turn ended well.
        Answered = "answered",
        /// Its turn ended badly, and the chat was told.
        Failed = "failed",
    }
}

/// What storing a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A new row.
    New,
    /// The same (chat, id) was there; nothing changed.
    Known,
}

row! {
    /// A message as it stands in the ledger.
    #[derive(Clone, Debug, Default, PartialEq, Serialize)]
    pub struct StoredMessage {
        /// Its place in the order of all messages.
        pub seq: i64,
        /// The network's id.
        pub id: String,
        /// The chat's address.
        pub chat_jid: String,
        /// The sender's address.
        pub sender: String,
        /// The sender's name.
        pub sender_name: String,
        /// The text.
        pub content: String,
        /// When it was sent (ISO 8601).
        pub timestamp: String,
        /// Whether the owner's own account sent it.
        pub from_me: bool = "is_from_me",
        /// Whether it is the owner's beyond doubt.
        pub trusted: bool,
        /// The quoted message's id.
        pub reply_to: Option<String> = "reply_to_message_id",
        /// The quoted text.
        pub reply_content: Option<String> = "reply_to_message_content",
        /// The quoted sender.
        pub reply_sender: Option<String> = "reply_to_sender_name",
        /// The state's word.
        pub state: String,
        /// Why, for some states.
        pub reason: Option<String>,
        /// The turn that showed it.
        pub turn: Option<i64>,
        /// When the ledger had it, milliseconds.
        pub stored_at: i64,
        /// Its files.
        pub attachments: Vec<Attachment> => files::decode,
    }
}

/// Stores a message of a linked chat. The same (chat, id) again counts once.
pub fn store(
    c: &Connection,
    m: &Incoming,
    state: MessageState,
    reason: Option<&str>,
) -> Result<Stored> {
    let (reply_id, reply_name, reply_text) = match &m.reply_to {
        Some((id, name, text)) => (Some(id), Some(name), Some(text)),
        None => (None, None, None),
    };
    let rows = c.change(
        "INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, is_from_me,
            trusted, reply_to_message_id, reply_to_message_content, reply_to_sender_name,
            state, reason, stored_at, attachments)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (chat_jid, id) DO NOTHING",
        params![
            m.id,
            m.jid,
            m.sender,
            m.sender_name,
            m.content,
            m.timestamp,
            m.from_me,
            m.trusted,
            reply_id,
            reply_text,
            reply_name,
            state.as_str(),
            reason,
            now_ms(),
            files::encode(&m.attachments),
        ],
    )?;
    if rows == 1 && state == MessageState::Context {
        // One more came, so one at most is beyond the newest.
        c.run(
            "UPDATE messages SET state = 'ignored', reason = 'more came before an agent was asked'
             WHERE seq = (SELECT seq FROM messages INDEXED BY messages_open
                WHERE chat_jid = ?1 AND state IN ('queued', 'context') AND turn IS NULL AND state = 'context'
                ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            params![m.jid, CONTEXT],
        )?;
    }
    Ok(if rows == 1 { Stored::New } else { Stored::Known })
}

/// Rewrites a message that no turn has shown yet; `false` if it is too late. `wakes`
/// makes context a message that is to be answered.
pub fn edit(c: &Connection, jid: &str, id: &str, content: &str, wakes: bool) -> Result<bool> {
    let rows = c.change(
        "UPDATE messages SET content = ?3, state = iif(?4, 'queued', state), reason = iif(?4, NULL, reason)
         WHERE chat_jid = ?1 AND id = ?2 AND turn IS NULL AND state IN ('queued', 'context')",
        params![jid, id, content, wakes],
    )?;
    Ok(rows == 1)
}

/// Who wrote a message, and whether a turn works on it or is going to.
pub fn author(c: &Connection, jid: &str, id: &str) -> Result<Option<(String, bool)>> {
    c.first(
        "SELECT sender, state IN ('queued', 'in_turn') FROM messages WHERE chat_jid = ?1 AND id = ?2",
        params![jid, id],
    )
}

/// The sender's name and the text of what has this id in a chat; no name for the
/// assistant.
pub fn said(c: &Connection, jid: &str, id: &str) -> Result<Option<(Option<String>, String)>> {
    let theirs = c.first(
        "SELECT sender_name, content FROM messages WHERE chat_jid = ?1 AND id = ?2",
        params![jid, id],
    )?;
    if theirs.is_some() {
        return Ok(theirs);
    }
    c.first("SELECT NULL, text FROM outbox WHERE channel_id = ?1", [id])
}

/// Withdraws a message that no turn has shown yet; `false` if it is too late: then it
/// is only left out of what the history shows.
pub fn withdraw(c: &Connection, jid: &str, id: &str) -> Result<bool> {
    let rows = c.change(
        "UPDATE messages SET state = 'ignored', reason = 'deleted by its sender'
         WHERE chat_jid = ?1 AND id = ?2 AND turn IS NULL AND state IN ('queued', 'context')",
        params![jid, id],
    )?;
    if rows == 0 {
        c.run(
            "UPDATE messages SET reason = 'deleted by its sender'
             WHERE chat_jid = ?1 AND id = ?2 AND state IN ('context', 'answered')",
            params![jid, id],
        )?;
    }
    Ok(rows == 1)
}

/// What others than the owner have set going in a chat since `since` (milliseconds):
/// the number of turns, and whether a message there has this `reason`. Looks at the
/// newest thousand messages.
pub fn recent(c: &Connection, jid: &str, since: i64, reason: &str) -> Result<(u32, bool)> {
    c.one(
        "SELECT count(DISTINCT turn) FILTER (WHERE trusted = 0 AND state <> 'context'),
            count(*) FILTER (WHERE reason = ?3) > 0
         FROM (SELECT turn, trusted, state, reason, stored_at FROM messages
               WHERE chat_jid = ?1 ORDER BY seq DESC LIMIT 1000)
         WHERE stored_at BETWEEN ?2 AND ?4",
        params![jid, since, reason, now_ms()],
    )
}

/// The folders with messages that wait for a turn.
pub fn waiting_folders(c: &Connection) -> Result<Vec<String>> {
    c.all(
        "SELECT DISTINCT c.folder FROM messages m INDEXED BY messages_queued JOIN chats c ON c.jid = m.chat_jid
         WHERE m.state = 'queued' AND c.folder IS NOT NULL",
        [],
    )
}

/// The ids and states of a turn's own messages, to show on them.
pub fn of_turn(c: &Connection, turn: i64) -> Result<Vec<StoredMessage>> {
    c.all(StoredMessage::select("FROM messages WHERE turn = ?1 ORDER BY seq"), [turn])
}

/// One message.
pub fn by_key(c: &Connection, jid: &str, id: &str) -> Result<Option<StoredMessage>> {
    c.first(StoredMessage::select("FROM messages WHERE chat_jid = ?1 AND id = ?2"), [jid, id])
}

/// The message that an answer of this turn should quote: the latest that it answers,
/// if others were written in the chat since. Then an answer without a quote would seem
/// to be one to them.
pub fn to_quote(c: &Connection, turn: TurnId, jid: &str) -> Result<Option<String>> {
    c.first(
        "SELECT m.id FROM messages m WHERE m.turn = ?1 AND m.chat_jid = ?2
         AND m.state IN ('in_turn', 'answered', 'failed')
         AND EXISTS (SELECT 1 FROM messages l INDEXED BY messages_chat
                     WHERE l.chat_jid = ?2 AND l.seq > m.seq AND l.state <> 'ignored')
         AND NOT EXISTS (SELECT 1 FROM messages n WHERE n.turn = ?1 AND n.chat_jid = ?2 AND n.seq > m.seq
                         AND n.state IN ('in_turn', 'answered', 'failed'))",
        params![turn, jid],
    )
}

/// The messages with this id, in whichever chat.
pub fn by_id(c: &Connection, id: &str) -> Result<Vec<StoredMessage>> {
    let sql = "FROM messages WHERE chat_jid IN (SELECT jid FROM chats) AND id = ?1 ORDER BY seq";
    c.all(StoredMessage::select(sql), [id])
}

/// The latest message, of one chat or of all, that an agent should have answered.
pub fn latest(c: &Connection, jid: Option<&str>) -> Result<Option<StoredMessage>> {
    let whose = if jid.is_some() { "chat_jid = ?1" } else { "?1 IS NULL" };
    let sql = format!("FROM messages WHERE {whose} ORDER BY seq DESC LIMIT 1");
    c.first(StoredMessage::select(&sql), [jid])
}

/// How many messages stand in each state: `(state, count)`.
pub fn counts(c: &Connection) -> Result<Vec<(String, i64)>> {
    c.all("SELECT state, count(*) FROM messages GROUP BY state", [])
}
