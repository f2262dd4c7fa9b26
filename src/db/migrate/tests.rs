//! From every 1.x state to this version: nothing lost, each message in its state.
#![allow(clippy::unwrap_used)]

mod files;

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::Connection;

use super::*;

/// A 1.x database in a directory with `data/`.
struct Old {
    dir: tempfile::TempDir,
    c: Connection,
}

fn first_sql() -> &'static str {
    VERSIONS[0].iter().find_map(|part| if let Sql(sql) = part { Some(*sql) } else { None }).unwrap()
}

impl Old {
    /// Without a table.
    fn bare() -> Old {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let c = Connection::open(dir.path().join("messages.db")).unwrap();
        Old { dir, c }
    }

    /// Of the last 1.x, with one group `family` (chat `1@g.us`, woken by `@Andy`).
    fn last() -> Old {
        let old = Old::bare();
        old.c.execute_batch(first_sql()).unwrap();
        old.c
            .execute_batch(
                "INSERT INTO chats (jid, name, is_group) VALUES ('1@g.us', 'Family', 1);
                 INSERT INTO registered_groups VALUES
                    ('1@g.us', 'Family', 'family', '@Andy', '2026-01-01T00:00:00.000Z', NULL, 1, 0);",
            )
            .unwrap();
        old
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("messages.db")
    }

    fn json(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join("data").join(name), text).unwrap();
    }

    fn cursor(&self, text: &str) {
        self.c
            .execute("INSERT INTO router_state VALUES ('last_agent_timestamp', ?1)", [text])
            .unwrap();
    }

    fn message(&self, id: &str, time: &str, content: &str) {
        self.c
            .execute(
                "INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, is_from_me)
                 VALUES (?1, '1@g.us', 'ann', 'Ann', ?2, ?3, 0)",
                [id, content, time],
            )
            .unwrap();
    }

    fn origin(&self) -> Origin {
        Origin {
            data: self.dir.path().join("data"),
            assistant: "Andy".into(),
            own_number: false,
            allowlist: SenderAllowlist::everybody(),
            now: "2026-01-10T12:00:00Z".parse::<DateTime<Utc>>().unwrap().timestamp_millis(),
        }
    }

    fn upgrade(&self) -> Result<()> {
        run_from(&self.c, &self.path(), Some(&self.origin()))
    }

    fn all(&self, sql: &str) -> Vec<String> {
        let mut statement = self.c.prepare(sql).unwrap();
        let rows = statement.query_map([], |r| r.get::<_, String>(0)).unwrap();
        rows.map(rusqlite::Result::unwrap).collect()
    }

    fn states(&self) -> Vec<String> {
        self.all(
            "SELECT id || '=' || state || COALESCE('(' || reason || ')', '') FROM messages ORDER BY seq",
        )
    }

    fn report(&self) -> Report {
        report(&self.c).unwrap().unwrap()
    }

    fn backups(&self) -> usize {
        let files = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        files.filter(|f| f.file_name().to_string_lossy().contains(".v0.")).count()
    }
}

#[test]
fn a_new_ledger_is_made_and_opens_again() {
    let old = Old::bare();
    for _ in 0..2 {
        run(&old.c, &old.path()).unwrap();
        assert_eq!(version(&old.c).unwrap(), SCHEMA_VERSION);
    }
    assert_eq!(old.backups(), 0, "no backup of nothing");
    assert_eq!(report(&old.c).unwrap(), None);
}

