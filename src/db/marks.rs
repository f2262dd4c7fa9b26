//! What the network is shown of the messages that an agent works on: that they were
//! read, and an emoji that says how far it is. What was shown is a row, so that it is
//! put right after a crash.

use rusqlite::{Connection, params};

use super::ledger::Result;
use super::now_ms;
use super::sql::{Sql, row};

/// Only turns of the latest are looked at; what is older nobody scrolls back to.
const TURNS: i64 = 200;
/// Only messages of this age are, in milliseconds.
const AGE: i64 = 24 * 60 * 60 * 1000;

row! {
    /// A message that something is to be shown on.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Mark {
        /// The chat.
        pub jid: String = "m.chat_jid",
        /// The network's id of the message.
        pub id: String = "m.id",
        /// Who wrote it.
        pub sender: String = "m.sender",
        /// Whether the owner's own account wrote it.
        pub from_me: bool = "m.is_from_me",
        /// Whether several people are in the chat.
        pub is_group: bool = "COALESCE(c.is_group, 0)",
        /// Whether it is yet to be shown as read.
        pub unread: bool = "m.seen = 0",
        /// The emoji to show in place of the one that is shown; empty to take that away.
        pub emoji: Option<String> = "nullif(CASE m.state WHEN 'in_turn' THEN ?1 WHEN 'answered' THEN ?2 WHEN 'failed' THEN ?3 END,
            COALESCE(m.reaction, '')) AS emoji",
    }
}

/// The emoji of each state, empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emoji {
    /// A turn works on it.
    pub working: String,
    /// It was answered.
    pub done: String,
    /// It was not.
    pub failed: String,
}

/// What is to be shown now, oldest first. Without `emoji` none is put on anything.
pub fn due(c: &Connection, emoji: Option<&Emoji>) -> Result<Vec<Mark>> {
    let [working, done, failed] = match emoji {
        Some(e) => [&e.working, &e.done, &e.failed].map(|word| Some(word.as_str())),
        None => [None; 3],
    };
    let sql = Mark::select(
        "FROM messages m INDEXED BY messages_turn JOIN chats c ON c.jid = m.chat_jid
         WHERE m.turn > (SELECT COALESCE(max(id), 0) - ?4 FROM turns) AND m.stored_at > ?5 AND m.seen < 2
            AND (m.seen = 0 OR emoji IS NOT NULL)
         ORDER BY m.seq",
    );
    c.all(sql, params![working, done, failed, TURNS, now_ms() - AGE])
}

/// Notes that a message is shown as read.
pub fn read(c: &Connection, mark: &Mark) -> Result<()> {
    c.run(
        "UPDATE messages SET seen = 1 WHERE chat_jid = ?1 AND id = ?2 AND seen = 0",
        params![mark.jid, mark.id],
    )
}

/// Notes the emoji that a message shows.
pub fn reacted(c: &Connection, mark: &Mark, emoji: &str) -> Result<()> {
    c.run(
        "UPDATE messages SET reaction = ?3 WHERE chat_jid = ?1 AND id = ?2",
        params![mark.jid, mark.id, emoji],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::{Incoming, MessageState, groups, messages, migrate};

    fn emoji() -> Emoji {
        Emoji { working: "👀".into(), done: String::new(), failed: "❌".into() }
    }

    #[test]
    fn what_is_shown_follows_the_state_and_is_shown_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("messages.db");
        let c = Connection::open(&path).unwrap();
        migrate::run(&c, &path).unwrap();
        groups::see_chat(&c, "1@g.us", None, "", Some("whatsapp"), Some(true)).unwrap();
        let message =
            |id: &str| Incoming { jid: "1@g.us".into(), id: id.into(), ..Incoming::default() };
        messages::store(&c, &message("context"), MessageState::Context, None).unwrap();
        messages::store(&c, &message("asked"), MessageState::Queued, None).unwrap();
        assert_eq!(due(&c, Some(&emoji())).unwrap(), [], "no agent has them yet");
        c.execute_batch(
            "INSERT INTO turns (folder, chat_jid, kind, session, prompt, trusted, state, created_at)
             VALUES ('x', '1@g.us', 'message', 'group', '', 0, 'running', 0);
             UPDATE messages SET turn = 1;
             UPDATE messages SET state = 'in_turn' WHERE id = 'asked';",
        )
        .unwrap();
        let shown = |c: &Connection| {
            let marks = due(c, Some(&emoji())).unwrap();
            for mark in &marks {
                read(c, mark).unwrap();
                if let Some(emoji) = &mark.emoji {
                    reacted(c, mark, emoji).unwrap();
                }
            }
            marks.into_iter().map(|m| (m.id, m.unread, m.emoji)).collect::<Vec<_>>()
        };
        let at_work =
            [("context".to_owned(), true, None), ("asked".to_owned(), true, Some("👀".to_owned()))];
        assert_eq!(shown(&c), at_work);
        assert_eq!(shown(&c), []);
        c.execute("UPDATE messages SET state = 'answered' WHERE id = 'asked'", []).unwrap();
        assert_eq!(shown(&c), [("asked".to_owned(), false, Some(String::new()))]);
        assert_eq!(shown(&c), []);
        assert_eq!(due(&c, None).unwrap(), [], "switched off, nothing is put on anything");
    }
}
