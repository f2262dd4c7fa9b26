//! Who wrote where, of whom a message speaks, and what it is about, from what the
//! ledger knows: addresses become canonical ones, numbers become names.
//!
//! Part of the commit that stores the message. It decides nothing.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::db::{self, Incoming, people};

/// Characters of a message that a reaction or a quote shows.
const SHOWN: usize = 300;
/// Digits that a number which is mentioned has at least.
const DIGITS: usize = 3;
/// Mentions of a message that get a name.
const MENTIONS: usize = 1_000;

/// Learns from a message which addresses are one person's, and writes it in the
/// ledger's own terms.
pub fn identify(c: &Connection, m: &mut Incoming, assistant: &str) -> db::Result<()> {
    for (lid, pn) in &m.aliases {
        people::learn(c, lid, pn)?;
    }
    m.sender_name = people::short(&m.sender_name);
    people::saw(c, &m.sender, Some(&m.sender_name))?;
    if !m.is_group {
        people::saw(c, &m.jid, None)?;
        if m.from_me && !people::same(c, &m.jid, &m.sender)? {
            people::wrote_to(c, &m.jid)?;
        }
    }
    m.jid = people::canonical(c, &m.jid)?;
    m.sender = people::canonical(c, &m.sender)?;
    if m.sender_name.trim().is_empty() {
        m.sender_name = called(c, &m.sender)?;
    }
    m.content = with_names(&m.content, &m.mentions, |jid| called(c, jid))?;
    if let Some((id, sender, text)) = &mut m.reply_to {
        let said = db::messages::said(c, &m.jid, id)?;
        if people::is_person(sender) {
            *sender = called(c, sender)?;
        }
        if let Some((by, known)) = said {
            *sender = by.unwrap_or_else(|| assistant.to_owned());
            // A client may quote a part, but not put words into somebody's mouth.
            let signed = text.strip_prefix(assistant).and_then(|rest| rest.strip_prefix(':'));
            let part = signed.unwrap_or(text).trim();
            if part.is_empty() || !known.contains(part) {
                *text = if known.is_empty() { "[a file]".into() } else { clip(&known) };
            }
        }
    }
    if let Some(id) = &m.reacts_to {
        let emoji = clip(&m.content);
        m.content = match db::messages::said(c, &m.jid, id)? {
            Some((_, text)) => format!("[reacted {emoji} to: {}]", clip(&text)),
            None => format!("[reacted {emoji} to an earlier message]"),
        };
    }
    Ok(())
}

/// The addresses of a sender in every form in which an owner may write them: all that
/// the person has, and a phone number with and without its `+`.
pub fn spellings(c: &Connection, sender: &str) -> db::Result<Vec<String>> {
    let mut all = people::addresses(c, sender)?;
    let numbers: Vec<&str> =
        all.iter().filter(|jid| jid.ends_with("@s.whatsapp.net")).map(|jid| number(jid)).collect();
    let plain: Vec<String> =
        numbers.into_iter().flat_map(|n| [n.to_owned(), format!("+{n}")]).collect();
    all.extend(plain);
    Ok(all)
}

/// Puts names in the places of the numbers that are mentioned. The sender chose the
/// text, the list and perhaps the names: it is read once, from left to right, so that
/// a name in which numbers stand is not taken for text in which others do.
fn with_names(
    text: &str,
    mentions: &[String],
    name: impl Fn(&str) -> db::Result<String>,
) -> db::Result<String> {
    let known: HashMap<&str, &str> = mentions.iter().map(|jid| (number(jid), &**jid)).collect();
    let mut pieces = text.split('@');
    let mut named = pieces.next().unwrap_or_default().to_owned();
    let mut left = MENTIONS;
    for piece in pieces {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let jid = known.get(&piece[..digits]).filter(|_| digits >= DIGITS && left > 0);
        named.push('@');
        if let Some(jid) = jid {
            left -= 1;
            named += &name(jid)?;
        }
        named += &piece[jid.map_or(0, |_| digits)..];
    }
    Ok(named)
}

/// What somebody is called among others: by themselves, else by their number.
fn called(c: &Connection, jid: &str) -> db::Result<String> {
    Ok(people::name(c, jid)?.unwrap_or_else(|| number(jid).to_owned()))
}

fn number(jid: &str) -> &str {
    jid.split('@').next().unwrap_or(jid)
}

fn clip(text: &str) -> String {
    let line = text.trim().replace('\n', " ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
