//! Random histories over several groups, ended at random moments: nothing that
//! was acknowledged is lost, nothing is said or done twice, nobody is left
//! without a word, nothing stays behind.
//!
//! `NANOCLAW_KILL_SEED` names another history, `NANOCLAW_KILL_ROUNDS` (20) makes
//! it longer, `NANOCLAW_KILL_KEEP` is a directory for a copy of what failed. The
//! history is a function of the seed; what the machine makes of it in time is not.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "kill/network.rs"]
mod network;
#[path = "kill/plan.rs"]
mod plan;
mod support;
#[path = "kill/verdict.rs"]
mod verdict;

use std::time::{Duration, Instant};

use network::{Network, Shown};
use plan::{CHATS, End, Plan};
use rustix::process::{Pid, Signal, kill_process};
use support::{Client, Daemon, Home, pause};
use verdict::Verdict;

#[test]
fn sigkill_at_any_moment_loses_nothing_and_repeats_nothing() {
    let plan =
        Plan::new(seed(1), rounds(), &[End::Kill, End::Kill, End::Kill, End::FrozenKill], None);
    History::new(plan).live();
}

#[test]
fn sigterm_at_any_moment_loses_nothing_and_repeats_nothing() {
    History::new(Plan::new(seed(2), rounds(), &[End::Term], Some(rounds().saturating_sub(2))))
        .live();
}

#[test]
fn a_stop_that_is_cut_short_loses_nothing_and_repeats_nothing() {
    let ends =
        [End::Kill, End::Term, End::TermThenKill(0), End::TermThenKill(30), End::TermThenKill(400)];
    History::new(Plan::new(seed(3), rounds(), &ends, None)).live();
}

#[test]
fn guests_that_die_or_stand_still_lose_nothing_and_repeat_nothing() {
    let plan = Plan::new(
        seed(4),
        rounds(),
        &[End::Guest, End::Guest, End::Freeze(500), End::Freeze(2_500)],
        None,
    );
    History::new(plan).live();
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
    ];
    let rounds = option("NANOCLAW_KILL_ROUNDS").map_or(25, |n| n as usize);
    let mut history = History::new(Plan::new(seed(5), rounds, &ends, None));
    history.tasks = Some(Vec::new());
    history.live();
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

struct History {
    plan: Plan,
    home: Home,
    /// Of the terminal, and of all other chats.
    networks: [Network; 2],
    daemon: Option<Daemon>,
    verdict: Verdict,
    /// Whether guests were hurt, which counts as failed attempts.
    hurt: bool,
    /// The words of the tasks that were planned besides, each to be said once.
    tasks: Option<Vec<String>>,
}

impl History {
    fn new(plan: Plan) -> History {
        let mut home = Home::new();
        // Fewer than groups, so that they also take turns.
        home.set("MAX_CONCURRENT_CONTAINERS", "4");
        home.set("LOG_LEVEL", "debug");
        home.set("NANOCLAW_CHAT_TURNS", "0");
        for (number, chat) in CHATS.iter().enumerate().filter(|(_, c)| c.folder != "main") {
            let mut arguments = vec!["groups", "add", chat.folder, "--jid", chat.jid];
            arguments.extend((!chat.trigger).then_some("--no-trigger"));
            let (code, _, error) = home.run(&arguments);
            assert_eq!(code, 0, "group {number}: {error}");
        }
        // The first start makes main.
        assert_eq!(home.start().stop(), 0);
        let (code, _, error) = home.run(&["groups", "link", "main", "t:self"]);
        assert_eq!(code, 0, "{error}");
        let networks = [Network::new("terminal:"), Network::new("t:")];
        History {
            plan,
            home,
            networks,
            daemon: None,
            verdict: Verdict::default(),
            hurt: false,
            tasks: None,
        }
    }

