//! Kills around every step of a task's life, each tool with an effect among them:
//! each run is one turn with one result, each call takes effect once.
//!
//! A round kills the daemon at a random time, or as soon as some task is at the step
//! that is the round's aim; which steps were hit is counted from the ledger and must
//! be all. `NANOCLAW_KILL_SEED` names another history, `NANOCLAW_KILL_ROUNDS` (16)
//! makes it longer.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "kill/network.rs"]
mod network;
#[allow(dead_code)]
#[path = "kill/plan.rs"]
mod plan;
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use network::Network;
use plan::Random;
use rusqlite::Connection;
use serde_json::json;
use support::{Daemon, Home, pause};

/// The tools that have an effect. Each has a group of its own; the last is main's.
const TOOLS: [&str; 8] = [
    "send_message",
    "send_file",
    "schedule_task",
    "update_task",
    "pause_task",
    "resume_task",
    "cancel_task",
    "register_group",
];
const MAIN: usize = 7;

/// How far a task is, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Nobody has stored what asks for it.
    Asked,
    /// The message that asks for it waits, or its turn runs.
    Wanted,
    /// It waits for its time.
    Planned,
    /// Its run is a queued turn; its container may be starting.
    Begun,
    /// The agent is at work on it.
    AtWork,
    /// The call of its tool has had its effect; the turn runs.
    Called,
    /// The turn is over, its result has not been confirmed.
    Ended,
    /// The result is with the network.
    Told,
}

/// Those at which the daemon must have died at least once.
const STEPS: [Step; 6] =
    [Step::Wanted, Step::Planned, Step::Begun, Step::AtWork, Step::Called, Step::Ended];

/// One task of the history.
struct Wish {
    token: String,
    tool: usize,
    /// The task that its tool changes, if it does.
    target: Option<String>,
}

struct History {
    home: Home,
    networks: [Network; 2],
    daemon: Option<Daemon>,
    ledger: Connection,
    wishes: Vec<Wish>,
    random: Random,
    seed: u64,
}

#[test]
fn a_task_s_life_survives_kill_9_at_every_step() {
    let option = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (seed, rounds) =
        (option("NANOCLAW_KILL_SEED").unwrap_or(1), option("NANOCLAW_KILL_ROUNDS").unwrap_or(16));
    let mut history = History::new(seed);
    let mut hit: BTreeMap<Step, usize> = BTreeMap::new();
    for round in 0..rounds {
        history.start(Some(seed.wrapping_mul(1_000) + round));
        history.wish(round);
        // Every other round aims at a step, the rest at a time.
        let aim = (round % 2 == 1).then(|| STEPS[(round / 2) as usize % STEPS.len()]);
        history.kill(aim);
        for step in history.steps() {
            *hit.entry(step).or_default() += 1;
        }
        println!("round {round:>2}: aim {aim:?}, hit {hit:?}");
    }
    let missed: Vec<_> = STEPS.iter().filter(|step| !hit.contains_key(step)).collect();
    assert!(missed.is_empty() || rounds < 12, "seed {seed}: no kill hit {missed:?}");
    history.settle();
    let refused = history.judge();
    let all = history.wishes.len();
    println!("seed {seed}: {all} tasks, {refused} asked for too late; {hit:?}");
    assert!(refused * 2 < all, "{refused} of {all} tasks were asked for too late");
}

impl History {
    fn new(seed: u64) -> History {
        let mut home = Home::new();
        home.set("MAX_CONCURRENT_CONTAINERS", "4");
        home.set("LOG_LEVEL", "debug");
        for group in 0..MAIN {
            home.add_group(&format!("g{group}"), &format!("t:{group}"));
            std::fs::write(home.path().join(format!("groups/g{group}/file.txt")), "bytes").unwrap();
        }
        home.add_group("tick", "t:tick");
        assert_eq!(home.start().stop(), 0);
        ok(&home, &["tasks", "add", "tick", "say:tick", "--every", "1000"]);
        let ledger = Connection::open(home.path().join("store/messages.db")).unwrap();
        ledger.busy_timeout(Duration::from_secs(10)).unwrap();
        let networks = [Network::new("terminal:"), Network::new("t:")];
        let random = Random(seed);
        History { home, networks, daemon: None, ledger, wishes: Vec::new(), random, seed }
    }

