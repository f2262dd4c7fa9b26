//! What the chain from a message to its answer costs, as one table.
//!
//!     cargo bench --bench chain                      every figure, on the disk of TMPDIR
//!     TMPDIR=/dev/shm cargo bench --bench chain      the same without a disk
//!     cargo bench --bench chain -- warm cold         some: warm cold ready idle size
//!
//! The real binary, SQLite and bubblewrap; the stand-in for the CLI, whose own
//! time is measured alone and taken off. Other programs on the machine make times
//! longer and never shorter, so the least and the median say most; what can be
//! counted (syncs, wake-ups, CPU time) hardly depends on them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "chain/counts.rs"]
mod counts;
#[path = "chain/ends.rs"]
mod ends;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "chain/table.rs"]
mod table;

use counts::{Counts, Spent, Syncs};
use ends::{Client, StandIn};
use support::{Daemon, Home, NANOCLAW, eventually, pause};
use table::{Times, build_stand_in, load, machine, ms, row};

const WARM: usize = 500;
const COLD: usize = 20;
const READY: usize = 30;
const COUNTED: usize = 100;
const IDLE: Duration = Duration::from_secs(24);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    build_stand_in();
    println!("{}\n", machine());
    println!("| figure | min | p50 | p99 | n | aim | method |\n|---|---|---|---|---|---|---|");
    let parts: [(&str, fn()); 5] =
        [("warm", warm), ("cold", cold), ("ready", ready), ("idle", idle), ("size", size)];
    parts.iter().filter(|(name, _)| wants(name)).for_each(|(_, part)| part());
    println!("\nload average at the end: {}", load());
}

// === the figures ===

fn warm() {
    let home = home();
    fill(&home);
    let alone = stand_in_alone(&home);
    let disk = sync_alone(home.path());
    let daemon = home.start();
    let mut client = Client::connect(&home);
    for n in 0..20 {
        client.ask(&format!("w{n}"));
    }
    let before = Counts::of(daemon.pid());
    let taken: Vec<Duration> = (0..WARM).map(|n| client.ask(&format!("m{n}"))).collect();
    let spent = Counts::of(daemon.pid()).since(&before);
    let share = Times::of(alone).middle();
    let added = taken.iter().map(|t| t.saturating_sub(share)).collect();
    Times::of(added).row(
        "added to a warm answer",
        "p50 3 ms, p99 10 ms",
        &format!("ledger of 10,000 messages; message line written to `send` line read, less the stand-in's own {}", ms(share)),
    );
    Times::of(disk).row(
        "one sync of this disk",
        "-",
        "4 KiB appended to a file and `fdatasync`; a warm answer waits for three",
    );
    let each = |total: f64| total / WARM as f64;
    row(
        "CPU time of the daemon, per warm answer",
        &format!("{:.2} ms", each(spent.cpu.as_secs_f64() * 1e3)),
        "-",
        "schedstat of its threads",
    );
    row(
        "context switches of the daemon, per warm answer",
        &format!("{:.1}", each(spent.switches as f64)),
        "-",
        "status of its threads",
    );
    let syncs = Syncs::attach(daemon.pid()).map(|syncs| {
        for n in 0..COUNTED {
            client.ask(&format!("s{n}"));
        }
        syncs.count() as f64 / COUNTED as f64
    });
    let value = syncs.map_or_else(|| "not counted: no strace".into(), |n| format!("{n:.2}"));
    row(
        "fsyncs per warm answer",
        &value,
        "5",
        &format!(
            "strace -f of the daemon over {COUNTED} answers: fsync, fdatasync, sync_file_range, msync"
        ),
    );
}

fn cold() {
    let mut home = home();
    home.set("IDLE_TIMEOUT", "100");
    let alone: Vec<Duration> = (0..COLD).map(|_| StandIn::start(&home).1).collect();
    let _daemon = home.start();
    let mut client = Client::connect(&home);
    let mut taken = Vec::new();
    for n in 0..=COLD {
        let time = client.ask(&format!("m{n}"));
        // The first also seeds the group's folder.
        if n > 0 {
            taken.push(time);
        }
        eventually("the idle container to go", || home.guests().is_empty());
        // Its directory is still being removed.
        pause(Duration::from_millis(300));
    }
    let share = Times::of(alone).middle();
    let added = taken.iter().map(|t| t.saturating_sub(share)).collect();
    Times::of(added).row(
        "added to a cold answer in bwrap",
        "100 ms",
        &format!("no container of the group, daemon up: message line to `send` line, less start and answer of the stand-in, {}", ms(share)),
    );
}

