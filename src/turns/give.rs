//! The actor's way to the guest: opening an incarnation, claiming and giving
//! turns, starting the process.

use rusqlite::Connection;
use tokio::time::sleep;

use super::actor::{Actor, Message, SAFETY_NET};
use super::guest::{Guest, GuestError};
use super::state::Event;
use super::{legacy, rows, shares};
use crate::container::VM;
use crate::db::{self, Attachment, Claim, Claimed, now_ms};
use crate::files;
use crate::ids::TurnId;
use crate::ipc::record::{HostRecord, Image, Turn};
use crate::prompt::files::in_guest;
use crate::prompt::{self, notices, repeat};
use crate::router::Command;

impl Actor {
    pub(super) async fn open(&mut self, fresh: bool) -> Option<Event> {
        let (folder, runtime) = (self.folder.clone(), self.host.runtime.name());
        let machine = self.host.health.boundary == VM;
        let opened = self.write("cannot open an incarnation; trying again", move |c| {
            let Some(group) = db::groups::by_folder(c, &folder)? else { return Ok(None) };
            if group.container.vm {
                for jid in db::groups::bar(c, &folder, !machine)? {
                    let key = format!("notice:isolation:{}:{jid}", now_ms());
                    rows::say(c, None, &key, &jid, &notices::waits_for_a_machine(runtime))?;
                }
                if !machine {
                    return Ok(Some(None));
                }
            }
            let session = if fresh { None } else { db::sessions::of(c, &folder)? };
            let past = (db::past::of(c, &folder)?, db::past::configured(c)?);
            let id = db::incarnations::open(c, &folder, runtime)?;
            Ok(Some(Some((group, id, session, past))))
        });
        let (group, id, session, (past, configured)) = match opened.await {
            Some(Some(Some(opened))) => opened,
            Some(Some(None)) => {
                tracing::warn!(group = %self.folder, "waits for a virtual machine");
                self.host.outbox.wake();
                return Some(Event::Barred(true));
            }
            Some(None) => {
                tracing::warn!(group = %self.folder, "the group is gone");
                return Some(Event::GroupGone);
            }
            None => {
                let own = self.own.clone();
                tokio::spawn(async move {
                    sleep(SAFETY_NET).await;
                    let _ = own.send(Message::Event(Event::Slot));
                });
                return None;
            }
        };
        self.rules.once = group.container.once;
        self.rules.apart = group.is_main;
        // A folder of many files takes its time, which is not the other groups'.
        let (host, reads) = (self.host.clone(), past.ipc);
        let prepared = tokio::task::spawn_blocking(move || {
            let (mut extras, refused) = shares::granted(&host.config, &past, &configured);
            extras.extend(legacy::extras(&host, &group, &past)?);
            Guest::prepare(&host, &group, id, session, extras).map(|guest| (guest, refused))
        });
        let prepared =
            prepared.await.unwrap_or_else(|error| Err(GuestError::Died(error.to_string())));
        if reads {
            self.read_legacy(None).await;
        }
        match prepared {
            Ok((guest, refused)) => {
                self.tell_refused(refused).await;
                self.host.watch.add(&self.host.config.ipc(&self.folder, id));
                self.guest = Some(guest);
            }
            Err(error) => self.cannot_start(&error),
        }
        Some(Event::Opened(id))
    }

    /// Main hears once which directories a group does not get, and why.
    async fn tell_refused(&self, refused: Vec<String>) {
        if refused.is_empty() {
            return;
        }
        tracing::warn!(group = %self.folder, count = refused.len(), "directories are not mounted");
        let folder = self.folder.to_string();
        let told = self.write("cannot tell of directories", move |c| {
            let key = format!("mounts:{folder}:{}", db::digest(&refused.clone().into()));
            if db::told::once(c, &key)? {
                rows::tell_main(c, "notice:mounts", &notices::not_mounted(&folder, &refused))?;
            }
            Ok(())
        });
        told.await;
        self.host.outbox.wake();
    }

    /// Takes up turns that others queued: runs of tasks.
    pub(super) async fn find_turns(&mut self) {
        let name = self.folder.to_string();
        let open = self.write("cannot read the ledger", move |c| db::turns::open_of(c, &name));
        for turn in open.await.into_iter().flatten() {
            if !self.state.turns.iter().any(|t| t.id == turn.id) {
                self.handle(Event::Claimed(turn)).await;
            }
        }
    }

    pub(super) async fn claim(&mut self) -> Event {
        let id = self.state.incarnation();
        let (folder, config) = (self.folder.clone(), self.host.config.clone());
        let limit = self.host.rules.turn;
        let claimed = self.write("cannot claim; trying again", move |c| {
            let group = db::groups::by_folder(c, &folder)?;
            let trigger = group.as_ref().map(|g| g.trigger.as_str());
            let name = &config.assistant_name;
            let deadline = now_ms() + db::past::of(c, &folder)?.timeout().unwrap_or(limit);
            let claim = Claim {
                folder: &folder,
                incarnation: id,
                deadline,
                render: &|messages| prompt::render(messages, config.timezone, prompt::BUDGET).text,
                command: &|m| Some(Command::parse(&m.content, trigger, name)?.line()),
                isolate_strangers: group.as_ref().is_some_and(|g| g.is_main),
            };
            let Some(claimed) = db::claim(c, &claim)? else { return Ok(None) };
            let files = db::files::of_turn(c, claimed.open.id)?;
            Ok(Some((claimed, visible(&files))))
        });
        let Some(claimed) = claimed.await else { return Event::NotClaimed { again: true } };
        let Some((claimed, images)) = claimed else { return Event::NotClaimed { again: false } };
        if claimed.more {
            let _ = self.own.send(Message::Event(Event::Work));
        }
        if id.is_none() {
            return Event::Claimed(claimed.open);
        }
        self.hand_over(claimed, None, (None, images)).await
    }

