//! What the ledger is asked for each message, turn, tick and start does not grow
//! with its history: the daemon writes down every statement that it runs, and none
//! of them may read a table from end to end.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{Client, Home};

/// Tables that stay small: groups and chats are the owner's, tasks are few, settings
/// are a handful. And what is no table: constants, lists in JSON (`f`).
const SMALL: &[&str] =
    &["groups", "g", "chats", "settings", "scheduled_tasks", "sessions", "CONSTANT", "f"];

#[test]
fn no_statement_of_the_daemon_reads_a_growing_table_from_end_to_end() {
    let mut home = Home::new();
    let trace = home.path().join("statements");
    home.add_group("family", "t:1");
    home.set("SQL_TRACE", trace.to_str().unwrap());
    live(&home);
    // A second start has something to recover.
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "again", "again.");
    client.answer("t:1", "again.");
    assert_eq!(daemon.stop(), 0);

    let text = std::fs::read_to_string(&trace).unwrap();
    let statements: BTreeSet<String> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    let partial = |index: &str| -> bool {
        c.query_row("SELECT sql LIKE '%WHERE%' FROM sqlite_master WHERE name = ?1", [index], |r| {
            r.get(0)
        })
        .unwrap_or(false)
    };
    let mut looked = 0;
    let mut scans = Vec::new();
    for sql in &statements {
        let word = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        // What full-text search does within itself is its own affair.
        if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&word.as_str())
            || sql.contains("search_")
        {
            continue;
        }
        looked += 1;
        let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            let words: Vec<&str> = step.split_whitespace().collect();
            let index = words.iter().position(|w| *w == "INDEX").map(|at| words[at + 1]);
            // An index that holds open rows alone is as long as what is open.
            let fine = words[0] != "SCAN"
                || SMALL.contains(&words[1])
                || sql.contains(&format!("FROM scheduled_tasks {}", words[1]))
                || words[1].starts_with('(')
                || index.is_some_and(partial)
                // Full text by its words; `M` is what SQLite calls them.
                || words[1] == "search" && words.last().is_some_and(|w| w.contains(":M"));
            if !fine {
                scans.push(format!("{step}\n    in {sql}"));
            }
        }
    }
    println!("{looked} statements");
    assert!(looked > 50, "only {looked} statements were seen");
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

/// Everything that happens often, once.
fn live(home: &Home) {
    let daemon = home.start();
    let client = Client::connect(home, "t:");
    client.message("t:1", "a", "hello.");
    client.answer("t:1", "hello.");
    client.message("t:1", "a", "hello.");
    client.acked("a");
    let call = |id: &str, tool: &str, arguments: serde_json::Value| {
        client.message("t:1", id, &format!("tool:{tool} {arguments}"));
        client.wait(id, |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id));
    };
    call("b", "send_message", json!({"text": "said"}));
    call("c", "read_history", json!({"query": "hello"}));
    call("d", "read_history", json!({}));
    call("e", "list_tasks", json!({}));
    call("f", "list_groups", json!({}));
    let at = (chrono::Utc::now() + chrono::TimeDelta::seconds(4))
        .format("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    call(
        "g",
        "schedule_task",
        json!({"prompt": "say:the run", "schedule_type": "once", "schedule_value": at}),
    );
    client.answer("t:1", "the run");
    let mut edit = support::message("t:1", "h", "hullo.");
    edit["edit_of"] = json!("a");
    client.write(&edit);
    client.acked("h");
    let mut gone = support::message("t:1", "i", "");
    gone["deleted"] = json!(true);
    client.write(&gone);
    client.write(&json!({"type": "chat", "jid": "t:1", "name": "Family", "is_group": true}));
    call("j", "send_message", json!({"text": "no", "chat": "terminal:main"}));
    client.message("t:1", "k", "error:400");
    client.answer("t:1", "I could not answer");
    client.message("t:1", "l", "background:100 bg.");
    client.answer("t:1", "background done");
    // It dies in the middle of a turn, with an attempt behind it.
    client.message("t:1", "m", "think:60000");
    support::eventually("the turn", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'running'") == 1
    });
    daemon.kill();
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute("UPDATE turns SET deadline = 1, prompt = 'x' WHERE state = 'running'", []).unwrap();
}