#[test]
fn a_1x_database_keeps_groups_history_and_sessions() {
    let old = Old::last();
    old.message("a", "2026-01-09T20:00:01.000Z", "@Andy old");
    old.message("b", "2026-01-09T20:00:03.000Z", "@Andy new");
    old.message("c", "2026-01-09T20:00:04.250Z", "talk");
    old.cursor(r#"{"1@g.us":"2026-01-09T20:00:01.000Z"}"#);
    old.c.execute_batch("INSERT INTO sessions VALUES ('family', 'abc')").unwrap();
    old.upgrade().unwrap();
    assert_eq!(old.states(), ["a=answered", "b=queued", "c=context"]);
    assert_eq!(old.all("SELECT folder FROM chats WHERE jid = '1@g.us'"), ["family"]);
    assert_eq!(old.all("SELECT session_id FROM sessions"), ["abc"]);
    assert_eq!(old.all("SELECT stored_at || '' FROM messages WHERE id = 'c'"), ["1767988804250"]);
    assert_eq!(old.all("SELECT legacy_ipc || '' FROM groups"), ["1"]);
    assert_eq!(old.all("SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
    assert_eq!(old.backups(), 1);
    let report = old.report();
    assert_eq!((report.groups, report.messages, report.queued, report.left_out), (1, 3, 1, 0));
    assert_eq!(report.warnings, [""; 0]);
    old.upgrade().unwrap();
    assert_eq!((old.backups(), old.report()), (1, report), "a second start changes nothing");
}

#[test]
fn a_newer_ledger_is_refused_and_left_alone() {
    let old = Old::bare();
    old.c.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    assert!(old.upgrade().unwrap_err().to_string().contains("newer NanoClaw"));
    assert_eq!(version(&old.c).unwrap(), SCHEMA_VERSION + 1);
}

#[test]
fn only_who_knows_where_it_comes_from_upgrades_a_1x_database() {
    let old = Old::last();
    let refused = run(&old.c, &old.path()).unwrap_err().to_string();
    assert!(refused.contains("of NanoClaw 1.x: run `nanoclaw start`"), "{refused}");
    assert_eq!((version(&old.c).unwrap(), old.backups()), (0, 0));
}

#[test]
fn mig_01_chats_of_three_columns_learn_their_channel_and_kind() {
    let old = Old::bare();
    old.c
        .execute_batch(
            "CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT);
             INSERT INTO chats (jid) VALUES ('tg:12'), ('tg:-12'), ('1@g.us'), ('1@s.whatsapp.net'), ('dc:1'), ('x');",
        )
        .unwrap();
    old.upgrade().unwrap();
    assert_eq!(
        old.all("SELECT jid || ' ' || COALESCE(channel, '-') || ' ' || is_group FROM chats ORDER BY rowid"),
        ["tg:12 telegram 0", "tg:-12 telegram 0", "1@g.us whatsapp 1", "1@s.whatsapp.net whatsapp 0", "dc:1 discord 1",
            "x - 0"]
    );
}

#[test]
fn rg_01_to_07_groups_keep_every_field_however_odd() {
    let old = Old::last();
    let odd = "'); DROP TABLE chats;--@g.us";
    old.c
        .execute(
            "INSERT INTO registered_groups VALUES (?1, 'O''Brien''s', 'brien', '@Bot', 't', '{\"timeout\":5}', 0, 1),
                ('z', 'Z', 'zed', '@Z', 't', NULL, NULL, NULL)",
            [odd],
        )
        .unwrap();
    old.upgrade().unwrap();
    assert_eq!(
        old.all(
            "SELECT c.jid || '|' || g.name || '|' || g.folder || '|' || g.trigger || '|' || g.requires_trigger || '|' ||
                g.is_main || '|' || COALESCE(g.container_config, '-') FROM groups g JOIN chats c USING (folder) ORDER BY g.folder"
        ),
        [
            format!("{odd}|O'Brien's|brien|@Bot|0|1|{{\"timeout\":5}}"),
            "1@g.us|Family|family|@Andy|1|0|-".to_owned(),
            "z|Z|zed|@Z|1|0|-".to_owned(),
        ],
    );
}

#[test]
fn db_02_09_and_14_empty_and_own_messages_reach_no_agent() {
    let old = Old::last();
    for (id, content) in
        [("a", "Andy: flagless"), ("b", " \n"), ("c", "andy: call him @Andy"), ("d", "@Andy x")]
    {
        old.message(id, "2026-01-10T11:00:00.000Z", content);
    }
    old.c.execute("UPDATE messages SET is_bot_message = 1 WHERE id = 'd'", []).unwrap();
    // Their times must not serve as a cursor here.
    old.cursor(r#"{"1@g.us":"2026-01-10T10:00:00.000Z"}"#);
    old.upgrade().unwrap();
    assert_eq!(
        old.states(),
        ["a=ignored(own message)", "b=ignored(empty)", "c=context", "d=ignored(own message)"]
    );
}

#[test]
fn db_11_without_a_cursor_the_assistant_s_last_message_is_one() {
    for state in [None, Some("{"), Some("{}"), Some(r#"{"1@g.us":""}"#)] {
        let old = Old::last();
        for n in 0..50 {
            old.message(&format!("m{n}"), &format!("2026-01-10T10:00:{n:02}.000Z"), "@Andy x");
        }
        old.message("bot", "2026-01-10T10:01:00.000Z", "Andy: done");
        old.message("y", "2026-01-10T10:02:00.000Z", "@Andy y");
        old.message("z", "2026-01-10T10:03:00.000Z", "@Andy z");
        state.iter().for_each(|text| old.cursor(text));
        old.upgrade().unwrap();
        assert_eq!(old.states().iter().filter(|s| s.ends_with("=answered")).count(), 50);
        assert_eq!(old.states()[51..], ["y=queued", "z=queued"]);
        assert_eq!(old.report().warnings.len(), usize::from(state == Some("{")));
    }
}

#[test]
fn what_waited_for_more_than_a_day_is_not_answered_and_the_chat_is_told() {
    let old = Old::last();
    old.message("a", "2026-01-09T11:59:00.000Z", "@Andy a");
    old.message("b", "2026-01-09T11:59:30.000Z", "no trigger");
    old.message("c", "what time?", "@Andy b");
    old.message("d", "2026-01-09T12:01:00.000Z", "@Andy c");
    old.upgrade().unwrap();
    assert_eq!(old.states(), ["a=context", "b=context", "d=queued", "c=context"]);
    let said = old.all("SELECT chat_jid || ' ' || text FROM outbox WHERE state = 'pending'");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("1@g.us 2 older messages were left unanswered"), "{said:?}");
    assert_eq!((old.report().queued, old.report().left_out), (1, 2));
}

#[test]
fn the_router_decides_what_still_needs_an_answer() {
    let old = Old::last();
    old.c
        .execute_batch(
            "INSERT INTO chats (jid, is_group) VALUES ('me', 0), ('2@g.us', 0), ('gone', 1);
             INSERT INTO registered_groups VALUES ('me', 'Me', 'main', '@Andy', 't', NULL, 1, 1),
                ('2@g.us', 'Open', 'open', '@Andy', 't', NULL, 0, 0);
             INSERT INTO messages (id, chat_jid, sender, content, timestamp, is_from_me) VALUES
                ('m', 'me', 'i', 'hello', '2026-01-10T11:00:00.000Z', 0),
                ('o', '2@g.us', 'ann', 'hello', '2026-01-10T11:00:01.000Z', 0),
                ('f', '1@g.us', 'eve', '@Andy hi', '2026-01-10T11:00:02.000Z', 0),
                ('g', '1@g.us', 'i', '@Andy hi', '2026-01-10T11:00:03.000Z', 1),
                ('x', 'gone', 'ann', '@Andy hi', '2026-01-10T11:00:04.000Z', 0);",
        )
        .unwrap();
    let mut origin = old.origin();
    origin.allowlist = SenderAllowlist::parse(
        r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"1@g.us":{"allow":["ann"],"mode":"trigger"}}}"#,
    );
    run_from(&old.c, &old.path(), Some(&origin)).unwrap();
    assert_eq!(
        old.states(),
        [
            "m=queued",
            "o=queued",
            "f=context",
            "g=queued",
            "x=ignored(its chat belongs to no group)"
        ]
    );
    let trusted = old.all("SELECT id FROM messages WHERE trusted ORDER BY seq");
    assert_eq!(trusted, ["m", "g"], "the owner's chat, and the shared account");
    assert_eq!(old.all("SELECT is_group || '' FROM chats WHERE jid = '2@g.us'"), ["1"], "quirk 22");
}

#[test]
fn groups_that_can_have_no_folder_are_kept_out_and_named() {
    let old = Old::last();
    old.c
        .execute_batch(
            "INSERT INTO registered_groups VALUES ('a', 'A', '../up', '@Andy', 't', NULL, 1, 0),
                ('b', 'B', 'errors', '@Andy', 't', NULL, 1, 0);
             INSERT INTO chats (jid) VALUES ('a');
             INSERT INTO messages (id, chat_jid, content, timestamp) VALUES ('m', 'a', 'hi', '2026-01-10T11:00:00.000Z');",
        )
        .unwrap();
    old.upgrade().unwrap();
    assert_eq!(old.all("SELECT folder FROM groups"), ["family"]);
    let warnings = old.report().warnings;
    assert!(warnings.iter().any(|w| w.contains("chat a,") && w.contains("../up")), "{warnings:?}");
    assert!(
        warnings.iter().any(|w| w.contains("chat b,") && w.contains("groups add")),
        "{warnings:?}"
    );
    assert_eq!(old.states().len(), 1, "its history is kept");
}

#[test]
fn a_table_that_is_not_as_it_should_be_stops_the_upgrade_and_everything_stays() {
    let old = Old::last();
    old.c.execute_batch("ALTER TABLE messages RENAME COLUMN content TO body").unwrap();
    let before = dump(&old.path());
    let refused = old.upgrade().unwrap_err().to_string();
    assert!(refused.contains("content") && refused.contains("nothing was changed"), "{refused}");
    assert_eq!(dump(&old.path()), before);
    assert_eq!(old.backups(), 0);
}

#[test]
fn rows_that_break_the_rules_are_kept_all_the_same() {
    let old = Old::last();
    old.c
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO messages (id, chat_jid, timestamp) VALUES (NULL, NULL, NULL), (NULL, 'nochat', 'x'), ('a', 'nochat', 'y');
             INSERT INTO scheduled_tasks (id, group_folder, chat_jid, prompt, schedule_type, schedule_value, created_at)
                VALUES ('t', 'gone', 'notask', 'p', 'cron', '* * * * *', 't');",
        )
        .unwrap();
    old.upgrade().unwrap();
    assert_eq!(old.states().len(), 3);
    assert_eq!(old.all("SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
}

fn dump(path: &Path) -> Vec<String> {
    let c = Connection::open(path).unwrap();
    let mut statement =
        c.prepare("SELECT name || COALESCE(sql, '') FROM sqlite_master ORDER BY 1").unwrap();
    let rows = statement.query_map([], |r| r.get(0)).unwrap();
    rows.map(rusqlite::Result::unwrap).collect()
}
