//! What was said in a group's chats, by people and by the assistant: by time, or by
//! the words in it. Both tables are read from the asked place backwards, by an index
//! or in the order of the full text's hits, until the page is full.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::files::{self, Attachment};
use super::ledger::Result;
use super::sql::{Sql, row};

/// The most words of a query: each is looked up by itself.
pub const MOST_WORDS: usize = 16;

/// A place between two entries: a time (milliseconds), and the key of the entry behind
/// it, since several may have one time.
pub type Place = (i64, i64);

row! {
    /// Something that was said.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Said {
        /// Where it stands: what comes before this place is the page before.
        pub place: Place,
        /// When, as the network says (ISO 8601).
        pub time: String,
        /// The chat's address.
        pub chat_jid: String,
        /// Who; none for the assistant.
        pub sender: Option<String>,
        /// What.
        pub text: String,
        /// The files that came with it.
        pub files: Vec<Attachment> => files::decode,
    }
}

/// Where it is stored: table, row, time, what is shown of it, the other columns. The
/// key is twice the row in the first, and one more in the second, as in `search`.
const TABLES: [[&str; 5]; 2] = [
    [
        "messages",
        "seq",
        "stored_at",
        "reason IS NOT 'deleted by its sender'",
        "timestamp, chat_jid, sender_name, content, attachments",
    ],
    [
        "outbox",
        "id",
        "created_at",
        "key NOT LIKE 'notice:%'",
        "strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'), chat_jid, NULL, t.text, attachments",
    ],
];

/// The latest `limit` entries before a place, newest last; only those with every word
/// of `query` (letter case and accents aside; a word may be a beginning), if there is
/// one.
pub fn page(
    c: &Connection,
    folder: &str,
    query: Option<&str>,
    before: Place,
    limit: u32,
) -> Result<Vec<Said>> {
    let words = query.map(as_words);
    let mut found = Vec::new();
    for (odd, [table, row, at, shown, columns]) in TABLES.into_iter().enumerate() {
        let columns = format!("{at}, {row} * 2 + {odd}, {columns}");
        let fits = format!("({at}, {row} * 2 + {odd}) < (?2, ?3) AND {shown}");
        let latest = format!(
            "SELECT {row} FROM {table} WHERE chat_jid = c.jid AND {fits} ORDER BY {at} DESC, {row} DESC"
        );
        let sql = match words {
            None => format!(
                "SELECT {columns} FROM chats c CROSS JOIN {table} t ON t.{row} IN ({latest} LIMIT ?4)
                 WHERE c.folder = ?1 AND ?5 IS NULL ORDER BY {at} DESC, {row} DESC LIMIT ?4"
            ),
            // The newest hits first, from the group's latest entry on.
            Some(_) => format!(
                "SELECT {columns} FROM search CROSS JOIN {table} t ON t.{row} = search.rowid / 2
                 WHERE search MATCH ?5 AND search.rowid % 2 = {odd}
                    AND search.rowid <= (SELECT max(({latest} LIMIT 1)) * 2 + {odd} FROM chats c WHERE folder = ?1)
                    AND chat_jid IN (SELECT jid FROM chats WHERE folder = ?1) AND {fits}
                 ORDER BY search.rowid DESC LIMIT ?4"
            ),
        };
        let params = params![folder, before.0, before.1, limit, words];
        found.extend(c.all::<Said, Vec<_>>(sql, params)?);
    }
    found.sort_by_key(|said| said.place);
    let surplus = found.len().saturating_sub(limit as usize);
    found.drain(..surplus);
    Ok(found)
}

/// `tea at 4` as FTS5 wants it: `"tea"* "at"* "4"`. Whatever a query holds, it is words
/// and never syntax. A single letter is no beginning: too many words have it.
fn as_words(query: &str) -> String {
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: BTreeSet<&str> = words.take(MOST_WORDS).collect();
    let begins = |word: &&str| format!("\"{word}\"{}", if word.len() > 1 { "*" } else { "" });
    let words: Vec<String> = words.iter().map(begins).collect();
    // A query of signs alone finds nothing, which is not an error.
    if words.is_empty() { "\"\u{e000}\"".into() } else { words.join(" ") }
}
