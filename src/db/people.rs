//! People: one person, many addresses.
//!
//! WhatsApp knows a person by a phone number and by a LID, and changes between them
//! in the middle of a conversation. Here a chat with a person has one address, the
//! canonical one: the phone number's where it is known, else the LID. What comes from
//! the other is brought to it in the commit that stores it, and rows that were stored
//! before the two were known to be one are moved.
//!
//! The LID is the identity: a number that turns up with another LID has changed hands,
//! and what belongs to its former owner stays with the LID. Addresses of other
//! networks are nobody here, and stay as they are.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::now_ms;
use super::sql::Sql;

/// The end of a phone number's address.
const PN: &str = "@s.whatsapp.net";
/// The end of a LID.
const LID: &str = "@lid";

/// Characters of a name that are kept: people choose their own, as long as they like.
const NAME: usize = 100;

/// A name, without what is too much of it.
pub fn short(name: &str) -> String {
    name.chars().take(NAME).collect()
}

/// Whether this is the address of a person who may have another one.
pub fn is_person(jid: &str) -> bool {
    jid.ends_with(PN) || jid.ends_with(LID)
}

/// Notes that a LID and a phone number are one person's. Rows of either stay what
/// they are: one chat, under the canonical address.
pub fn learn(c: &Connection, lid: &str, pn: &str) -> Result<()> {
    if !lid.ends_with(LID) || !pn.ends_with(PN) {
        return Ok(());
    }
    let (by_lid, by_pn) = (id_of(c, lid)?, id_of(c, pn)?);
    if by_lid.is_some() && by_lid == by_pn {
        return Ok(());
    }
    if let Some(holder) = by_pn
        && let Some(other) = lid_of(c, holder)?
    {
        // The number has changed hands.
        if jid_of(c, holder)? == pn {
            rename(c, holder, &other)?;
        }
        c.run("DELETE FROM addresses WHERE jid = ?1", [pn])?;
        return join(c, by_lid, None, lid, pn);
    }
    join(c, by_lid, by_pn, lid, pn)
}

fn join(
    c: &Connection,
    by_lid: Option<i64>,
    by_pn: Option<i64>,
    lid: &str,
    pn: &str,
) -> Result<()> {
    let person = match (by_lid, by_pn) {
        (None, None) => add(c, pn)?,
        (Some(one), None) | (None, Some(one)) => one,
        (Some(lost), Some(kept)) => {
            merge(c, lost, kept)?;
            kept
        }
    };
    for jid in [lid, pn] {
        address(c, jid, person)?;
    }
    let jid = jid_of(c, person)?;
    if jid.ends_with(LID) {
        rename(c, person, pn)?;
    }
    // A chat that was noted before its person was.
    move_chat(c, lid, &jid_of(c, person)?)
}

/// Notes that somebody has one more address, of either kind: the network says so when a
/// number changes.
pub fn also(c: &Connection, known: &str, new: &str) -> Result<()> {
    if !is_person(known) || !is_person(new) {
        return Ok(());
    }
    let kept = person(c, known)?;
    match id_of(c, new)? {
        Some(same) if same == kept => Ok(()),
        Some(lost) => merge(c, lost, kept),
        None => address(c, new, kept),
    }
}

/// The address that the ledger has for whoever has this one.
pub fn canonical(c: &Connection, jid: &str) -> Result<String> {
    Ok(c.first(
        "SELECT p.jid FROM addresses a JOIN people p ON p.id = a.person WHERE a.jid = ?1",
        [jid],
    )?
    .unwrap_or_else(|| jid.to_owned()))
}

/// All addresses of whoever has this one, the latest that something came from first.
pub fn addresses(c: &Connection, jid: &str) -> Result<Vec<String>> {
    let found: Vec<String> = c.all(
        "SELECT b.jid FROM addresses a JOIN addresses b ON b.person = a.person
         WHERE a.jid = ?1 ORDER BY b.seen_at DESC, b.jid",
        [jid],
    )?;
    Ok(if found.is_empty() { vec![jid.to_owned()] } else { found })
}

/// The address to write to: the latest that something came from.
pub fn reach(c: &Connection, jid: &str) -> Result<String> {
    Ok(addresses(c, jid)?.into_iter().next().unwrap_or_else(|| jid.to_owned()))
}

/// Whether two addresses are one person's.
pub fn same(c: &Connection, one: &str, other: &str) -> Result<bool> {
    Ok(one == other || canonical(c, one)? == canonical(c, other)?)
}

/// Notes that something came from this address, and what its owner is called.
pub fn saw(c: &Connection, jid: &str, name: Option<&str>) -> Result<()> {
    if !is_person(jid) {
        return Ok(());
    }
    let person = person(c, jid)?;
    c.run("UPDATE addresses SET seen_at = ?2 WHERE jid = ?1", params![jid, now_ms()])?;
    if let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) {
        c.run(
            "UPDATE people SET name = ?2 WHERE id = ?1 AND name IS NOT ?2",
            params![person, short(name)],
        )?;
    }
    Ok(())
}

/// Notes what the owner calls somebody in the address book; none: no longer in it.
pub fn contact(c: &Connection, jid: &str, name: Option<&str>) -> Result<()> {
    if !is_person(jid) {
        return Ok(());
    }
    let person = person(c, jid)?;
    c.run("UPDATE people SET contact = ?2 WHERE id = ?1", params![person, name.map(short)])
}

/// Notes that the owner wrote to somebody, who is therefore no stranger.
pub fn wrote_to(c: &Connection, jid: &str) -> Result<()> {
    if is_person(jid) {
        let person = person(c, jid)?;
        c.run("UPDATE people SET wrote = 1 WHERE id = ?1 AND wrote = 0", [person])?;
    }
    Ok(())
}