    fn live(mut self) {
        let began = Instant::now();
        println!(
            "seed {}, {} rounds, {} messages",
            self.plan.seed,
            self.plan.rounds.len(),
            self.plan.messages.len()
        );
        for round in 0..self.plan.rounds.len() {
            self.round(round);
        }
        self.start(None);
        for call in self.plan.calls() {
            self.write(call);
        }
        self.settle();
        let status = self.daemon.take().map(Daemon::stop_status).unwrap();
        if !status.success() {
            self.verdict.broken.push(format!("the last stop: {status}"));
        }
        self.verdict.look_for_orphans(&self.home, "at the end");
        let shown = self.shown();
        self.verdict.judge(&self.home, &self.plan, &shown, self.hurt);
        self.judge_tasks(&shown);
        for network in &self.networks {
            let mut memory = network.memory();
            self.verdict.altered.append(&mut memory.altered);
            assert_eq!(memory.errors, [""; 0]);
        }
        let (messages, spent) = (self.plan.messages.len(), began.elapsed().as_secs());
        println!(
            "seed {}: {messages} messages, {} texts, {} repeats; {}; {spent} s",
            self.plan.seed,
            shown.len(),
            self.repeats(),
            self.verdict
        );
        if !self.verdict.is_clean() {
            self.fail();
        }
    }

    fn round(&mut self, number: usize) {
        let moods = self.plan.seed.wrapping_mul(1_000).wrapping_add(number as u64);
        self.start(Some(moods));
        self.plan_task(number);
        let began = Instant::now();
        let wait = |ms: u64| pause(Duration::from_millis(ms).saturating_sub(began.elapsed()));
        let (end, at) = (self.plan.rounds[number].end, self.plan.rounds[number].at);
        let steps = self.plan.rounds[number].steps.clone();
        for &(time, message) in steps.iter().filter(|s| s.0 < at) {
            wait(time);
            self.write(message);
        }
        wait(at);
        let alive = self.home.guests().len();
        self.end(end, number);
        // What people write while nobody listens waits in their network.
        for &(_, message) in steps.iter().filter(|s| s.0 >= at) {
            self.write(message);
        }
        let acked: usize =
            self.networks.iter().map(|n| n.memory().written.iter().filter(|w| w.3).count()).sum();
        let written: usize = self.networks.iter().map(|n| n.memory().written.len()).sum();
        let spent = began.elapsed().as_millis();
        println!(
            "round {number:>2}: {spent:>5} ms, {end:?} at {at:>4} ms, {alive} guest processes; written {written}, acknowledged {acked}, shown {}, repeats {}",
            self.shown().len(),
            self.repeats()
        );
    }

    /// In every other round a task is planned; it is due then or later.
    fn plan_task(&mut self, round: usize) {
        let Some(tasks) = self.tasks.as_mut().filter(|_| round.is_multiple_of(2)) else { return };
        let at = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
        let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let word = format!("task{round}");
        let said = format!("say:{word}");
        let (code, _, error) = self.home.run(&["tasks", "add", "work", &said, "--at", &at]);
        match code {
            0 => tasks.push(word),
            _ if error.contains("is past") => {}
            _ => self.verdict.broken.push(format!("{word} cannot be planned: {error}")),
        }
    }

    /// Each task was said once; where guests were hurt, it or its failure.
    fn judge_tasks(&mut self, shown: &[Shown]) {
        for word in self.tasks.iter().flatten() {
            let said = shown.iter().filter(|s| s.text == *word).count();
            let told = self.hurt && shown.iter().any(|s| s.text.contains("The scheduled task"));
            match said {
                0 if !told => self.verdict.lost.push(word.clone()),
                0 | 1 => {}
                _ => self.verdict.double.push(word.clone()),
            }
        }
    }

    fn end(&mut self, end: End, round: usize) {
        let Some(daemon) = self.daemon.take() else { return };
        match end {
            End::Kill => daemon.kill(),
            End::FrozenKill => {
                freeze(&self.tree(&daemon));
                daemon.kill();
            }
            End::Term => {
                let status = daemon.stop_status();
                if !status.success() {
                    self.verdict.broken.push(format!("SIGTERM in round {round}: {status}"));
                }
                self.verdict.look_for_orphans(&self.home, &format!("after round {round}"));
            }
            End::TermThenKill(ms) => {
                daemon.signal(Signal::TERM);
                pause(Duration::from_millis(ms));
                daemon.kill();
            }
            End::Guest | End::Freeze(_) => {
                self.hurt = true;
                self.hurt_guests(end, &daemon);
                self.daemon = Some(daemon);
                return;
            }
        }
        self.networks.iter_mut().for_each(Network::disconnect);
    }

