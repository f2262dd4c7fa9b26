//! What an agent may ask of the host, through the real MCP server in the sandbox.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::json;
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