    fn start(&mut self, moods: Option<u64>) {
        self.daemon.get_or_insert_with(|| self.home.start());
        for network in &mut self.networks {
            network.disconnect();
            network.connect(&self.home, moods);
        }
    }

    /// Asks half of the groups for a task that is soon due.
    fn wish(&mut self, round: u64) {
        for (tool, name) in TOOLS.into_iter().enumerate() {
            if self.random.below(2) == 0 {
                continue;
            }
            let token = format!("r{round}x{tool}");
            let target =
                matches!(name, "update_task" | "pause_task" | "resume_task" | "cancel_task")
                    .then(|| self.target(tool));
            let arguments = match name {
                "send_message" => json!({"text": format!("said {token}")}),
                "send_file" => json!({"path": "file.txt", "caption": format!("file {token}")}),
                "schedule_task" => json!({"prompt": format!("say:child {token}"),
                    "schedule_type": "cron", "schedule_value": "0 0 1 1 *"}),
                "update_task" => json!({"task_id": target, "prompt": format!("updated {token}")}),
                "register_group" => {
                    let jid = format!("t:new{token}");
                    self.networks[1].write(&jid, "hi", "a chat without a group is known", None);
                    json!({"jid": jid, "name": token, "folder": format!("new-{token}")})
                }
                _ => json!({"task_id": target, "note": token}),
            };
            let think = [0, 50, 300, 900][self.random.below(4)];
            let seconds = 2 + self.random.below(4) as i64;
            let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
            let context = if self.random.below(3) == 0 { "isolated" } else { "group" };
            let call = json!({"prompt": format!("think:{think} tool:{} {arguments}", name),
                "schedule_type": "once", "schedule_value": at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "context_mode": context});
            let (network, jid) = match tool {
                MAIN => (0, "terminal:main".to_owned()),
                _ => (1, format!("t:{tool}")),
            };
            self.networks[network].write(&jid, &token, &format!("tool:schedule_task {call}"), None);
            self.wishes.push(Wish { token, tool, target });
        }
    }

    /// A task that a tool is to change.
    fn target(&self, tool: usize) -> String {
        let group = format!("g{tool}");
        let out = ok(&self.home, &["tasks", "add", &group, "say:target", "--cron", "0 0 1 1 *"]);
        let id = out.split(' ').next().unwrap().to_owned();
        if TOOLS[tool] == "resume_task" {
            ok(&self.home, &["tasks", "pause", &id]);
        }
        id
    }

    /// SIGKILL when some task is at the step, or at a random time.
    fn kill(&mut self, aim: Option<Step>) {
        let began = Instant::now();
        let time = Duration::from_millis(self.random.below(3_500) as u64);
        let most = if aim.is_some() { Duration::from_secs(8) } else { time };
        while began.elapsed() < most && !aim.is_some_and(|aim| self.steps().contains(&aim)) {
            pause(Duration::from_millis(1));
        }
        self.daemon.take().unwrap().kill();
        self.networks.iter_mut().for_each(Network::disconnect);
    }

    /// How far each task is.
    fn steps(&self) -> Vec<Step> {
        self.wishes.iter().map(|wish| self.step(wish)).collect()
    }