    pub(super) async fn give(&mut self, turn: TurnId) -> Event {
        let Some(id) = self.state.incarnation() else { return Event::NotGiven(turn) };
        let (rules, folder) = (self.host.rules, self.folder.clone());
        let given = self.write("cannot give a turn; trying again", move |c| {
            let limit = db::past::of(c, &folder)?.timeout().unwrap_or(rules.turn);
            let claimed = db::turns::give(c, turn, id, now_ms() + limit)?;
            let open = &claimed.open;
            let last = open.cost + 1 >= rules.attempts || open.attempt >= rules.attempts_in_all;
            let preface = repeat_preface(c, open, last)?;
            let script = db::occurrences::script(c, turn)?;
            // An image may be what the model refuses; the last attempt shows none.
            let files = if last { Vec::new() } else { db::files::of_turn(c, turn)? };
            Ok((claimed, preface, (script, visible(&files))))
        });
        match given.await {
            Some((claimed, preface, extras)) => {
                self.hand_over(claimed, Some(preface), extras).await
            }
            None => Event::NotGiven(turn),
        }
    }

    /// The record follows the commit. If it cannot be written the turn stays
    /// running, and the guest, which then does not answer, is its undoing; so end
    /// the guest at once.
    async fn hand_over(
        &mut self,
        claimed: Claimed,
        preface: Option<String>,
        (script, images): (Option<String>, Vec<Image>),
    ) -> Event {
        let open = claimed.open;
        self.host.outbox.typing(&claimed.jid, true);
        self.working.insert(open.id, claimed.jid);
        // A command is a line of its own.
        let images = if claimed.prompt.starts_with('/') { Vec::new() } else { images };
        let prompt = match preface {
            Some(preface) if !claimed.prompt.starts_with('/') => preface + &claimed.prompt,
            _ => claimed.prompt,
        };
        self.tell(&HostRecord::Turn(Turn {
            turn: open.id,
            attempt: open.attempt,
            uuid: uuid(&self.host.install, open.id, open.attempt),
            kind: open.kind,
            session: open.session,
            deadline_ms: open.deadline.map_or(0, |at| (at - now_ms()).max(0).unsigned_abs()),
            prompt,
            script,
            images,
        }))
        .await;
        Event::Claimed(open)
    }

    /// Keeps what will be told in the chat; where things lie is not the chat's affair.
    fn cannot_start(&mut self, error: &GuestError) {
        tracing::error!(group = %self.folder, %error, "the container cannot start");
        let home = self.host.config.home.display().to_string();
        let error = error.to_string().replace(&home, "...");
        self.last_error = Some(format!("the agent's container cannot start: {error}"));
    }

    pub(super) async fn tell(&mut self, record: &HostRecord) {
        let Some(guest) = &mut self.guest else { return };
        match guest.mailbox.write(record) {
            Ok(()) => guest.poke().await,
            Err(error) => {
                tracing::error!(group = %self.folder, %error, "cannot write to the guest; ending it");
                self.last_error = Some(error.to_string());
                let _ = self.own.send(Message::Event(Event::Runaway));
            }
        }
    }

    pub(super) async fn spawn(&mut self) -> Option<Event> {
        // Not prepared: `open` has noted why.
        let Some(guest) = &mut self.guest else { return Some(Event::Exited) };
        match guest.spawn(&self.host).await {
            Ok(process) => {
                let id = guest.id;
                let live = move |c: &Connection| db::incarnations::live(c, id, &process);
                self.write("cannot note the guest's process", live).await;
                None
            }
            Err(error) => {
                self.cannot_start(&error);
                Some(Event::Exited)
            }
        }
    }
}

/// What an agent is told from the second attempt on.
fn repeat_preface(c: &Connection, open: &db::OpenTurn, last: bool) -> db::Result<String> {
    let sent = db::outbox::of_turn(c, open.id)?
        .into_iter()
        .filter(|row| !row.key.starts_with("notice:") && !row.text.is_empty())
        .map(|row| row.text)
        .collect();
    let asked = db::requests::of_turn(c, open.id)?
        .into_iter()
        .filter(|(tool, _, ok)| *ok && tool != "send_message")
        .map(|(tool, arguments, _)| format!("{tool} {arguments}"))
        .collect();
    Ok(repeat::preface(&repeat::Repeat { attempt: open.attempt, last, sent, asked }))
}

/// The images that the model is shown. Where there are too many the newest are.
fn visible(files: &[Attachment]) -> Vec<Image> {
    let mut room = files::MAX_IMAGES;
    let fits = |file: &&Attachment| {
        let image = file.error.is_none() && files::is_visible(&file.mime);
        let fits = image && file.size <= files::MAX_IMAGE.min(room);
        room -= if fits { file.size } else { 0 };
        fits
    };
    let mut images: Vec<Image> = files
        .iter()
        .rev()
        .filter(fits)
        .map(|file| Image { path: in_guest(file), mime: file.mime.clone() })
        .collect();
    images.reverse();
    images
}

/// A version-4-shaped uuid from (installation, turn, attempt): the CLI drops one
/// that it has seen, so each attempt has its own, and a repeated delivery of the
/// same attempt has the same.
fn uuid(install: &str, turn: TurnId, attempt: u32) -> String {
    let hex: String = install
        .chars()
        .filter(char::is_ascii_hexdigit)
        .chain(std::iter::repeat('0'))
        .take(8)
        .collect();
    let turn = turn.0.unsigned_abs();
    format!(
        "{hex}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        attempt & 0xffff,
        (turn >> 60) & 0xfff,
        (turn >> 48) & 0xfff,
        turn & 0xffff_ffff_ffff
    )
}
