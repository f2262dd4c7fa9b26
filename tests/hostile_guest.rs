//! What an agent may try against its host and the other groups: to say and ask
//! without end, to steer the owner's terminal, to bury the host in files.
//! (Its mailbox: `mailbox.rs`. Its container: `escape.rs` and `exhaust.rs`.)
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::forge::{mailbox, put};
use support::{Client, Daemon, Home};

/// The daemon's memory in KiB, now.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn ask(client: &Client, jid: &str, id: &str) -> Duration {
    let began = Instant::now();
    client.message(jid, id, &format!("{id}."));
    client.answer(jid, &format!("{id}."));
    began.elapsed()
}

/// The median of some answers.
fn pace(client: &Client, jid: &str, word: &str) -> Duration {
    let mut times: Vec<Duration> =
        (0..7).map(|n| ask(client, jid, &format!("{word}{n}"))).collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn an_agent_that_says_and_asks_without_end_is_bounded_and_told() {
    let mut home = Home::new();
    // The guest's own numbers are behind, so that its turn ends by its deadline.
    home.set("CONTAINER_TIMEOUT", "15000");
    home.add_group("family", "t:1");
    home.add_group("other", "t:2");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    ask(&client, "t:1", "first");
    ask(&client, "t:2", "first");
    let calm = pace(&client, "t:2", "calm");
    let before = memory(&daemon);
    client.message("t:1", "long", "think:14000");
    let running = "SELECT count(*) FROM turns WHERE folder = 'family' AND state = 'running'";
    support::eventually("the turn", || home.ledger::<i64>(running) == 1);
    let (out, first) = mailbox(&home, "family");
    let turn: i64 = home.ledger("SELECT max(id) FROM turns WHERE folder = 'family'");
    let inbox = out.parent().unwrap().join("in");
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A thousand a second and more: calls, some of them long, then texts.
            for n in 0..1_500_u64 {
                let filling = if n % 100 == 0 { "x".repeat(200_000) } else { String::new() };
                let record = if n < 900 {
                    json!({"type": "request", "id": format!("r{n}"), "turn": turn, "tool": "send_message",
                        "arguments": {"text": format!("spam {n} {filling}")}})
                } else {
                    json!({"type": "text", "uuid": format!("u{n}"), "text": format!("chatter {n}")})
                };
                put(&out, first + n, record.to_string().as_bytes());
                if n % 300 == 299 {
                    let taken = first + n;
                    support::eventually("the host", || {
                        home.ledger::<i64>("SELECT max(out_seq) FROM incarnations WHERE folder = 'family'") >= taken as i64
                    });
                }
            }
        });
        pace(&client, "t:2", "busy")
    });
    let calls: i64 = home.ledger(&format!("SELECT count(*) FROM requests WHERE turn = {turn}"));
    let rows: i64 = home.ledger(&format!("SELECT count(*) FROM outbox WHERE turn = {turn}"));
    let notices: i64 = home.ledger(&format!(
        "SELECT count(*) FROM outbox WHERE turn = {turn} AND key = 'notice:flood'"
    ));
    let after = memory(&daemon);
    println!(
        "{calls} calls, {rows} rows; calm {calm:?}, busy {busy:?}; memory {before} KiB, then {after} KiB"
    );
    assert!(calls <= 200 && rows <= 600, "{calls} calls, {rows} rows");
    assert_eq!(notices, 1, "the chat is told, once");
    let refusal = std::fs::read_dir(&inbox).unwrap().flatten().any(|file| {
        std::fs::read_to_string(file.path())
            .unwrap_or_default()
            .contains("may make no more such calls")
    });
    assert!(refusal, "the agent is told");
    assert!(after < before + 48 * 1024, "memory {before} KiB, then {after} KiB");
    assert!(busy < calm * 30 + Duration::from_millis(300), "calm {calm:?}, busy {busy:?}");
}

#[test]
fn what_people_and_agents_call_themselves_steers_no_terminal() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}Ann";
    client.write(&json!({"type": "chat", "jid": "t:1", "name": evil, "is_group": true}));
    let mut line = support::message("t:1", "m", &format!("say:{evil} hi"));
    line["sender_name"] = json!(evil);
    client.write(&line);
    client.answer("t:1", "hi");
    let (code, _, error) =
        home.run(&["tasks", "add", "family", &format!("say:{evil}"), "--every", "1h"]);
    assert_eq!(code, 0, "{error}");
    let clean = |what: &str, text: &str| {
        for c in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'] {
            assert!(!text.contains(c), "{c:?} in {what}: {text:?}");
        }
        assert!(!text.is_empty(), "{what}");
    };
    for command in [&["explain", "m"][..], &["status"], &["groups", "list"], &["tasks", "list"]] {
        let (code, out, error) = home.run(command);
        assert_eq!(code, 0, "{error}");
        clean(&command.join(" "), &out);
        clean(&command.join(" "), &format!(".{error}"));
    }
    let mut chat =
        home.command(&["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin
        .take()
        .unwrap()
        .write_all(format!("say:{evil} in the terminal\n").as_bytes())
        .unwrap();
    let out = chat.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.contains("in the terminal"), "{out}");
    clean("chat", &out);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn many_files_deep_directories_and_false_sizes_delay_nobody_else() {
    let home = Home::new();
    home.add_group("family", "t:1");
    home.add_group("other", "t:2");
    let folder = home.path().join("groups/family");
    for place in [&folder, &home.path().join("data/sessions/family/.claude")] {
        std::fs::create_dir_all((0..400).fold(place.clone(), |path, _| path.join("d"))).unwrap();
    }
    std::fs::create_dir_all(folder.join("many")).unwrap();
    for n in 0..20_000 {
        std::fs::write(folder.join(format!("many/{n}")), "").unwrap();
    }
    // A terabyte that takes no space, and a name that is no text.
    std::fs::File::create(folder.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe\n");
    std::fs::write(folder.join(odd), "").unwrap();
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    ask(&client, "t:2", "first");
    let calm = pace(&client, "t:2", "calm");
    let before = memory(&daemon);
    client.message("t:1", "m", "hello.");
    let busy = pace(&client, "t:2", "busy");
    client.answer("t:1", "hello.");
    client.message("t:1", "send", "tool:send_file {\"path\":\"/workspace/group/sparse\"}");
    let refused = client.answer("t:1", "64 MiB");
    let after = memory(&daemon);
    println!("calm {calm:?}, busy {busy:?}; memory {before} KiB, then {after} KiB; {refused}");
    assert!(busy < calm * 30 + Duration::from_millis(300), "calm {calm:?}, busy {busy:?}");
    assert!(after < before + 32 * 1024, "memory {before} KiB, then {after} KiB");
    assert_eq!(daemon.stop(), 0);
}
