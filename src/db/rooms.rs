//! Chats of several people: who is in them, and whether they can be written to.

use rusqlite::{Connection, params};

use super::groups;
use super::ledger::Result;
use super::people;
use super::sql::{Sql, words};

/// A chat of several, as the network describes it.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// Its address.
    pub jid: String,
    /// Its name, if the network says one.
    pub name: Option<String>,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Why it cannot be written to, if it cannot.
    pub closed: Option<Closed>,
    /// After how many seconds messages vanish; 0 for never.
    pub timer: u32,
}

/// Somebody in a chat.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// One of their addresses.
    pub jid: String,
    /// Their other one, if the network says it.
    pub other: Option<String>,
    /// Whether they administer the chat.
    pub is_admin: bool,
}

words! {
    /// Why a chat cannot be written to.
    pub enum Closed {
        /// The account is not in it any more.
        Removed = "removed",
        /// Only its admins may write, and the account is none.
        AdminsOnly = "admins_only",
    }
}

impl Closed {
    pub(super) fn stored(word: Option<String>) -> Option<Closed> {
        Closed::from_word(&word?)
    }

    /// In a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Closed::Removed => "your account is not in this chat any more",
            Closed::AdminsOnly => "only admins may write in this chat, and your account is none",
        }
    }
}

/// Notes how a chat of several is now: all of it, in place of what was known.
pub fn sync(c: &Connection, channel: &str, room: &Room) -> Result<()> {
    let name = room.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    groups::see_chat(c, &room.jid, name, "", Some(channel), Some(true))?;
    close(c, &room.jid, room.closed)?;
    groups::set_timer(c, &room.jid, room.timer)?;
    c.run("DELETE FROM members WHERE chat_jid = ?1", [&room.jid])?;
    for member in &room.members {
        if !people::is_person(&member.jid) {
            continue;
        }
        if let Some(other) = &member.other {
            people::learn(c, &member.jid, other)?;
            people::learn(c, other, &member.jid)?;
        }
        let person = people::person(c, &member.jid)?;
        c.run(
            "INSERT OR REPLACE INTO members (chat_jid, person, is_admin) VALUES (?1, ?2, ?3)",
            params![room.jid, person, member.is_admin],
        )?;
    }
    Ok(())
}

/// Notes whether a chat can be written to.
pub fn close(c: &Connection, jid: &str, closed: Option<Closed>) -> Result<()> {
    c.run("UPDATE chats SET closed = ?2 WHERE jid = ?1", params![jid, closed.map(Closed::as_str)])
}

/// Why a chat cannot be written to, if it cannot.
pub fn closed(c: &Connection, jid: &str) -> Result<Option<Closed>> {
    let word: Option<Option<String>> = c.first("SELECT closed FROM chats WHERE jid = ?1", [jid])?;
    Ok(Closed::stored(word.flatten()))
}

/// Whether somebody administers a chat.
pub fn is_admin(c: &Connection, chat: &str, jid: &str) -> Result<bool> {
    c.has(
        "SELECT 1 FROM members m JOIN addresses a ON a.person = m.person
         WHERE m.chat_jid = ?1 AND a.jid = ?2 AND m.is_admin",
        [chat, jid],
    )
}

/// Who is in a chat besides the owner: what they are called, or their number or
/// address, and whether the owner knows them.
pub fn members(c: &Connection, chat: &str) -> Result<Vec<(String, bool)>> {
    c.all(
        "SELECT COALESCE(p.contact, p.name, iif(p.jid LIKE '%@lid', p.jid, '+' || replace(p.jid, '@s.whatsapp.net', ''))),
            p.contact IS NOT NULL OR p.wrote OR c.folder IS NOT NULL
         FROM members m JOIN people p ON p.id = m.person LEFT JOIN chats c ON c.jid = p.jid
         LEFT JOIN groups g ON g.folder = c.folder
         WHERE m.chat_jid = ?1 AND NOT COALESCE(g.is_main, 0) ORDER BY 2 DESC, 1",
        [chat],
    )
}
