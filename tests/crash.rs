//! Every step dies once: the daemon (or a guest) is ended at each point of the
//! source that calls `crash::point`, started again, and everything that was
//! promised must hold.
//!
//! The points are read out of the source, so that a new effect or record is a new
//! point; one that nothing here reaches fails the test. `NANOCLAW_CRASH_POINT`
//! names one to visit alone.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

#[path = "crash/commands.rs"]
mod commands;
#[path = "kill/network.rs"]
mod network;
#[path = "upgrade/old.rs"]
mod old;
#[path = "kill/phones.rs"]
mod phones;
#[path = "kill/plan.rs"]
mod plan;
#[path = "crash/points.rs"]
mod points;
#[path = "whatsapp/rig.rs"]
mod rig;
#[path = "whatsapp/server/mod.rs"]
mod server;
mod support;
#[path = "kill/verdict.rs"]
mod verdict;
#[path = "crash/whatsapp.rs"]
mod whatsapp;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use network::Network;
use plan::{CHATS, Kind, Message, ON_SOCKET, Plan};
use support::{Daemon, Home, pause};
use verdict::Verdict;

const FAMILY: usize = 2;
const WORK: usize = 3;
const CLUB: usize = 4;
const ODD: usize = 6;

#[test]
fn an_effect_of_a_group_is_whole_or_repeated() {
    visit("effect");
}

#[test]
fn a_record_of_the_host_is_whole_or_repeated() {
    visit("host");
}

#[test]
fn a_record_of_a_guest_has_its_effect_once() {
    visit("taking");
}

#[test]
fn a_guest_that_dies_around_a_record_is_made_good() {
    visit("guest");
}

#[test]
fn a_message_a_run_a_file_and_a_delivery_count_once() {
    visit("rest");
}

#[test]
fn whatsapp_loses_nothing_and_shows_nothing_twice() {
    visit("whatsapp");
}