/// What somebody is called among others: by themselves, else by the owner.
pub fn name(c: &Connection, jid: &str) -> Result<Option<String>> {
    let name: Option<Option<String>> = c.first(
        "SELECT COALESCE(p.name, p.contact) FROM addresses a JOIN people p ON p.id = a.person
         WHERE a.jid = ?1",
        [jid],
    )?;
    // An earlier version kept names of any length.
    Ok(name.flatten().map(|name| short(&name)))
}

/// Whether the owner knows somebody: has them in the address book, wrote to them, or
/// linked their direct chat to a group.
pub fn known(c: &Connection, jid: &str) -> Result<bool> {
    c.has(
        "SELECT 1 FROM addresses a JOIN people p ON p.id = a.person
         LEFT JOIN chats c ON c.jid = p.jid
         WHERE a.jid = ?1 AND (p.contact IS NOT NULL OR p.wrote OR c.folder IS NOT NULL)",
        [jid],
    )
}

pub(super) fn person(c: &Connection, jid: &str) -> Result<i64> {
    match id_of(c, jid)? {
        Some(person) => Ok(person),
        None => {
            let person = add(c, jid)?;
            address(c, jid, person)?;
            Ok(person)
        }
    }
}

fn id_of(c: &Connection, jid: &str) -> Result<Option<i64>> {
    c.first("SELECT person FROM addresses WHERE jid = ?1", [jid])
}

fn jid_of(c: &Connection, person: i64) -> Result<String> {
    c.one("SELECT jid FROM people WHERE id = ?1", [person])
}

/// The LID of somebody, if one is known.
fn lid_of(c: &Connection, person: i64) -> Result<Option<String>> {
    c.first(
        "SELECT jid FROM addresses WHERE person = ?1 AND jid LIKE '%@lid' ORDER BY seen_at DESC LIMIT 1",
        [person],
    )
}

fn add(c: &Connection, jid: &str) -> Result<i64> {
    c.run("INSERT INTO people (jid) VALUES (?1)", [jid])?;
    Ok(c.last_insert_rowid())
}

fn address(c: &Connection, jid: &str, person: i64) -> Result<()> {
    c.run(
        "INSERT INTO addresses (jid, person, seen_at) VALUES (?1, ?2, 0)
         ON CONFLICT (jid) DO UPDATE SET person = ?2",
        params![jid, person],
    )
}

/// Gives somebody another canonical address.
fn rename(c: &Connection, person: i64, jid: &str) -> Result<()> {
    let from = jid_of(c, person)?;
    c.run("UPDATE people SET jid = ?2 WHERE id = ?1", params![person, jid])?;
    move_chat(c, &from, jid)
}

/// Makes one person of two.
fn merge(c: &Connection, lost: i64, kept: i64) -> Result<()> {
    let (from, to) = (jid_of(c, lost)?, jid_of(c, kept)?);
    c.run("UPDATE addresses SET person = ?2 WHERE person = ?1", [lost, kept])?;
    c.run("UPDATE OR IGNORE members SET person = ?2 WHERE person = ?1", [lost, kept])?;
    c.run("DELETE FROM members WHERE person = ?1", [lost])?;
    c.run(
        "UPDATE people SET contact = COALESCE(people.contact, l.contact),
            name = COALESCE(people.name, l.name), wrote = max(people.wrote, l.wrote)
         FROM (SELECT * FROM people WHERE id = ?1) l WHERE people.id = ?2",
        [lost, kept],
    )?;
    c.run("DELETE FROM people WHERE id = ?1", [lost])?;
    move_chat(c, &from, &to)
}

/// Makes one chat of two: everything that names `from` names `to`, and `from` is gone.
/// Of two groups that they are linked to, `to`'s stays.
fn move_chat(c: &Connection, from: &str, to: &str) -> Result<()> {
    let exists = c.has("SELECT 1 FROM chats WHERE jid = ?1", [from])?;
    if from == to || !exists {
        return Ok(());
    }
    c.run(
        "INSERT INTO chats (jid, name, last_message_time, channel, is_group, folder, timer)
            SELECT ?2, nullif(name, ?1), last_message_time, channel, is_group, folder, timer
            FROM chats WHERE jid = ?1
         ON CONFLICT (jid) DO UPDATE SET folder = COALESCE(folder, excluded.folder),
            name = COALESCE(nullif(name, ?2), excluded.name, ?2), channel = COALESCE(channel, excluded.channel),
            timer = max(timer, excluded.timer),
            last_message_time = max(COALESCE(last_message_time, ''), COALESCE(excluded.last_message_time, ''))",
        [from, to],
    )?;
    // The same id in both: the network said it twice. Neither is lost.
    c.run(
        "UPDATE messages SET id = id || '~' || seq
         WHERE chat_jid = ?1 AND id IN (SELECT id FROM messages WHERE chat_jid = ?2)",
        [from, to],
    )?;
    let tables: Vec<(String, String)> = c.all(
        "SELECT t.name, f.\"from\" FROM sqlite_schema t JOIN pragma_foreign_key_list(t.name) f
         WHERE t.type = 'table' AND f.\"table\" = 'chats'",
        [],
    )?;
    let tasks = ("scheduled_tasks".to_owned(), "chat_jid".to_owned());
    for (table, column) in tables.into_iter().chain([tasks]) {
        let sql = format!("UPDATE \"{table}\" SET \"{column}\" = ?2 WHERE \"{column}\" = ?1");
        c.run(&sql, [from, to])?;
    }
    c.run("DELETE FROM chats WHERE jid = ?1", [from])?;
    tracing::info!("a chat has another address, and all that belongs to it moved there");
    Ok(())
}

#[cfg(test)]
mod tests;