    fn step(&self, wish: &Wish) -> Step {
        let chat = |sql: &str| self.one::<Option<String>>(sql, &[&wish.token]);
        let Some(message) = chat("SELECT state FROM messages WHERE id = ?1") else {
            return Step::Asked;
        };
        let Some(task) = self.task(&wish.token) else {
            let over = message == "answered" || message == "failed";
            return if over { Step::Told } else { Step::Wanted };
        };
        let run = "FROM occurrences o JOIN turns t ON t.id = o.turn WHERE o.task = ?1";
        let of = |column: &str| {
            self.one::<Option<String>>(&format!("SELECT {column} {run}"), &[task.as_str()])
        };
        let live = "(SELECT state FROM incarnations i WHERE i.id = t.incarnation)";
        match of("t.state").as_deref() {
            None => Step::Planned,
            Some("queued") => Step::Begun,
            Some("running") if of(live).as_deref() != Some("live") => Step::Begun,
            Some("running") if self.count(&format!("SELECT count(*) {run} AND EXISTS (SELECT 1 FROM requests r WHERE r.turn = t.id)"), &task) > 0 => Step::Called,
            Some("running") => Step::AtWork,
            _ if self.count(&format!("SELECT count(*) {run} AND EXISTS (SELECT 1 FROM outbox x WHERE x.turn = t.id AND x.state = 'pending')"), &task) > 0 => Step::Ended,
            _ => Step::Told,
        }
    }

    /// The task that a message asked for. Its prompt holds the token as a word.
    fn task(&self, token: &str) -> Option<String> {
        let wish = self.wishes.iter().find(|w| w.token == token)?;
        self.tasks_with(wish).into_iter().next()
    }

