//! Wakes the right group: on an event at once, and every 2 seconds by a look into
//! the ledger, so that a lost event costs seconds and no message.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rusqlite::Connection;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::actor::{Actor, Message, SAFETY_NET};
use super::guest::Host;
use super::state::{Event, State};
use crate::db;
use crate::ids::Folder;
use crate::ipc::host::HostMailbox;
use crate::lock::lock;

/// What the loop is told.
#[derive(Debug)]
pub enum Wake {
    /// Messages are queued for the group (the inlet).
    Messages(Folder),
    /// A turn is queued for the group (the scheduler).
    Turns(Folder),
}

/// The groups whose mail was told of and not looked for yet: however often a guest
/// writes, one note of it waits.
type Told = Arc<Mutex<HashSet<Folder>>>;

/// Tells which mailboxes to watch.
pub struct Watch {
    watcher: Mutex<Option<RecommendedWatcher>>,
    told: Told,
}

impl Watch {
    /// Watches mailboxes; `mail` gets the folder of each group whose guest wrote a
    /// record. Without file events (a full inotify table) the safety net remains.
    pub fn new(mail: UnboundedSender<Folder>) -> Watch {
        let told = Told::default();
        let known = told.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let renamed =
                matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)) | EventKind::Create(_));
            for path in event.paths.iter().filter(|_| renamed) {
                if let Some(folder) = group_of(path)
                    && lock(&known).insert(folder.clone())
                {
                    // The dispatcher is only gone when the daemon ends.
                    let _ = mail.send(folder);
                }
            }
        });
        let watcher = watcher.inspect_err(
            |error| tracing::warn!(%error, "no file events: answers may take 2 s longer"),
        );
        Watch { watcher: Mutex::new(watcher.ok()), told }
    }

    /// A group's mail is looked for now: what is written from here on is told of anew.
    pub fn looking(&self, folder: &Folder) {
        lock(&self.told).remove(folder);
    }

    /// Watches the mailbox in `directory`.
    pub fn add(&self, directory: &Path) {
        self.change(|watcher| {
            watcher.watch(&HostMailbox::out(directory), RecursiveMode::NonRecursive)
        });
    }

    /// Stops watching it.
    pub fn remove(&self, directory: &Path) {
        self.change(|watcher| match watcher.unwatch(&HostMailbox::out(directory)) {
            Err(error) if matches!(error.kind, notify::ErrorKind::WatchNotFound) => Ok(()),
            other => other,
        });
    }

    fn change(&self, change: impl FnOnce(&mut RecommendedWatcher) -> notify::Result<()>) {
        if let Some(Err(error)) = lock(&self.watcher).as_mut().map(change) {
            tracing::warn!(%error, "cannot watch a mailbox; looking every 2 s instead");
        }
    }
}

/// `data/ipc/<folder>/<incarnation>/out/<record>` -> folder; hidden names are
/// records in the making.
fn group_of(record: &Path) -> Option<Folder> {
    let name = record.file_name()?.to_str()?;
    let folder = record.parent()?.parent()?.parent()?.file_name()?.to_str()?;
    (!name.starts_with('.')).then(|| Folder::parse(folder).ok()).flatten()
}

/// The actors, by group.
pub struct Dispatcher {
    host: Arc<Host>,
    actors: HashMap<Folder, (UnboundedSender<Message>, JoinHandle<()>)>,
}

impl Dispatcher {
    /// With no actor yet.
    pub fn new(host: Arc<Host>) -> Dispatcher {
        Dispatcher { host, actors: HashMap::new() }
    }

    /// Recovers what the last run left, then serves until `stop` resolves, then
    /// drains: running turns get the grace that it says, what remains is interrupted
    /// and stays queued.
    pub async fn run(
        mut self,
        mut work: UnboundedReceiver<Wake>,
        mut mail: UnboundedReceiver<Folder>,
        stop: impl Future<Output = Duration>,
    ) {
        tokio::pin!(stop);
        // Nothing may be begun in a group before what it left is known.
        while !self.recover().await {
            tokio::select! {
                () = tokio::time::sleep(SAFETY_NET) => {}
                grace = &mut stop => return self.drain(mail, grace).await,
            }
        }
        let mut net = tokio::time::interval(SAFETY_NET);
        net.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let grace = loop {
            tokio::select! {
                Some(wake) = work.recv() => match wake {
                    Wake::Messages(folder) => self.tell(&folder, Message::Event(Event::Work)).await,
                    Wake::Turns(folder) => self.tell(&folder, Message::Turns).await,
                },
                Some(folder) = mail.recv() => self.tell_of_mail(&folder),
                _ = net.tick() => self.look().await,
                grace = &mut stop => break grace,
            }
        };
        self.drain(mail, grace).await;
    }

