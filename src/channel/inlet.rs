//! The one way in: a message from any channel becomes a row, or a reason why not.

use tokio::sync::mpsc::UnboundedSender;

use super::files::{Offer, Place};
use crate::config::Config;
use crate::container::Boxed;
use crate::crash;
use crate::db::{self, Attachment, Incoming, Ledger, MessageState, NewRow, Stored};
use crate::ids::Folder;
use crate::outbox::Outbox;
use crate::prompt::notices;
use crate::router::{self, Assistant, Command, Route, Rules, SenderAllowlist};
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
        let (jid, id) = (m.jid.clone(), m.id.clone());
        // A ledger that refuses this refuses the message too, and that is told.
        self.ledger.write(move |c| db::files::receiver(c, &jid, &id)).await.ok().flatten()
    }

    async fn bring(
        &self,
        folder: &Folder,
        m: &Incoming,
        offers: Vec<Result<Offer, String>>,
    ) -> Vec<Attachment> {
        let (place, folder, day) = (self.place.clone(), folder.clone(), m.timestamp.clone());
        let copied = tokio::task::spawn_blocking(move || place.bring(&folder, &day, offers)).await;
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
            if let Some(folder) = folder.filter(|_| taken == Taken::Stored(MessageState::Queued)) {
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

fn store(
    c: &rusqlite::Connection,
    channel: &str,
    m: &Incoming,
    config: &Config,
) -> db::Result<(Taken, Option<Folder>)> {
    db::groups::see_chat(c, &m.jid, None, &m.timestamp, Some(channel), Some(m.is_group))?;
    let Some(group) = db::groups::of_chat(c, &m.jid)? else {
        return Ok((Taken::Unregistered, None));
    };
    if m.deleted {
        db::messages::withdraw(c, &m.jid, &m.id)?;
        return Ok((Taken::Known, None));
    }
    let mut m = m.clone();
    let original = m.edit_of.take();
    if let Some(original) = &original
        && original != &m.id
        && db::messages::edit(c, &m.jid, original, &m.content)?
    {
        // The row keeps a repetition of this edit from counting as a message.
        db::messages::store(c, &m, MessageState::Ignored, Some("an edit that was applied"))?;
        return Ok((Taken::Known, None));
    }
    let rules = Rules {
        jid: &m.jid,
        is_main: group.is_main,
        requires_trigger: group.requires_trigger,
        trigger: Some(&group.trigger),
    };
    let assistant = Assistant { name: &config.assistant_name, own_number: config.own_number };
    let seen = router::Incoming {
        sender: &m.sender,
        from_me: m.from_me,
        local: m.trusted,
        is_bot: false,
        content: &m.content,
        is_empty: m.content.trim().is_empty() && m.attachments.is_empty(),
    };
    // A direct chat that the owner linked to main is the owner's own.
    let trusted = router::trusted(&seen, &assistant) || (group.is_main && !m.is_group);
    let file = std::fs::read_to_string(config.config_dir.join("sender-allowlist.json"));
    let route = router::route(&rules, &seen, &SenderAllowlist::from_read(file), &assistant);
    m.trusted = trusted;
    if original.is_some() {
        m.content = format!("(edited an earlier message) {}", m.content);
    }
    let (state, reason) = match route {
        Route::Drop(_) => return Ok((Taken::Dropped, None)),
        Route::Ignore(reason) => (MessageState::Ignored, Some(reason.as_str())),
        Route::Context => (MessageState::Context, None),
        Route::Queue => (MessageState::Queued, None),
    };
    // Whoever may talk to the agent may not yet end its conversation.
    let is_command = || Command::parse(&m.content, Some(&group.trigger), &config.assistant_name);
    if state == MessageState::Queued && !group.is_main && !m.from_me && is_command().is_some() {
        let reason = "a command that only the owner may give";
        let new = db::messages::store(c, &m, MessageState::Ignored, Some(reason))? == Stored::New;
        if new {
            let text = "Only my owner may do that.";
            db::outbox::add(c, &NewRow { turn: None, key: "refusal", part: 0, jid: &m.jid, text })?;
        }
        return Ok((Taken::Refused, Some(group.folder)));
    }
    let (state, reason) = match (state, trusted) {
        (MessageState::Queued, false) if too_often(c, &m.jid, config.chat_turns)? => {
            (MessageState::Context, Some(TOO_OFTEN))
        }
        _ => (state, reason),
    };
    let taken = match db::messages::store(c, &m, state, reason)? {
        Stored::New => Taken::Stored(state),
        Stored::Known => Taken::Known,
    };
    Ok((taken, Some(group.folder)))
}

/// How long the turns of a chat are remembered for its rate, in minutes.
const WINDOW: i64 = 30;
const TOO_OFTEN: &str = "others asked too often here";

/// Whether others have begun so many turns in a chat that it may be a loop of two
/// programs. The chat is told once.
fn too_often(c: &rusqlite::Connection, jid: &str, most: u32) -> db::Result<bool> {
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
