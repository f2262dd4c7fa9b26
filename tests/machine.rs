//! What goes wrong with the machine beneath the daemon: another program holds the
//! ledger, and there are too few descriptors. (The disk: `disk.rs`. Containers and
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
