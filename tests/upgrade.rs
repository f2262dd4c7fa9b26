//! A directory of NanoClaw 1.x, in every state that its releases left, is started
//! with this program: nothing is lost, and what must be answered is.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "upgrade/hand.rs"]
mod hand;
#[path = "upgrade/old.rs"]
mod old;
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use old::{STAGES, Stage, build};
use rusqlite::Connection;
use serde_json::Value;
use support::{Client, Home, eventually};

/// Rows of one table, each as one text, in a stable order.
fn rows(home: &Home, columns: &str, table: &str) -> Vec<String> {
    let c = Connection::open(home.path().join("store/messages.db")).unwrap();
    let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
    let mut statement = c.prepare(&sql).unwrap();
    let width = statement.column_count();
    let found = statement
        .query_map([], |r| {
            (0..width)
                .map(|i| r.get::<_, rusqlite::types::Value>(i))
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .unwrap();
    found.map(|row| format!("{:?}", row.unwrap())).collect()
}

// When an active cron expression runs next is found anew at each start.
const TASK: &str = "id, group_folder, chat_jid, prompt, schedule_type, schedule_value,
    iif(id = 'task-cron', next_run IS NOT NULL, next_run), status, created_at";
const RUN: &str = "id, task_id, run_at, duration_ms, status, result";
const SAID: &str = "chat_jid || id, sender, content, timestamp";

fn said(home: &Home) -> Vec<String> {
    rows(home, SAID, "messages")
}

#[test]
fn every_state_of_1x_is_served_with_all_it_had() {
    for stage in STAGES {
        eprintln!("{stage:?}");
        let home = Home::new();
        build(home.path(), stage);
        let messages = said(&home);
        let tasks = (stage >= Stage::Tasks)
            .then(|| (rows(&home, TASK, "scheduled_tasks"), rows(&home, RUN, "task_run_logs")));
        let daemon = home.start();
        assert_eq!(said(&home), messages);
        let after = (rows(&home, TASK, "scheduled_tasks"), rows(&home, RUN, "task_run_logs"));
        if tasks.is_some() {
            let on_monday =
                "strftime('%w', next_run) = '1' AND next_run > strftime('%FT%T', 'now')";
            let sql = format!("SELECT {on_monday} FROM scheduled_tasks WHERE id = 'task-cron'");
            eventually("its next Monday", || home.ledger::<i64>(&sql) == 1);
        }
        assert_eq!(after, tasks.unwrap_or_default());

        let (code, out, error) = home.run(&["groups", "list", "--json"]);
        assert_eq!(code, 0, "{error}");
        let groups: Value = serde_json::from_str(&out).unwrap();
        let served: Vec<(&str, bool, &str)> = groups
            .as_array()
            .unwrap()
            .iter()
            .map(|g| {
                let group = &g["group"];
                let folder = group["folder"].as_str().unwrap();
                (folder, group["is_main"].as_bool().unwrap(), group["trigger"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            served,
            [("main", true, "@Andy"), ("archive", false, "@Andy"), ("family", false, "@Andy")]
        );

        let client = Client::connect(&home, "tg:");
        let answer = client.answer("tg:-2", "what is up");
        assert!(answer.contains("just chatter"), "what led up to it is shown: {answer}");
        client.answer("tg:1", "still open in main");
        client.answer("tg:-2", "One older message was left unanswered");
        let answers = client.heard(|h| h.sends.len());
        assert_eq!(answers, 3, "nothing else is answered");
        eventually("all to be settled", || {
            let states = home.states();
            states.get("answered") == Some(&304) && states.get("ignored") == Some(&1)
        });
        // The session was resumed, where 1.x had left it.
        let session: String =
            home.ledger("SELECT session_id FROM sessions WHERE group_folder = 'family'");
        assert_eq!(session, "sess-1");
        let transcript =
            home.path().join("data/sessions/family/.claude/projects/-workspace-group/sess-1.jsonl");
        assert!(std::fs::read_to_string(transcript).unwrap().contains("what is up"));
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn the_first_start_tells_what_was_done_and_the_second_changes_nothing() {
    let home = Home::new();
    build(home.path(), Stage::Tasks);
    let first = told(&home);
    for part in [
        "3 groups, 307 messages and 5 tasks were kept",
        "2 messages are answered now; 1 had waited",
        ".v0.",
        "groups/main/CLAUDE.md:3: Ask `sqlite3",
        "-> use the tools read_history",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let backups = || {
        let files = std::fs::read_dir(home.path().join("store")).unwrap().flatten();
        files.filter(|f| f.file_name().to_string_lossy().contains(".v0.")).count()
    };
    assert_eq!(backups(), 1);
    let memory = std::fs::read_to_string(home.path().join("groups/main/CLAUDE.md")).unwrap();
    assert!(memory.contains("sqlite3"), "a memory is never rewritten");
    let groups = rows(&home, "*", "groups");
    let second = told(&home);
    assert!(!second.contains("1.x") && second.contains("ready in"), "{second}");
    assert_eq!((backups(), rows(&home, "*", "groups")), (1, groups));
    assert_eq!(home.ledger::<i64>("SELECT count(*) FROM outbox WHERE key = 'notice:left_out'"), 1);
    let (_, out, _) = home.run(&["status"]);
    assert!(out.contains("had and is gone, 1 times"), "{out}");
    let (_, out, _) = home.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["memories"][0]["line"], 3, "{status}");
}

/// What a start prints until it is told to stop.
fn told(home: &Home) -> String {
    let mut child = home
        .command(&["start"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the socket", || home.socket().exists());
    // The end waits for what was said before.
    support::pause(std::time::Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut out = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut out).unwrap();
    child.wait().unwrap();
    out
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_says_so() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("no such column", |db| {
            let c = Connection::open(db).unwrap();
            c.execute_batch("ALTER TABLE messages RENAME COLUMN content TO body").unwrap();
        }),
        ("malformed", |db| {
            use std::os::unix::fs::FileExt;
            let c = Connection::open(db).unwrap();
            let root: i64 = c
                .query_row("SELECT rootpage FROM sqlite_master WHERE name = 'messages'", [], |r| {
                    r.get(0)
                })
                .unwrap();
            drop(c);
            let file = std::fs::File::options().write(true).open(db).unwrap();
            file.write_all_at(&[0xff; 4096], (root as u64 - 1) * 4096).unwrap();
        }),
        ("registered_groups.json", |db| {
            let data = db.parent().unwrap().with_file_name("data");
            std::fs::write(data.join("registered_groups.json"), "{").unwrap();
        }),
    ];
    for (reason, damage) in damages {
        let home = Home::new();
        build(home.path(), Stage::Last);
        let db = home.path().join("store/messages.db");
        damage(&db);
        let before = std::fs::read(&db).unwrap();
        for _ in 0..2 {
            let (code, _, error) = home.run(&["start"]);
            assert_ne!(code, 0);
            assert!(
                error.contains(reason) && error.contains("nothing was changed"),
                "{reason}: {error}"
            );
        }
        assert_eq!(std::fs::read(&db).unwrap(), before, "{reason}");
        let left = std::fs::read_dir(home.path().join("store")).unwrap().count();
        assert_eq!(left, 1, "{reason}: no copy is left");
    }
}

#[test]
fn other_commands_leave_the_upgrade_to_the_daemon() {
    let home = Home::new();
    build(home.path(), Stage::Last);
    let before = std::fs::read(home.path().join("store/messages.db")).unwrap();
    let (code, _, error) = home.run(&["groups", "add", "x", "--jid", "t:1"]);
    assert!(code != 0 && error.contains("nanoclaw start"), "{error}");
    let (_, _, error) = home.run(&["status"]);
    assert!(error.contains("nanoclaw start"), "{error}");
    assert_eq!(std::fs::read(home.path().join("store/messages.db")).unwrap(), before);
}

/// A process that looks like the old program: a shell by the name of node, whose
/// script is `dist/index.js`.
fn old_program(home: &Home, cwd: &Path) -> Child {
    let node = home.path().join("bin/node");
    std::fs::create_dir_all(home.path().join("bin")).unwrap();
    std::fs::create_dir_all(cwd.join("dist")).unwrap();
    let _ = std::os::unix::fs::symlink("/bin/sh", &node);
    std::fs::write(cwd.join("dist/index.js"), "echo up; read end\n").unwrap();
    let mut child = Command::new(node)
        .arg("dist/index.js")
        .current_dir(cwd)
        // It ends with its input, and so with this test.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.as_mut().unwrap()),
        &mut line,
    )
    .unwrap();
    child
}

#[test]
fn while_the_old_program_runs_here_this_one_does_not_start() {
    let home = Home::new();
    build(home.path(), Stage::Last);
    let units = home.path().join(".config/systemd/user");
    std::fs::create_dir_all(&units).unwrap();
    let unit = format!("ExecStart=/usr/bin/node {}/dist/index.js\n", home.path().display());
    std::fs::write(units.join("nanoclaw.service"), unit).unwrap();
    let elsewhere = home.path().join("elsewhere");
    let mut other = old_program(&home, &elsewhere);
    let mut running = old_program(&home, home.path());
    let before = std::fs::read(home.path().join("store/messages.db")).unwrap();
    let (code, _, error) = home.run(&["start"]);
    assert_ne!(code, 0);
    assert!(error.contains(&format!("process {}", running.id())), "{error}");
    assert!(error.contains("systemctl --user disable --now nanoclaw"), "{error}");
    assert_eq!(std::fs::read(home.path().join("store/messages.db")).unwrap(), before);
    end(&mut running);
    let out = told(&home);
    assert!(out.contains("nanoclaw.service still starts NanoClaw 1.x"), "{out}");
    end(&mut other);
}

fn end(child: &mut Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_group_s_own_time_limit_holds() {
    let home = Home::new();
    build(home.path(), Stage::Last);
    let c = Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute_batch(
        r#"UPDATE registered_groups SET container_config = '{"timeout":600000}' WHERE folder = 'family'"#,
    )
    .unwrap();
    drop(c);
    let _daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.answer("tg:-2", "what is up");
    client.answer("tg:1", "still open");
    let limit = |folder: &str| {
        home.ledger::<i64>(&format!(
            "SELECT deadline - started_at FROM turns WHERE folder = '{folder}'"
        ))
    };
    assert!((599_000..601_000).contains(&limit("family")), "{}", limit("family"));
    assert!((1_799_000..1_801_000).contains(&limit("main")), "{}", limit("main"));
}

/// 1.x wrote settings into each session's directory; the real CLI reads them, and
/// goes on with the conversation that lies there.
#[test]
fn the_real_cli_resumes_a_conversation_beside_the_settings_that_1x_wrote() {
    let Some(home) = Home::with_real_cli() else { return };
    home.add_group("family", "tg:-2");
    let daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.message("tg:-2", "a", "the first conversation");
    client.answer("tg:-2", "practice model");
    assert_eq!(daemon.stop(), 0);
    let session: String = home.ledger("SELECT session_id FROM sessions");
    std::fs::remove_dir_all(home.path().join("store")).unwrap();

    build(home.path(), Stage::Last);
    let c = Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute("UPDATE sessions SET session_id = ?1", [&session]).unwrap();
    drop(c);
    let _daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.answer("tg:-2", "practice model");
    assert_eq!(
        home.ledger::<String>("SELECT session_id FROM sessions WHERE group_folder = 'family'"),
        session
    );
    let sessions = home.path().join("data/sessions/family/.claude");
    let transcript = sessions.join(format!("projects/-workspace-group/{session}.jsonl"));
    let transcript = std::fs::read_to_string(transcript).unwrap();
    assert!(transcript.contains("the first conversation") && transcript.contains("what is up"));
    let settings = std::fs::read_to_string(sessions.join("settings.json")).unwrap();
    assert!(settings.contains("AGENT_TEAMS"));
}
