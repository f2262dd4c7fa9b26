//! What goes wrong with the machine beneath the daemon: another program holds the
//! ledger, its pages are damaged, and there are too few descriptors or processes. (The disk: `disk.rs`. Containers and
//! the model: `faults.rs`.)
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Client, Home, NANOCLAW, pause};

#[test]
fn a_ledger_that_another_program_holds_is_waited_for_and_then_told() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello a.");
    client.answer("t:1", "hello a.");
    let hold = |time| {
        let other = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
        other.busy_timeout(Duration::from_secs(10)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        client.message("t:1", &format!("held{time}"), &format!("hello held{time}."));
        pause(Duration::from_secs(time));
        let acked = client.heard(|h| {
            h.lines.iter().any(|l| l["type"] == "ack" && l["id"] == format!("held{time}"))
        });
        assert!(!acked, "acknowledged though it could not be stored");
        other.execute_batch("ROLLBACK").unwrap();
    };
    // Shorter than the ledger waits: nobody notices.
    hold(2);
    client.answer("t:1", "hello held2.");
    // Longer: the network is told to send it again, and nothing else is needed.
    hold(8);
    client.wait("a refusal", |h| {
        h.lines.iter().any(|l| {
            l["type"] == "error" && l["error"].as_str().is_some_and(|e| e.contains("send it again"))
        })
    });
    client.message("t:1", "held8", "hello held8.");
    client.answer("t:1", "hello held8.");
    let said = client.heard(|h| h.sends.iter().filter(|s| s.2.contains("held8")).count());
    assert_eq!(said, 1);
    assert_eq!(daemon.stop(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_daemon_takes_the_descriptors_that_it_may_have() {
    let mut home = Home::new();
    home.add_group("family", "t:1");
    let script = "ulimit -Sn 256; ulimit -Hn 5000; exec \"$0\" \"$@\"";
    home.run_by(["sh", "-c", script, NANOCLAW].map(str::to_owned).to_vec());
    let daemon = home.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().collect::<Vec<_>>()[3..5], ["5000", "5000"], "{files}");
    // What it starts has as many, and works.
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "hello a.");
    client.answer("t:1", "hello a.");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn too_few_descriptors_cost_containers_and_no_daemon() {
    let mut home = Home::new();
    home.set("MAX_CONCURRENT_CONTAINERS", "12");
    for n in 0..12 {
        home.add_group(&format!("g{n}"), &format!("t:{n}"));
    }
    let script = "ulimit -n 60; exec \"$0\" \"$@\"";
    home.run_by(["sh", "-c", script, NANOCLAW].map(str::to_owned).to_vec());
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    for n in 0..12 {
        client.message(&format!("t:{n}"), "m", &format!("hello {n}."));
    }
    // Each is answered, or told why not.
    client.wait_for(Duration::from_secs(120), "twelve ends", |h| {
        h.lines.iter().filter(|l| l["type"] == "status").count() == 12
    });
    let ends = client.heard(|h| {
        let ends = h.lines.iter().filter(|l| l["type"] == "status");
        ends.map(|l| l["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    println!("{ends:?}");
    assert!(ends.iter().any(|state| state == "answered"), "{ends:?}");
    for n in 0..12 {
        let jid = format!("t:{n}");
        assert!(client.heard(|h| h.sends.iter().any(|s| s.0 == jid)), "silence in {jid}");
    }
    assert_eq!(daemon.stop(), 0);
}

/// Writes rubbish over a file from page `first` on.
fn damage(path: &std::path::Path, first: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 1_000, "{pages} pages");
    for page in first..pages {
        file.write_all_at(&[0x5a; 4096], page * 4096).unwrap();
    }
}

#[test]
fn a_ledger_whose_pages_are_damaged_ends_the_daemon_and_is_refused_until_it_is_restored() {
    let mut home = Home::new();
    home.set("NANOCLAW_ALERT", "printf '%s' > alert");
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    // More than the ledger holds in memory.
    for n in 0..60 {
        client.message("t:1", &format!("m{n}"), &format!("silent {n} {}", "x".repeat(100_000)));
        client.acked(&format!("m{n}"));
    }
    client.message("t:1", "kept", "say:kept");
    client.answer("t:1", "kept");
    assert_eq!(daemon.stop(), 0);
    let (code, _, error) = home.run(&["backup", home.path().join("copy").to_str().unwrap()]);
    assert_eq!(code, 0, "{error}");
    let ledger = home.path().join("store/messages.db");
    let mut daemon = home.start();
    let client = Client::connect(&home, "t:");
    damage(&ledger, 2);
    let mut sent = 0;
    while daemon.ended().is_none() {
        sent += 1;
        assert!(sent < 120, "the damage is not found");
        client.message("t:1", &format!("n{sent}"), "say:never");
        pause(Duration::from_millis(500));
    }
    assert_eq!(daemon.ended().unwrap().code(), Some(1));
    let log = home.log();
    assert!(log.contains("is damaged") && log.contains("docs/faults.md"), "{log}");
    let alert = std::fs::read_to_string(home.path().join("alert")).unwrap();
    assert!(alert.contains("is damaged"), "{alert}");
    // Whoever was not acknowledged was told, in the chat too.
    let lost = |h: &support::Heard| {
        let acked = |id: &str| h.lines.iter().any(|l| l["type"] == "ack" && l["id"] == id);
        (1..sent).map(|n| format!("n{n}")).filter(|id| !acked(id)).collect::<Vec<_>>()
    };
    let lost = client.heard(lost);
    println!("{sent} sent, not acknowledged: {lost:?}");
    client.heard(|h| {
        let told = h.sends.iter().any(|s| s.2.contains("my ledger is damaged"));
        assert!(told || lost.is_empty(), "{:?}", h.sends);
    });
    // However often it is started.
    for _ in 0..2 {
        let (code, _, error) = home.run(&["start"]);
        assert_eq!(code, 1);
        assert!(error.contains("is not a usable ledger") && error.contains("restore"), "{error}");
    }
    // As the document says.
    for old in ["messages.db-wal", "messages.db-shm"] {
        let _ = std::fs::remove_file(home.path().join("store").join(old));
    }
    std::fs::copy(home.path().join("copy/store/messages.db"), &ledger).unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "n1", "say:healed");
    client.answer("t:1", "healed");
}

/// Runs the program as a user of its own, who may have so many processes and threads.
fn with_few_processes(home: &mut Home, most: u32) {
    const USER: u32 = 60_322;
    let beside = home.path().parent().unwrap().to_owned();
    let program = beside.join("nanoclaw");
    if !program.exists() {
        std::fs::copy(NANOCLAW, &program).unwrap();
    }
    let script = format!("ulimit -u {most}; exec \"$0\" \"$@\"");
    let user = ["setpriv", "--reuid=60322", "--regid=60322", "--clear-groups"];
    let words = user.into_iter().chain(["bash", "-c", &script, program.to_str().unwrap()]);
    home.run_by(words.map(str::to_owned).collect());
    let owned =
        std::process::Command::new("chown").args(["-R", "60322:60322"]).arg(&beside).status();
    assert!(owned.unwrap().success(), "{USER}");
}

#[test]
fn too_few_processes_cost_containers_and_no_daemon() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root, so that there is no user whose processes are counted alone");
        return;
    }
    let mut home = Home::below("home");
    with_few_processes(&mut home, 1_000);
    for n in 0..8 {
        home.add_group(&format!("g{n}"), &format!("t:{n}"));
    }
    home.set("MAX_CONCURRENT_CONTAINERS", "8");
    assert_eq!(home.start().stop(), 0);
    // Too few for the daemon itself: it says so.
    for most in [1, 2] {
        with_few_processes(&mut home, most);
        let (code, out, error) = home.run(&["start"]);
        assert_eq!(code, 1, "{out}{error}");
        assert!(error.contains("this user has too many processes"), "{error}");
    }
    with_few_processes(&mut home, 30);
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    for n in 0..8 {
        client.message(&format!("t:{n}"), "m", &format!("hello {n}."));
    }
    client.wait_for(Duration::from_secs(120), "eight ends", |h| {
        h.lines.iter().filter(|l| l["type"] == "status").count() == 8
    });
    let said = client.heard(|h| h.sends.iter().map(|s| s.2.clone()).collect::<Vec<_>>());
    println!("{said:?}");
    assert!(said.iter().any(|text| text.contains("hello")), "{said:?}");
    assert_eq!(daemon.stop(), 0);
}
