//! What the model can do instead of answering: what is told, and what passes by itself.
//! The real CLI, against a server that answers as the API does.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::api::{Act, Api};
use support::{Client, Daemon, Home, eventually};

fn serve(url: &str, settings: &[(&str, &str)]) -> Option<(Home, Daemon, Client)> {
    let mut home = Home::with_real_cli()?;
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", url);
    settings.iter().for_each(|(name, value)| home.set(name, value));
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    Some((home, daemon, client))
}

/// The one thing that is said of a message.
fn said(client: &Client, id: &str) -> String {
    let before = client.heard(|h| h.sends.len());
    client.message("t:1", id, "hello");
    client.wait_for(Duration::from_secs(120), &format!("the end of {id}"), |h| {
        h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id)
    });
    let said: Vec<String> =
        client.heard(|h| h.sends[before..].iter().map(|s| s.2.clone()).collect());
    assert_eq!(said.len(), 1, "{said:?}");
    said[0].clone()
}

#[test]
fn what_the_owner_must_mend_is_told_with_what_helps_and_never_in_the_words_of_the_api() {
    let api = Api::start(Act::Refuse(402));
    let Some((_home, _daemon, client)) = serve(&api.url(), &[]) else { return };
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 8\r\n\r\nscripted";
    for (n, (act, what, helps)) in [
        (Act::Refuse(401), "refused the credential (401)", "set ANTHROPIC_API_KEY"),
        (Act::Refuse(402), "wants payment (402)", "put money on the account"),
        (Act::Refuse(403), "refused the credential (403)", "set ANTHROPIC_API_KEY"),
        (Act::Refuse(404), "does not know the model (404)", "NANOCLAW_MODEL"),
        (Act::Raw(page), "What answers as the model API is none", "ANTHROPIC_BASE_URL"),
    ]
    .into_iter()
    .enumerate()
    {
        api.act(act);
        let said = said(&client, &format!("m{n}"));
        assert!(said.starts_with("I could not answer: ") && said.contains(what), "{said}");
        assert!(said.contains("My owner must mend that first: ") && said.contains(helps), "{said}");
        assert!(!said.contains("scripted") && !said.contains("API Error"), "{said}");
    }
    api.act(Act::Say("well again"));
    assert_eq!(said(&client, "end"), "well again");
}

#[test]
fn an_outage_of_the_model_is_waited_for_beyond_three_attempts() {
    let api = Api::start(Act::Cut("an answer that breaks off"));
    let Some((home, _daemon, client)) = serve(&api.url(), &[]) else { return };
    client.message("t:1", "a", "hello");
    let attempt = || home.ledger::<i64>("SELECT COALESCE(max(attempt), 0) FROM turns");
    eventually("the second attempt", || attempt() == 2);
    api.act(Act::Raw("HTTP/1.1 429 x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"));
    eventually("the third", || attempt() == 3);
    api.act(Act::Raw("no HTTP at all"));
    eventually("the fourth", || attempt() == 4);
    client.heard(|h| assert!(h.sends.is_empty(), "{:?}", h.sends));
    let (_, out, _) = home.run(&["explain", "a"]);
    assert!(out.contains("127.0.0.1") && out.contains("cannot be reached"), "{out}");
    api.act(Act::Say("here again"));
    client.answer("t:1", "here again");
    let costs: i64 = home.ledger("SELECT max(cost) FROM turns");
    assert_eq!(costs, 0, "an outage is not the turn's fault");
}

#[test]
fn a_model_that_says_nothing_is_given_up_at_the_deadline() {
    let api = Api::start(Act::Silence);
    let Some((_home, _daemon, client)) = serve(&api.url(), &[("CONTAINER_TIMEOUT", "8000")]) else {
        return;
    };
    assert!(said(&client, "a").contains("longer than a turn may"));
    api.act(Act::Say("speaking again"));
    assert_eq!(said(&client, "b"), "speaking again");
}

#[test]
fn a_group_without_the_web_is_answered_as_any_other() {
    let api = Api::start(Act::Bash("echo of the shell".into()));
    let Some((home, _daemon, client)) = serve(&api.url(), &[]) else { return };
    let (code, _, error) = home.run(&["groups", "set", "family", "--egress", "api"]);
    assert_eq!(code, 0, "{error}");
    assert!(said(&client, "a").contains("of the shell"));
}
