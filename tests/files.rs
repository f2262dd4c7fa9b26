//! Files both ways: what people send reaches the agent, what the agent sends
//! reaches the chat, and neither reads or writes anything else.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/incoming.rs"]
mod incoming;
#[path = "files/outgoing.rs"]
mod outgoing;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Client, Daemon, Home, message};

const FILES: [&str; 2] = ["status", "files"];

fn served() -> (Home, Daemon, Client) {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::join(&home, "t:", &FILES, true);
    (home, daemon, client)
}

/// Where the client lays its files: what `welcome` says.
fn files(home: &Home, client: &Client) -> PathBuf {
    let named = client.heard(|h| h.lines[0]["files"].as_str().unwrap().to_owned());
    assert_eq!(Path::new(&named), home.path().join("data/files"));
    named.into()
}

fn with(id: &str, text: &str, attachments: &Value) -> Value {
    let mut line = message("t:1", id, text);
    line["attachments"] = attachments.clone();
    line
}

/// Names in a directory, sorted; none where there is none.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn attachments(home: &Home) -> PathBuf {
    home.path().join("groups/family/attachments")
}
