//! Which chat somebody means who names it as people do.

use rusqlite::Connection;

use super::{Chat, chats};
use crate::db::ledger::{Result, refuse};
use crate::db::people;

/// The chats that somebody may mean by `text`: the one with this address (any of its
/// person's, or a phone number), else those with this name, else those whose name
/// contains it. Letter case does not matter.
pub fn meant(c: &Connection, text: &str) -> Result<Vec<Chat>> {
    let all = chats(c, None)?;
    let text = text.trim();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let is_number =
        digits.len() >= 7 && text.chars().all(|c| c.is_ascii_digit() || "+ ()-/".contains(c));
    let mut addresses = vec![people::canonical(c, text)?];
    if is_number {
        addresses.push(people::canonical(c, &format!("{digits}@s.whatsapp.net"))?);
    }
    let found: Vec<Chat> = all.iter().filter(|c| addresses.contains(&c.jid)).cloned().collect();
    let wanted = text.to_lowercase();
    if !found.is_empty() || wanted.is_empty() {
        return Ok(found);
    }
    let named = |fits: &dyn Fn(&str) -> bool| -> Vec<Chat> {
        all.iter().filter(|chat| fits(&chat.name.to_lowercase())).cloned().collect()
    };
    let exact = named(&|name| name == wanted);
    // What looks like an address is no part of a name.
    let is_address = text.contains([':', '@']) && !text.contains(' ');
    Ok(if exact.is_empty() && !is_address { named(&|name| name.contains(&wanted)) } else { exact })
}

/// The one chat that somebody means by `text`, or a refusal with the choices. Where
/// several have the name, one that belongs to no group is meant.
pub fn pick(c: &Connection, text: &str) -> Result<Chat> {
    let mut found = meant(c, text)?;
    if found.len() > 1 && found.iter().filter(|chat| chat.folder.is_none()).count() == 1 {
        found.retain(|chat| chat.folder.is_none());
    }
    match found.as_slice() {
        [chat] => Ok(chat.clone()),
        [] => refuse(format!(
            "no chat {text:?} is known; list_groups, or `nanoclaw groups chats`, shows those there are. A chat is known \
             from its first message on"
        )),
        several => {
            let line = |chat: &Chat| {
                let day = chat.last_activity.get(..10).unwrap_or("nobody wrote yet");
                format!("{} ({}, {day})", chat.jid, chat.name)
            };
            let lines: Vec<String> = several.iter().take(10).map(line).collect();
            refuse(format!(
                "{} chats may be meant by {text:?}: say which, by its address: {}",
                several.len(),
                lines.join("; ")
            ))
        }
    }
}
