//! The claim: what waits in a chat becomes a turn.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::messages::StoredMessage;
use super::now_ms;
use super::sql::Sql;
use super::turns::{Claimed, open};
use crate::ids::{Folder, Incarnation, TurnId};

/// What a claim needs to know.
pub struct Claim<'a> {
    /// The group.
    pub folder: &'a Folder,
    /// Into which guest; none to wait for one.
    pub incarnation: Option<Incarnation>,
    /// Ends at, milliseconds.
    pub deadline: i64,
    /// Renders the messages, oldest first; pure.
    pub render: &'a dyn Fn(&[StoredMessage]) -> String,
    /// The line that a message is to the CLI, if it is a command; pure. A command
    /// is a turn of its own.
    pub command: &'a dyn Fn(&StoredMessage) -> Option<&'static str>,
    /// Whether messages of others make the turn run in a conversation of its own.
    pub isolate_strangers: bool,
}

/// Claims, for a new turn, everything that one chat of the group has waiting:
/// the chat whose turn it is longest. Turn and messages change in one step.
pub fn claim(c: &Connection, claim: &Claim<'_>) -> Result<Option<Claimed>> {
    let chats: Vec<String> = c.all(
        "SELECT m.chat_jid FROM messages m INDEXED BY messages_queued JOIN chats c ON c.jid = m.chat_jid
         WHERE c.folder = ?1 AND m.state = 'queued'
         GROUP BY m.chat_jid ORDER BY min(m.seq)",
        [claim.folder],
    )?;
    let Some(jid) = chats.first().cloned() else { return Ok(None) };
    let waiting: Vec<StoredMessage> = c.all(
        StoredMessage::select(
            "FROM messages INDEXED BY messages_open
             WHERE chat_jid = ?1 AND state IN ('queued', 'context') AND turn IS NULL ORDER BY seq",
        ),
        [&jid],
    )?;
    let command = waiting
        .iter()
        .enumerate()
        .filter(|(_, m)| m.state == "queued")
        .find_map(|(place, m)| Some((place, (claim.command)(m)?)));
    // A command waits for what was written before it; context needs no turn.
    let before = |place| waiting[..place].iter().any(|m| m.state == "queued");
    let (taken, prompt) = match command {
        Some((place, _)) if before(place) => (&waiting[..place], (claim.render)(&waiting[..place])),
        Some((place, line)) => (&waiting[place..=place], line.to_owned()),
        None => (&waiting[..], (claim.render)(&waiting)),
    };
    let (first, last) = (taken.first().map_or(0, |m| m.seq), taken.last().map_or(0, |m| m.seq));
    let more = chats.len() > 1 || waiting.iter().any(|m| m.seq > last && m.state == "queued");
    let trusted = taken.iter().all(|m| m.trusted);
    let session = if claim.isolate_strangers && !trusted { "isolated" } else { "group" };
    let now = now_ms();
    c.run(
        "INSERT INTO turns (folder, chat_jid, kind, session, prompt, trusted, state, attempt,
            incarnation, deadline, created_at, started_at)
         VALUES (?1, ?2, 'message', ?3, ?4, ?5, iif(?6 IS NULL, 'queued', 'running'), ?6 IS NOT NULL,
            ?6, iif(?6 IS NULL, NULL, ?7), ?8, iif(?6 IS NULL, NULL, ?9))",
        params![
            claim.folder,
            jid,
            session,
            prompt,
            trusted,
            claim.incarnation,
            claim.deadline,
            // What was said of waiting counts from when the oldest was stored.
            taken.iter().filter(|m| m.state == "queued").map(|m| m.stored_at).min().unwrap_or(now),
            now,
        ],
    )?;
    let turn = c.last_insert_rowid();
    c.run(
        "UPDATE messages INDEXED BY messages_open SET turn = ?2,
            state = CASE state WHEN 'queued' THEN 'in_turn' ELSE state END
         WHERE chat_jid = ?1 AND state IN ('queued', 'context') AND turn IS NULL AND seq BETWEEN ?3 AND ?4",
        params![jid, turn, first, last],
    )?;
    Ok(Some(Claimed { open: open(c, TurnId(turn))?, prompt, jid, more }))
}
