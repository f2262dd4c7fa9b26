//! Directories of NanoClaw 1.x, in each state that its releases left them in.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Connection;
use serde_json::json;

/// A state of the schema, named by what was new in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Chats and messages alone; no name of the sender.
    First,
    /// Names of senders; tasks and their runs.
    Tasks,
    /// `context_mode` of tasks, by ALTER.
    ContextMode,
    /// State, sessions and groups in tables instead of files.
    Tables,
    /// `requires_trigger`.
    RequiresTrigger,
    /// `is_bot_message`, by ALTER.
    BotFlag,
    /// `is_main`, by ALTER.
    IsMain,
    /// `channel` and `is_group` of chats, by ALTER.
    Channels,
    /// `script` of tasks and the quoted message, by ALTER: the last 1.x.
    Last,
    /// The same, with a write-ahead log as the setup of WhatsApp leaves it.
    LastWal,
}

pub const STAGES: [Stage; 10] = [
    Stage::First,
    Stage::Tasks,
    Stage::ContextMode,
    Stage::Tables,
    Stage::RequiresTrigger,
    Stage::BotFlag,
    Stage::IsMain,
    Stage::Channels,
    Stage::Last,
    Stage::LastWal,
];

/// Text of a time, as 1.x writes it.
pub fn ago(hours: f64) -> String {
    let at: DateTime<Utc> = Utc::now() - TimeDelta::milliseconds((hours * 3_600_000.0) as i64);
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Chats, groups, messages, tasks and a session, as far as the stage has them:
/// `tg:1` is main's, `tg:-2` family's (woken by `@Andy`), `1@g.us` the archive's.
pub fn build(home: &Path, stage: Stage) {
    for directory in ["store", "data", "groups/main", "groups/family", "groups/global"] {
        std::fs::create_dir_all(home.join(directory)).unwrap();
    }
    let memory = "# Andy\n\nAsk `sqlite3 /workspace/project/store/messages.db` for groups.\n";
    std::fs::write(home.join("groups/main/CLAUDE.md"), memory).unwrap();
    std::fs::write(home.join("groups/family/CLAUDE.md"), "# Andy\n\nBe kind.\n").unwrap();
    let project = home.join("data/sessions/family/.claude/projects/-workspace-group");
    std::fs::create_dir_all(&project).unwrap();
    std::fs::create_dir_all(home.join("data/sessions/family/agent-runner-src")).unwrap();
    std::fs::write(project.join("sess-1.jsonl"), "{\"uuid\":\"0\"}\n").unwrap();
    let settings = json!({"env": {"CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS": "1",
        "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1", "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "0"}});
    let settings_file = home.join("data/sessions/family/.claude/settings.json");
    std::fs::write(settings_file, settings.to_string()).unwrap();

    let c = Connection::open(home.join("store/messages.db")).unwrap();
    schema(&c, stage);
    chats_and_messages(&c);
    if stage >= Stage::Tasks {
        tasks(&c);
    }
    groups(home, &c, stage);
    if stage >= Stage::LastWal {
        // With rows that are in the log only: 1.x never closed its database.
        c.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE chats SET name = name").unwrap();
    }
}

fn schema(c: &Connection, stage: Stage) {
    let from = |first: Stage, sql: &str| {
        if stage >= first {
            c.execute_batch(sql).unwrap_or_else(|e| panic!("{stage:?} {sql}: {e}"));
        }
    };
    from(Stage::LastWal, "PRAGMA journal_mode = WAL");
    c.execute_batch(
        "CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT);
         CREATE TABLE messages (id TEXT, chat_jid TEXT, sender TEXT, content TEXT, timestamp TEXT, is_from_me INTEGER,
            PRIMARY KEY (id, chat_jid), FOREIGN KEY (chat_jid) REFERENCES chats(jid));
         CREATE INDEX idx_timestamp ON messages(timestamp);",
    )
    .unwrap();
    from(Stage::Tasks, "ALTER TABLE messages ADD COLUMN sender_name TEXT");
    from(
        Stage::Tasks,
        "CREATE TABLE scheduled_tasks (id TEXT PRIMARY KEY, group_folder TEXT NOT NULL, chat_jid TEXT NOT NULL,
            prompt TEXT NOT NULL, schedule_type TEXT NOT NULL, schedule_value TEXT NOT NULL, next_run TEXT, last_run TEXT,
            last_result TEXT, status TEXT DEFAULT 'active', created_at TEXT NOT NULL);
         CREATE INDEX idx_next_run ON scheduled_tasks(next_run);
         CREATE INDEX idx_status ON scheduled_tasks(status);
         CREATE TABLE task_run_logs (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_at TEXT NOT NULL,
            duration_ms INTEGER NOT NULL, status TEXT NOT NULL, result TEXT, error TEXT,
            FOREIGN KEY (task_id) REFERENCES scheduled_tasks(id));
         CREATE INDEX idx_task_run_logs ON task_run_logs(task_id, run_at);",
    );
    from(
        Stage::ContextMode,
        "ALTER TABLE scheduled_tasks ADD COLUMN context_mode TEXT DEFAULT 'isolated'",
    );
    from(
        Stage::Tables,
        "CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
         CREATE TABLE sessions (group_folder TEXT PRIMARY KEY, session_id TEXT NOT NULL);
         CREATE TABLE registered_groups (jid TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE,
            trigger_pattern TEXT NOT NULL, added_at TEXT NOT NULL, container_config TEXT);",
    );
    for (first, sql) in [
        (Stage::RequiresTrigger, "registered_groups ADD COLUMN requires_trigger INTEGER DEFAULT 1"),
        (Stage::BotFlag, "messages ADD COLUMN is_bot_message INTEGER DEFAULT 0"),
        (Stage::IsMain, "registered_groups ADD COLUMN is_main INTEGER DEFAULT 0"),
        (Stage::Channels, "chats ADD COLUMN channel TEXT"),
        (Stage::Channels, "chats ADD COLUMN is_group INTEGER DEFAULT 0"),
        (Stage::Last, "scheduled_tasks ADD COLUMN script TEXT"),
        (Stage::Last, "messages ADD COLUMN reply_to_message_id TEXT"),
        (Stage::Last, "messages ADD COLUMN reply_to_message_content TEXT"),
        (Stage::Last, "messages ADD COLUMN reply_to_sender_name TEXT"),
    ] {
        from(first, &format!("ALTER TABLE {sql}"));
    }
}

fn chats_and_messages(c: &Connection) {
    for (jid, name) in [
        ("tg:1", "Me"),
        ("tg:-2", "Family"),
        ("1@g.us", "Archive"),
        ("9@g.us", "Strangers"),
        ("__group_sync__", "__group_sync__"),
    ] {
        c.execute(
            "INSERT INTO chats (jid, name, last_message_time) VALUES (?1, ?2, ?3)",
            [jid, name, &ago(1.0)],
        )
        .unwrap();
    }
    let add = |id: &str, jid: &str, hours: f64, content: &str| {
        c.execute(
            "INSERT INTO messages (id, chat_jid, sender, content, timestamp, is_from_me) VALUES (?1, ?2, 'ann', ?3, ?4, 0)",
            [id, jid, content, &ago(hours)],
        )
        .unwrap();
    };
    for n in 0..300 {
        add(&format!("old{n}"), "1@g.us", 2000.0 - f64::from(n), "@Andy long ago");
    }
    add("bot", "1@g.us", 1000.0, "Andy: that was all");
    add("m1", "tg:1", 50.0, "seen by main");
    add("m2", "tg:1", 0.2, "still open in main");
    add("f1", "tg:-2", 60.0, "@Andy seen");
    add("f2", "tg:-2", 30.0, "@Andy waited too long");
    add("f3", "tg:-2", 0.9, "just chatter");
    add("f4", "tg:-2", 0.5, "@Andy what is up");
}

fn tasks(c: &Connection) {
    let soon = ago(-500.0);
    for (id, kind, value, next, status) in [
        ("task-cron", "cron", "0 9 * * 1", Some(&soon), "active"),
        ("task-interval", "interval", "3600000000", Some(&soon), "active"),
        ("task-once", "once", "2099-01-01T09:00:00", Some(&soon), "active"),
        ("task-paused", "cron", "0 9 * * *", Some(&soon), "paused"),
        ("task-done", "once", "2026-01-01T09:00:00", None, "completed"),
    ] {
        c.execute(
            "INSERT INTO scheduled_tasks (id, group_folder, chat_jid, prompt, schedule_type, schedule_value, next_run,
                status, created_at) VALUES (?1, 'family', 'tg:-2', 'say it''s time', ?2, ?3, ?4, ?5, '2026-01-01T00:00:00.000Z')",
            rusqlite::params![id, kind, value, next, status],
        )
        .unwrap();
    }
    for n in 0..3 {
        c.execute(
            "INSERT INTO task_run_logs (task_id, run_at, duration_ms, status, result) VALUES ('task-done', ?1, 5, 'success', 'r')",
            [ago(100.0 + f64::from(n))],
        )
        .unwrap();
    }
}

fn groups(home: &Path, c: &Connection, stage: Stage) {
    let seen = json!({"tg:1": ago(40.0), "tg:-2": ago(40.0)});
    if stage < Stage::Tables {
        let data = home.join("data");
        let write = |name: &str, value: serde_json::Value| {
            std::fs::write(data.join(name), value.to_string()).unwrap();
        };
        write(
            "router_state.json",
            json!({"last_timestamp": ago(0.5), "last_agent_timestamp": seen}),
        );
        write("sessions.json", json!({"family": "sess-1"}));
        let group = |name: &str, folder: &str| json!({"name": name, "folder": folder, "trigger": "@Andy", "added_at": ago(3000.0)});
        write(
            "registered_groups.json",
            json!({"tg:1": group("Me", "main"), "tg:-2": group("Family", "family"), "1@g.us": group("Archive", "archive")}),
        );
        return;
    }
    for (jid, name, folder) in
        [("tg:1", "Me", "main"), ("tg:-2", "Family", "family"), ("1@g.us", "Archive", "archive")]
    {
        c.execute(
            "INSERT INTO registered_groups (jid, name, folder, trigger_pattern, added_at) VALUES (?1, ?2, ?3, '@Andy', ?4)",
            [jid, name, folder, &ago(3000.0)],
        )
        .unwrap();
    }
    if stage >= Stage::IsMain {
        c.execute("UPDATE registered_groups SET is_main = 1 WHERE folder = 'main'", []).unwrap();
    }
    if stage >= Stage::BotFlag {
        c.execute("UPDATE messages SET is_bot_message = 1 WHERE id = 'bot'", []).unwrap();
    }
    c.execute("INSERT INTO router_state VALUES ('last_agent_timestamp', ?1)", [seen.to_string()])
        .unwrap();
    c.execute("INSERT INTO router_state VALUES ('last_timestamp', ?1)", [ago(0.5)]).unwrap();
    c.execute("INSERT INTO sessions VALUES ('family', 'sess-1')", []).unwrap();
}
