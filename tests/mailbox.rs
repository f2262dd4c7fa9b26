//! What a hostile guest can leave in its mailbox and its folder: set aside with a
//! reason, forged in vain, and nobody else's trouble.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::forge::{mailbox, name, put};
use support::{Client, Home};

/// Two groups with live containers.
fn two_groups(home: &Home) -> (support::Daemon, Client) {
    home.add_group("family", "t:1");
    home.add_group("other", "t:2");
    let daemon = home.start();
    let client = Client::connect(home, "t:");
    for jid in ["t:1", "t:2"] {
        client.message(jid, "first", &format!("first of {jid}"));
        client.answer(jid, &format!("first of {jid}"));
    }
    (daemon, client)
}

/// How long the other group's answer takes.
fn ask_other(client: &Client, id: &str) -> Duration {
    let began = Instant::now();
    client.message("t:2", id, &format!("{id}."));
    client.answer("t:2", &format!("{id}."));
    began.elapsed()
}

/// The group's next message comes to an end, and at latest the one after is
/// answered.
fn recovers(client: &Client) {
    client.message("t:1", "next", "next.");
    client.wait("the end of the next message", |h| {
        h.lines.iter().any(|l| l["type"] == "status" && l["jid"] == "t:1" && l["id"] == "next")
    });
    client.message("t:1", "after", "say:all is well");
    client.answer("t:1", "all is well");
}

#[test]
fn what_is_no_record_is_set_aside_with_a_reason() {
    let mut home = Home::new();
    // The guest's own numbers are behind now, so that its answers are not seen.
    home.set("CONTAINER_TIMEOUT", "3000");
    let (_daemon, client) = two_groups(&home);
    let (out, first) = mailbox(&home, "family");
    let secret = home.path().join("of-the-host");
    std::fs::write(&secret, r#"{"type":"text","uuid":"x","text":"read through a link"}"#).unwrap();
    let mut number = first;
    // The first comes last: until then the host looks at none.
    let mut next = || {
        number += 1;
        number
    };
    for bytes in [
        b"junk".as_slice(),
        b"",
        b"{}",
        b"\xff\xfe",
        b"\0\0",
        br#"{"type":"dance"}"#,
        br#"{"type":"done","turns":"all","text":1}"#,
        br#"{"type":"state","background":-1}"#,
        &[b'['; 200_000],
        &vec![b' '; (1 << 20) + 1],
    ] {
        put(&out, next(), bytes);
    }
    // A terabyte that takes no space.
    std::fs::File::create(out.join(name(next()))).unwrap().set_len(1 << 40).unwrap();
    symlink(&secret, out.join(name(next()))).unwrap();
    symlink("/nowhere", out.join(name(next()))).unwrap();
    symlink(&out, out.join(name(next()))).unwrap();
    std::fs::create_dir_all(out.join(name(next())).join("deep/er")).unwrap();
    let fifo = Command::new("mkfifo").arg(out.join(name(next()))).status().unwrap();
    assert!(fifo.success());
    drop(std::os::unix::net::UnixListener::bind(out.join(name(next()))).unwrap());
    std::fs::hard_link(&secret, out.join("unasked")).unwrap();
    std::fs::write(out.join("0000000000099999.json"), "far ahead").unwrap();
    put(&out, first, b"and the first");
    let count = usize::try_from(number - first + 1).unwrap();
    let errors = home.path().join("data/ipc/errors");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&errors).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    let reasons = || names().into_iter().filter(|n| n.ends_with(".reason")).collect::<Vec<_>>();
    support::eventually(&format!("{count} reasons"), || reasons().len() == count);
    for reason in reasons() {
        let text = std::fs::read_to_string(errors.join(&reason)).unwrap();
        assert!(!text.is_empty() && text.len() < 1_000, "{reason}: {text}");
        let kept = reason.trim_end_matches(".reason");
        assert!(names().iter().any(|n| n == kept), "{kept} is not kept");
    }
    client.message("t:2", "second", "second.");
    client.answer("t:2", "second.");
    recovers(&client);
    client.heard(|h| {
        assert!(!h.sends.iter().any(|s| s.2.contains("through a link")), "{:?}", h.sends)
    });
}

