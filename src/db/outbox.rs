//! The outbox: what must reach a chat, formatted and split, in the order of its
//! rows. The network's message id is chosen here, before the first attempt, so
//! that a repeated send is the same message.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::files::{self, Attachment};
use super::ledger::Result;
use super::now_ms;
use super::sql::{Sql, row};
use crate::ids::TurnId;

/// What is to be said in a chat, once for this key.
#[derive(Clone, Debug)]
pub struct NewRow<'a> {
    /// The turn that it belongs to.
    pub turn: Option<TurnId>,
    /// Says what it is, the same in every attempt of the turn.
    pub key: &'a str,
    /// Which piece of a long text.
    pub part: usize,
    /// Where to.
    pub jid: &'a str,
    /// What.
    pub text: &'a str,
}

row! {
    /// A row that waits to be sent.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct OutboxRow {
        /// Its place in the order.
        pub id: i64,
        /// The turn it belongs to.
        pub turn: Option<i64>,
        /// What it is.
        pub key: String,
        /// Where to.
        pub chat_jid: String,
        /// The network's message id.
        pub channel_id: String,
        /// What.
        pub text: String,
        /// The message that it quotes.
        pub reply_to: Option<String>,
        /// The state's word.
        pub state: String,
        /// Attempts so far.
        pub attempts: u32,
        /// Not to be tried before, milliseconds.
        pub not_before: i64,
        /// Why the last attempt failed.
        pub error: Option<String>,
        /// When it was made, milliseconds.
        pub created_at: i64,
        /// When the network took it, milliseconds.
        pub sent_at: Option<i64>,
        /// Files to send along.
        pub attachments: Vec<Attachment> => files::decode,
    }
}

/// How an attempt to send ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The network took it.
    Sent,
    /// Not now; again at this time.
    Later {
        /// Milliseconds.
        at: i64,
        /// Why.
        error: String,
    },
    /// Never.
    Failed {
        /// Why.
        error: String,
    },
}

/// Adds a row, unless the turn has said this already.
pub fn add(c: &Connection, new: &NewRow<'_>) -> Result<()> {
    c.run(
        "INSERT INTO outbox (turn, key, part, chat_jid, channel_id, text, state, created_at)
         VALUES (?1, ?2, ?3, ?4, '3EB0' || upper(hex(randomblob(9))), ?5, 'pending', ?6)
         ON CONFLICT (turn, key, part) DO NOTHING",
        params![new.turn, new.key, new.part as i64, new.jid, new.text, now_ms()],
    )
}

/// How many rows of this key a chat got since `since` (milliseconds).
pub fn recent(c: &Connection, jid: &str, key: &str, since: i64) -> Result<u32> {
    c.one(
        "SELECT count(*) FROM outbox WHERE chat_jid = ?1 AND created_at BETWEEN ?3 AND ?4 AND key = ?2",
        params![jid, key, since, now_ms()],
    )
}

/// Makes the first row of a key quote a message of its chat; one that was sent stays.
pub fn quote(c: &Connection, turn: TurnId, key: &str, message: &str) -> Result<()> {
    c.run(
        "UPDATE outbox SET reply_to = ?3 WHERE turn = ?1 AND key = ?2 AND part = 0 AND state = 'pending'",
        params![turn, key, message],
    )
}

/// The chats with something to send.
pub fn pending_chats(c: &Connection) -> Result<Vec<String>> {
    c.all("SELECT DISTINCT chat_jid FROM outbox WHERE state = 'pending'", [])
}

/// The next row of a chat.
pub fn head(c: &Connection, jid: &str) -> Result<Option<OutboxRow>> {
    c.first(
        OutboxRow::select(
            "FROM outbox WHERE chat_jid = ?1 AND state = 'pending' ORDER BY id LIMIT 1",
        ),
        [jid],
    )
}

