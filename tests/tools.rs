//! What an agent may ask of the host, through the real MCP server in the sandbox.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Client, Home, message};

fn two_groups() -> (Home, support::Daemon, Client) {
    let home = Home::new();
    home.add_group("family", "t:1");
    home.add_group("work", "t:2");
    let (code, _, error) = home.run(&["groups", "list"]);
    assert_eq!(code, 0, "{error}");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    (home, daemon, client)
}

#[test]
fn a_group_writes_to_its_own_chat_and_to_no_other() {
    let (_home, _daemon, client) = two_groups();
    client.message("t:1", "a", r#"tool:send_message {"text":"on my way"}"#);
    client.answer("t:1", "on my way");
    client.message("t:1", "b", r#"tool:send_message {"text":"spam","chat":"t:2"}"#);
    let refused = client.answer("t:1", "only main");
    assert!(refused.contains("may write to the chats of other groups"), "{refused}");
    client.message("t:1", "c", r#"tool:send_message {"text":"spam","chat":"t:77"}"#);
    client.answer("t:1", "no chat \"t:77\" is known");
    client.message("t:77", "d", "I belong to no group");
    client.acked("d");
    client.message("t:1", "e", r#"tool:send_message {"text":"spam","chat":"t:77"}"#);
    client.wait("a second refusal", |h| {
        h.sends.iter().filter(|s| s.2.contains("only main")).count() == 2
    });
    assert!(client.heard(|h| h.sends.iter().all(|(jid, ..)| jid == "t:1")));
}

#[test]
fn main_writes_anywhere_unless_a_stranger_asked() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let (code, _, error) = home.run(&["groups", "link", "main", "t:9"]);
    assert_eq!(code, 0, "{error}");
    let client = Client::connect(&home, "t:");
    let word = r#"tool:send_message {"text":"dinner","chat":"t:1"}"#;
    // A member of a group chat that is linked to main is not the owner.
    client.message("t:9", "a", word);
    client.answer("t:9", "refused");
    let mut mine = message("t:9", "b", word);
    mine["from_me"] = json!(true);
    client.write(&mine);
    client.answer("t:1", "dinner");
    assert_eq!(client.heard(|h| h.sends.iter().filter(|s| s.0 == "t:1").count()), 1);
    drop(daemon);
}

#[test]
fn history_is_the_group_s_own_and_searchable() {
    let (_home, _daemon, client) = two_groups();
    client.message("t:1", "a", "the boiler code is 4711");
    client.answer("t:1", "4711");
    client.message("t:2", "b", "nothing here");
    client.answer("t:2", "nothing");
    client.message("t:1", "c", r#"tool:read_history {"query":"BOILER code is"}"#);
    let found = client.answer("t:1", "\"messages\"");
    assert!(found.contains("the boiler code is 4711"), "{found}");
    client.message("t:2", "d", r#"tool:read_history {"query":"boiler code is"}"#);
    let found = client.answer("t:2", "\"messages\"");
    assert!(!found.contains("4711"), "{found}");
    // Page by page, as each page says.
    let (mut before, mut said) = (json!("2100-01-01T00:00:00Z"), Vec::new());
    for n in 0..9 {
        let call = json!({"limit": 1, "before": before});
        client.message("t:2", &format!("p{n}"), &format!("tool:read_history {call}"));
        client.wait("its end", |h| {
            h.lines.iter().any(|l| l["type"] == "status" && l["id"] == format!("p{n}"))
        });
        let page = client.heard(|h| h.sends.last().unwrap().2.clone());
        let page: Value = serde_json::from_str(page.strip_prefix("tool: ").unwrap()).unwrap();
        let Some(one) = page["messages"].get(0) else { break };
        said.push(one["text"].as_str().unwrap().to_owned());
        before = page["earlier"]["before"].clone();
    }
    assert_eq!(said.len(), 5, "the first page, what was said before it, and no end: {said:?}");
    assert_eq!(said.last().unwrap(), "nothing here");
}

/// What main sees of chats that belong to no group, in its order: (chat, name).
fn unregistered(terminal: &Client, id: &str) -> Vec<(String, String)> {
    terminal.message("terminal:main", id, "tool:list_groups {}");
    terminal.wait("an end", |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id));
    let said = terminal.heard(|h| h.sends.last().unwrap().2.clone());
    let listed: Value = serde_json::from_str(said.strip_prefix("tool: ").unwrap()).unwrap();
    let chats = listed["unregistered_chats"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    chats.iter().map(|chat| (text(&chat["chat"]), text(&chat["name"]))).collect()
}

#[test]
fn a_query_has_so_many_words_and_no_more() {
    let (_home, _daemon, client) = two_groups();
    client.message("t:1", "a", "the boiler is warm");
    client.answer("t:1", "warm");
    let ask = |words: usize| {
        let query = vec!["boiler"; words].join(" ");
        client.message(
            "t:1",
            &format!("q{words}"),
            &format!(r#"tool:read_history {{"query":"{query}"}}"#),
        );
    };
    ask(16);
    assert!(client.answer("t:1", "\"messages\"").contains("warm"));
    ask(17);
    client.answer("t:1", "16 words at most");
}

#[test]
fn main_lists_chats_by_their_latest_name_and_activity() {
    let home = Home::new();
    let _daemon = home.start();
    let terminal = Client::connect(&home, "terminal:");
    assert_eq!(unregistered(&terminal, "ro-08"), []);
    let client = Client::connect(&home, "t:");
    let said = |jid: &str, id: &str, time: &str| {
        let mut line = message(jid, id, "hi");
        line["timestamp"] = json!(time);
        client.write(&line);
        client.acked(id);
    };
    said("t:new", "a", "2026-01-03T00:00:00.000Z");
    said("t:old", "b", "2026-01-01T00:00:00.000Z");
    said("t:mid", "c", "2026-01-02T00:00:00.000Z");
    // What 1.x keeps among the chats to know when it asked for their names.
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute("INSERT INTO chats (jid, name, last_message_time) VALUES ('__group_sync__', '', '2027-01-01T00:00:00.000Z')", [])
        .unwrap();
    let pair = |jid: &str, name: &str| (jid.to_owned(), name.to_owned());
    let nameless = [pair("t:new", "t:new"), pair("t:mid", "t:mid"), pair("t:old", "t:old")];
    assert_eq!(unregistered(&terminal, "db-18"), nameless);
    for name in ["First", "Second"] {
        client.write(&json!({"type": "chat", "jid": "t:mid", "name": name, "is_group": true}));
    }
    // Older than what is known of the chat.
    said("t:new", "d", "2025-12-01T00:00:00.000Z");
    let named = [pair("t:new", "t:new"), pair("t:mid", "Second"), pair("t:old", "t:old")];
    assert_eq!(unregistered(&terminal, "db-20"), named);
}

#[test]
fn a_group_lists_itself_and_main_lists_all() {
    let (_home, _daemon, client) = two_groups();
    client.message("t:1", "a", "tool:list_groups {}");
    let listed = client.answer("t:1", "\"groups\"");
    assert!(listed.contains("family") && !listed.contains("work"), "{listed}");
    let terminal = Client::connect(&_home, "terminal:");
    terminal.message("terminal:main", "b", "tool:list_groups {}");
    let listed = terminal.answer("terminal:main", "\"groups\"");
    assert!(listed.contains("family") && listed.contains("work"), "{listed}");
}

#[test]
fn internal_thoughts_leave_by_no_way() {
    let (_home, _daemon, client) = two_groups();
    client.message("t:1", "a", "say:<internal>secret</internal>plain");
    assert_eq!(client.answer("t:1", "plain"), "plain");
    client.message("t:1", "b", r#"tool:send_message {"text":"<internal>secret</internal>told"}"#);
    client.answer("t:1", "told");
    client.message("t:1", "c", "say:<internal>only this</internal>");
    client.wait("a silent end", |h| {
        h.lines.iter().any(|l| l["type"] == "status" && l["id"] == "c" && l["state"] == "answered")
    });
    assert!(client.heard(|h| h.sends.iter().all(|s| s.2 == "plain" || !s.2.starts_with("only"))));
}

/// A fact is found by a word of it, however much was said since and in whatever
/// conversation.
#[test]
fn twenty_facts_are_found_in_a_new_conversation() {
    let (home, daemon, client) = two_groups();
    let facts: Vec<(String, String)> = (0..20)
        .map(|n| (format!("animal{n:02}"), format!("house number {}", 100 + 7 * n)))
        .collect();
    for (n, (animal, house)) in facts.iter().enumerate() {
        client.message("t:1", &format!("f{n}"), &format!("silent the {animal} lives at {house}"));
        client.acked(&format!("f{n}"));
    }
    for n in 0..300 {
        client.message("t:1", &format!("n{n}"), &format!("silent chatter number {n}"));
    }
    client.wait("all to be answered", |h| {
        h.lines.iter().filter(|l| l["type"] == "status" && l["state"] == "answered").count() >= 320
    });
    drop(client);
    assert_eq!(daemon.stop(), 0);
    let sessions = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    sessions.execute("DELETE FROM sessions", []).unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    for (n, (animal, house)) in facts.iter().enumerate() {
        let id = format!("q{n}");
        client.message("t:1", &id, &format!(r#"tool:read_history {{"query":"{animal} lives"}}"#));
        client.wait("an answer", |h| {
            h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id.as_str())
        });
        let found = client.heard(|h| h.sends.last().unwrap().2.clone());
        assert!(found.contains(house.as_str()), "{animal}: {found}");
    }
}