fn ready() {
    let home = home();
    fill(&home);
    // The first start probes the runtime and places the guest program.
    assert_eq!(home.start().stop(), 0);
    let mut taken = Vec::new();
    for _ in 0..READY {
        let began = Instant::now();
        let daemon = home.start();
        taken.push(began.elapsed());
        assert_eq!(daemon.stop(), 0);
    }
    Times::of(taken).row(
        "exec to ready",
        "20 ms",
        "ledger of 10,000 messages in 50 groups; spawn to the line `ready in`",
    );
}

fn idle() {
    let mut home = home();
    fill(&home);
    home.set("IDLE_TIMEOUT", "100");
    let daemon = home.start();
    pause(Duration::from_secs(1));
    memory("after ready", &daemon);
    minute("no container", &daemon, &[]);
    let mut client = Client::connect(&home);
    client.ask("m");
    eventually("the idle container to go", || home.guests().is_empty());
    pause(Duration::from_secs(1));
    memory("after an answer, its container gone", &daemon);
    drop(daemon);

    home.set("IDLE_TIMEOUT", "600000");
    let daemon = home.start();
    let mut client = Client::connect(&home);
    client.ask("n");
    pause(Duration::from_secs(1));
    memory("with one idle container", &daemon);
    let guests = counts::descendants(daemon.pid());
    minute("one idle container", &daemon, &guests);
}

fn memory(when: &str, daemon: &Daemon) {
    let memory = counts::memory(daemon.pid());
    let value = format!(
        "{:.1} MB resident ({:.1} MB private and dirty), PSS {:.1} MB, {} threads",
        memory.resident, memory.private_dirty, memory.proportional, memory.threads
    );
    row(&format!("memory, {when}"), &value, "10 MB", "VmRSS, smaps_rollup, status");
}

/// The daemon's rest, and that of the processes of its container.
fn minute(what: &str, daemon: &Daemon, guests: &[u32]) {
    let of = |pids: &[u32]| pids.iter().map(|&pid| Counts::of(pid)).collect::<Vec<_>>();
    let (before, guests_before) = (Counts::of(daemon.pid()), of(guests));
    pause(IDLE);
    let spent = Counts::of(daemon.pid()).since(&before);
    let scale = 60.0 / IDLE.as_secs_f64();
    let text = |spent: &Spent| {
        format!(
            "{:.1} ms CPU, {:.0} wake-ups",
            spent.cpu.as_secs_f64() * 1e3 * scale,
            spent.switches as f64 * scale
        )
    };
    let mut value = text(&spent);
    if !guests.is_empty() {
        let all = of(guests)
            .iter()
            .zip(&guests_before)
            .fold(Spent::default(), |sum, (now, then)| sum.and(&now.since(then)));
        value = format!("{value}; the container's processes {}", text(&all));
    }
    row(
        &format!("an idle minute, {what}"),
        &value,
        "-",
        &format!("schedstat and context switches of all threads over {} s", IDLE.as_secs()),
    );
}

fn size() {
    let bytes = std::fs::metadata(NANOCLAW).unwrap().len();
    row("release binary", &format!("{:.1} MB", bytes as f64 / 1e6), "-", "size of the file");
}

// === what they share ===

/// An installation with a group whose chat is `b:1`.
fn home() -> Home {
    let mut home = Home::new();
    home.set("NANOCLAW_CHAT_TURNS", "0");
    home.add_group("family", "b:1");
    home
}

fn stand_in_alone(home: &Home) -> Vec<Duration> {
    let (mut alone, _) = StandIn::start(home);
    (1..=WARM)
        .map(|n| {
            pause(Duration::from_millis(2));
            alone.ask(n)
        })
        .collect()
}

fn sync_alone(directory: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(directory.join("sync")).unwrap();
    (0..200)
        .map(|_| {
            pause(Duration::from_millis(2));
            file.write_all(&[7; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect()
}

/// 10,000 answered messages in 50 groups, half of them in `b:1`.
fn fill(home: &Home) {
    for n in 0..49 {
        home.add_group(&format!("g{n}"), &format!("g:{n}"));
    }
    let c = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute_batch("BEGIN").unwrap();
    for n in 0..10_000 {
        let chat = if n % 2 == 0 { "b:1".to_owned() } else { format!("g:{}", n % 49) };
        c.execute(
            "INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp, state, stored_at)
             VALUES (?1, ?2, 'u1', 'Ann', ?3, '2026-01-01T00:00:00.001Z', 'answered', 0)",
            rusqlite::params![format!("old{n}"), chat, "words of a message ".repeat(5)],
        )
        .unwrap();
    }
    c.execute_batch("COMMIT").unwrap();
}
