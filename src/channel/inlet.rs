//! The one way in: a message from any channel becomes a row, or a reason why not.

use rusqlite::Connection;
use tokio::sync::mpsc::UnboundedSender;

use super::files::{Offer, Place};
use super::identify::{identify, spellings};
use crate::config::Config;
use crate::container::Boxed;
use crate::crash;
use crate::db::{self, Attachment, Delivery, Incoming, Ledger, MessageState, NewRow, Stored};
use crate::ids::Folder;
use crate::outbox::Outbox;
use crate::prompt::notices;
use crate::router::{self, Assistant, Command, Reason, Route, Rules, SenderAllowlist};
use crate::turns::dispatch::Wake;

/// What became of a message, once that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Stored in this state.
    Stored(MessageState),
    /// The same (chat, id) had been stored before.
    Known,
    /// Its chat belongs to no group: only the chat was noted.
    Unregistered,
    /// A rule says that it is not stored.
    Dropped,
    /// A command from somebody who may not give it; the chat is told.
    Refused,
}

impl Taken {
    /// The state in which the message stays, if no turn will end it.
    pub fn end(self) -> Option<MessageState> {
        match self {
            Taken::Stored(state @ (MessageState::Context | MessageState::Ignored)) => Some(state),
            Taken::Unregistered | Taken::Dropped | Taken::Refused => Some(MessageState::Ignored),
            Taken::Stored(_) | Taken::Known => None,
        }
    }
}

/// How long a message that could not be decrypted may take to come again, milliseconds.
const COMES_AGAIN: i64 = 60_000;

/// Stores what channels receive and wakes the group that it is for.
#[derive(Clone)]
pub struct Inlet {
    ledger: Ledger,
    wake: UnboundedSender<Wake>,
    outbox: Outbox,
    config: std::sync::Arc<Config>,
    place: Place,
}

impl Inlet {
    /// `wake` is told the folder of each group that has new work; `place` is where
    /// files come from and go to.
    pub fn new(
        ledger: Ledger,
        wake: UnboundedSender<Wake>,
        outbox: Outbox,
        config: std::sync::Arc<Config>,
        place: Place,
    ) -> Inlet {
        Inlet { ledger, wake, outbox, config, place }
    }

    /// Stores a message with the files that it brings. When this resolves the
    /// files are copied and the message has its place in the order; when what it
    /// returns resolves, it is durable. A caller that keeps an order waits for the
    /// first before it hands over the next message.
    pub async fn receive(
        &self,
        channel: &str,
        mut message: Incoming,
        offers: Vec<Result<Offer, String>>,
    ) -> Boxed<'static, db::Result<Taken>> {
        let Some(folder) = self.receiver(&message, &offers).await else {
            return Box::pin(self.take(channel, message));
        };
        message.attachments = self.bring(&folder, &message, offers).await;
        let (copies, place) = (message.attachments.clone(), self.place.clone());
        let stored = self.take(channel, message);
        Box::pin(async move {
            let taken = stored.await;
            if !matches!(taken, Ok(Taken::Stored(_) | Taken::Refused)) {
                // A failed task leaves copies that nothing names, and no harm.
                let _ =
                    tokio::task::spawn_blocking(move || place.take_back(&folder, &copies)).await;
            }
            taken
        })
    }

    /// The group that the files of this message go to. An edit changes the text
    /// alone; of what is known, or of nobody's concern, nothing is copied.
    async fn receiver<T>(&self, m: &Incoming, offers: &[T]) -> Option<Folder> {
        if offers.is_empty() || m.deleted || m.edit_of.is_some() {
            return None;
        }
        let (jid, id, aliases) = (m.jid.clone(), m.id.clone(), m.aliases.clone());
        // A ledger that refuses this refuses the message too, and that is told.
        self.ledger
            .write(move |c| {
                aliases.iter().try_for_each(|(lid, pn)| db::people::learn(c, lid, pn))?;
                db::files::receiver(c, &db::people::canonical(c, &jid)?, &id)
            })
            .await
            .ok()
            .flatten()
    }

    /// Whether the files of this message would be kept: for a channel that must fetch
    /// them first.
    pub async fn wants_files(&self, message: &Incoming) -> bool {
        self.receiver(message, &[()]).await.is_some()
    }

    async fn bring(
        &self,
        folder: &Folder,
        m: &Incoming,
        offers: Vec<Result<Offer, String>>,
    ) -> Vec<Attachment> {
        let (place, folder, day) = (self.place.clone(), folder.clone(), m.timestamp.clone());
        crash::point("before bringing", &"file");
        let copied = tokio::task::spawn_blocking(move || place.bring(&folder, &day, offers)).await;
        crash::point("after bringing", &"file");
        copied.unwrap_or_else(|error| {
            let error = Some(format!("it could not be copied: {error}"));
            vec![Attachment { error, ..Attachment::default() }]
        })
    }

    /// Stores a message; when the future resolves, it is durable. Messages are
    /// stored in the order of the calls.
    pub fn take(
        &self,
        channel: &str,
        message: Incoming,
    ) -> impl Future<Output = db::Result<Taken>> + Send + use<> {
        let (channel, config) = (channel.to_owned(), self.config.clone());
        let (wake, outbox) = (self.wake.clone(), self.outbox.clone());
        crash::point("before storing", &"message");
        let stored = self.ledger.write(move |c| store(c, &channel, &message, &config));
        async move {
            let (taken, folder) = stored.await?;
            crash::point("after storing", &"message");
            if let Some(folder) = folder {
                // The next look into the ledger finds the row if the loop is ending.
                let _ = wake.send(Wake::Messages(folder));
            }
            // The chat may have been told why.
            if matches!(taken, Taken::Refused | Taken::Stored(MessageState::Context)) {
                outbox.wake();
            }
            Ok(taken)
        }
    }

    /// Tells of messages of a channel that could not be decrypted and did not come again
    /// in time: their chats' agents with the next turn, and the chat itself where the
    /// message might have woken one.
    pub async fn give_up_unread(&self, channel: &'static str) -> db::Result<()> {
        let config = self.config.clone();
        let lost = self.ledger.write(move |c| {
            let lost = db::unread::take(c, db::now_ms() - COMES_AGAIN)?;
            lost.iter().try_for_each(|m| store(c, channel, m, &config).map(drop))?;
            Ok(lost.len())
        });
        if lost.await? > 0 {
            self.outbox.wake();
        }
        Ok(())
    }

    /// Notes what became of a row beneath this prefix for which the delivery does not
    /// wait.
    pub async fn settle(&self, prefix: String, id: String, delivery: Delivery) {
        let settle = move |c: &Connection| db::outbox::confirm(c, &prefix, &id, &delivery);
        self.ledger.note("what became of a message", settle).await;
        self.outbox.wake();
    }

    /// Notes a chat's name.
    pub async fn chat(
        &self,
        channel: &str,
        jid: String,
        name: String,
        is_group: bool,
    ) -> db::Result<()> {
        let channel = channel.to_owned();
        self.ledger
            .write(move |c| {
                db::groups::see_chat(c, &jid, Some(&name), "", Some(&channel), Some(is_group))
            })
            .await
    }
}

