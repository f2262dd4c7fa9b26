//! What the owner says to the conversation itself, and the program's commands.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Client, Home, message};

fn mine(jid: &str, id: &str, content: &str) -> Value {
    let mut message = message(jid, id, content);
    message["from_me"] = json!(true);
    message
}

#[test]
fn sc_13_to_17_the_owner_compacts_and_begins_anew_and_others_may_not() {
    let Some(home) = Home::with_real_cli() else { return };
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.write(&mine("t:1", "a", "how are you?"));
    client.answer("t:1", "practice model");
    client.message("t:1", "b", "/new");
    client.answer("t:1", "Only my owner may do that.");
    client.write(&mine("t:1", "c", "/new"));
    client.answer("t:1", "A new conversation begins.");
    client.write(&mine("t:1", "d", "remember that it still works"));
    client.answer("t:1", "I will remember that it still works");
    client.write(&mine("t:1", "e", "/compact"));
    client.answer("t:1", "The conversation is compacted.");
    client.write(&mine("t:1", "f", "what do you remember?"));
    client.answer("t:1", "- it still works");
}

#[test]
fn a_group_is_added_changed_listed_and_removed() {
    let home = Home::new();
    let ok = |arguments: &[&str]| {
        let (code, out, error) = home.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        out
    };
    ok(&["groups", "add", "family", "--jid", "t:1", "--name", "The family", "--egress", "api"]);
    ok(&["groups", "link", "family", "t:2"]);
    ok(&["groups", "set", "family", "--model", "claude-haiku", "--trigger", "!bot"]);
    let listed: Value = serde_json::from_str(&ok(&["groups", "list", "--json"])).unwrap();
    let family = &listed[0];
    assert_eq!(family["group"]["folder"], "family");
    assert_eq!(family["group"]["egress"], "api");
    assert_eq!(family["group"]["model"], "claude-haiku");
    assert_eq!(family["group"]["trigger"], "!bot");
    assert_eq!(family["chats"].as_array().unwrap().len(), 2);
    for bad in [
        &["groups", "add", "family"][..],
        &["groups", "add", "../x"],
        &["groups", "add", "other", "--jid", "t:1"],
        &["groups", "link", "nobody", "t:3"],
        &["groups", "remove", "nobody"],
    ] {
        let (code, _, error) = home.run(bad);
        assert!(code == 1 && error.starts_with("nanoclaw: "), "{bad:?}: {code} {error}");
    }
    assert_eq!(home.run(&["groups", "add", "x", "--egress", "everything"]).0, 2);
    assert_eq!(home.run(&["groups", "set", "family"]).0, 2);
    ok(&["groups", "remove", "family"]);
    assert_eq!(ok(&["groups", "list", "--json"]).trim(), "[]");
}

#[test]
fn a_trigger_group_hears_everything_and_answers_when_called() {
    let home = Home::new();
    let (code, _, error) = home.run(&["groups", "add", "family", "--jid", "t:1"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "the train is late");
    client.acked("a");
    client.message("t:1", "b", "@Andy when is the train?");
    let answer = client.answer("t:1", "when is the train");
    assert!(answer.contains("the train is late"), "context comes along: {answer}");
    let (_, out, _) = home.run(&["explain", "a"]);
    assert!(out.contains("context"), "{out}");
}

#[test]
fn memories_begin_with_the_assistant_s_name_whatever_it_is() {
    let mut home = Home::new();
    let name = r"B.*$1\x";
    home.set("ASSISTANT_NAME", name);
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello");
    client.answer("t:1", "hello");
    let terminal = Client::connect(&home, "terminal:");
    terminal.message("terminal:main", "b", "hello main");
    terminal.answer("terminal:main", "hello main");
    let memory = |folder: &str| {
        std::fs::read_to_string(home.path().join("groups").join(folder).join("CLAUDE.md")).unwrap()
    };
    let main = memory("main");
    assert!(main.starts_with(&format!("# {name}\n\nYou are {name}, ")), "{main}");
    assert!(main.contains("This is the main group") && main.contains("`register_group`"));
    for folder in ["main", "global", "family"] {
        assert!(!memory(folder).contains("Andy"), "{folder}");
    }
    assert!(!memory("family").contains("register_group"), "a group's is not main's");
}

#[test]
fn a_memory_that_somebody_edited_is_never_overwritten() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let own = home.path().join("groups/family/CLAUDE.md");
    std::fs::write(&own, "mine").unwrap();
    let ask = |id: &str| {
        let daemon = home.start();
        let client = Client::connect(&home, "t:");
        client.message("t:1", id, &format!("hello {id}"));
        client.answer("t:1", id);
        assert_eq!(daemon.stop(), 0);
    };
    ask("m1");
    assert_eq!(home.run(&["groups", "remove", "family"]).0, 0);
    home.add_group("family", "t:1");
    ask("m2");
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "mine");
}

#[test]
fn who_is_not_allowed_is_logged_unless_the_owner_says_otherwise() {
    let home = Home::new();
    let (code, _, error) = home.run(&["groups", "add", "family", "--jid", "t:1"]);
    assert_eq!(code, 0, "{error}");
    let list = home.path().join(".config/nanoclaw/sender-allowlist.json");
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    let rules = json!({"default": {"allow": ["bob"], "mode": "trigger"}});
    std::fs::write(&list, rules.to_string()).unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let logged = |id: &str| {
        let log = home.log();
        log.lines().any(|l| l.contains("the sender is not allowed") && l.contains(id))
    };
    client.message("t:1", "idle-talk", "hello");
    client.message("t:1", "called-in-vain", "@Andy hello, secret words");
    client.acked("called-in-vain");
    assert!(logged("called-in-vain") && !logged("idle-talk"), "{}", home.log());
    assert!(!home.log().contains("secret words"));
    std::fs::write(
        &list,
        rules.to_string().replace("{\"default", "{\"logDenied\":false,\"default"),
    )
    .unwrap();
    client.message("t:1", "quietly", "@Andy hello");
    client.acked("quietly");
    assert!(!logged("quietly"), "{}", home.log());
}
