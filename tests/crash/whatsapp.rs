//! Deaths on WhatsApp's side: around what arrives, what is sent, files, and each step
//! of the link. What the phones show, and the ledger, must be as if nothing was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::phones::Phones;
use super::plan::{CHATS, Kind, Message, Plan, picture};
use super::server::{What, When};
use super::support::{Daemon, Home, pause};
use super::verdict::{self, Verdict};

const OWN: usize = 7;
const ANN: usize = 8;

/// What went wrong at a point.
pub fn visit(point: &str) -> Vec<String> {
    let phones = Phones::new(|home| {
        home.set("LOG_LEVEL", "debug");
        // What is refused is to be the answer.
        home.set("NANOCLAW_REACTIONS", "off");
    });
    let folder = phones.rig.home.path().join("groups/ann");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("picture.png"), picture("ann")).unwrap();
    let plan = Plan { seed: 0, chats: CHATS.len(), messages: Vec::new(), rounds: Vec::new() };
    let word = point.rsplit(' ').next().unwrap();
    Visit { point, word, phones, plan, verdict: Verdict::default() }.go()
}

struct Visit<'a> {
    point: &'a str,
    /// Its last word.
    word: &'a str,
    phones: Phones,
    plan: Plan,
    verdict: Verdict,
}

impl Visit<'_> {
    fn go(mut self) -> Vec<String> {
        let linking = ["Qr", "Code", "NotLinked", "Paired", "Link", "Cancel"].contains(&self.word);
        if linking {
            self.phones.unlink();
        }
        self.arm();
        self.crash_at(self.point);
        let (daemon, line) = self.home().begin();
        if line.starts_with("ready") {
            self.provoke();
        }
        if !self.dies(daemon) {
            self.verdict.broken.push("never reached".into());
        }
        self.crash_at("");
        self.forget_restriction();
        let daemon = self.home().start();
        let settled = ["connected", "unlinked", "logged_out"];
        let state = self.phones.wait(self.phones.rig.wait_states(&settled));
        if state != "connected" {
            self.phones.link();
        }
        self.message(ANN, Kind::Ask);
        self.message(OWN, Kind::Ask);
        if !self.eventually(|visit| visit.is_settled()) {
            let unseen = verdict::unseen(&self.home(), &self.phones.shown());
            let acked = self.phones.all_acknowledged();
            let open = verdict::open(&self.home());
            let found = format!("not settled after a minute: acknowledged {acked}, open {open}");
            self.verdict.broken.push(format!("{found}, unseen {unseen:?}"));
        }
        let code = daemon.stop();
        if code != 0 {
            self.verdict.broken.push(format!("the last stop: {code}"));
        }
        let shown = self.phones.shown();
        self.verdict.look_for_orphans(&self.phones.rig.home, "at the end");
        self.verdict.judge(&self.phones.rig.home, &self.plan, &shown, false);
        self.verdict.altered.extend(self.phones.altered());
        self.verdict.findings().lines().map(str::to_owned).collect()
    }

    fn home(&self) -> Arc<Home> {
        self.phones.home()
    }

    fn crash_at(&mut self, point: &str) {
        Arc::get_mut(&mut self.phones.rig.home).unwrap().set("CRASH_AT", point);
    }

    /// What goes wrong at WhatsApp before the daemon is there.
    fn arm(&self) {
        let owner = &self.phones.rig.owner;
        match self.word {
            "Banned" => owner.fault(When::Login, What::Ban { code: 101, seconds: 3 }),
            "Outdated" => owner.fault(When::Login, What::Fail(405)),
            "Rejected" => owner.fault(When::Login, What::Fail(409)),
            "LoggedOut" => owner.unlink(self.phones.rig.device),
            "Refused" => owner.fault(When::Message, What::Fail(463)),
            _ => {}
        }
    }

    /// What makes the point be reached while the daemon runs.
    fn provoke(&mut self) {
        // The row says "connected" still, from the linking.
        let connects = ["Unlink", "keys", "Lost", "Replaced"].contains(&self.word);
        let online = || self.phones.rig.owner.devices().iter().any(|device| device.online);
        if connects && !self.eventually(|_| online()) {
            return;
        }
        let rig = &self.phones.rig;
        match self.word {
            "LoggedOut" | "Banned" | "Outdated" | "Rejected" => {}
            "Qr" | "Paired" | "Link" | "Code" => self.phones.try_to_link(self.word == "Code"),
            "NotLinked" | "Cancel" => self.phones.cancel_linking(),
            "Unlink" | "keys" => self.phones.run(&["auth", "whatsapp", "--unlink"]),
            "Lost" => self.phones.cut(),
            "Replaced" => rig.owner.replace(rig.device),
            "GroupUpdate" => self.phones.rename_group(),
            "file" if self.point.contains("upload") => self.message(ANN, Kind::Send),
            "file" => self.message(ANN, Kind::Bring),
            _ => {
                self.message(ANN, Kind::Ask);
                self.message(OWN, Kind::Tool);
            }
        }
    }

    fn message(&mut self, chat: usize, kind: Kind) {
        let number = self.plan.messages.len();
        let (id, token) = (format!("3EB0{number:018X}"), format!("k{number}token"));
        let content = match kind {
            Kind::Tool => format!("tool:send_message {{\"text\":\"said {token}\"}}"),
            Kind::Send => {
                format!("tool:send_file {{\"path\":\"picture.png\",\"caption\":\"said {token}\"}}")
            }
            _ => token.clone(),
        };
        let message = Message { chat, id, token, content, kind };
        self.phones.write(&message, &message.content);
        self.plan.messages.push(message);
    }

    fn dies(&self, mut daemon: Daemon) -> bool {
        let mut ended = None;
        self.eventually(|_| {
            ended = daemon.ended();
            ended.is_some()
        });
        ended.is_some_and(|status| {
            std::os::unix::process::ExitStatusExt::signal(&status)
                == Some(rustix::process::Signal::ABORT.as_raw())
        })
    }

    /// Nothing would be sent for ten minutes.
    fn forget_restriction(&self) {
        if self.word == "Refused" {
            let path = self.phones.rig.home.path().join("store/messages.db");
            let c = rusqlite::Connection::open(path).unwrap();
            let sql =
                "UPDATE settings SET value = json_remove(value, '$.quiet') WHERE key = 'whatsapp'";
            c.execute(sql, []).unwrap();
        }
    }

    fn is_settled(&self) -> bool {
        let home = &self.phones.rig.home;
        self.phones.all_acknowledged()
            && verdict::open(home) == 0
            && verdict::unseen(home, &self.phones.shown()).is_empty()
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
