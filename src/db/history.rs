//! What was said in a group's chats, by people and by the assistant: by time, or by
//! the words in it.

use rusqlite::{Connection, params};

use super::files::{self, Attachment};
use super::ledger::Result;

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// When, milliseconds.
    pub at: i64,
    /// When, as the network says (ISO 8601).
    pub time: String,
    /// The chat's address.
    pub chat_jid: String,
    /// Who; none for the assistant.
    pub sender: Option<String>,
    /// What.
    pub text: String,
    /// The files that came with it.
    pub files: Vec<Attachment>,
}

/// The latest `limit` entries before `before` (milliseconds), newest last; only
/// those with every word of `query` (letter case and accents aside; a word may be a
/// beginning), if there is one.
pub fn page(
    c: &Connection,
    folder: &str,
    query: Option<&str>,
    before: i64,
    limit: u32,
) -> Result<Vec<Said>> {
    let words = query.map(as_words);
    let from = match words {
        Some(_) => "history WHERE key IN (SELECT rowid FROM search WHERE text MATCH ?4) AND",
        None => "history WHERE ?4 IS NULL AND",
    };
    let sql = format!(
        "SELECT at, time, chat_jid, sender, text, attachments FROM {from}
            chat_jid IN (SELECT jid FROM chats WHERE folder = ?1) AND at < ?2
         ORDER BY at DESC, key DESC LIMIT ?3"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map(params![folder, before, limit, words], |r| {
        Ok(Said {
            at: r.get(0)?,
            time: r.get(1)?,
            chat_jid: r.get(2)?,
            sender: r.get(3)?,
            text: r.get(4)?,
            files: files::decode(r.get(5)?),
        })
    })?;
    let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    found.reverse();
    Ok(found)
}

/// `tea at 4` as FTS5 wants it: `"tea"* "at"* "4"*`. Whatever a query holds, it is
/// words and never syntax.
fn as_words(query: &str) -> String {
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| format!("\"{word}\"*")).collect();
    // A query of signs alone finds nothing, which is not an error.
    if words.is_empty() { "\"\u{e000}\"".into() } else { words.join(" ") }
}
