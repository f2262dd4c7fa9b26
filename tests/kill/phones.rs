//! A network behind WhatsApp: our own server, the owner's phone and Ann's, and a group
//! of both. It keeps what the daemon has not acknowledged, as WhatsApp does.

use std::sync::Arc;

use tokio::runtime::Handle;
use whatsapp_rust::wacore_binary::Jid;

use super::network::Shown;
use super::plan::{CHATS, Message, ON_SOCKET};
use super::rig::Rig;
use super::server::{self, Draft, Group, Phone, What, When};
use super::support::Home;

/// The phones, and a thread on which they live.
pub struct Phones {
    world: Handle,
    pub rig: Rig,
    ann: Phone,
    group: Group,
}

impl Phones {
    /// An installation that is linked, and has the groups of WhatsApp's chats.
    pub fn new(set: impl FnOnce(&mut Home)) -> Phones {
        let world = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = world.handle().clone();
        std::thread::spawn(move || world.block_on(std::future::pending::<()>()));
        handle.clone().block_on(async {
            let mut rig = Rig::with(set).await;
            let ann = rig.server.person("491702222222", "Ann");
            let group = rig.server.group("Friends", &ann, &[&rig.owner], true);
            let jids = [rig.owner.jid(), ann.jid(), group.jid()].map(|jid| jid.to_string());
            assert_eq!(jids, [7, 8, 9].map(|chat: usize| CHATS[chat].jid.to_owned()));
            rig.link().await;
            rig.serve("ann", CHATS[8].jid).await;
            let friends = ["groups", "add", "friends", "--jid", CHATS[9].jid, "--who", "everybody"];
            let (code, _, error) = rig.run(&friends).await;
            assert_eq!(code, 0, "{error}");
            Phones { world: handle, rig, ann, group }
        })
    }

    pub fn home(&self) -> Arc<Home> {
        self.rig.home.clone()
    }

    /// Links once more.
    pub fn link(&mut self) {
        let rig = &mut self.rig;
        self.world.block_on(rig.link());
    }

    /// The owner has removed the device, and the daemon knows.
    pub fn unlink(&mut self) {
        let (code, _, error) = self.wait(self.rig.run(&["auth", "whatsapp", "--unlink"]));
        assert_eq!(code, 0, "{error}");
    }

    /// Links while the daemon runs, as far as it lives.
    pub fn try_to_link(&self, by_digits: bool) {
        let arguments = match by_digits {
            true => vec!["auth", "whatsapp", "--phone", "+491701111111"],
            false => vec!["auth", "whatsapp"],
        };
        self.wait(async {
            let mut auth = self.rig.spawn(&arguments);
            if by_digits {
                let _ = auth.end().await;
            } else if let Some(code) = auth.next_line("code to scan: ").await {
                let _ = self.rig.owner.scan(&code).await;
                let _ = auth.end().await;
            }
        });
    }

    /// Begins to link and is interrupted by the owner.
    pub fn cancel_linking(&self) {
        self.wait(async {
            let mut auth = self.rig.spawn(&["auth", "whatsapp"]);
            let _ = auth.next_line("code to scan: ").await;
            let pid = rustix::process::Pid::from_raw(auth.child.id().unwrap() as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            let _ = auth.end().await;
        });
    }

    /// Runs a command that may fail.
    pub fn run(&self, arguments: &[&str]) {
        self.wait(self.rig.run(arguments));
    }

    pub fn rename_group(&self) {
        self.group.rename(&self.ann, "Old friends");
    }

    /// Waits for something of the phones'.
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.world.block_on(what)
    }

    /// Somebody writes. In the group it is the owner every other time.
    pub fn write(&self, message: &Message, content: &str) {
        let (phone, to) = self.by(message);
        let draft = match message.file() {
            Some(bytes) => Draft::image(&bytes, content),
            None => Draft::text(content),
        };
        self.wait(phone.send(&to, draft.with_id(&message.id)));
    }

    /// Somebody says its word aloud.
    pub fn speak(&self, message: &Message) {
        let (phone, to) = self.by(message);
        let voice = Draft::voice(message.token.as_bytes(), 2);
        self.wait(phone.send(&to, voice.with_id(&message.id)));
    }

    fn by(&self, message: &Message) -> (&Phone, Jid) {
        let owner = &self.rig.owner;
        match message.chat - ON_SOCKET {
            0 => (owner, owner.jid()),
            1 => (&self.ann, owner.jid()),
            _ if message.token.len().is_multiple_of(2) => (owner, self.group.jid()),
            _ => (&self.ann, self.group.jid()),
        }
    }

    /// Whether the daemon has acknowledged all that it was sent.
    pub fn all_acknowledged(&self) -> bool {
        // The latest device is the one that lives.
        self.rig.owner.devices().last().is_some_and(|device| device.waiting == 0)
    }

    /// Cuts the connection.
    pub fn cut(&self) {
        self.rig.owner.devices().iter().for_each(|device| self.rig.owner.cut(device.device));
    }

    /// Something that goes wrong once, by chance.
    pub fn fault(&self, drawn: usize) {
        let (when, what) = match drawn % 5 {
            0 => (When::Message, What::Fail(503)),
            1 => (When::Ack, What::Drop),
            2 => (When::Acked, What::Drop),
            3 => (When::Deliver, What::Twice),
            _ => (When::Deliver, What::DropMidFrame),
        };
        self.rig.owner.fault(when, what);
    }

    /// What the assistant said, as people see it: the self chat on the owner's phone,
    /// the others on Ann's.
    pub fn shown(&self) -> Vec<Shown> {
        let owner = self.rig.owner.jid();
        let by_daemon = |s: &server::Shown| !s.here && s.sender.device != 0;
        let own = self.rig.owner.shown().into_iter().filter(|s| by_daemon(s) && s.chat == owner);
        let anns = self.ann.shown().into_iter().filter(by_daemon);
        let own = own.map(|s| self.seen(&self.rig.owner, CHATS[7].jid, s));
        let anns = anns.map(|s| {
            let chat = if s.chat == self.group.jid() { 9 } else { 8 };
            self.seen(&self.ann, CHATS[chat].jid, s)
        });
        own.chain(anns).collect()
    }

    fn seen(&self, phone: &Phone, jid: &str, shown: server::Shown) -> Shown {
        let text = shown.text.strip_prefix("Andy: ").unwrap_or(&shown.text).to_owned();
        let file = shown.file.as_ref().map(|file| phone.open(file).unwrap_or_default());
        Shown { jid: jid.into(), id: shown.id, text, file }
    }

    /// How often an id came again.
    pub fn repeats(&self) -> usize {
        let all = self.ann.shown().into_iter().chain(self.rig.owner.shown());
        all.filter(|s| s.sender.device != 0).map(|s| s.arrivals - 1).sum()
    }

    /// What WhatsApp and the daemon said to each other of a message.
    pub fn log_of(&self, id: &str) -> Vec<String> {
        let log = self.rig.server.log().into_iter().map(|entry| format!("{entry}"));
        log.filter(|line| line.contains(id)).map(|line| line.chars().take(400).collect()).collect()
    }

    /// What a phone could not read, or saw as two things under one id.
    pub fn altered(&self) -> Vec<String> {
        let screens = [self.rig.owner.screen(), self.ann.screen()];
        let bad = screens.iter().flat_map(|s| s.unreadable.iter().chain(&s.altered).cloned());
        bad.collect()
    }
}
