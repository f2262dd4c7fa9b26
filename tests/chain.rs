//! From a message to an answer, through the whole chain.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{Client, Home, message};

#[test]
fn a_message_is_answered_and_explained() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m1", "hello");
    client.acked("m1");
    assert_eq!(client.answer("t:1", "echo"), "echo: hello");
    client.wait("status", |h| {
        h.lines.iter().any(|l| l["type"] == "status" && l["state"] == "answered")
    });
    let (code, out, _) = home.run(&["explain", "m1"]);
    assert_eq!(code, 0);
    assert!(out.contains("answered") && out.contains("attempt 1"), "{out}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.guests(), [0_u32; 0]);
}

#[test]
fn fifty_messages_at_once_all_reach_the_agent() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    for n in 0..50 {
        client.message("t:1", &format!("m{n}"), &format!("word{n:02}"));
    }
    for n in 0..50 {
        client.answer("t:1", &format!("word{n:02}"));
    }
}

#[test]
fn fifty_groups_share_five_places_and_none_waits_for_an_idle_limit() {
    let mut home = Home::new();
    home.set("MAX_CONCURRENT_CONTAINERS", "5");
    for n in 0..50 {
        home.add_group(&format!("g{n}"), &format!("t:{n}"));
    }
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    for n in 0..50 {
        client.message(&format!("t:{n}"), "m", &format!("for {n}."));
    }
    let mut most = 0;
    for n in 0..50 {
        client.answer(&format!("t:{n}"), &format!("for {n}."));
        most = most.max(home.containers());
    }
    assert!((1..=5).contains(&most), "{most} containers at once");
}

#[test]
fn two_messages_with_one_timestamp_are_both_answered() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "first");
    client.answer("t:1", "first");
    client.message("t:1", "b", "second");
    client.answer("t:1", "second");
}

/// What the CLI was given in a group, as it keeps it.
fn heard_by_the_cli(home: &Home, folder: &str) -> String {
    let projects = home.path().join(format!("data/sessions/{folder}/.claude/projects"));
    let transcripts = std::fs::read_dir(projects).unwrap().flatten().flat_map(|d| {
        std::fs::read_dir(d.path()).unwrap().flatten().map(|f| f.path()).collect::<Vec<_>>()
    });
    let lines = transcripts.map(|t| std::fs::read_to_string(t).unwrap()).collect::<String>();
    let texts = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        support::text_of(&line["message"]["content"])
    });
    texts.collect()
}

#[test]
fn a_message_reaches_the_agent_with_its_sender_and_what_it_answers() {
    let home = Home::new();
    let (code, _, error) = home.run(&["groups", "add", "family", "--jid", "t:1"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let mut plain = message("t:1", "a", "the bins <go> out");
    plain["sender_name"] = json!("Ann \"A\"");
    client.write(&plain);
    let mut reply = message("t:1", "b", "@Andy when?");
    reply["sender_name"] = json!("Bob");
    reply["reply_to"] = json!({"id": "a", "sender_name": "Ann", "text": "the bins & more"});
    client.write(&reply);
    client.answer("t:1", "when?");
    let prompt = heard_by_the_cli(&home, "family");
    let (first, second) = prompt.split_once("Bob").unwrap();
    assert!(
        first.contains("sender=\"Ann &quot;A&quot;\"")
            && first.contains(">the bins &lt;go&gt; out</message>"),
        "{first}"
    );
    assert!(!first.contains("reply_to") && !first.contains("quoted_message"), "{first}");
    assert!(second.contains("reply_to=\"a\""), "{second}");
    // Who wrote what is what the ledger knows, not what the quoting client says.
    let quoted =
        "<quoted_message from=\"Ann &quot;A&quot;\">the bins &lt;go&gt; out</quoted_message>";
    assert!(second.contains(quoted) && second.contains("@Andy when?</message>"), "{second}");
}

#[test]
fn a_client_is_told_what_a_message_shows_and_may_change_or_withdraw_what_no_agent_saw() {
    let home = Home::new();
    let (code, _, error) = home.run(&["groups", "add", "family", "--jid", "t:1"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let client = Client::join(&home, "t:", &["react"], true);
    for (id, text) in [("m1", "dinner at 7"), ("m2", "never mind"), ("m3", "I cook")] {
        client.message("t:1", id, text);
        client.acked(id);
    }
    let mut edit = message("t:1", "m4", "dinner at 8");
    edit["edit_of"] = json!("m1");
    client.write(&edit);
    client.acked("m4");
    let mut gone = message("t:1", "m2", "");
    gone["deleted"] = json!(true);
    client.write(&gone);
    client.wait("the second ack of m2", |h| {
        h.lines.iter().filter(|l| l["type"] == "ack" && l["id"] == "m2").count() == 2
    });
    client.message("t:1", "m5", "@Andy what is the plan?");
    let answer = client.answer("t:1", "what is the plan?");
    assert!(answer.contains("dinner at 8") && answer.contains("I cook"), "{answer}");
    assert!(!answer.contains("at 7") && !answer.contains("never mind"), "{answer}");
    client.wait("the mark of an answered message", |h| {
        let shown = h.lines.iter().filter(|l| l["type"] == "react");
        let shown: Vec<_> = shown.map(|l| (l["id"].as_str(), l["emoji"].as_str())).collect();
        shown == [(Some("m5"), Some("👀")), (Some("m5"), Some("✅"))]
    });
}

/// A client that confirms nothing by itself has a `send` of an answer; its id.
fn unconfirmed(home: &Home) -> (Client, String) {
    home.add_group("family", "t:1");
    let client = Client::join(home, "t:", &["status"], false);
    client.message("t:1", "m1", "are you there?");
    client.answer("t:1", "are you there?");
    let id = client.heard(|h| h.sends[0].1.clone());
    (client, id)
}

fn later(id: &str) -> serde_json::Value {
    json!({"type": "failed", "id": id, "error": "busy", "retryable": true})
}

fn has_ended(h: &support::Heard) -> bool {
    h.lines.iter().any(|l| l["type"] == "status" && l["state"] == "answered")
}

#[test]
fn a_message_is_said_to_be_answered_when_its_answer_was_taken_and_not_before() {
    let home = Home::new();
    let _daemon = home.start();
    let (client, id) = unconfirmed(&home);
    client.write(&later(&id));
    client.wait("the answer again", |h| h.repeats == 1);
    assert!(!client.heard(has_ended), "it was not taken yet");
    client.write(&json!({"type": "sent", "id": id}));
    client.wait("the end", has_ended);
}

#[test]
fn what_a_client_says_late_is_taken_and_keeps_its_message_from_being_sent_again() {
    let home = Home::new();
    let _daemon = home.start();
    let (client, id) = unconfirmed(&home);
    let other = Client::connect(&home, "x:");
    client.write(&later(&id));
    // It is not the other one's to say.
    other.write(&json!({"type": "sent", "id": id}));
    client.wait("the answer again", |h| h.repeats == 1);
    // Now nobody waits for a word; the next attempt is in 2 s.
    client.write(&later(&id));
    client.write(&json!({"type": "sent", "id": id}));
    client.wait("the end", has_ended);
    support::pause(std::time::Duration::from_millis(2_500));
    assert_eq!(client.heard(|h| h.repeats), 1);
    assert_eq!(home.ledger::<String>("SELECT state FROM outbox"), "sent");
}
