//! The actor's way from the guest: the records of its mailbox, while it lives and
//! after it is dead.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::actor::{Actor, Message};
use super::guest;
use super::rows::{self, Payload};
use super::state::{self, Event};
use crate::crash;
use crate::db::{self, now_ms};
use crate::ids::{Folder, Incarnation};
use crate::ipc::host::{HostMailbox, MailboxError};
use crate::ipc::record::{GuestRecord, HostRecord, LONGEST_ID, MAX_RECORD, Session};
use crate::prompt::chat_text::chat_text;
use crate::prompt::notices;
use crate::proxy::ModelError;
use crate::requests;

/// Records that are taken in one go, and the pause after it. A guest that writes more
/// for long fills its mailbox, and is ended for that.
const AT_ONCE: usize = 50;
const BREATH: Duration = Duration::from_millis(100);

impl Actor {
    /// Takes what the guest wrote, a bounded part of it in one go. However often it is
    /// told of meanwhile, the next part is taken after one pause.
    pub(super) async fn read_mail(&mut self) {
        if self.reads_from.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let read = self.read_some().await;
        let checked = match (&read, &self.guest) {
            (Ok(_), Some(guest)) => guest.mailbox.check(),
            _ => Ok(()),
        };
        match (read, checked) {
            (Ok(true), Ok(())) => {
                let (own, at) = (self.own.clone(), Instant::now() + BREATH);
                self.reads_from = Some(at);
                tokio::spawn(async move {
                    sleep_until(at).await;
                    let _ = own.send(Message::Mail);
                });
            }
            (Ok(false), Ok(())) => {}
            (Err(error), _) | (_, Err(error)) if error.passes() => {
                tracing::warn!(group = %self.folder, %error, "looking again");
            }
            (Err(error), _) | (_, Err(error)) => self.runaway(&error.to_string()).await,
        }
    }