/// `NANOCLAW_CRASH_WRITES` says at how many of its writes (16) it dies.
#[test]
fn a_death_at_any_write_of_whatsapp_s_keys_loses_nothing_and_shows_nothing_twice() {
    let wanted = std::env::var("NANOCLAW_CRASH_WRITES").ok();
    let found = whatsapp::die_at_writes(wanted.map_or(16, |n| n.parse().unwrap()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_link_is_made_lost_and_removed_whole() {
    visit("link");
}

#[test]
fn an_upgrade_that_dies_is_made_by_the_next_start() {
    visit("upgrade");
}

#[test]
fn a_backup_or_a_restore_that_dies_can_be_made_again() {
    visit("backup");
}

#[test]
fn the_points_are_found_in_the_source() {
    let all = points::all();
    assert!(all.len() > 150, "{}: {all:?}", all.len());
    for word in ["before Claim", "after Complete", "before taking Done", "after showing Turn"] {
        assert!(all.iter().any(|p| p == word), "{word} is not in {all:?}");
    }
}

/// The one test that visits a point.
fn test_of(point: &str) -> &'static str {
    let words: Vec<&str> = point.split(' ').collect();
    match words[0] {
        "guest" => "guest",
        "whatsapp" if words[1] == "obeying" || words[2..] == ["wiping", "keys"] => "link",
        "whatsapp" if !["hearing", "between"].contains(&words[1]) && words.len() == 3 => "link",
        "whatsapp" => "whatsapp",
        "upgrade" => "upgrade",
        "backup" | "restore" => "backup",
        _ if words.contains(&"taking") => "taking",
        _ if words.contains(&"writing") || words.contains(&"showing") => "host",
        _ if words.len() == 2 => "effect",
        _ => "rest",
    }
}

fn guest(point: &str) -> bool {
    point.starts_with("guest")
}

/// Visits the points of this test, a few at a time: they mostly wait.
fn visit(test: &str) {
    let wanted = std::env::var("NANOCLAW_CRASH_POINT").ok();
    let mine: VecDeque<String> = points::all()
        .into_iter()
        .filter(|p| test_of(p) == test && wanted.as_ref().is_none_or(|w| w == p))
        .collect();
    let (left, broken) = (Mutex::new(mine), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(point) = left.lock().unwrap().pop_front() else { return };
                    let began = Instant::now();
                    let found = match test {
                        "whatsapp" | "link" => whatsapp::visit(&point),
                        "upgrade" => commands::upgrade(&point),
                        "backup" => commands::backup(&point),
                        _ => Visit::new(&point).go(),
                    };
                    println!("{point}: {} ms {}", began.elapsed().as_millis(), found.join("; "));
                    broken.lock().unwrap().extend(found.iter().map(|f| format!("{point}: {f}")));
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

struct Visit<'a> {
    point: &'a str,
    home: Home,
    network: Network,
    plan: Plan,
    verdict: Verdict,
}

impl Visit<'_> {
    fn new(point: &str) -> Visit<'_> {
        let mut home =
            Home::scripted("[ -e /workspace/group/trip ] && rm /workspace/group/trip && exit 7");
        home.set("LOG_LEVEL", "debug");
        if point.contains("Interrupt") {
            home.set("CONTAINER_TIMEOUT", "6000");
        }
        for chat in CHATS.iter().filter(|c| c.folder != "main") {
            home.add_group(chat.folder, chat.jid);
        }
        let plan = Plan { seed: 0, chats: ON_SOCKET, messages: Vec::new(), rounds: Vec::new() };
        Visit { point, home, network: Network::new("t:"), plan, verdict: Verdict::default() }
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.point.ends_with(&format!(" {word}")))
    }

    /// What went wrong.
    fn go(mut self) -> Vec<String> {
        if self.has(&["Notice"]) {
            self.grow_old();
        }
        if self.has(&["Requeue", "Give"]) {
            let folder = self.home.path().join("groups/family");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("trip"), "").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(&folder, mode).unwrap();
        }
        if self.has(&["file"]) {
            let folder = self.home.path().join("groups/family");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("picture.png"), plan::picture("family")).unwrap();
        }
        if self.has(&["run", "task"]) {
            let at = chrono::Utc::now() + chrono::TimeDelta::seconds(4);
            let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            let (code, _, error) =
                self.home.run(&["tasks", "add", "choir", "say:the task ran", "--at", &at]);
            assert_eq!(code, 0, "{error}");
            if self.has(&["task"]) {
                let path = self.home.path().join("store/messages.db");
                let c = rusqlite::Connection::open(path).unwrap();
                c.execute("UPDATE scheduled_tasks SET schedule_value = 'never'", []).unwrap();
            }
        }
        self.home.set("CRASH_AT", self.point);
        let daemon = self.home.start();
        // An old turn is told of at once, before anybody can connect.
        if !self.has(&["Notice"]) {
            self.network.connect(&self.home, None);
            self.write();
        }
        if !self.dies(daemon) {
            self.verdict.broken.push("never reached".into());
        }
        self.home.set("CRASH_AT", "");
        self.network.disconnect();
        let daemon = self.home.start();
        self.network.connect(&self.home, None);
        // Where main is told of a task.
        let mut terminal = Network::new("terminal:");
        terminal.connect(&self.home, None);
        if !self.eventually(|visit| visit.is_settled()) {
            self.verdict.broken.push("not settled after a minute".into());
        }
        if let Some(code) = Some(daemon.stop()).filter(|code| *code != 0) {
            self.verdict.broken.push(format!("the last stop: {code}"));
        }
        self.judge()
    }

    fn judge(&mut self) -> Vec<String> {
        let shown = self.network.memory().shown.clone();
        self.verdict.look_for_orphans(&self.home, "at the end");
        let hurt = guest(self.point) || self.has(&["Stop"]);
        self.verdict.judge(&self.home, &self.plan, &shown, hurt);
        if self.point.ends_with(" run") {
            let runs: i64 = self.home.ledger("SELECT count(*) FROM task_run_logs");
            let said = shown.iter().filter(|s| s.text == "the task ran").count();
            if (runs, said) != (1, 1) {
                self.verdict.broken.push(format!("the task ran {runs} times, said {said}"));
            }
        }
        if self.has(&["task"]) {
            let told = "SELECT count(*) FROM outbox WHERE text LIKE '%paused the task%'";
            let chats: i64 = self.home.ledger("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE text LIKE '%paused the task%' GROUP BY chat_jid)");
            if self.home.ledger::<i64>(told) != chats {
                self.verdict.broken.push("told twice that the task is paused".into());
            }
        }
        if self.point.ends_with("Notice") {
            let said = shown.iter().filter(|s| s.text.contains("till working")).count();
            if said != 1 {
                self.verdict.broken.push(format!("told {said} times that it works: {shown:?}"));
            }
        }
        if self.point.ends_with("taking Text") {
            let said = shown.iter().filter(|s| s.text == "background done").count();
            if said != 1 {
                self.verdict.broken.push(format!("spoke by itself {said} times"));
            }
        }
        let mut memory = self.network.memory();
        self.verdict.altered.append(&mut memory.altered);
        self.verdict.broken.append(&mut memory.errors);
        self.verdict.findings().lines().map(str::to_owned).collect()
    }

    /// What makes the point be reached, beside one message and a stop.
    fn write(&mut self) {
        if self.has(&["Failed", "GiveUp"]) {
            self.message(ODD, Kind::Crash, "error:400");
        } else if self.has(&["Interrupt"]) {
            self.message(ODD, Kind::Crash, "hang");
        } else if self.has(&["Stop"]) {
            self.message(ODD, Kind::Ask, "think:2000");
            self.flood();
        }
        if self.has(&["Request", "Reply"]) {
            self.message(WORK, Kind::Tool, "tool:send_message {\"text\":\"said TOKEN\"}");
        }
        if self.has(&["State", "Text"]) {
            self.message(CLUB, Kind::Ask, "background:150");
        }
        if self.point.ends_with("copying file") {
            let call = "tool:send_file {\"path\":\"picture.png\",\"caption\":\"said TOKEN\"}";
            self.message(FAMILY, Kind::Send, call);
        }
        if self.point.ends_with("bringing file") {
            let directory = self.home.path().join("data/files");
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("it.png"), plan::picture("k0token")).unwrap();
            self.message(FAMILY, Kind::Bring, "");
        }
        if guest(self.point) && !self.plan.messages.is_empty() {
            // The first guest is the one that dies.
            self.eventually(|v| v.home.ledger::<i64>("SELECT count(*) FROM incarnations") > 0);
        }
        let asks = if self.has(&["model"]) { "model" } else { "" };
        self.message(FAMILY, Kind::Ask, asks);
    }

    fn message(&mut self, chat: usize, kind: Kind, words: &str) {
        let number = self.plan.messages.len();
        let (id, token) = (format!("m{number}"), format!("k{number}token"));
        let content = match words.contains("TOKEN") {
            true => words.replace("TOKEN", &token),
            false => format!("{token} {words}"),
        };
        let file = (kind == Kind::Bring).then_some("it.png");
        self.network.write(CHATS[chat].jid, &id, &content, file);
        self.plan.messages.push(Message { chat, id, token, content, kind });
    }

    /// A turn that a daemon's end interrupted, begun long ago.
    fn grow_old(&mut self) {
        let daemon = self.home.start();
        self.network.connect(&self.home, None);
        self.message(WORK, Kind::Ask, "think:1500");
        let running = "SELECT count(*) FROM turns WHERE state = 'running'";
        assert!(self.eventually(|visit| visit.home.ledger::<i64>(running) == 1));
        daemon.kill();
        self.network.disconnect();
        let c = rusqlite::Connection::open(self.home.path().join("store/messages.db")).unwrap();
        c.execute("UPDATE turns SET created_at = created_at - 200000", []).unwrap();
    }

    /// Leaves more in the odd group's mailbox than a guest may.
    fn flood(&self) {
        let place = self.home.path().join("data/ipc/odd");
        let out = || {
            let incarnation = std::fs::read_dir(&place).ok()?.flatten().next()?;
            Some(incarnation.path().join("out")).filter(|out| out.exists())
        };
        assert!(self.eventually(|_| out().is_some()));
        for n in 0..1_001 {
            let _ = std::fs::write(out().unwrap_or_default().join(format!("rubbish-{n}")), "x");
        }
    }

    /// Whether it dies where it shall, at the latest while it stops.
    fn dies(&mut self, mut daemon: Daemon) -> bool {
        if guest(self.point) {
            let died = self.eventually(|visit| visit.home.log().contains("exit status: 134"));
            daemon.kill();
            return died;
        }
        let mut ended = None;
        self.eventually(|visit| {
            ended = daemon.ended();
            ended.is_some() || (visit.is_settled() && visit.has_spoken())
        });
        let ended = ended.unwrap_or_else(|| daemon.stop_status());
        std::os::unix::process::ExitStatusExt::signal(&ended)
            == Some(rustix::process::Signal::ABORT.as_raw())
    }

    /// What the agent says by itself, when its background task ends, is there.
    fn has_spoken(&self) -> bool {
        let texts = "SELECT count(*) FROM outbox WHERE key LIKE 'text:%'";
        !self.has(&["Text"]) || self.home.ledger::<i64>(texts) > 0
    }

    /// Everything is acknowledged, ended, and out.
    fn is_settled(&self) -> bool {
        let acked = self.network.memory().written.iter().all(|w| w.3);
        acked && verdict::open(&self.home) == 0
    }

    fn eventually(&self, mut done: impl FnMut(&Self) -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            if done(self) {
                return true;
            }
            pause(Duration::from_millis(30));
        }
        false
    }
}
