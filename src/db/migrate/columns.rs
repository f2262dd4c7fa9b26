//! Brings the tables of any 1.x database to the columns of the last 1.x, as 1.x did
//! by itself at every start: a column that is missing is added, and filled from what
//! is there.

use rusqlite::Connection;

use super::Work;
use crate::db::ledger::Result;
use crate::db::sql::Sql;

/// What 1.x added to its tables over time: table, column, declaration.
const ADDED: &[(&str, &str, &str)] = &[
    ("scheduled_tasks", "context_mode", "TEXT DEFAULT 'isolated'"),
    ("scheduled_tasks", "script", "TEXT"),
    ("messages", "sender_name", "TEXT"),
    ("messages", "is_bot_message", "INTEGER DEFAULT 0"),
    ("messages", "reply_to_message_id", "TEXT"),
    ("messages", "reply_to_message_content", "TEXT"),
    ("messages", "reply_to_sender_name", "TEXT"),
    ("registered_groups", "container_config", "TEXT"),
    ("registered_groups", "requires_trigger", "INTEGER DEFAULT 1"),
    ("registered_groups", "is_main", "INTEGER DEFAULT 0"),
    ("chats", "channel", "TEXT"),
    ("chats", "is_group", "INTEGER DEFAULT 0"),
];

/// Adds the missing columns to the tables that exist.
pub(super) fn complete(c: &Connection, work: &mut Work<'_>) -> Result<()> {
    for (table, column, declaration) in ADDED {
        let present = columns(c, table)?;
        if !present.is_empty() && !present.iter().any(|name| name == column) {
            c.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {declaration}"))?;
            fill(c, work, table, column)?;
        }
    }
    Ok(())
}

fn columns(c: &Connection, table: &str) -> Result<Vec<String>> {
    c.all("SELECT name FROM pragma_table_info(?1)", [table])
}

/// The values of a new column in the rows that were there before it.
fn fill(c: &Connection, work: &Work<'_>, table: &str, column: &str) -> Result<()> {
    let sql = match (table, column) {
        ("messages", "is_bot_message") => {
            // In 1.x any case would do, and wildcards in the name counted (quirk 1).
            let prefix = format!("{}:", work.origin.map_or("", |o| &o.assistant));
            c.run(
                "UPDATE messages SET is_bot_message = 1 WHERE substr(content, 1, length(?1)) = ?1",
                [prefix],
            )?;
            return Ok(());
        }
        ("registered_groups", "is_main") => {
            "UPDATE registered_groups SET is_main = 1 WHERE folder = 'main'"
        }
        ("chats", "channel") => {
            "UPDATE chats SET channel = CASE
                WHEN jid LIKE '%@g.us' OR jid LIKE '%@s.whatsapp.net' THEN 'whatsapp'
                WHEN jid LIKE 'dc:%' THEN 'discord' WHEN jid LIKE 'tg:%' THEN 'telegram' END"
        }
        ("chats", "is_group") => {
            "UPDATE chats SET is_group = (jid LIKE '%@g.us' OR jid LIKE 'dc:%')"
        }
        _ => return Ok(()),
    };
    Ok(c.execute_batch(sql)?)
}