#[test]
fn forged_records_reach_nobody_else() {
    let mut home = Home::new();
    home.set("CONTAINER_TIMEOUT", "5000");
    let (_daemon, client) = two_groups(&home);
    let (out, first) = mailbox(&home, "family");
    let session: String =
        home.ledger("SELECT session_id FROM sessions WHERE group_folder = 'other'");
    client.message("t:2", "long", "think:2500 say:the true answer");
    client.acked("long");
    support::eventually("the other's turn", || {
        home.ledger::<i64>(
            "SELECT count(*) FROM turns WHERE folder = 'other' AND state = 'running'",
        ) == 1
    });
    let other: i64 = home.ledger("SELECT max(id) FROM turns WHERE folder = 'other'");
    let own: i64 = home.ledger("SELECT max(id) FROM turns WHERE folder = 'family'");
    let request = |turn: i64, arguments: Value| json!({"type": "request", "id": "r", "turn": turn, "tool": "send_message", "arguments": arguments});
    let records = [
        json!({"type": "done", "turns": [other, own, 0, -1, i64::MAX], "text": "forged"}),
        json!({"type": "failed", "turns": [other], "error": "forged", "retryable": false}),
        json!({"type": "session", "turn": other, "session_id": "forged"}),
        request(other, json!({"text": "forged"})),
        request(own, json!({"text": "forged", "chat": "t:2"})),
        request(own, json!({"text": "forged", "chat": "terminal:main"})),
        json!({"type": "ready", "cli_version": "forged"}),
        json!({"type": "text", "uuid": "u", "text": "of my own"}),
    ];
    for (n, record) in records.iter().enumerate() {
        put(&out, first + n as u64, record.to_string().as_bytes());
    }
    client.answer("t:1", "of my own");
    client.answer("t:2", "the true answer");
    let session_now: String =
        home.ledger("SELECT session_id FROM sessions WHERE group_folder = 'other'");
    assert_eq!(session, session_now);
    recovers(&client);
    client.heard(|h| {
        let forged: Vec<_> = h.sends.iter().filter(|s| s.2.contains("forged")).collect();
        assert!(forged.is_empty(), "{forged:?}");
        let elsewhere = h.sends.iter().any(|s| s.0 != "t:1" && s.2.contains("of my own"));
        assert!(!elsewhere, "{:?}", h.sends);
    });
    let state: String = home.ledger(&format!("SELECT state FROM turns WHERE id = {other}"));
    assert_eq!(state, "done");
}

#[test]
fn a_stranger_s_turn_that_ends_itself_leaves_no_rights_behind() {
    let mut home = Home::new();
    home.set("CONTAINER_TIMEOUT", "20000");
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let (code, _, error) = home.run(&["groups", "link", "main", "t:9"]);
    assert_eq!(code, 0, "{error}");
    let client = Client::connect(&home, "t:");
    let mut mine = support::message("t:9", "first", "first.");
    mine["from_me"] = json!(true);
    client.write(&mine);
    client.answer("t:9", "first.");
    // Somebody else in a chat that is linked to main, whose shell writes its own records.
    client.message("t:9", "theirs", "think:10000");
    support::eventually("their turn", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE trusted = 0 AND state = 'running'")
            == 1
    });
    let turn: i64 = home.ledger("SELECT max(id) FROM turns");
    let (out, first) = mailbox(&home, "main");
    let ask = |tool: &str, arguments: Value| json!({"type": "request", "id": tool, "turn": turn, "tool": tool, "arguments": arguments});
    let records = [
        json!({"type": "done", "turns": [turn], "text": "over"}),
        ask("register_group", json!({"jid": "t:5", "name": "Mine", "folder": "mine"})),
        ask("send_message", json!({"text": "forged", "chat": "t:1"})),
        ask(
            "schedule_task",
            json!({"prompt": "forged", "schedule_type": "interval", "schedule_value": "1d"}),
        ),
    ];
    for (n, record) in records.iter().enumerate() {
        put(&out, first + n as u64, record.to_string().as_bytes());
    }
    client.answer("t:9", "over");
    support::eventually("the end of that container", || !out.exists());
    assert_eq!(home.ledger::<i64>("SELECT count(*) FROM groups WHERE folder = 'mine'"), 0);
    assert_eq!(home.ledger::<i64>("SELECT count(*) FROM outbox WHERE text = 'forged'"), 0);
    let trusted = "SELECT count(*) FROM scheduled_tasks WHERE trusted";
    assert_eq!(home.ledger::<i64>(trusted), 0);
    // The owner's next message is worked on in a container that has heard nobody else.
    let word = r#"tool:send_message {"text":"dinner","chat":"t:1"}"#;
    let mut mine = support::message("t:9", "mine", word);
    mine["from_me"] = json!(true);
    client.write(&mine);
    client.answer("t:1", "dinner");
}

