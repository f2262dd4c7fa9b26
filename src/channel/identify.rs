//! Who wrote where, of whom a message speaks, and what it is about, from what the
//! ledger knows: addresses become canonical ones, numbers become names.
//!
//! Part of the commit that stores the message. It decides nothing.

use rusqlite::Connection;

use crate::db::{self, Incoming, people};

/// Characters of a message that a reaction or a quote shows.
const SHOWN: usize = 300;

/// Learns from a message which addresses are one person's, and writes it in the
/// ledger's own terms.
pub fn identify(c: &Connection, m: &mut Incoming, assistant: &str) -> db::Result<()> {
    for (lid, pn) in &m.aliases {
        people::learn(c, lid, pn)?;
    }
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
    for jid in &m.mentions {
        let token = format!("@{}", number(jid));
        m.content = m.content.replace(&token, &format!("@{}", called(c, jid)?));
    }
    if let Some((id, sender, text)) = &mut m.reply_to {
        let said = db::messages::said(c, &m.jid, id)?;
        if people::is_person(sender) {
            *sender = called(c, sender)?;
        }
        if let Some((by, known)) = said {
            *sender = by.unwrap_or_else(|| assistant.to_owned());
            if text.trim().is_empty() {
                *text = clip(&known);
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
