//! Scheduled tasks: asked for by an agent or on the command line, run in the
//! sandbox, through crashes.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, Home, eventually, message};

fn tasks(home: &Home) -> Vec<Value> {
    let (code, out, error) = home.run(&["tasks", "list", "--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

fn runs(home: &Home, id: &str) -> Vec<Value> {
    let (code, out, error) = home.run(&["tasks", "runs", id, "--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

/// Adds a task by hand: its id.
fn add(home: &Home, arguments: &[&str]) -> String {
    let (code, out, error) = home.run(&[&["tasks", "add"], arguments].concat());
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("next run"), "{out}");
    out.split(' ').next().unwrap().to_owned()
}

/// So many seconds from now, and two more for a machine that is busy.
fn soon(seconds: i64) -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds + 2);
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[test]
fn an_agent_schedules_and_the_task_runs_and_is_logged() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let call =
        json!({"prompt": "say:the bins!", "schedule_type": "interval", "schedule_value": "60000"});
    client.message("t:1", "a", &format!("tool:schedule_task {call}"));
    let answer = client.answer("t:1", "scheduled");
    assert!(answer.contains("Europe/Berlin"), "the next run in words: {answer}");
    let listed = tasks(&home);
    assert_eq!(listed.len(), 1);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    client.message(
        "t:1",
        "b",
        &format!(
            r#"tool:update_task {{"task_id":"{id}","schedule_type":"once","schedule_value":"{}"}}"#,
            soon(2)
        ),
    );
    client.answer("t:1", "once");
    client.answer("t:1", "the bins!");
    eventually("the run is logged", || runs(&home, &id).len() == 1);
    let run = &runs(&home, &id)[0];
    assert_eq!(
        (run["status"].as_str(), run["result"].as_str()),
        (Some("success"), Some("the bins!"))
    );
    let task = &tasks(&home)[0];
    assert_eq!(
        (task["status"].as_str(), task["last_result"].as_str()),
        (Some("completed"), Some("the bins!"))
    );
}

#[test]
fn a_task_added_by_hand_begins_within_a_second_of_its_time() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let id = add(&home, &["family", "say:now", "--at", &soon(3)]);
    client.answer("t:1", "now");
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    let late: i64 = c
        .query_row(
            "SELECT t.created_at - o.planned FROM occurrences o JOIN turns t ON t.id = o.turn WHERE o.task = ?1",
            [&id],
            |r| r.get(0),
        )
        .unwrap();
    // A second is the promise; the test allows for a loaded machine.
    assert!((0..5_000).contains(&late), "{late} ms");
}

#[test]
fn a_task_runs_once_however_often_the_daemon_dies_around_it() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let mut daemon = home.start();
    add(&home, &["family", "think:600 tool:send_message {\"text\":\"watered\"}", "--at", &soon(1)]);
    for wait in [900, 400, 700, 300, 1200] {
        support::pause(Duration::from_millis(wait));
        daemon.kill();
        daemon = home.start();
    }
    let client = Client::connect(&home, "t:");
    client.answer("t:1", "watered");
    eventually("the task is over", || {
        tasks(&home)[0]["last_run"].is_i64() || tasks(&home)[0]["last_run"].is_string()
    });
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    let count = |sql: &str| c.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM occurrences"), 1);
    assert_eq!(count("SELECT count(*) FROM task_run_logs"), 1);
    assert_eq!(count("SELECT count(*) FROM outbox WHERE text = 'watered'"), 1);
    drop(daemon);
}

#[test]
fn what_was_missed_while_the_daemon_was_down_runs_once_and_says_that_it_is_late() {
    let home = Home::new();
    home.add_group("family", "t:1");
    drop(home.start());
    add(&home, &["family", "water the plants", "--every", "60000"]);
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    // As if the daemon had been away for an hour and a half.
    c.execute(
        "UPDATE scheduled_tasks SET next_run = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-5430 seconds'),
            created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-5490 seconds')",
        [],
    )
    .unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let said = client.answer("t:1", "water the plants");
    assert!(said.contains("late"), "{said}");
    support::pause(Duration::from_millis(1500));
    assert_eq!(client.heard(|h| h.sends.len()), 1);
}

#[test]
fn a_script_decides_whether_the_model_is_woken() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let script = home.path().join("check.sh");
    std::fs::write(&script, "echo '{\"wakeAgent\": false}'").unwrap();
    let asleep = add(
        &home,
        &["family", "say:never", "--at", &soon(1), "--script", script.to_str().unwrap()],
    );
    std::fs::write(&script, "echo '{\"wakeAgent\": true, \"data\": {\"rain\": 42}}'").unwrap();
    add(
        &home,
        &[
            "family",
            "take an umbrella",
            "--at",
            &soon(1),
            "--isolated",
            "--script",
            script.to_str().unwrap(),
        ],
    );
    let woken = client.answer("t:1", "umbrella");
    assert!(woken.contains("42"), "{woken}");
    eventually("the sleeping run is logged", || runs(&home, &asleep).len() == 1);
    assert!(client.heard(|h| h.sends.iter().all(|s| !s.2.contains("never"))));
}

