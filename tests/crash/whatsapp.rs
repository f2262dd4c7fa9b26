//! Deaths on WhatsApp's side: around what arrives, what is sent, files, and each step
//! of the link. What the phones show, and the ledger, must be as if nothing was.

use std::os::unix::fs::FileExt;
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
    Visit::new(point, phones).go()
}

/// Deaths at writes of the library's own store, spread over all that a conversation
/// makes, from the start of the daemon on: what its keys had become must fit what was
/// acknowledged, stored and sent.
pub fn die_at_writes(deaths: u64) -> Vec<String> {
    let (mut file, mut works) = (None, false);
    let phones = Phones::new(|home| {
        home.set("NANOCLAW_CHAT_TURNS", "0");
        home.set("DIE_FILE", "whatsapp.db");
        let path = home.path().join("die");
        home.set("DIE_COUNT", path.to_str().unwrap());
        std::fs::write(&path, [0; 16]).unwrap();
        file = Some(std::fs::File::options().read(true).write(true).open(&path).unwrap());
        works = home.preload("die.c");
    });
    let Some(file) = file.filter(|_| works) else { return Vec::new() };
    let mut visit = Visit::new("", phones);
    // The numbers: where it dies, and how many writes there were.
    let die_at = |write: u64| {
        let bytes = [write.to_ne_bytes(), 0_u64.to_ne_bytes()].concat();
        file.write_all_at(&bytes, 0).unwrap();
    };
    let writes = || {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 8).unwrap();
        u64::from_ne_bytes(bytes)
    };
    die_at(0);
    let daemon = visit.home().start();
    visit.settle();
    daemon.stop();
    let all = writes();
    let mut died = 0;
    for n in 0..deaths {
        die_at(1 + n * all / deaths);
        let (mut daemon, line) = visit.home().begin();
        if line.starts_with("ready") {
            visit.message(ANN, Kind::Ask);
            visit.message(OWN, Kind::Tool);
        }
        let mut ended = false;
        visit.eventually(|visit| {
            ended = daemon.ended().is_some();
            ended || visit.is_settled()
        });
        died += u64::from(ended);
        daemon.kill();
        die_at(0);
        let daemon = visit.home().start();
        visit.settle();
        daemon.stop();
    }
    println!("{died} deaths, each at one of {all} writes");
    if died * 2 < deaths {
        visit.verdict.broken.push(format!("died {died} times only"));
    }
    visit.judge()
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
    fn new(point: &str, phones: Phones) -> Visit<'_> {
        let folder = phones.rig.home.path().join("groups/ann");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("picture.png"), picture("ann")).unwrap();
        let plan = Plan { seed: 0, chats: CHATS.len(), messages: Vec::new(), rounds: Vec::new() };
        let word = point.rsplit(' ').next().unwrap();
        Visit { point, word, phones, plan, verdict: Verdict::default() }
    }

    fn go(mut self) -> Vec<String> {
        let linking = ["Qr", "Code", "NotLinked", "Paired", "Link", "Cancel"].contains(&self.word);
        if linking {
            self.phones.unlink();
        }
        if self.word == "UndecryptableMessage" {
            // It belongs to a conversation that there is.
            let daemon = self.home().start();
            self.settle();
            daemon.stop();
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
        self.settle();
        let code = daemon.stop();
        if code != 0 {
            self.verdict.broken.push(format!("the last stop: {code}"));
        }
        self.judge()
    }

    /// A message in each chat, and all is answered.
    fn settle(&mut self) {
        self.message(ANN, Kind::Ask);
        self.message(OWN, Kind::Ask);
        if !self.eventually(|visit| visit.is_settled()) {
            let unseen = verdict::unseen(&self.home(), &self.phones.shown());
            let acked = self.phones.all_acknowledged();
            let open = verdict::open(&self.home());
            let found = format!("not settled after a minute: acknowledged {acked}, open {open}");
            self.verdict.broken.push(format!("{found}, unseen {unseen:?}"));
        }
    }

    fn judge(&mut self) -> Vec<String> {
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
            "UndecryptableMessage" => owner.fault(When::Deliver, What::Garble),
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