    fn hurt_guests(&self, end: End, daemon: &Daemon) {
        let guests = self.tree(daemon);
        match end {
            End::Freeze(ms) => {
                freeze(&guests);
                pause(Duration::from_millis(ms));
                guests.iter().for_each(|&pid| send(pid, Signal::CONT));
            }
            _ => {
                // Any one of a guest's processes: its sandbox, the guest, its CLI.
                let mut random = plan::Random(self.plan.seed ^ guests.len() as u64);
                if !guests.is_empty() {
                    send(guests[random.below(guests.len())], Signal::KILL);
                }
            }
        }
    }

    /// Every process below the daemon.
    fn tree(&self, daemon: &Daemon) -> Vec<u32> {
        let mut tree = vec![daemon.pid()];
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|p| {
                let pid = p.file_name().to_str()?.parse().ok()?;
                let stat = std::fs::read_to_string(p.path().join("stat")).ok()?;
                Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
            })
            .collect();
        let mut at = 0;
        while at < tree.len() {
            let of = tree[at];
            tree.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
            at += 1;
        }
        tree.split_off(1)
    }

    /// Starts the daemon, if none runs, and connects anew.
    fn start(&mut self, moods: Option<u64>) {
        self.daemon.get_or_insert_with(|| self.home.start());
        for network in &mut self.networks {
            network.disconnect();
            network.connect(&self.home, moods);
        }
    }

    fn write(&self, message: usize) {
        let message = &self.plan.messages[message];
        let jid = CHATS[message.chat].jid;
        let network = usize::from(!jid.starts_with("terminal:"));
        self.networks[network].write(jid, &message.id, &message.content);
    }

    /// Waits until the daemon has acknowledged, answered and sent everything.
    fn settle(&mut self) {
        let began = Instant::now();
        loop {
            let acked = self.networks.iter().all(|n| n.memory().written.iter().all(|w| w.3));
            let states = self.home.states();
            let open: i64 = ["queued", "in_turn"].iter().filter_map(|s| states.get(*s)).sum();
            let (_, status, _) = self.home.run(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let planned: i64 =
                self.home.ledger("SELECT count(*) FROM scheduled_tasks WHERE status = 'active'");
            let running: i64 =
                self.home.ledger("SELECT count(*) FROM turns WHERE state IN ('queued', 'running')");
            if acked && open + planned + running == 0 && status["outbox"]["pending"] == 0 {
                return;
            }
            if began.elapsed() > Duration::from_secs(120) {
                self.verdict.broken.push(format!("not settled after 120 s: {status:#}"));
                return;
            }
            pause(Duration::from_millis(100));
        }
    }

    fn shown(&self) -> Vec<Shown> {
        self.networks.iter().flat_map(|n| n.memory().shown.clone()).collect()
    }

    fn repeats(&self) -> usize {
        self.networks.iter().map(|n| n.memory().repeats).sum()
    }

    fn tail(&self) -> String {
        let log = self.home.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn fail(&self) {
        if let Some(path) = std::env::var_os("NANOCLAW_KILL_KEEP") {
            let _ =
                std::process::Command::new("cp").arg("-a").arg(self.home.path()).arg(path).status();
        }
        panic!(
            "NANOCLAW_KILL_SEED={} NANOCLAW_KILL_ROUNDS={}: {}\n{}\nthe log ends:\n{}",
            self.plan.seed,
            self.plan.rounds.len(),
            self.verdict,
            self.verdict.findings(),
            self.tail()
        );
    }
}

fn freeze(pids: &[u32]) {
    pids.iter().for_each(|&pid| send(pid, Signal::STOP));
}

/// A process that has gone meanwhile is no matter.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
