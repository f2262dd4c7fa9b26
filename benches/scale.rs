//! What grows with the history, as one table: a ledger of 1,000 groups with 10,000,
//! 100,000 and 1,000,000 messages, every second one answered.
//!
//!     cargo bench --bench scale                      every size
//!     cargo bench --bench scale -- 10000 100000      some
//!
//! The real binary, SQLite and bubblewrap, and the stand-in for the CLI. The least and
//! the median say most where other programs work on the machine besides.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nanoclaw::db::{Ledger, history, now_ms};

#[path = "chain/counts.rs"]
#[allow(dead_code)]
mod counts;
#[path = "chain/ends.rs"]
#[allow(dead_code)]
mod ends;
#[path = "chain/fill.rs"]
mod fill;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "chain/table.rs"]
mod table;

use ends::Client;
use support::{Home, pause};
use table::{Times, build_stand_in, load, machine, ms};

const GROUPS: usize = 1_000;
const READY: usize = 10;
const WARM: usize = 50;
const DAY: i64 = 24 * 60 * 60 * 1_000;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000, 1_000_000] } else { sizes };
    build_stand_in();
    println!("{}\n", machine());
    let mut home = Home::new();
    home.set("NANOCLAW_CHAT_TURNS", "0");
    home.set("NANOCLAW_KEEP_DAYS", "0");
    let chats: Vec<String> = (0..GROUPS).map(|n| format!("b:{}", n + 1)).collect();
    fill::groups(&home, &chats);
    let mut columns = Vec::new();
    let mut had = 0;
    for &size in &sizes {
        let began = Instant::now();
        // Each batch is a year older than what comes: retention finds all of it.
        fill::messages(&home, &chats, had, size, now_ms() - 365 * DAY);
        eprintln!("{size} messages made in {:.1?}", began.elapsed());
        had = size;
        columns.push(look(&home));
    }
    columns.push(keep(&mut home));
    let titles: Vec<String> = sizes.iter().map(|s| format!("{s} messages")).collect();
    println!("| figure | {} | the same, NANOCLAW_KEEP_DAYS=30 |", titles.join(" | "));
    println!("|---{}|", "|---".repeat(columns.len()));
    for n in 0..columns[0].len() {
        let values: Vec<&str> = columns.iter().map(|column| column[n].1.as_str()).collect();
        println!("| {} | {} |", columns[0][n].0, values.join(" | "));
    }
    println!("\nload average at the end: {}", load());
}

/// One column: what everything costs now.
fn look(home: &Home) -> Vec<(&'static str, String)> {
    // The first start probes the runtime and places the guest program.
    assert_eq!(home.start().stop(), 0);
    let ready = Times::of((0..READY).map(|_| started(home)).collect());
    let daemon = home.start();
    pause(Duration::from_secs(3));
    let memory = counts::memory(daemon.pid());
    let mut client = Client::connect(home);
    let mut ask = |n: usize| client.ask(&format!("m{n}-{}", now_ms()));
    for n in 0..5 {
        ask(n);
    }
    let warm = Times::of((0..WARM).map(ask).collect());
    let after = counts::memory(daemon.pid());
    let run = |arguments: &[&str]| {
        least(5, || {
            let (code, _, error) = home.run(arguments);
            assert_eq!(code, 0, "{error}");
        })
    };
    let status = run(&["status"]);
    let groups = run(&["groups", "list"]);
    let explain = run(&["explain", "old77"]);
    assert_eq!(daemon.stop(), 0);
    let c = Ledger::look(&home.path().join("store/messages.db")).unwrap().unwrap();
    let page = |folder: &str, query: Option<&str>| {
        least(5, || drop(history::page(&c, folder, query, (i64::MAX, 0), 50).unwrap()))
    };
    vec![
        ("exec to `ready`, least", ms(ready.least())),
        ("exec to `ready`, median", ms(ready.middle())),
        ("memory 3 s later: resident", mb(memory.resident)),
        ("memory: proportional", mb(memory.proportional)),
        ("memory: private and dirty", mb(memory.private_dirty)),
        ("message to answer, warm, least", ms(warm.least())),
        ("message to answer, warm, median", ms(warm.middle())),
        ("memory after that: private and dirty", mb(after.private_dirty)),
        ("the ledger's file", size(home)),
        ("`status`", status),
        ("`groups list`", groups),
        ("`explain ID`", explain),
        ("the latest 50 of a chat with a tenth of all", page("g0", None)),
        ("the latest 50 of one of the other chats", page("g500", None)),
        ("a frequent word in the large chat", page("g0", Some("wo1"))),
        ("a frequent word in another", page("g500", Some("wo1"))),
        ("two words in the large chat", page("g0", Some("wo12 wo240"))),
        ("a rare word in the large chat", page("g0", Some("wo19876"))),
        ("a rare word in another", page("g500", Some("wo19876"))),
        ("a word that nobody said", page("g0", Some("boiler"))),
    ]
}

/// The last column: what retention leaves of it, once it is done.
fn keep(home: &mut Home) -> Vec<(&'static str, String)> {
    home.set("NANOCLAW_KEEP_DAYS", "30");
    let began = Instant::now();
    let daemon = home.start();
    let mut client = Client::connect(home);
    let left = "SELECT count(*) FROM turns WHERE prompt <> '' AND ended_at < unixepoch() * 1000 - 31 * 86400000";
    let mut during = Vec::new();
    while home.ledger::<i64>(left) > 0 {
        during.push(client.ask(&format!("k{}", now_ms())));
        pause(Duration::from_millis(100));
    }
    eprintln!("retention took {:.1?}", began.elapsed());
    if !during.is_empty() {
        let during = Times::of(during);
        eprintln!(
            "an answer meanwhile: least {}, median {}",
            ms(during.least()),
            ms(during.middle())
        );
    }
    assert_eq!(daemon.stop(), 0);
    look(home)
}

fn started(home: &Home) -> Duration {
    let began = Instant::now();
    let daemon = home.start();
    let taken = began.elapsed();
    assert_eq!(daemon.stop(), 0);
    taken
}

fn least(times: usize, what: impl Fn()) -> String {
    let taken = (0..times).map(|_| {
        let began = Instant::now();
        what();
        began.elapsed()
    });
    ms(Times::of(taken.collect()).least())
}

fn mb(value: f64) -> String {
    format!("{value:.1} MB")
}

fn size(home: &Home) -> String {
    let bytes = std::fs::metadata(home.path().join("store/messages.db")).unwrap().len();
    mb(bytes as f64 / 1e6)
}
