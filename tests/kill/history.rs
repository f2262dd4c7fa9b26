//! A history as it is lived: the daemon is started, people write, it is ended, again
//! and again; then all is left to settle, and judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::network::{Network, Shown};
use super::phones::Phones;
use super::plan::{CHATS, End, ON_SOCKET, Plan, Random, SOON, picture};
use super::support::{Daemon, Home, pause};
use super::verdict::{self, Verdict};

pub struct History {
    plan: Plan,
    home: Arc<Home>,
    /// Of the terminal, and of all other chats on the socket.
    networks: [Network; 2],
    /// Where WhatsApp takes part.
    phones: Option<Phones>,
    daemon: Option<Daemon>,
    verdict: Verdict,
    /// Whether guests were hurt, which counts as failed attempts.
    hurt: bool,
    /// What was written, with times put in, by the message's number.
    said: BTreeMap<usize, String>,
    /// The words of the tasks that were planned by hand, each to be said once.
    tasks: Vec<String>,
}

impl History {
    pub fn new(plan: Plan) -> History {
        let set = |home: &mut Home| {
            // Fewer than groups, so that they also take turns.
            home.set("MAX_CONCURRENT_CONTAINERS", "4");
            home.set("LOG_LEVEL", "debug");
            home.set("NANOCLAW_CHAT_TURNS", "0");
        };
        let phones = (plan.chats > ON_SOCKET).then(|| Phones::new(set));
        let home = phones.as_ref().map_or_else(
            || {
                let mut home = Home::new();
                set(&mut home);
                Arc::new(home)
            },
            Phones::home,
        );
        for chat in CHATS[..ON_SOCKET].iter().filter(|c| c.folder != "main") {
            let mut arguments = vec!["groups", "add", chat.folder, "--jid", chat.jid];
            arguments.extend((!chat.trigger).then_some("--no-trigger"));
            let (code, _, error) = home.run(&arguments);
            assert_eq!(code, 0, "group {}: {error}", chat.folder);
        }
        // The first start makes main.
        assert_eq!(home.start().stop(), 0);
        let (code, _, error) = home.run(&["groups", "link", "main", "t:self"]);
        assert_eq!(code, 0, "{error}");
        for chat in &CHATS[..plan.chats] {
            let folder = home.path().join("groups").join(chat.folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("picture.png"), picture(chat.folder)).unwrap();
        }
        History {
            plan,
            home,
            networks: [Network::new("terminal:"), Network::new("t:")],
            phones,
            daemon: None,
            verdict: Verdict::default(),
            hurt: false,
            said: BTreeMap::new(),
            tasks: Vec::new(),
        }
    }

    pub fn live(mut self) {
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
        self.verdict.altered.extend(self.phones.iter().flat_map(Phones::altered));
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
        let mut random = Random(moods);
        if let Some(phones) = self.phones.as_ref().filter(|_| random.below(3) == 0) {
            phones.fault(random.below(5));
        }
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
        if self.phones.is_none() || !round.is_multiple_of(2) {
            return;
        }
        let at = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
        let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let word = format!("task{round}");
        let said = format!("say:{word}");
        let (code, _, error) = self.home.run(&["tasks", "add", "work", &said, "--at", &at]);
        match code {
            0 => self.tasks.push(word),
            // On a machine that is busy enough the daemon holds the ledger for long.
            _ if error.contains("is past") || error.contains("is locked") => {}
            _ => self.verdict.broken.push(format!("{word} cannot be planned: {error}")),
        }
    }

    /// Each task was said once; where guests were hurt, it or its failure.
    fn judge_tasks(&mut self, shown: &[Shown]) {
        for word in &self.tasks {
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
            End::Pause(ms) => {
                freeze(&[daemon.pid()]);
                pause(Duration::from_millis(ms));
                send(daemon.pid(), Signal::CONT);
                self.daemon = Some(daemon);
                return;
            }
            End::Cut => {
                self.phones.iter().for_each(Phones::cut);
                self.daemon = Some(daemon);
                return;
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
                let mut random = Random(self.plan.seed ^ guests.len() as u64);
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

    fn write(&mut self, number: usize) {
        let message = &self.plan.messages[number];
        let again = self.said.contains_key(&number);
        let content = self.said.entry(number).or_insert_with(|| {
            let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
            message.content.replace(SOON, &soon.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        });
        let jid = CHATS[message.chat].jid;
        match &self.phones {
            Some(phones) if message.chat >= ON_SOCKET => {
                // Phones send once; what is sent again is WhatsApp's to say.
                if !again {
                    phones.write(message, content);
                }
            }
            _ => {
                let name = format!("{}-{}.png", message.chat, message.id);
                let file = message.file().map(|bytes| {
                    let directory = self.home.path().join("data/files");
                    std::fs::create_dir_all(&directory).unwrap();
                    std::fs::write(directory.join(&name), bytes).unwrap();
                    name.as_str()
                });
                let network = usize::from(!jid.starts_with("terminal:"));
                self.networks[network].write(jid, &message.id, content, file);
            }
        }
    }

    /// Waits until the daemon has acknowledged, answered and sent everything, and
    /// people have seen it.
    fn settle(&mut self) {
        let began = Instant::now();
        loop {
            let acked = self.networks.iter().all(|n| n.memory().written.iter().all(|w| w.3))
                && self.phones.iter().all(Phones::all_acknowledged);
            let open = verdict::open(&self.home);
            if acked && open == 0 && verdict::unseen(&self.home, &self.shown()).is_empty() {
                return;
            }
            if began.elapsed() > Duration::from_secs(120) {
                let (_, status, _) = self.home.run(&["status", "--json"]);
                self.verdict.broken.push(format!(
                    "not settled after 120 s: acknowledged {acked}, open {open}, {status}"
                ));
                return;
            }
            pause(Duration::from_millis(100));
        }
    }

    fn shown(&self) -> Vec<Shown> {
        let phones = self.phones.iter().flat_map(Phones::shown);
        self.networks.iter().flat_map(|n| n.memory().shown.clone()).chain(phones).collect()
    }

    fn repeats(&self) -> usize {
        let phones = self.phones.iter().map(Phones::repeats);
        self.networks.iter().map(|n| n.memory().repeats).chain(phones).sum()
    }

    fn tail(&self) -> String {
        let log = self.home.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn fail(&self) {
        for (message, phones) in self.plan.messages.iter().zip(std::iter::repeat(&self.phones)) {
            let about = |found: &String| found.contains(&message.id);
            if let Some(phones) = phones.as_ref().filter(|_| self.verdict.lost.iter().any(about)) {
                eprintln!("{} {:#?}", message.token, phones.log_of(&message.id));
            }
        }
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