    fn tasks_with(&self, wish: &Wish) -> Vec<String> {
        let sql = "SELECT id FROM scheduled_tasks WHERE prompt LIKE 'think:%' AND prompt LIKE ?1";
        let mark = format!("%{}\"%", wish.token);
        let mut statement = self.ledger.prepare_cached(sql).unwrap();
        statement.query_map([mark], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn one<T: rusqlite::types::FromSql + Default>(&self, sql: &str, with: &[&str]) -> T {
        let mut statement = self.ledger.prepare_cached(sql).unwrap();
        let mut rows = statement.query(rusqlite::params_from_iter(with)).unwrap();
        rows.next().unwrap().map_or_else(T::default, |row| row.get(0).unwrap())
    }

    fn count(&self, sql: &str, with: &str) -> i64 {
        self.one(sql, &[with])
    }

    /// Ends the ticking task, and waits until nothing is left to do.
    fn settle(&mut self) {
        self.start(None);
        let tick: String =
            self.one("SELECT id FROM scheduled_tasks WHERE group_folder = ?1", &["tick"]);
        ok(&self.home, &["tasks", "pause", &tick]);
        let began = Instant::now();
        let open = "SELECT (SELECT count(*) FROM turns WHERE state IN ('queued', 'running'))
            + (SELECT count(*) FROM outbox WHERE state = 'pending')
            + (SELECT count(*) FROM messages WHERE state IN ('queued', 'in_turn'))
            + (SELECT count(*) FROM scheduled_tasks WHERE status = 'active' AND schedule_type = ?1)";
        loop {
            let acked = self.networks.iter().all(|n| n.memory().written.iter().all(|w| w.3));
            if acked && self.count(open, "once") == 0 {
                break;
            }
            let log = self.home.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "seed {}: not settled\n{tail:#?}",
                self.seed
            );
            pause(Duration::from_millis(50));
        }
        assert_eq!(self.daemon.take().unwrap().stop(), 0);
    }

    /// What became of each task; how many were asked for when their time was over.
    fn judge(&self) -> usize {
        let mut wrong = Vec::new();
        let mut refused = 0;
        for wish in &self.wishes {
            let tasks = self.tasks_with(wish);
            let [task] = tasks.as_slice() else {
                let late = self.shown(|text| text.contains("past")) > 0;
                match tasks.is_empty() && late {
                    true => refused += 1,
                    false => wrong.push(format!("{}: {} tasks", wish.token, tasks.len())),
                }
                continue;
            };
            let mut expect = |what: &str, found: i64, right: i64| {
                if found != right {
                    wrong.push(format!(
                        "{} ({}): {what}: {found}, not {right}",
                        wish.token, TOOLS[wish.tool]
                    ));
                }
            };
            let run = "FROM turns t JOIN occurrences o ON o.turn = t.id WHERE o.task = ?1";
            let of = |rest: &str| self.count(&format!("SELECT count(*) {run} {rest}"), task);
            expect("runs", of(""), 1);
            expect("runs that ended well", of("AND t.state = 'done'"), 1);
            let log =
                "SELECT count(*) FROM task_run_logs WHERE status = 'success' AND task_id = ?1";
            expect("lines in the log", self.count(log, task), 1);
            let calls = |ok: &str| {
                format!(
                    "SELECT count(*) FROM requests r WHERE r.ok {ok} AND r.turn = (SELECT turn FROM occurrences WHERE task = ?1)"
                )
            };
            expect("calls", self.count(&calls("= 1"), task), 1);
            expect("refused calls", self.count(&calls("= 0"), task), 0);
            let rows = |key: &str| {
                format!(
                    "SELECT count(*) FROM outbox x WHERE x.key LIKE '{key}' AND x.state = 'sent' AND x.turn = (SELECT turn FROM occurrences WHERE task = ?1)"
                )
            };
            expect("results", self.count(&rows("answer"), task), 1);
            expect("notices", self.count(&rows("notice:%"), task), 0);
            let (what, found) = self.effect(wish);
            expect(what, found, 1);
        }
        let ticks = self.count(
            "SELECT count(*) FROM occurrences WHERE turn IN (SELECT id FROM turns WHERE folder = ?1)",
            "tick",
        );
        let told = self.shown(|text| text == "tick") as i64;
        if ticks < 5 || ticks != told {
            wrong.push(format!("{ticks} runs of the ticking task, {told} of them told"));
        }
        for network in &self.networks {
            let memory = network.memory();
            assert_eq!(memory.errors, [""; 0]);
            assert_eq!(memory.altered, [""; 0]);
        }
        assert!(wrong.is_empty(), "seed {}:\n{}", self.seed, wrong.join("\n"));
        refused
    }

    /// How often the effect of a tool is there.
    fn effect(&self, wish: &Wish) -> (&'static str, i64) {
        let token = &wish.token;
        let target = wish.target.as_deref().unwrap_or_default();
        let tasks = |rest: &str| {
            self.count(
                &format!("SELECT count(*) FROM scheduled_tasks WHERE id = ?1 {rest}"),
                target,
            )
        };
        match TOOLS[wish.tool] {
            "send_message" => ("texts", self.shown(|t| t == format!("said {token}")) as i64),
            "send_file" => ("files", self.shown(|t| t == format!("file {token}")) as i64),
            "schedule_task" => (
                "tasks of its own",
                self.count(
                    "SELECT count(*) FROM scheduled_tasks WHERE prompt = ?1",
                    &format!("say:child {token}"),
                ),
            ),
            "update_task" => (
                "changed tasks",
                self.count(
                    "SELECT count(*) FROM scheduled_tasks WHERE prompt = ?1",
                    &format!("updated {token}"),
                ),
            ),
            "pause_task" => ("paused tasks", tasks("AND status = 'paused'")),
            "resume_task" => ("active tasks", tasks("AND status = 'active'")),
            "cancel_task" => ("cancelled tasks", 1 - tasks("")),
            _ => (
                "groups",
                self.count(
                    "SELECT count(*) FROM groups WHERE folder = ?1",
                    &format!("new-{token}"),
                ),
            ),
        }
    }

    fn shown(&self, fits: impl Fn(&str) -> bool) -> usize {
        self.networks
            .iter()
            .map(|n| n.memory().shown.iter().filter(|s| fits(&s.text)).count())
            .sum()
    }
}

fn ok(home: &Home, arguments: &[&str]) -> String {
    let (code, out, error) = home.run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}
