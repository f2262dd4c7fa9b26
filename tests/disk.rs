//! A full disk loses nothing that was acknowledged, is told in plain words, and is
//! over when there is room again.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use support::{Client, Home, pause};

/// Room for the staged program and some megabytes more.
const MEGABYTES: u32 = 160;

/// Writes until nothing fits.
fn fill(home: &Home) {
    let mut file =
        File::options().create(true).append(true).open(home.path().join("filler")).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn free(home: &Home) {
    std::fs::remove_file(home.path().join("filler")).unwrap();
}

/// Processor time of a process, in hundredths of a second.
fn cpu(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Sends a message until it is stored, as a client does that was told to.
fn insist(client: &Client, id: &str, text: &str) {
    for _ in 0..30 {
        client.message("t:1", id, text);
        pause(Duration::from_millis(500));
        if client.heard(|h| h.lines.iter().any(|l| l["type"] == "ack" && l["id"] == id)) {
            return;
        }
    }
    panic!("{id} was never stored: {:#?}", client.heard(|h| h.lines.clone()));
}

#[test]
fn a_full_disk_refuses_and_tells_and_the_next_message_works() {
    let Some(home) = Home::on_small_disk(MEGABYTES) else { return };
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "before");
    client.answer("t:1", "before");
    fill(&home);
    // Until the ledger's log has used up the pages that it holds already.
    let mut refused = Vec::new();
    for n in 0..50 {
        let id = format!("full{n}");
        client.message("t:1", &id, &format!("silent {}", "x".repeat(100_000)));
        client.wait("an ack or an error", |h| {
            h.lines.iter().any(|l| {
                l["type"] == "ack" && l["id"] == id.as_str()
                    || l["type"] == "error" && l["error"].as_str().unwrap().contains(&id)
            })
        });
        if client.heard(|h| h.lines.iter().any(|l| l["type"] == "error")) {
            refused.push(id);
            break;
        }
    }
    assert_eq!(refused.len(), 1, "the disk was never full");
    client.answer("t:1", "the disk of my machine is full");
    // It does not depend on a lucky moment: another one gets the same.
    client.message("t:1", "again", &"y".repeat(100_000));
    client.wait("a second error", |h| {
        h.lines
            .iter()
            .any(|l| l["type"] == "error" && l["error"].as_str().unwrap().contains("again"))
    });
    // Commands that read still work; nobody panicked.
    let (code, out, error) = home.run(&["status", "--json"]);
    assert_eq!(code, 0, "{out}{error}");
    free(&home);
    insist(&client, "again", "say:room again");
    client.answer("t:1", "room again");
    assert_eq!(daemon.stop(), 0);
    let open: i64 =
        home.ledger("SELECT count(*) FROM messages WHERE state IN ('queued', 'in_turn')");
    assert_eq!(open, 0);
}

#[test]
fn a_disk_that_fills_during_turns_loses_none_of_them() {
    let Some(home) = Home::on_small_disk(MEGABYTES) else { return };
    let chats: Vec<String> = (1..=4).map(|n| format!("t:{n}")).collect();
    for (n, jid) in chats.iter().enumerate() {
        home.add_group(&format!("g{n}"), jid);
    }
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    for jid in &chats {
        client.message(jid, "warm", "warm");
        client.answer(jid, "warm");
    }
    for jid in &chats {
        client.message(jid, "m", &format!("think:2000 say:answer for {jid}"));
    }
    client.wait("four acks", |h| {
        h.lines.iter().filter(|l| l["type"] == "ack" && l["id"] == "m").count() == 4
    });
    fill(&home);
    let before = cpu(daemon.pid());
    pause(Duration::from_secs(8));
    let spent = cpu(daemon.pid()) - before;
    assert!(spent < 200, "it waited for room with {spent} hundredths of a second of work in 8 s");
    free(&home);
    for jid in &chats {
        client.answer(jid, &format!("answer for {jid}"));
        let answers = client.heard(|h| {
            h.sends.iter().filter(|s| s.0 == *jid && s.2.contains("answer for")).count()
        });
        assert_eq!(answers, 1, "{jid}");
        client.message(jid, "n", "and on");
        client.answer(jid, "and on");
    }
    assert_eq!(daemon.stop(), 0);
    let open: i64 = home.ledger("SELECT count(*) FROM turns WHERE state IN ('queued', 'running')");
    assert_eq!(open, 0);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_told_to_the_owner() {
    let Some(home) = Home::on_small_disk(MEGABYTES) else { return };
    fill(&home);
    let (code, out, error) = home.run(&["start"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(error.contains("full") || error.contains("No space left"), "{error}");
    free(&home);
    home.start();
}

#[test]
fn a_disk_that_turns_read_only_is_told_and_nothing_is_lost() {
    let Some(home) = Home::on_breaking_disk() else { return };
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "before");
    client.answer("t:1", "before");
    client.message("t:1", "b", "think:3000 say:said in vain");
    client.acked("b");
    home.break_disk();
    client.message("t:1", "c", "say:written in vain");
    client.wait("an error", |h| h.lines.iter().any(|l| l["type"] == "error"));
    client.answer("t:1", "the disk of my machine cannot be written");
    let before = cpu(daemon.pid());
    pause(Duration::from_secs(6));
    let spent = cpu(daemon.pid()) - before;
    assert!(spent < 150, "it waited with {spent} hundredths of a second of work in 6 s");
    // What reads still works. Whoever starts it anew is told what is wrong.
    let (code, out, error) = home.run(&["status", "--json"]);
    assert_eq!(code, 0, "{out}{error}");
    daemon.kill();
    let (code, out, error) = home.run(&["start"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(error.contains("Read-only file system") && error.contains("/disk"), "{error}");
    home.mend_disk();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.answer("t:1", "said in vain");
    client.message("t:1", "c", "say:written again");
    client.answer("t:1", "written again");
}
