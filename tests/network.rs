//! The network goes and comes back. In a network of its own, whose one interface is
//! taken down: to the daemon that is the same as a cable that is pulled.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::Duration;

use support::api::{Act, Api};
use support::special::in_a_network_of_its_own;
use support::{Client, Home, eventually};

fn network(state: &str) {
    assert!(Command::new("ip").args(["link", "set", "lo", state]).status().unwrap().success());
}

#[test]
fn what_is_written_without_a_network_is_answered_when_it_is_back() {
    if in_a_network_of_its_own("what_is_written_without_a_network_is_answered_when_it_is_back") {
        return;
    }
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Say("of before"));
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", &api.url());
    home.add_group("family", "t:1");
    home.add_group("other", "t:2");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello");
    client.answer("t:1", "of before");
    network("down");
    api.act(Act::Say("of after"));
    for (jid, id) in [("t:1", "b"), ("t:2", "c"), ("t:1", "d")] {
        client.message(jid, id, "is anybody there?");
        client.acked(id);
    }
    let tried = |incarnation: i64| {
        home.log().lines().any(|l| {
            l.contains("cannot reach") && l.contains(&format!("incarnation={incarnation}"))
        })
    };
    eventually("both groups to have tried", || tried(1) && tried(2));
    client.heard(|h| assert_eq!(h.sends.len(), 1, "{:?}", h.sends));
    network("up");
    client.wait_for(Duration::from_secs(120), "all answers", |h| {
        h.lines.iter().filter(|l| l["type"] == "status" && l["state"] == "answered").count() == 4
    });
    client.heard(|h| assert!(h.sends[1..].iter().all(|s| s.2 == "of after"), "{:?}", h.sends));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_name_that_cannot_be_looked_up_is_an_outage_like_another() {
    // Nobody answers there, and there is no network besides.
    if in_a_network_of_its_own("a_name_that_cannot_be_looked_up_is_an_outage_like_another") {
        return;
    }
    let Some(mut home) = Home::with_real_cli() else { return };
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", "https://model.example");
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello");
    let tried = "SELECT count(*) FROM turns WHERE error LIKE '%model.example% cannot be reached%' AND cost = 0";
    eventually("an attempt", || home.ledger::<i64>(tried) == 1);
    // Stopped in the middle of it, it is not lost.
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.states().get("in_turn"), Some(&1));
}
