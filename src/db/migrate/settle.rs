//! What becomes of the rows of 1.x in the ledger: which groups can be served, and
//! which messages still need an answer.
//!
//! 1.x had no states, only a cursor a chat: what its agent had seen. What is newer
//! goes the way that a message takes today, by [`crate::router`]; but an answer that
//! comes more than a day late is none, so the chat is told instead.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{Origin, Work, note};
use crate::db::Speakers;
use crate::db::ledger::{LedgerError, Result};
use crate::db::sql::{Sql, row};
use crate::ids::Folder;
use crate::prompt::notices;
use crate::router::{self, Assistant, Reason, Route, Rules};

/// The oldest message that is still answered, in milliseconds before now.
const ANSWERED_LATE: i64 = 24 * 60 * 60 * 1000;
/// Of messages that no group's agent can ever see.
const NO_GROUP: &str = "its chat belongs to no group";

/// Keeps out groups that cannot have a folder, and counts.
pub(super) fn screen(c: &Connection, work: &mut Work<'_>) -> Result<()> {
    work.rows = counts(c)?;
    let all: Vec<(String, String, String, String)> =
        c.all("SELECT jid, name, folder, trigger_pattern FROM registered_groups", [])?;
    for (jid, name, folder, trigger) in all {
        if let Err(bad) = Folder::parse(&folder) {
            c.run("DELETE FROM registered_groups WHERE jid = ?1", [&jid])?;
            work.report.warnings.push(format!(
                "the group {name:?} (chat {jid}, trigger {trigger:?}) is not served: {bad}. Move its folder to a good \
                 name, then `nanoclaw groups add NAME --jid {jid}`; its history is kept"
            ));
        }
    }
    Ok(())
}

fn counts(c: &Connection) -> Result<[i64; 4]> {
    let (messages, tasks, runs, sessions) = c.one(
        "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM scheduled_tasks),
            (SELECT count(*) FROM task_run_logs), (SELECT count(*) FROM sessions)",
        [],
    )?;
    Ok([messages, tasks, runs, sessions])
}

/// Gives each message its state, and notes what was done.
pub(super) fn messages(c: &Connection, work: &mut Work<'_>) -> Result<()> {
    let after = counts(c)?;
    if after != work.rows {
        let before = work.rows;
        return Err(LedgerError::Refused(format!("{before:?} rows became {after:?}")));
    }
    if let Some(origin) = work.origin {
        link(c, work)?;
        let cursors = cursors(c, work)?;
        ignore(c, origin)?;
        let served: Vec<Served> =
            c.all(Served::select("FROM chats c JOIN groups g ON g.folder = c.folder"), [])?;
        for chat in served {
            settle(c, work, origin, &chat, cursors.get(&chat.jid))?;
        }
        if work.report.backup.is_some() || !work.report.files.is_empty() {
            let groups = c.one("SELECT count(*) FROM groups", [])?;
            work.report.groups = groups;
            [work.report.messages, work.report.tasks, ..] = after;
            note(c, &work.report)?;
        }
    }
    Ok(c.execute_batch("DROP TABLE router_state")?)
}

fn link(c: &Connection, work: &mut Work<'_>) -> Result<()> {
    for (jid, name, folder) in &work.links {
        c.run("INSERT OR IGNORE INTO chats (jid, name) VALUES (?1, ?2)", [jid, name])?;
        let linked = c.change(
            "UPDATE chats SET folder = ?2 WHERE jid = ?1 AND folder IS NULL
             AND EXISTS (SELECT 1 FROM groups WHERE folder = ?2)",
            [jid, folder],
        )?;
        if linked == 0 {
            work.report
                .warnings
                .push(format!("the chat {jid} is not served: its group {folder:?} is not"));
        }
    }
    // Those of which 1.x learnt by the list of names only had no flag (quirk 22).
    c.run("UPDATE chats SET is_group = 1 WHERE jid LIKE '%@g.us'", [])
}

fn cursors(c: &Connection, work: &mut Work<'_>) -> Result<HashMap<String, String>> {
    let text: Option<String> =
        c.first("SELECT value FROM router_state WHERE key = 'last_agent_timestamp'", [])?;
    let Some(text) = text else { return Ok(HashMap::new()) };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        work.report.warnings.push(format!(
            "what each agent had seen cannot be read ({error}): its last message in each chat counts instead"
        ));
        HashMap::new()
    }))
}