/// Stores a message; says what became of it, and which group is to be woken.
fn store(
    c: &Connection,
    channel: &str,
    m: &Incoming,
    config: &Config,
) -> db::Result<(Taken, Option<Folder>)> {
    let mut m = m.clone();
    identify(c, &mut m, &config.assistant_name)?;
    // A direct chat is called what its person is called.
    let name = db::people::name(c, &m.jid)?;
    db::groups::see_chat(
        c,
        &m.jid,
        name.as_deref(),
        &m.timestamp,
        Some(channel),
        Some(m.is_group),
    )?;
    let Some(group) = db::groups::of_chat(c, &m.jid)? else {
        return Ok((Taken::Unregistered, None));
    };
    if m.deleted {
        if may_change(c, &m, &m.id)? {
            db::messages::withdraw(c, &m.jid, &m.id)?;
        }
        return Ok((Taken::Known, None));
    }
    let assistant = Assistant { name: &config.assistant_name, own_number: config.own_number };
    let file = std::fs::read_to_string(config.config_dir.join("sender-allowlist.json"));
    let allowlist = SenderAllowlist::from_read(file);
    let (jids, senders) = (db::people::addresses(c, &m.jid)?, spellings(c, &m.sender)?);
    let rules = Rules {
        jids: &jids,
        is_main: group.is_main,
        requires_trigger: group.requires_trigger,
        trigger: Some(&group.trigger),
        speakers: group.speakers,
        keeps_context: group.keeps_context,
    };
    let chat_of_sender = db::groups::of_chat(c, &m.sender)?;
    let seen = router::Incoming {
        senders: &senders,
        from_me: m.from_me,
        local: m.trusted,
        // Other networks let anybody say what a sender is called.
        is_owner: db::people::is_person(&m.sender)
            && channel == "whatsapp"
            && chat_of_sender.is_some_and(|group| group.is_main),
        is_known: db::people::known(c, &m.sender)? || allowlist.names(&senders),
        calls: m.calls_assistant,
        content: &m.content,
        is_empty: m.content.trim().is_empty() && m.attachments.is_empty(),
    };
    // A direct chat that the owner linked to main is the owner's own.
    let trusted = router::trusted(&seen, &assistant) || (group.is_main && !m.is_group);
    let mut route = router::route(&rules, &seen, &allowlist, &assistant);
    let ask_again = m.is_unread && route == Route::Queue;
    if route == Route::Queue && (m.is_unread || m.reacts_to.is_some()) {
        // What people think of a message is shown with the next turn, and asks for none.
        route = Route::Context(None);
    }
    if allowlist.log_denied() && router::denied(&rules, &seen, &allowlist, &assistant) {
        tracing::info!(chat = m.jid, id = m.id, sender = m.sender, "the sender is not allowed");
    }
    m.trusted = trusted;
    let mut edits_ended = false;
    if let Some(original) = m.edit_of.take().filter(|original| *original != m.id) {
        if !may_change(c, &m, &original)? {
            tracing::warn!(id = m.id, "an edit of somebody else's message is not taken");
            return Ok((Taken::Dropped, None));
        }
        let wakes = route == Route::Queue;
        if db::messages::edit(c, &m.jid, &original, &m.content, wakes)? {
            // The row keeps a repetition of this edit from counting as a message.
            db::messages::store(c, &m, MessageState::Ignored, Some("an edit that was applied"))?;
            return Ok((Taken::Known, Some(group.folder).filter(|_| wakes)));
        }
        let author = db::messages::author(c, &m.jid, &original)?;
        edits_ended = author.is_some_and(|(_, is_open)| !is_open);
        m.content = format!("(edited an earlier message) {}", m.content);
    }
    let (state, reason) = match route {
        Route::Drop(_) => return Ok((Taken::Dropped, None)),
        Route::Ignore(reason) => (MessageState::Ignored, Some(reason)),
        Route::Context(reason) => (MessageState::Context, reason),
        // What was answered is not answered again because of a spelling mistake.
        Route::Queue if edits_ended => (MessageState::Context, None),
        Route::Queue => (MessageState::Queued, None),
    };
    // Whoever may talk to the agent may not yet end its conversation.
    let is_command = || Command::parse(&m.content, Some(&group.trigger), &config.assistant_name);
    if state == MessageState::Queued && !group.is_main && !m.trusted && is_command().is_some() {
        let reason = "a command that only the owner may give";
        let new = db::messages::store(c, &m, MessageState::Ignored, Some(reason))? == Stored::New;
        if new {
            tell(c, &m.jid, "refusal", "Only my owner may do that.")?;
        }
        return Ok((Taken::Refused, None));
    }
    let (state, reason) = match (state, reason.map(Reason::as_str)) {
        (MessageState::Queued, _) if !trusted && too_often(c, &m.jid, config.chat_turns)? => {
            (MessageState::Context, Some(TOO_OFTEN))
        }
        other => other,
    };
    Ok(match db::messages::store(c, &m, state, reason)? {
        Stored::New => {
            if ask_again {
                tell(c, &m.jid, "notice:unread", &notices::unread(&m.sender_name))?;
            }
            let woken = Some(group.folder).filter(|_| state == MessageState::Queued);
            (Taken::Stored(state), woken)
        }
        Stored::Known => (Taken::Known, None),
    })
}