#[test]
fn each_has_its_own_tasks_and_main_all() {
    let home = Home::new();
    home.add_group("family", "t:1");
    home.add_group("work", "t:2");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let id = add(&home, &["family", "hello", "--cron", "0 9 * * 1-5"]);
    client.message("t:2", "a", "tool:list_tasks {}");
    assert!(!client.answer("t:2", "tasks").contains(&id));
    for tool in ["cancel_task", "pause_task", "resume_task", "update_task"] {
        client.message("t:2", tool, &format!(r#"tool:{tool} {{"task_id":"{id}"}}"#));
        client.wait(tool, |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == tool));
        let said = client.heard(|h| h.sends.last().unwrap().2.clone());
        assert!(said.contains("there is no task"), "{tool}: {said}");
    }
    let other = json!({"prompt": "p", "schedule_type": "cron", "schedule_value": "0 9 * * *", "target_group_jid": "t:1"});
    client.message("t:2", "c", &format!("tool:schedule_task {other}"));
    client.answer("t:2", "only main may");
    client.message("t:1", "d", &format!(r#"tool:pause_task {{"task_id":"{id}"}}"#));
    client.answer("t:1", "paused");
    assert_eq!(tasks(&home)[0]["status"], "paused");
    client.message("t:1", "d2", &format!(r#"tool:resume_task {{"task_id":"{id}"}}"#));
    client.answer("t:1", "resumed");
    let terminal = Client::connect(&home, "terminal:");
    terminal.message("terminal:main", "p", &format!(r#"tool:pause_task {{"task_id":"{id}"}}"#));
    terminal.answer("terminal:main", "paused");
    terminal.message("terminal:main", "e", &format!(r#"tool:resume_task {{"task_id":"{id}"}}"#));
    assert!(terminal.answer("terminal:main", "resumed").contains("09:00"));
    terminal.message("terminal:main", "f", &format!(r#"tool:cancel_task {{"task_id":"{id}"}}"#));
    terminal.answer("terminal:main", "cancelled");
    let call = json!({"prompt": "for work", "schedule_type": "cron", "schedule_value": "0 9 * * *", "target_group_jid": "t:2"});
    terminal.message("terminal:main", "g", &format!("tool:schedule_task {call}"));
    terminal.answer("terminal:main", "scheduled");
    let theirs = tasks(&home);
    assert_eq!((theirs.len(), theirs[0]["group_folder"].as_str()), (1, Some("work")));
    let id = theirs[0]["id"].as_str().unwrap().to_owned();
    client.message("t:2", "own", &format!(r#"tool:cancel_task {{"task_id":"{id}"}}"#));
    client.answer("t:2", "cancelled");
    assert_eq!(tasks(&home), [] as [Value; 0]);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    for (n, (kind, value, word)) in [
        ("cron", "61 * * * *", "61"),
        ("cron", "0 0 31 2 *", "31"),
        ("interval", "0", "interval"),
        ("once", "2001-01-01T00:00:00", "past"),
        ("weekly", "1", "weekly"),
    ]
    .iter()
    .enumerate()
    {
        let call = json!({"prompt": "p", "schedule_type": kind, "schedule_value": value});
        client.message("t:1", &format!("m{n}"), &format!("tool:schedule_task {call}"));
        let id = format!("m{n}");
        client.wait("an end", |h| {
            h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id.as_str())
        });
        let said = client.heard(|h| h.sends.last().unwrap().2.clone());
        assert!(said.to_lowercase().contains(word), "{kind} {value}: {said}");
    }
    assert_eq!(tasks(&home), [] as [Value; 0]);
}

#[test]
fn main_registers_a_group_from_its_chat_and_no_one_else_does() {
    let home = Home::new();
    home.add_group("work", "t:2");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    // A chat that belongs to no group is known by its name alone.
    client.write(&json!({"type": "chat", "jid": "t:7", "name": "Chess", "is_group": true}));
    client.write(&message("t:7", "x", "anybody?"));
    client.acked("x");
    let call = json!({"jid": "t:7", "name": "Chess", "folder": "chess", "trigger": "@Andy"});
    client.message("t:2", "a", &format!("tool:register_group {call}"));
    client.answer("t:2", "only main may register groups");
    let terminal = Client::connect(&home, "terminal:");
    terminal.message("terminal:main", "b", &format!("tool:register_group {call}"));
    terminal.answer("terminal:main", "registered");
    let listed: Vec<Value> =
        serde_json::from_str(&home.run(&["groups", "list", "--json"]).1).unwrap();
    let chess = listed.iter().find(|g| g["group"]["folder"] == "chess").unwrap();
    assert_eq!(
        (&chess["group"]["name"], &chess["group"]["trigger"]),
        (&json!("Chess"), &json!("@Andy"))
    );
    terminal.message("terminal:main", "bad", r#"tool:register_group {"name": "x"}"#);
    terminal.answer("terminal:main", "the arguments do not fit");
    client.message("t:7", "y", "hello chess");
    client.answer("t:7", "hello chess");
    terminal.message(
        "terminal:main",
        "c",
        r#"tool:register_group {"jid": "t:2", "folder": "chess"}"#,
    );
    terminal.answer("terminal:main", "chess exists already");
    let change = json!({"jid": "chess", "requiresTrigger": true, "web": false});
    terminal.message("terminal:main", "d", &format!("tool:register_group {change}"));
    terminal
        .wait("the end of d", |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == "d"));
    let listed: Vec<Value> =
        serde_json::from_str(&home.run(&["groups", "list", "--json"]).1).unwrap();
    let chess = listed.iter().find(|g| g["group"]["folder"] == "chess").unwrap();
    let group = &chess["group"];
    assert_eq!((&group["egress"], &group["requires_trigger"]), (&json!("api"), &json!(true)));
    assert_eq!(group["trigger"], "@Andy", "what was not named stays");
}

#[test]
fn a_task_of_a_group_that_is_gone_pauses_and_main_is_told() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let terminal = Client::connect(&home, "terminal:");
    let id = add(&home, &["family", "hello", "--at", &soon(4)]);
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute_batch("PRAGMA foreign_keys = OFF; UPDATE chats SET folder = NULL WHERE folder = 'family'; DELETE FROM groups WHERE folder = 'family'").unwrap();
    let said = terminal.answer("terminal:main", &id);
    assert!(said.contains("paused"), "{said}");
    assert_eq!(tasks(&home)[0]["status"], "paused");
}

#[test]
fn a_task_that_cannot_run_is_told_where_the_owner_reads() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    for jid in ["t:8", "t:9"] {
        assert_eq!(home.run(&["groups", "link", "main", jid]).0, 0);
    }
    let client = Client::connect(&home, "t:");
    let mut mine = message("t:9", "a", "hello");
    (mine["is_group"], mine["from_me"]) = (json!(false), json!(true));
    client.write(&mine);
    client.answer("t:9", "hello");
    let id = add(&home, &["family", "hello", "--at", &soon(2)]);
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute_batch("PRAGMA foreign_keys = OFF; UPDATE chats SET folder = NULL WHERE folder = 'family'; DELETE FROM groups WHERE folder = 'family'").unwrap();
    client.answer("t:9", &format!("I paused the task {id}"));
    assert_eq!(client.heard(|h| h.sends.iter().filter(|s| s.0 == "t:8").count()), 0);
}

#[test]
fn a_script_that_fails_is_told_and_after_five_times_its_task_is_paused() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let script = home.path().join("check.sh");
    std::fs::write(&script, "echo looking; exit 3").unwrap();
    let path = script.to_str().unwrap();
    let id = add(&home, &["family", "say:never", "--every", "1000", "--script", path]);
    let first = client.answer("t:1", "failed");
    assert!(first.contains(&id) && first.contains("script ended with exit status: 3"), "{first}");
    assert!(first.contains("again at its next time"), "{first}");
    let last = client.answer("t:1", "5th time in a row, so I paused it");
    assert!(last.contains("exit status: 3"), "{last}");
    assert_eq!(tasks(&home)[0]["status"], "paused");
    assert_eq!(tasks(&home)[0]["reason"], "its last 5 runs failed");
    let runs = runs(&home, &id);
    assert_eq!(runs.len(), 5);
    assert!(runs.iter().all(|r| r["status"] == "error"), "{runs:?}");
    assert!(runs[0]["error"].as_str().unwrap().contains("exit status: 3"), "{runs:?}");
    assert!(client.heard(|h| h.sends.iter().all(|s| !s.2.contains("never"))));
    // Resumed, it has five tries again.
    assert_eq!(home.run(&["tasks", "resume", &id]).0, 0);
    client.wait("a sixth run", |h| h.sends.iter().filter(|s| s.2.contains("failed")).count() == 6);
    assert_eq!(tasks(&home)[0]["status"], "active");
}
