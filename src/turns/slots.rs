//! The cap on containers, shared so that nobody starves.
//!
//! Places are given in the order of asking. A group that waits evicts the longest
//! idle container at once; if all are at work, the first to fall idle goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender};

use super::actor::Message;
use super::state::Event;
use crate::ids::Folder;
use crate::lock::lock;

/// A place under the cap; given back when dropped.
pub type Place = OwnedSemaphorePermit;

/// The places.
pub struct Slots {
    free: Arc<Semaphore>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    waiting: usize,
    /// Idle containers, since when (milliseconds), and how to reach their actor.
    idle: HashMap<Folder, (i64, UnboundedSender<Message>)>,
}

impl Slots {
    /// `cap` containers at most.
    pub fn new(cap: usize) -> Arc<Slots> {
        Arc::new(Slots { free: Arc::new(Semaphore::new(cap)), book: Mutex::default() })
    }

    /// Waits for a place. Cancelling the future gives the request up.
    pub async fn place(self: Arc<Self>) -> Option<Place> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some(place);
        }
        let _waiting = Waiting::new(&self);
        self.evict_longest_idle();
        self.free.clone().acquire_owned().await.ok()
    }

    /// Notes whether a group's container is idle, and since when. An idle one that
    /// somebody waits for is told to go.
    pub fn note(&self, folder: &Folder, idle_since: Option<i64>, actor: &UnboundedSender<Message>) {
        let mut book = lock(&self.book);
        match idle_since {
            Some(since) => book.idle.insert(folder.clone(), (since, actor.clone())),
            None => book.idle.remove(folder),
        };
        let evict = idle_since.is_some() && book.waiting > 0;
        drop(book);
        if evict {
            self.evict_longest_idle();
        }
    }

    fn evict_longest_idle(&self) {
        let mut book = lock(&self.book);
        let longest = book.idle.iter().min_by_key(|(_, (since, _))| *since).map(|(f, _)| f.clone());
        if let Some((_, actor)) = longest.and_then(|folder| book.idle.remove(&folder)) {
            // An actor that is gone has given its place back already.
            let _ = actor.send(Message::Event(Event::Evict));
        }
    }
}

struct Waiting<'a>(&'a Slots);

impl<'a> Waiting<'a> {
    fn new(slots: &'a Slots) -> Self {
        lock(&slots.book).waiting += 1;
        Waiting(slots)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.book).waiting -= 1;
    }
}