/// The daemon's memory in MiB.
fn memory(daemon: &support::Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn good_records_without_end_and_names_that_change_without_end_delay_nobody() {
    let mut home = Home::new();
    home.set("NANOCLAW_CHAT_TURNS", "0");
    let (daemon, client) = two_groups(&home);
    let (out, first) = mailbox(&home, "family");
    let ask = |id: &str| ask_other(&client, id);
    let calm = (0..5).map(|n| ask(&format!("calm{n}"))).max().unwrap();
    let before = memory(&daemon);
    // Names that change tell of records that are none.
    std::fs::write(out.join("one"), "").unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                let _ = std::fs::rename(out.join("one"), out.join("other"));
                let _ = std::fs::rename(out.join("other"), out.join("one"));
            }
        });
        let mut busy = Duration::ZERO;
        for n in 0.. {
            busy = busy.max(ask(&format!("names{n}")));
            if Instant::now() >= until {
                break;
            }
        }
        busy
    });
    let after = memory(&daemon);
    println!("calm {calm:?}, while names changed {busy:?}; {before} MiB, then {after} MiB");
    assert!(after < before + 30, "{before} MiB, then {after} MiB");
    assert!(busy < calm * 10 + Duration::from_secs(1), "calm {calm:?}, busy {busy:?}");
    // Records that change no row need not wait for the ledger.
    let record = json!({"type": "state", "background": 0, "filling": "x".repeat(20_000)});
    let record = record.to_string();
    let show = |from: &str, n: u64| std::fs::rename(out.join(from), out.join(name(first + n)));
    let busy = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Where this is faster already than they may come, its guest is ended.
            let write = || std::fs::write(out.join(".next"), &record);
            (0..2_000).take_while(|n| write().and_then(|()| show(".next", *n)).is_ok()).count();
        });
        let mut busy = Duration::ZERO;
        let mut n = 0;
        while !writer.is_finished() {
            n += 1;
            busy = busy.max(ask(&format!("busy{n}")));
        }
        busy
    });
    println!("calm {calm:?}, busy {busy:?}");
    assert!(busy < calm * 10 + Duration::from_secs(1), "calm {calm:?}, busy {busy:?}");
    // Faster than they may come they fill the mailbox, good as they are.
    let _ = std::fs::create_dir(out.join(".heap"));
    let heap = |n: u64| out.join(format!(".heap/{n}"));
    (0..3_000).take_while(|n| std::fs::write(heap(*n), &record).is_ok()).count();
    (0..3_000).take_while(|n| show(&format!(".heap/{n}"), 2_000 + n).is_ok()).count();
    support::eventually("the guest's end", || !out.exists());
    recovers(&client);
}

#[test]
fn a_mailbox_that_is_flooded_ends_its_guest_alone() {
    let home = Home::new();
    let (_daemon, client) = two_groups(&home);
    let (out, _) = mailbox(&home, "family");
    client.message("t:2", "long", "think:3000 say:undisturbed");
    // The host looks while this is written, and then nobody may write any more.
    for n in 0..1_001 {
        std::fs::write(out.join(format!("rubbish-{n}")), "x").unwrap();
    }
    support::eventually("the guest's end", || !out.exists());
    recovers(&client);
    client.answer("t:2", "undisturbed");
}

#[test]
fn a_mailbox_of_countless_files_goes_with_its_guest_and_delays_nobody() {
    let home = Home::new();
    let (_daemon, client) = two_groups(&home);
    let (out, _) = mailbox(&home, "family");
    let ask = |id: &str| ask_other(&client, id);
    let calm = (0..5).map(|n| ask(&format!("calm{n}"))).max().unwrap();
    // Behind one name, or the guest would be ended long before.
    let heap = out.join(".heap");
    std::fs::create_dir(&heap).unwrap();
    for n in 0..50_000 {
        std::fs::write(heap.join(n.to_string()), "").unwrap();
    }
    client.message("t:1", "end", "crash");
    let mut busy = Duration::ZERO;
    let mut n = 0;
    while out.exists() {
        n += 1;
        busy = busy.max(ask(&format!("busy{n}")));
    }
    println!("{n} answers while it was removed; calm {calm:?}, busy {busy:?}");
    assert!(busy < calm * 10 + Duration::from_secs(1), "calm {calm:?}, busy {busy:?}");
    recovers(&client);
}

#[test]
fn links_in_a_guests_folders_lead_nowhere() {
    let home = Home::new();
    let (_daemon, client) = two_groups(&home);
    let victim = home.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("file"), "mine").unwrap();
    let owner = std::fs::metadata(victim.join("file")).unwrap().uid();
    for place in ["groups/family", "data/sessions/family/.claude"] {
        let place = home.path().join(place);
        symlink(&victim, place.join("to-a-directory")).unwrap();
        symlink(victim.join("file"), place.join("to-a-file")).unwrap();
        symlink("..", place.join("up")).unwrap();
        assert!(Command::new("mkfifo").arg(place.join("fifo")).status().unwrap().success());
    }
    let memory = home.path().join("groups/family/CLAUDE.md");
    let _ = std::fs::remove_file(&memory);
    symlink(victim.join("new"), &memory).unwrap();
    // A new container prepares the folders anew.
    client.message("t:1", "crash", "crash");
    client.answer("t:1", "I could not answer");
    recovers(&client);
    assert_eq!(std::fs::metadata(victim.join("file")).unwrap().uid(), owner);
    assert_eq!(std::fs::metadata(&victim).unwrap().uid(), owner);
    assert!(!victim.join("new").exists(), "it wrote through a link");
}
