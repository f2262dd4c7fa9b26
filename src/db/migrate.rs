//! Brings a ledger to this program's version by the files in `migrations/`.

use std::path::Path;

use rusqlite::Connection;

use super::ledger::{LedgerError, Result};

/// Applied in order; the number of those applied is `user_version`.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/0001_nanoclaw_1x.sql"),
    include_str!("../../migrations/0002_ledger.sql"),
    include_str!("../../migrations/0004_files.sql"),
];

/// The version that this program reads and writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// The version of an open ledger.
pub fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Upgrades in one transaction: it is at the new version or untouched. A ledger
/// with rows is copied beside itself first.
pub fn run(connection: &Connection, path: &Path) -> Result<()> {
    let from = version(connection)?;
    if from == SCHEMA_VERSION {
        return Ok(());
    }
    let refuse = |reason: String| LedgerError::Open { path: path.into(), reason };
    if from > SCHEMA_VERSION {
        return Err(refuse(too_new(from)));
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0))?;
    if tables > 0 {
        back_up(connection, path, from).map_err(|e| {
            refuse(format!(
                "needs an upgrade, but its backup could not be made ({e}); nothing was changed"
            ))
        })?;
    }
    // Dropping and renaming tables must not cascade; SQLite wants this outside.
    connection.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")?;
    let applied = MIGRATIONS
        .iter()
        .skip(usize::try_from(from).unwrap_or(0))
        .try_for_each(|sql| connection.execute_batch(sql));
    let end = match &applied {
        Ok(()) => format!("PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"),
        Err(_) => "ROLLBACK".into(),
    };
    connection.execute_batch(&format!("{end}; PRAGMA foreign_keys = ON"))?;
    applied.map_err(|e| refuse(format!("could not be upgraded ({e}); nothing was changed")))
}

/// Why a ledger of this version is not touched.
pub fn too_new(version: i64) -> String {
    format!(
        "was written by a newer NanoClaw (version {version}, this one knows {SCHEMA_VERSION}): start that one, or restore the backup made before the upgrade"
    )
}

fn back_up(connection: &Connection, path: &Path, from: i64) -> rusqlite::Result<()> {
    let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%S");
    let copy = path.with_extension(format!("v{from}.{stamp}.db"));
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_ledger_is_made_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("messages.db");
        for _ in 0..2 {
            let c = Connection::open(&path).unwrap();
            run(&c, &path).unwrap();
            assert_eq!(version(&c).unwrap(), SCHEMA_VERSION);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no backup of nothing");
    }

    #[test]
    fn a_1x_database_keeps_groups_history_and_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("messages.db");
        let c = Connection::open(&path).unwrap();
        c.execute_batch(MIGRATIONS[0]).unwrap();
        c.execute_batch(
            r#"INSERT INTO chats (jid, name, is_group) VALUES ('1@g.us', 'Family', 1);
            INSERT INTO registered_groups VALUES ('1@g.us', 'Family', 'family', '@Andy', '2026-01-01T00:00:00.000Z', NULL, 1, 0);
            INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, is_from_me) VALUES
              ('a', '1@g.us', 's', 'S', 'old', '2026-01-01T00:00:01.000Z', 0),
              ('b', '1@g.us', 's', 'S', 'new', '2026-01-01T00:00:03.000Z', 0);
            INSERT INTO router_state VALUES ('last_agent_timestamp', '{"1@g.us":"2026-01-01T00:00:02.000Z"}');
            INSERT INTO sessions VALUES ('family', 'abc');"#,
        )
        .unwrap();
        run(&c, &path).unwrap();
        let states: Vec<String> = c
            .prepare("SELECT id || '=' || state FROM messages ORDER BY seq")
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(states, ["a=answered", "b=context"]);
        let linked: String =
            c.query_row("SELECT folder FROM chats WHERE jid = '1@g.us'", [], |r| r.get(0)).unwrap();
        assert_eq!(linked, "family");
        let backups = std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().contains(".v0."));
        assert_eq!(backups.count(), 1);
    }

    #[test]
    fn a_newer_ledger_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("messages.db");
        let c = Connection::open(&path).unwrap();
        c.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        assert!(run(&c, &path).unwrap_err().to_string().contains("newer NanoClaw"));
        assert_eq!(version(&c).unwrap(), SCHEMA_VERSION + 1);
    }
}
