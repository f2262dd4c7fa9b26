//! Random histories over several groups, on the socket and on WhatsApp, ended at
//! random moments: nothing that was acknowledged is lost, nothing is said or done
//! twice, nobody is left without a word, nothing stays behind.
//!
//! `NANOCLAW_KILL_SEED` names another history, `NANOCLAW_KILL_ROUNDS` (20) makes
//! it longer, `NANOCLAW_KILL_KEEP` is a directory for a copy of what failed. The
//! history is a function of the seed; what the machine makes of it in time is not.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "kill/history.rs"]
mod history;
#[path = "kill/network.rs"]
mod network;
#[allow(dead_code)]
#[path = "kill/phones.rs"]
mod phones;
#[path = "kill/plan.rs"]
mod plan;
#[allow(dead_code)]
#[path = "whatsapp/rig.rs"]
mod rig;
#[path = "whatsapp/server/mod.rs"]
mod server;
mod support;
#[path = "kill/verdict.rs"]
mod verdict;

use history::History;
use plan::{CHATS, End, ON_SOCKET, Plan};
use support::{Client, Home};

#[test]
fn sigkill_at_any_moment_loses_nothing_and_repeats_nothing() {
    let ends = [End::Kill, End::Kill, End::Kill, End::FrozenKill];
    History::new(Plan::new(seed(1), rounds(), ON_SOCKET, &ends, None)).live();
}

#[test]
fn sigterm_at_any_moment_loses_nothing_and_repeats_nothing() {
    let long = Some(rounds().saturating_sub(2));
    History::new(Plan::new(seed(2), rounds(), ON_SOCKET, &[End::Term], long)).live();
}

#[test]
fn a_stop_that_is_cut_short_loses_nothing_and_repeats_nothing() {
    let ends =
        [End::Kill, End::Term, End::TermThenKill(0), End::TermThenKill(30), End::TermThenKill(400)];
    History::new(Plan::new(seed(3), rounds(), ON_SOCKET, &ends, None)).live();
}

#[test]
fn guests_that_die_or_stand_still_lose_nothing_and_repeat_nothing() {
    let ends = [End::Guest, End::Guest, End::Freeze(500), End::Freeze(2_500)];
    History::new(Plan::new(seed(4), rounds(), ON_SOCKET, &ends, None)).live();
}

#[test]
fn torture_of_every_kind_loses_nothing_and_repeats_nothing() {
    let ends = [
        End::Kill,
        End::FrozenKill,
        End::Term,
        End::TermThenKill(100),
        End::Guest,
        End::Freeze(1_500),
        End::Pause(1_000),
        End::Cut,
    ];
    let rounds = option("NANOCLAW_KILL_ROUNDS").map_or(25, |n| n as usize);
    History::new(Plan::new(seed(5), rounds, CHATS.len(), &ends, None)).live();
}

#[test]
fn what_a_guest_said_of_itself_before_the_daemon_died_does_not_end_the_next() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m1", "hello");
    client.answer("t:1", "hello");
    daemon.kill();
    let incarnations: Vec<_> =
        std::fs::read_dir(home.path().join("data/ipc/family")).unwrap().flatten().collect();
    assert_eq!(incarnations.len(), 1);
    // Whatever its guest had written when the daemon died, now there is more.
    let out = incarnations[0].path().join("out");
    std::fs::write(out.join("0000000000000500.json"), r#"{"type":"ready","cli_version":"1"}"#)
        .unwrap();
    std::fs::write(out.join("0000000000000501.json"), r#"{"type":"state","background":1}"#)
        .unwrap();
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m2", "again");
    client.answer("t:1", "again");
    assert_eq!(daemon.stop(), 0);
}

fn option(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn seed(default: u64) -> u64 {
    option("NANOCLAW_KILL_SEED").unwrap_or(default)
}

fn rounds() -> usize {
    option("NANOCLAW_KILL_ROUNDS").map_or(20, |n| n as usize)
}
