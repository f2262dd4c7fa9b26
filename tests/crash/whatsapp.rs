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
const FRIENDS: usize = 9;

/// What went wrong at a point. Messages are written while the daemon runs, and for the
/// points around what arrives also while it does not.
pub fn visit(point: &str) -> Vec<String> {
    let go = |waiting| {
        let phones = Phones::new(|home| {
            home.set("LOG_LEVEL", "debug");
            // What is refused is to be the answer.
            home.set("NANOCLAW_REACTIONS", "off");
            home.set("NANOCLAW_TRANSCRIBE", "cat");
        });
        Visit::new(point, phones).go(waiting)
    };
    let mut found = go(false);
    if point.ends_with("taking batch") {
        found.extend(go(true).iter().map(|f| format!("written before the start: {f}")));
    }
    found
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
        // Every other time they wait at WhatsApp when the daemon comes.
        let waiting = n.is_multiple_of(2);
        if waiting {
            visit.talk();
        }
        let (mut daemon, line) = visit.home().begin();
        if line.starts_with("ready") && !waiting {
            visit.talk();
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
        std::fs::write(folder.join("sound.mp3"), b"ID3 sound").unwrap();
        let plan = Plan { seed: 0, chats: CHATS.len(), messages: Vec::new(), rounds: Vec::new() };
        let word = point.rsplit(' ').next().unwrap();
        Visit { point, word, phones, plan, verdict: Verdict::default() }
    }

    fn go(mut self, waiting: bool) -> Vec<String> {
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
        if waiting {
            self.talk();
        }
        let (daemon, line) = self.home().begin();
        if line.starts_with("ready") && !waiting {
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
            "note" => {
                let message = self.compose(ANN, Kind::Ask);
                self.phones.speak(&message);
                self.plan.messages.push(message);
            }
            "parts" => {
                // Phones show no text beneath a sound.
                let mut message = self.compose(ANN, Kind::Tool);
                let (path, caption) = ("sound.mp3", format!("said {}", message.token));
                let arguments = serde_json::json!({ "path": path, "caption": caption });
                message.content = format!("tool:send_file {arguments}");
                self.write(message);
            }
            _ => self.talk(),
        }
    }

    /// Somebody says something in each chat, in the group where it is about sending.
    fn talk(&mut self) {
        if ["message", ""].contains(&self.word) {
            self.message(FRIENDS, Kind::Ask);
        }
        self.message(ANN, Kind::Ask);
        self.message(OWN, Kind::Tool);
    }

    fn message(&mut self, chat: usize, kind: Kind) {
        let message = self.compose(chat, kind);
        self.write(message);
    }

    fn write(&mut self, message: Message) {
        self.phones.write(&message, &message.content);
        self.plan.messages.push(message);
    }

    fn compose(&self, chat: usize, kind: Kind) -> Message {
        let number = self.plan.messages.len();
        let (id, token) = (format!("3EB0{number:018X}"), format!("k{number}token"));
        let content = match kind {
            Kind::Tool => format!("tool:send_message {{\"text\":\"said {token}\"}}"),
            Kind::Send => {
                format!("tool:send_file {{\"path\":\"picture.png\",\"caption\":\"said {token}\"}}")
            }
            _ if CHATS[chat].trigger => format!("@Andy {token}"),
            _ => token.clone(),
        };
        Message { chat, id, token, content, kind }
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
