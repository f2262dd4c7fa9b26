//! Messages that a channel could not decrypt, while they may still come again: a
//! setting, since there are few and hardly ever any.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::ledger::Result;
use super::messages::{self, Incoming};
use super::{groups, now_ms, people, settings};

/// Where they lie in `settings`.
const KEY: &str = "unread";
/// How many may wait; who floods us with rubbish is told of the first ones.
const MOST: usize = 100;

#[derive(Serialize, Deserialize)]
struct Unread {
    /// When it came, milliseconds.
    at: i64,
    message: Incoming,
}

/// Notes what stands for one, once; of a chat without a group nothing is kept.
pub fn note(c: &Connection, message: Incoming) -> Result<()> {
    let mut all = all(c)?;
    let known = all.iter().any(|u| (&u.message.jid, &u.message.id) == (&message.jid, &message.id));
    let served = groups::of_chat(c, &people::canonical(c, &message.jid)?)?.is_some();
    if known || !served || all.len() >= MOST {
        return Ok(());
    }
    all.push(Unread { at: now_ms(), message });
    save(c, &all)
}

/// Takes those that came before `before` (milliseconds) and did not come again since.
/// What stands for one has an id of its own: the message itself is still welcome.
pub fn take(c: &Connection, before: i64) -> Result<Vec<Incoming>> {
    let (due, rest): (Vec<_>, Vec<_>) = all(c)?.into_iter().partition(|one| one.at < before);
    if !due.is_empty() {
        save(c, &rest)?;
    }
    let mut lost = Vec::new();
    for Unread { mut message, .. } in due {
        let chat = people::canonical(c, &message.jid)?;
        if messages::author(c, &chat, &message.id)?.is_none() {
            message.id += "~unread";
            lost.push(message);
        }
    }
    Ok(lost)
}

fn all(c: &Connection) -> Result<Vec<Unread>> {
    let text = settings::get(c, KEY)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn save(c: &Connection, all: &[Unread]) -> Result<()> {
    settings::set(c, KEY, &serde_json::to_string(all).unwrap_or_default())
}
