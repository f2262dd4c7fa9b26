//! The server as a test sees it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use whatsapp_rust::wacore_binary::Jid;

use super::accounts::{Account, AppState};
use super::faults::{Armed, What, When};
use super::groups::Change;
use super::listener::listen;
use super::log::Entry;
use super::phone::Phone;
use super::signal::Keys;
use super::state::Shared;

/// A running server. Dropped, it closes its port and every connection.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

/// Somebody to be: a number, and what is special about them.
#[derive(Debug, Clone, Default)]
pub struct Person {
    pub number: String,
    pub name: String,
    /// Chosen by the server where it is empty.
    pub lid: String,
    /// Nobody is told which number belongs to the LID.
    pub unresolved: bool,
    /// The account's chats have moved from numbers to LIDs.
    pub migrated: bool,
}

/// A group, for a test to change.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
    jid: Jid,
}

impl Server {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> Server {
        Server::start_at(0).await.unwrap()
    }

    /// Starts on this port of 127.0.0.1.
    pub async fn start_at(port: u16) -> std::io::Result<Server> {
        let shared = Arc::new(Shared::new());
        let task = listen(shared.clone(), ([127, 0, 0, 1], port).into()).await?;
        let address = shared.lock().address.unwrap();
        Ok(Server { shared, address, task: Some(task) })
    }

    /// Closes the port and every connection; all that the server knows stays.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        let gone = || self.shared.lock().connections.is_empty().then_some(());
        self.shared.wait("connections to end", gone).await;
    }

    /// Opens the same port again.
    pub async fn resume(&mut self) {
        self.task = Some(listen(self.shared.clone(), self.address).await.unwrap());
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// Where files are; replaces `https://` and the host of a link.
    pub fn media_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that vouches for the server, for a client that looks.
    pub fn root_key(&self) -> [u8; 32] {
        self.shared.identity.root()
    }

    /// Gives devices that are not linked only so many codes to show.
    pub fn codes(&self, count: usize) {
        self.shared.lock().codes = Some(count);
    }

    /// Says to devices that ask: restricted until then (seconds).
    pub fn restrict(&self, until: i64) {
        self.shared.lock().restricted_until = Some(until);
    }

    /// A new account with a phone.
    pub fn person(&self, number: &str, name: &str) -> Phone {
        let person =
            Person { number: number.to_owned(), name: name.to_owned(), ..Default::default() };
        self.person_with(person)
    }

    /// A new account with something special about it.
    pub fn person_with(&self, person: Person) -> Phone {
        let (inbox, mail) = unbounded_channel();
        let keys = Keys::generate();
        let settings = AppState::generate();
        let mut state = self.shared.lock();
        let index = state.accounts.len();
        let lid = match person.lid.is_empty() {
            true => format!("1000000000{:05}", index + 1),
            false => person.lid,
        };
        let name_patch = vec![settings.name_patch(&person.name)];
        state.accounts.push(Account {
            phone: person.number,
            lid,
            name: person.name,
            unresolved: person.unresolved,
            migrated: person.migrated,
            bundle: keys.bundle(),
            devices: Default::default(),
            inbox,
            watchers: Vec::new(),
            patches: [("critical_block".to_owned(), name_patch)].into(),
            next_device: 1,
        });
        let phone = Phone {
            shared: self.shared.clone(),
            index,
            keys,
            settings: Arc::new(settings),
            screen: Arc::new(Mutex::default()),
            memory: Arc::default(),
            turn: Arc::default(),
            on: Arc::new(watch::Sender::new(true)),
        };
        tokio::spawn(phone.clone().live(mail));
        phone
    }

    /// A new group; its founder is the admin. Members go by number or by LID.
    pub fn group(&self, subject: &str, founder: &Phone, others: &[&Phone], by_lid: bool) -> Group {
        let others: Vec<usize> = others.iter().map(|phone| phone.index).collect();
        let jid = self.shared.lock().found(founder.index, subject, &others, by_lid, None);
        self.shared.changed();
        Group { shared: self.shared.clone(), jid }
    }

    /// Arms a fault for whoever comes next.
    pub fn fault(&self, when: When, what: What) {
        self.shared.lock().faults.arm(Armed { when, what, account: None });
    }

    /// How many armed faults have not happened.
    pub fn faults_waiting(&self) -> usize {
        self.shared.lock().faults.waiting()
    }

    /// Waits until every armed fault has happened.
    pub async fn wait_faults(&self) {
        let spent = || (self.faults_waiting() == 0).then_some(());
        self.shared.wait("the faults to happen", spent).await;
    }

    /// The codes that are shown can be scanned no more.
    pub fn expire_codes(&self) {
        let mut state = self.shared.lock();
        state.offers.values_mut().for_each(|offer| offer.refs.clear());
    }

    /// A file is there no more: this status from now on, as 404, 410.
    pub fn expire_file(&self, path: &str, status: u16) {
        self.shared.lock().media.expire(path, status);
    }

    /// Every stanza so far.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.lock().log.clone()
    }

    /// Waits for a stanza like that, also an old one.
    pub async fn wait_log(&self, what: &str, like: impl Fn(&Entry) -> bool) -> Entry {
        let look = || self.shared.lock().log.iter().find(|entry| like(entry)).cloned();
        self.shared.wait(what, look).await
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Group {
    pub fn jid(&self) -> Jid {
        self.jid.clone()
    }

    /// Somebody changes the group.
    pub fn change(&self, by: &Phone, change: &Change) {
        self.shared.lock().change(&self.jid, by.index, change, None);
        self.shared.changed();
    }

    pub fn add(&self, by: &Phone, who: &Phone) {
        self.change(by, &Change::Add(vec![who.index]));
    }

    pub fn remove(&self, by: &Phone, who: &Phone) {
        self.change(by, &Change::Remove(vec![who.index]));
    }

    pub fn promote(&self, by: &Phone, who: &Phone) {
        self.change(by, &Change::Promote(vec![who.index]));
    }

    pub fn rename(&self, by: &Phone, subject: &str) {
        self.change(by, &Change::Subject(subject.to_owned()));
    }

    /// Whether only admins may speak.
    pub fn announcement(&self, by: &Phone, only_admins: bool) {
        self.change(by, &Change::Announcement(only_admins));
    }
}