    /// Whether there may be more.
    async fn read_some(&mut self) -> Result<bool, MailboxError> {
        for _ in 0..AT_ONCE {
            let Some(guest) = &mut self.guest else { return Ok(false) };
            let Some((number, record)) = guest.mailbox.read()? else { return Ok(false) };
            if !self.take(number, record, true).await {
                return Ok(false);
            }
            let Some(guest) = &mut self.guest else { return Ok(false) };
            guest.mailbox.done(number)?;
            // Not every record waits for the ledger, and others want to go on, too.
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    async fn runaway(&mut self, why: &str) {
        tracing::error!(group = %self.folder, why, "ending the guest");
        self.last_error = Some(format!("the agent's container was stopped: {why}"));
        self.handle(Event::Runaway).await;
    }

    /// Gives a record its effect. `false` if the ledger refused: the record stays
    /// for the next look.
    async fn take(&mut self, number: u64, record: GuestRecord, live: bool) -> bool {
        crash::point("before taking", &record);
        let name = crash::name(&record);
        let taken = self.obey(number, record, live).await;
        crash::point("after taking", &name);
        taken
    }

    async fn obey(&mut self, number: u64, record: GuestRecord, live: bool) -> bool {
        match record {
            // They change no row, and the state of a dead guest is the burial's: an
            // event here would begin another one within it.
            GuestRecord::Ready { .. } | GuestRecord::State { .. } if !live => true,
            GuestRecord::Ready { cli_version } => {
                tracing::info!(group = %self.folder, cli_version, "ready");
                self.handle(Event::Ready).await;
                true
            }
            GuestRecord::State { background } => {
                self.handle(Event::Background(background)).await;
                true
            }
            GuestRecord::Done { turns, text } => {
                self.last_error = None;
                let payload = Payload { text, ..Payload::default() };
                self.apply_or_drain(Event::Done(turns), number, payload, live).await
            }
            GuestRecord::Failed { turns, error, retryable } => {
                if turns.is_empty() {
                    self.last_error = Some(error);
                    return true;
                }
                // The guest is not asked whose fault it was.
                let model = self.guest.as_ref().and_then(|g| g.serving.last_model_error());
                let outage = model.filter(|model| retryable && model.passes());
                let error = outage.as_ref().map_or(error, ModelError::in_words);
                let event = match outage {
                    Some(_) => Event::Outage(turns),
                    None => Event::Failed { turns, retryable },
                };
                let payload = Payload { error: Some(error), ..Payload::default() };
                self.apply_or_drain(event, number, payload, live).await
            }
            GuestRecord::Session { turn, session_id } => self
                .record(number, move |c, folder, _| match db::turns::row(c, turn.0)? {
                    Some(f) if f.folder == folder.as_str() && f.session == Session::Group => {
                        db::sessions::set(c, folder, &session_id)
                    }
                    _ => Ok(()),
                })
                .await
                .is_some(),
            GuestRecord::Text { uuid, text } => {
                let said = self
                    .record(number, move |c, _, id| {
                        let Some(turn) = db::turns::latest_of(c, id)? else { return Ok(()) };
                        let Some(text) = chat_text(&text) else { return Ok(()) };
                        let jid = db::turns::jid(c, turn)?;
                        if db::outbox::count(c, turn)? < requests::MOST {
                            return rows::say(c, Some(turn), &format!("text:{uuid}"), &jid, &text);
                        }
                        rows::say(c, Some(turn), "notice:flood", &jid, &notices::too_much())
                    })
                    .await;
                self.host.outbox.wake();
                said.is_some()
            }
            // Of a dead guest nobody waits for what it wanted to know.
            GuestRecord::Request { tool, .. } if requests::only_looks(&tool) && !live => true,
            // No answer could name it.
            GuestRecord::Request { id, .. } if id.len() > LONGEST_ID => true,
            GuestRecord::Request { id, turn, tool, arguments } if requests::only_looks(&tool) => {
                let Some(incarnation) = self.state.incarnation() else { return true };
                let (folder, zone) = (self.folder.clone(), self.host.config.timezone);
                let looked = self.host.ledger.read(move |c| {
                    let Some(group) = db::groups::by_folder(c, &folder)? else { return gone() };
                    let origin =
                        requests::Origin { group: &group, incarnation, turn, zone, file: None };
                    requests::look(c, &origin, &tool, arguments)
                });
                match looked.await {
                    Ok(asked) => self.tell(&reply(id, asked)).await,
                    Err(error) => {
                        tracing::error!(group = %self.folder, %error, "a request waits");
                        return false;
                    }
                }
                true
            }
            GuestRecord::Request { id, turn, tool, arguments } => {
                let zone = self.host.config.timezone;
                let config = self.host.config.clone();
                let file = requests::stage(&config, &self.folder, &tool, &arguments).await;
                let staged = file.clone().and_then(Result::ok);
                let answered = self
                    .record(number, move |c, folder, incarnation| {
                        let Some(group) = db::groups::by_folder(c, folder)? else {
                            return Ok((gone()?, false));
                        };
                        let file = file.as_ref();
                        let origin =
                            requests::Origin { group: &group, incarnation, turn, zone, file };
                        let asked = requests::handle(c, &origin, &tool, &arguments)?;
                        let named = match file {
                            Some(Ok(staged)) => db::files::is_named(c, turn, staged.path())?,
                            _ => false,
                        };
                        Ok((asked, named))
                    })
                    .await;
                if let Some(staged) = staged.filter(|_| !answered.as_ref().is_some_and(|a| a.1)) {
                    requests::discard(&config, staged).await;
                }
                let Some((asked, _)) = answered else { return false };
                self.host.outbox.wake();
                self.host.tasks.notify_one();
                if live {
                    self.tell(&reply(id, asked)).await;
                }
                true
            }
        }
    }

    /// One commit of a record's number and its effect on rows. `None` if the
    /// ledger refused. A record that was committed before has no second effect.
    async fn record<T: Send + Default + 'static>(
        &self,
        number: u64,
        effect: impl FnOnce(&rusqlite::Connection, &Folder, Incarnation) -> db::Result<T>
        + Send
        + 'static,
    ) -> Option<T> {
        let id = self.state.incarnation()?;
        let folder = self.folder.clone();
        let step = move |c: &rusqlite::Connection| match db::incarnations::advance(c, id, number)? {
            true => effect(c, &folder, id),
            false => Ok(T::default()),
        };
        self.write("a record waits", step).await
    }

    async fn apply_or_drain(
        &mut self,
        event: Event,
        number: u64,
        payload: Payload,
        live: bool,
    ) -> bool {
        if live {
            return self.apply(event, Some(number), payload).await;
        }
        // While burying, only what a record does to rows matters.
        let (next, effects) = state::step(&self.host.rules, &self.state, &event, now_ms());
        let committed = self.commit(&effects, Some(number), payload).await;
        if committed {
            self.state = next;
        }
        committed
    }

    /// The recovery of one incarnation: it is verified dead, then its mailbox is
    /// drained to the end. What follows, its open turns and its directory, is the
    /// state machine's to say. `None` if something refused; the tick tries again.
    pub(super) async fn bury(&mut self) -> Option<Event> {
        let id = self.state.incarnation()?;
        if let Err(error) = guest::end(&self.host, id).await {
            tracing::error!(group = %self.folder, %error, "cannot verify that the guest is dead");
            return None;
        }
        let directory = self.host.config.ipc(&self.folder, id);
        if directory.join("out").exists() && !Box::pin(self.drain_mailbox(id)).await {
            return None;
        }
        self.read_legacy(Some(id)).await;
        Some(Event::Buried { crash: self.crash })
    }

    async fn drain_mailbox(&mut self, id: Incarnation) -> bool {
        let done = self.write("cannot read the ledger", move |c| db::incarnations::out_seq(c, id));
        let Some(done) = done.await else { return false };
        let directory = self.host.config.ipc(&self.folder, id);
        let opened = HostMailbox::open(&directory, &guest::errors(&self.host.config), done);
        let found = opened.and_then(|mailbox| Ok((mailbox.left()?, mailbox)));
        let (left, mut mailbox) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(group = %self.folder, %error, "the guest's mailbox cannot be read");
                return !error.passes();
            }
        };
        for number in left {
            tokio::task::yield_now().await;
            match mailbox.read_left(number) {
                Ok(Some(record)) => {
                    if !Box::pin(self.take(number, record, false)).await {
                        return false;
                    }
                    // It is deleted with the directory; its number is in the ledger.
                    let _ = mailbox.done(number);
                }
                Ok(None) => {}
                Err(error) if error.passes() => return false,
                Err(error) => tracing::warn!(group = %self.folder, %error, "skipped a record"),
            }
        }
        true
    }

    pub(super) async fn clean(&mut self, id: Incarnation) {
        self.host.watch.remove(&self.host.config.ipc(&self.folder, id));
        self.guest = None;
        self.crash = false;
        let (host, folder) = (self.host.clone(), self.folder.clone());
        let removed = tokio::task::spawn_blocking(move || guest::remove(&host.config, &folder, id));
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(group = %self.folder, %error, "cannot remove the guest's directory");
        }
    }
}

fn gone() -> db::Result<db::Asked> {
    Ok(db::Asked { ok: false, result: "this group is gone".into() })
}

fn reply(request: String, asked: db::Asked) -> HostRecord {
    let (result, error) = match (asked.ok, asked.result) {
        (true, result) => (Some(result), None),
        (false, serde_json::Value::String(error)) => (None, Some(error)),
        (false, other) => (None, Some(other.to_string())),
    };
    let reply = HostRecord::Reply { request: request.clone(), ok: asked.ok, result, error };
    let length = serde_json::to_vec(&reply).map_or(0, |bytes| bytes.len());
    if length <= MAX_RECORD {
        return reply;
    }
    let error = Some("it was done, but the result is too long to show; ask for less".into());
    HostRecord::Reply { request, ok: false, result: None, error }
}