    /// An incarnation that is not known to be dead is buried by its group's actor,
    /// before anything else happens in that group.
    /// `false` if the ledger refused to say which those are.
    async fn recover(&mut self) -> bool {
        let Some(left) = self.read(db::incarnations::not_dead).await else { return false };
        // A group has at most one: the next is opened only when the last is dead.
        for open in left {
            if let Ok(folder) = Folder::parse(&open.folder) {
                self.spawn(&folder).await;
            }
        }
        self.look().await;
        true
    }

    async fn look(&mut self) {
        let found =
            self.read(|c| Ok((db::messages::waiting_folders(c)?, db::turns::open_folders(c)?)));
        let Some((waiting, open)) = found.await else { return };
        for folder in waiting.iter().filter_map(|f| Folder::parse(f).ok()) {
            self.tell(&folder, Message::Event(Event::Work)).await;
        }
        for folder in open.iter().filter_map(|f| Folder::parse(f).ok()) {
            self.tell(&folder, Message::Turns).await;
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection) -> db::Result<T> + Send + 'static,
    ) -> Option<T> {
        let found = self.host.ledger.write(step).await;
        found.inspect_err(|error| tracing::error!(%error, "cannot read the ledger")).ok()
    }

    async fn tell(&mut self, folder: &Folder, message: Message) {
        if !self.actors.contains_key(folder) {
            self.spawn(folder).await;
        }
        self.tell_if_there(folder, message);
    }

    fn tell_of_mail(&self, folder: &Folder) {
        if !self.tell_if_there(folder, Message::Mail) {
            self.host.watch.looking(folder);
        }
    }

    fn tell_if_there(&self, folder: &Folder, message: Message) -> bool {
        // Gone only while draining.
        self.actors.get(folder).is_some_and(|(actor, _)| actor.send(message).is_ok())
    }

    /// Begins a group's actor, with what the rows say; the look into the ledger tries
    /// again what they refuse to say now.
    async fn spawn(&mut self, folder: &Folder) {
        let name = folder.to_string();
        let found = self.read(move |c| {
            let left = db::incarnations::not_dead(c)?.into_iter().find(|left| left.folder == name);
            Ok((db::turns::open_of(c, &name)?, left.map(|left| left.id)))
        });
        let Some((open, incarnation)) = found.await else { return };
        let (own, inbox) = mpsc::unbounded_channel();
        let state = State::from_rows(&open, incarnation);
        let actor = Actor::run(self.host.clone(), folder.clone(), state, own.clone(), inbox);
        self.actors.insert(folder.clone(), (own, tokio::spawn(actor)));
    }

    async fn drain(mut self, mut mail: UnboundedReceiver<Folder>, grace: Duration) {
        let mut tasks = Vec::new();
        for (actor, task) in self.actors.values_mut() {
            let _ = actor.send(Message::Event(Event::Drain));
            tasks.push(std::mem::replace(task, tokio::spawn(async {})));
        }
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "an actor failed");
                }
            }
        };
        tokio::pin!(all);
        let hurry = tokio::time::sleep(grace);
        // An interrupt and a close have their own grace each; whoever is left then
        // dies with us, and the next start finds everything in the ledger.
        let most = Duration::from_millis(3 * self.host.rules.grace.unsigned_abs());
        let enough = tokio::time::sleep(grace + most);
        tokio::pin!(hurry, enough);
        let mut hurried = false;
        loop {
            tokio::select! {
                () = &mut all => return,
                () = &mut enough => return tracing::error!("some containers did not end in time"),
                Some(folder) = mail.recv() => self.tell_of_mail(&folder),
                () = &mut hurry, if !hurried => {
                    hurried = true;
                    for (actor, _) in self.actors.values() {
                        let _ = actor.send(Message::Event(Event::DrainNow));
                    }
                }
            }
        }
    }
}