/// Whether this sender may edit or withdraw that message. Networks whose addresses say
/// who is who are not believed when they let somebody change what another wrote; a
/// chat's admins may delete.
fn may_change(c: &Connection, m: &Incoming, id: &str) -> db::Result<bool> {
    let Some((author, _)) = db::messages::author(c, &m.jid, id)? else { return Ok(true) };
    Ok(!db::people::is_person(&m.sender)
        || db::people::same(c, &author, &m.sender)?
        || (m.deleted && (m.from_me || db::rooms::is_admin(c, &m.jid, &m.sender)?)))
}

/// Tells a chat something, unless it was told the same [`TOLD`] times already within
/// [`WINDOW`]: anybody can make us say it, and what may be sent is little.
fn tell(c: &Connection, jid: &str, key: &str, text: &str) -> db::Result<()> {
    if db::outbox::recent(c, jid, key, db::now_ms() - WINDOW * 60_000)? >= TOLD {
        return Ok(());
    }
    db::outbox::add(c, &NewRow { turn: None, key, part: 0, jid, text })
}

/// How often that is.
const TOLD: u32 = 5;
/// How long the turns of a chat are remembered for its rate, in minutes.
const WINDOW: i64 = 30;
const TOO_OFTEN: &str = "others asked too often here";

/// Whether others have begun so many turns in a chat that it may be a loop of two
/// programs. The chat is told once.
fn too_often(c: &Connection, jid: &str, most: u32) -> db::Result<bool> {
    if most == 0 {
        return Ok(false);
    }
    let since = db::now_ms() - WINDOW * 60_000;
    let (turns, told) = db::messages::recent(c, jid, since, TOO_OFTEN)?;
    if turns < most {
        return Ok(false);
    }
    if !told {
        let text = notices::too_often(turns, WINDOW);
        db::outbox::add(c, &NewRow { turn: None, key: "notice:often", part: 0, jid, text: &text })?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
