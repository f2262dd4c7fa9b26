//! What the daemon costs that is linked to WhatsApp: to our own server, with 100 groups
//! and 10,000 stored messages.
//!
//!     cargo bench --features test-server --bench linked
//!
//! The server works in this process, the daemon in its own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

#[path = "chain/counts.rs"]
#[allow(dead_code)]
mod counts;
#[path = "chain/fill.rs"]
mod fill;
#[path = "../tests/whatsapp/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "../tests/whatsapp/server/mod.rs"]
mod server;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "chain/table.rs"]
mod table;

use nanoclaw::db::now_ms;
use rig::Rig;
use table::{Times, build_stand_in, load, machine, row};

const GROUPS: usize = 100;
const MESSAGES: usize = 10_000;
const STARTS: usize = 10;
const IDLE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    build_stand_in();
    println!("{}\n", machine());
    println!("| figure | min | p50 | p99 | n | aim | method |\n|---|---|---|---|---|---|---|");
    // What is stored already would count against the next that somebody says.
    let mut rig = Rig::with(|home| home.set("NANOCLAW_CHAT_TURNS", "0")).await;
    rig.start().await;
    memory(&rig, "not linked").await;
    rig.stop().await;

    let people: Vec<_> =
        (0..5).map(|n| rig.server.person(&format!("49171000000{n}"), &format!("P{n}"))).collect();
    let others: Vec<_> = people[1..].iter().chain([&rig.owner]).collect();
    let groups: Vec<_> = (0..GROUPS)
        .map(|n| rig.server.group(&format!("Group {n}"), &people[0], &others, true))
        .collect();
    let chats: Vec<String> = groups.iter().map(|group| group.jid().to_string()).collect();
    fill::groups(&rig.home, &chats);
    fill::messages(&rig.home, &chats, 0, MESSAGES, now_ms());
    rig.link().await;
    let (mut ready, mut connected) = (Vec::new(), Vec::new());
    for n in 0..=STARTS {
        let (began, at) = (Instant::now(), now_ms());
        rig.start().await;
        let taken = began.elapsed();
        let state = format!(
            "SELECT EXISTS (SELECT 1 FROM settings WHERE key = 'whatsapp'
                AND value ->> 'state' = 'connected' AND value ->> 'since' >= {at}) || ''"
        );
        while rig.home.ledger::<String>(&state) == "0" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The first has names, keys and groups to fetch.
        if n > 0 {
            ready.push(taken);
            connected.push(began.elapsed());
        }
        if n < STARTS {
            rig.stop().await;
        }
    }
    Times::of(ready).row("exec to ready, linked", "40 ms", "spawn to the line `ready in`");
    Times::of(connected).row("exec to connected", "-", "spawn to the row that says so");
    memory(&rig, "linked, after its start").await;
    people[1].send(&groups[0].jid(), "hello").await;
    people[1].wait_for("an answer", |m| m.text.contains("echo: hello")).await;
    memory(&rig, "linked, after an answer").await;
    rig.stop().await;
    println!("\nload average at the end: {}", load());
}

async fn memory(rig: &Rig, when: &str) {
    tokio::time::sleep(IDLE).await;
    let memory = counts::memory(rig.daemon.as_ref().unwrap().pid());
    let value = format!(
        "{:.1} MB resident ({:.1} MB private and dirty), PSS {:.1} MB, {} threads",
        memory.resident, memory.private_dirty, memory.proportional, memory.threads
    );
    let method = format!("{} s later; VmRSS, smaps_rollup, status", IDLE.as_secs());
    row(&format!("memory, {when}"), &value, "20 MB", &method);
}