/// Notes how an attempt ended.
pub fn settle(c: &Connection, id: i64, delivery: &Delivery) -> Result<()> {
    match delivery {
        Delivery::Sent => c.change(
            "UPDATE outbox SET state = iif(state = 'delivered', state, 'sent'), attempts = attempts + 1,
             sent_at = ?2, error = NULL WHERE id = ?1",
            params![id, now_ms()],
        )?,
        Delivery::Later { at, error } => c.change(
            "UPDATE outbox SET attempts = attempts + 1, not_before = ?2, error = ?3
             WHERE id = ?1 AND state = 'pending'",
            params![id, at, error],
        )?,
        Delivery::Failed { error } => c.change(
            "UPDATE outbox SET state = 'failed', attempts = attempts + 1, error = ?2 WHERE id = ?1",
            params![id, error],
        )?,
    };
    Ok(())
}

/// [`settle`] for a row that has this id of the network's and still waits, in a chat
/// beneath `prefix`.
pub fn confirm(c: &Connection, prefix: &str, channel_id: &str, delivery: &Delivery) -> Result<()> {
    let row: Option<(i64, String)> = c.first(
        "SELECT id, chat_jid FROM outbox WHERE channel_id = ?1 AND state = 'pending'",
        [channel_id],
    )?;
    match row.filter(|(_, jid)| jid.starts_with(prefix)) {
        Some((id, _)) => settle(c, id, delivery),
        None => Ok(()),
    }
}

/// Notes that messages with these ids arrived; those that are not ours are passed
/// over. What has arrived was sent, whatever the network said of that; but of a row with
/// files another message may not have gone yet.
pub fn delivered(c: &Connection, ids: &[String]) -> Result<()> {
    for id in ids {
        c.run(
            "UPDATE outbox SET state = 'delivered', sent_at = COALESCE(sent_at, ?2)
             WHERE channel_id = ?1
                AND (state = 'sent' OR (state = 'pending' AND attachments IS NULL))",
            params![id, now_ms()],
        )?;
    }
    Ok(())
}

/// Whether a message with this id is ours.
pub fn is_known(c: &Connection, channel_id: &str) -> Result<bool> {
    c.has("SELECT 1 FROM outbox WHERE channel_id = ?1", [channel_id])
}

/// `(rows that wait, latest message in, latest message out)` of a channel's chats;
/// times in milliseconds.
pub fn traffic(c: &Connection, channel: &str) -> Result<(i64, Option<i64>, Option<i64>)> {
    c.one(
        "SELECT (SELECT count(*) FROM outbox o JOIN chats c ON c.jid = o.chat_jid
          WHERE o.state = 'pending' AND c.channel = ?1),
         (SELECT max(stored_at) FROM (SELECT m.stored_at FROM messages m JOIN chats c ON c.jid = m.chat_jid
          WHERE c.channel = ?1 ORDER BY m.seq DESC LIMIT 1)),
         (SELECT max(o.sent_at) FROM outbox o JOIN chats c ON c.jid = o.chat_jid WHERE c.channel = ?1)",
        [channel],
    )
}

/// Gives up what has waited in a chat since before `before` (milliseconds).
pub fn expire(c: &Connection, jid: &str, before: i64) -> Result<()> {
    c.run(
        "UPDATE outbox SET state = 'failed', error = 'no channel for this chat was connected for a day'
         WHERE chat_jid = ?1 AND state = 'pending' AND created_at < ?2",
        params![jid, before],
    )
}

/// What a turn said so far, whether sent or not.
pub fn of_turn(c: &Connection, turn: TurnId) -> Result<Vec<OutboxRow>> {
    c.all(OutboxRow::select("FROM outbox WHERE turn = ?1 ORDER BY id"), [turn])
}

/// How many rows a turn has.
pub fn count(c: &Connection, turn: TurnId) -> Result<i64> {
    c.one("SELECT count(*) FROM outbox WHERE turn = ?1", [turn])
}

/// `(pending, failed, age of the oldest pending in milliseconds)`.
pub fn health(c: &Connection) -> Result<(i64, i64, Option<i64>)> {
    c.one(
        "SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'failed'),
         ?1 - min(created_at) FILTER (WHERE state = 'pending') FROM outbox",
        [now_ms()],
    )
}