/// The state of what no agent is to see, whenever it was written.
fn ignore(c: &Connection, origin: &Origin) -> Result<()> {
    let prefix = format!("{}:", origin.assistant);
    c.run(
        "UPDATE messages SET state = 'ignored', reason = ?2
         WHERE is_bot_message = 1 OR substr(content, 1, length(?1)) = ?1",
        [&prefix, Reason::OwnMessage.as_str()],
    )?;
    c.run(
        "UPDATE messages SET state = 'ignored', reason = ?1
         WHERE state <> 'ignored' AND trim(content, char(9, 10, 13, 32)) = ''",
        [Reason::Empty.as_str()],
    )?;
    c.run(
        "UPDATE messages SET state = 'ignored', reason = ?1
         WHERE state <> 'ignored' AND chat_jid NOT IN (SELECT jid FROM chats WHERE folder IS NOT NULL)",
        [NO_GROUP],
    )
}

row! {
    /// A chat that is served.
    pub struct Served {
        pub jid: String = "c.jid",
        pub is_group: bool = "COALESCE(c.is_group, 0)",
        pub is_main: bool = "g.is_main",
        pub requires_trigger: bool = "g.requires_trigger",
        pub trigger: String = "g.trigger",
    }
}

/// Gives what is newer than the chat's cursor its way. Without a cursor the
/// assistant's last message stands for it.
fn settle(
    c: &Connection,
    work: &mut Work<'_>,
    origin: &Origin,
    chat: &Served,
    cursor: Option<&String>,
) -> Result<()> {
    let cursor = match cursor.filter(|cursor| !cursor.is_empty()) {
        Some(cursor) => cursor.clone(),
        None => c.one(
            "SELECT COALESCE(max(timestamp), '') FROM messages
             WHERE chat_jid = ?1 AND state = 'ignored' AND reason = ?2",
            [&chat.jid, Reason::OwnMessage.as_str()],
        )?,
    };
    let rules = Rules {
        jids: std::slice::from_ref(&chat.jid),
        is_main: chat.is_main,
        requires_trigger: chat.requires_trigger,
        trigger: Some(&chat.trigger),
        speakers: Speakers::Everybody,
        keeps_context: true,
    };
    let assistant = Assistant { name: &origin.assistant, own_number: origin.own_number };
    let mut statement = c.prepare_cached(
        "SELECT seq, sender, is_from_me, content, timestamp FROM messages
         WHERE chat_jid = ?1 AND timestamp > ?2 AND state <> 'ignored' ORDER BY seq",
    )?;
    let mut rows = statement.query([&chat.jid, &cursor])?;
    let mut late = 0;
    while let Some(row) = rows.next()? {
        let (sender, content): (String, String) = (row.get(1)?, row.get(3)?);
        let message = router::Incoming {
            senders: std::slice::from_ref(&sender),
            from_me: row.get(2)?,
            local: false,
            is_owner: false,
            is_known: false,
            calls: false,
            content: &content,
            is_empty: false,
        };
        let sent = row.get_ref(4)?.as_str().ok().and_then(|t| t.parse().ok());
        let sent = sent.map_or(0, |t: chrono::DateTime<chrono::Utc>| t.timestamp_millis());
        let (state, reason) = match router::route(&rules, &message, &origin.allowlist, &assistant) {
            Route::Drop(reason) | Route::Ignore(reason) => ("ignored", Some(reason.as_str())),
            Route::Context(_) => ("context", None),
            Route::Queue if origin.now - sent > ANSWERED_LATE => {
                late += 1;
                ("context", None)
            }
            Route::Queue => {
                work.report.queued += 1;
                ("queued", None)
            }
        };
        let trusted = router::trusted(&message, &assistant) || (chat.is_main && is_direct(chat));
        c.run(
            "UPDATE messages SET state = ?2, reason = ?3, trusted = ?4 WHERE seq = ?1",
            params![row.get::<_, i64>(0)?, state, reason, trusted],
        )?;
    }
    work.report.left_out += late;
    if late > 0 {
        tell(c, &chat.jid, late, origin.now)?;
    }
    Ok(())
}

/// Whether nobody but the owner writes there. For Telegram 1.x guessed wrong: its
/// groups have negative numbers.
fn is_direct(chat: &Served) -> bool {
    !chat.is_group && !chat.jid.starts_with("tg:-")
}

fn tell(c: &Connection, jid: &str, count: i64, now: i64) -> Result<()> {
    let text = notices::left_out(usize::try_from(count).unwrap_or(usize::MAX));
    c.run(
        "INSERT INTO outbox (key, part, chat_jid, channel_id, text, state, created_at)
         VALUES ('notice:left_out', 0, ?1, '3EB0' || upper(hex(randomblob(9))), ?2, 'pending', ?3)",
        params![jid, text, now],
    )
}
