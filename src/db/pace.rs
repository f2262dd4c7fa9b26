//! What was sent when: what it depends on whether a row may go now.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::people;
use super::sql::Sql;

/// What the ledger knows of a chat and of all chats of its network. Times are
/// milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sendings {
    /// Sent in the chat since the shorter span, newest first.
    pub in_chat: Vec<i64>,
    /// How many were sent in all since the longer.
    pub count_in_all: u32,
    /// When the `limit`-th newest of them was sent.
    pub nth_newest: i64,
    /// When the newest was sent.
    pub last_in_all: i64,
    /// Whether nobody there ever wrote, nor did the owner, nor link it to a group.
    pub is_stranger: bool,
}

/// What was sent to the addresses that end like one of WhatsApp's within these spans,
/// in the chat and in all. What bears a later date is of a clock that was set back.
pub fn sendings(
    c: &Connection,
    jid: &str,
    now: i64,
    (in_chat, in_all): (i64, i64),
    limit: u32,
) -> Result<Sendings> {
    const SENT: &str = "FROM outbox INDEXED BY outbox_sent WHERE sent_at > ?1 AND sent_at <= ?2 AND (chat_jid LIKE '%@s.whatsapp.net'
        OR chat_jid LIKE '%@lid' OR chat_jid LIKE '%@g.us')";
    let sent = c.all(
        "SELECT sent_at FROM outbox INDEXED BY outbox_sent WHERE sent_at > ?1 AND sent_at <= ?2
            AND chat_jid = ?3 ORDER BY sent_at DESC",
        params![now - in_chat, now, jid],
    )?;
    let (count_in_all, last_in_all) =
        c.one(format!("SELECT count(*), COALESCE(max(sent_at), 0) {SENT}"), [now - in_all, now])?;
    let mut nth_newest = 0;
    if limit > 0 && count_in_all >= limit {
        let sql = format!("SELECT sent_at {SENT} ORDER BY sent_at DESC LIMIT 1 OFFSET ?3");
        nth_newest = c.one(&sql, params![now - in_all, now, limit - 1])?;
    }
    Ok(Sendings {
        in_chat: sent,
        count_in_all,
        nth_newest,
        last_in_all,
        is_stranger: is_stranger(c, jid)?,
    })
}

/// A chat that is linked to no group, and in which nobody wrote.
fn is_stranger(c: &Connection, jid: &str) -> Result<bool> {
    let jid = people::canonical(c, jid)?;
    let met = c.has(
        "SELECT 1 FROM chats WHERE jid = ?1
         AND (folder IS NOT NULL OR COALESCE(last_message_time, '') <> '')",
        [&jid],
    )?;
    Ok(!met)
}

/// Says that a row waits until `at` (milliseconds), and why. It costs no attempt.
pub fn hold(c: &Connection, row: i64, at: i64, why: &str) -> Result<()> {
    c.run("UPDATE outbox SET not_before = ?2, error = ?3 WHERE id = ?1", params![row, at, why])
}

/// How many rows wait for their pace for longer than `from` (milliseconds), and until
/// when the last of them.
pub fn held(c: &Connection, from: i64) -> Result<(i64, Option<i64>)> {
    c.one(
        "SELECT count(*), max(not_before) FROM outbox
         WHERE state = 'pending' AND attempts = 0 AND not_before > ?1",
        [from],
    )
}
