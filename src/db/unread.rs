//! Messages that a channel could not decrypt, while they may still come again: a
//! setting, since there are few and hardly ever any.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::ledger::Result;
use super::messages::{self, Incoming};
use super::{groups, now_ms, people, settings};

/// Where they lie in `settings`.
const KEY: &str = "unread";
/// How many may wait of a chat, so that who floods us with rubbish hides nobody else's.
const OF_A_CHAT: usize = 20;
/// How many may wait in all.
const MOST: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Unread {
    /// When it came, milliseconds.
    at: i64,
    message: Incoming,
}

/// Notes what stands for one, once; of a chat without a group nothing is kept.
pub fn note(c: &Connection, mut message: Incoming) -> Result<()> {
    message.sender_name = people::short(&message.sender_name);
    let mut all = all(c)?;
    let known = all.iter().any(|u| (&u.message.jid, &u.message.id) == (&message.jid, &message.id));
    let served = groups::of_chat(c, &people::canonical(c, &message.jid)?)?.is_some();
    let of_chat = all.iter().filter(|u| u.message.jid == message.jid).count();
    if known || !served || of_chat >= OF_A_CHAT || all.len() >= MOST {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Group, Ledger, NewGroup};
    use crate::ids::Folder;

    #[test]
    fn who_floods_with_rubbish_hides_nobody_else_s_message() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("messages.db");
        drop(Ledger::open(&path).expect("a ledger"));
        let c = Ledger::look(&path).expect("a ledger").expect("one");
        let group = Group::new(Folder::parse("family").expect("a folder"), "Family".into());
        let chats = vec!["1@g.us".into(), "2@g.us".into()];
        groups::add(&c, &NewGroup { group, chats }).expect("a group");
        for (jid, count) in [("1@g.us", 200), ("2@g.us", 1)] {
            for n in 0..count {
                let message =
                    Incoming { jid: jid.into(), id: n.to_string(), ..Incoming::default() };
                note(&c, message).expect("noted");
            }
        }
        let lost = take(&c, i64::MAX).expect("taken");
        assert_eq!(lost.iter().filter(|m| m.jid == "1@g.us").count(), OF_A_CHAT);
        assert_eq!(lost.iter().filter(|m| m.jid == "2@g.us").count(), 1);
    }
}
