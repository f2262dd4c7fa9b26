//! The channel: what the outbox sends through, and what the connection's parts share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use whatsapp_rust::Server;
use whatsapp_rust::prelude::{Client, Jid, SendOptions, wa};

use super::ack::{self, Acks, Refusal};
use super::link::{self, Happened};
use super::presence::Typing;
use crate::channel::{Channel, Mark, Pace, SendError, pacing};
use crate::config::Config;
use crate::container::Boxed;
use crate::crash;
use crate::db::{self, Ledger, MessageState, OutboxRow, now_ms};
use crate::lock::lock;
use crate::prompt::outgoing::is_whatsapp;

/// The channel's name, as in `chats.channel`.
pub const CHANNEL: &str = "whatsapp";

/// How long WhatsApp may take to acknowledge.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// How long WhatsApp may take to say until when it restricts the account.
const ASKED: Duration = Duration::from_secs(10);
/// When messages that could not be stored are fetched again.
const AGAIN: Duration = Duration::from_secs(30);

/// The channel. Cheap to clone.
#[derive(Clone)]
pub struct WhatsApp(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    config: Arc<Config>,
    /// The client, while messages come and go.
    client: Mutex<Option<Arc<Client>>>,
    acks: Acks,
    typing: Typing,
}

impl WhatsApp {
    /// A channel without a connection.
    pub fn new(ledger: Ledger, config: Arc<Config>) -> WhatsApp {
        WhatsApp(Arc::new(Inner {
            ledger,
            config,
            client: Mutex::default(),
            acks: Acks::default(),
            typing: Typing::default(),
        }))
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// What waits for acknowledgements.
    pub(super) fn acks(&self) -> &Acks {
        &self.0.acks
    }

    /// The client, while messages come and go.
    pub(super) fn client(&self) -> Option<Arc<Client>> {
        lock(&self.0.client).clone()
    }

    /// Messages come and go through this client; or no more.
    pub(super) fn connected(&self, client: Option<Arc<Client>>) {
        let lost = client.is_none();
        *lock(&self.0.client) = client;
        if lost {
            self.0.acks.forget();
        }
    }

    /// The address that a chat is reached at, which need not be the one it is known by.
    pub(super) async fn reachable(&self, client: &Client, jid: &str) -> String {
        let (chat, ledger) = (jid.to_owned(), self.ledger());
        let known = ledger.write(move |c| db::people::reach(c, &chat)).await;
        let address = known.unwrap_or_else(|_| jid.to_owned());
        // The account's own chat is reached by its number.
        match (client.lid(), client.pn()) {
            (Some(lid), Some(pn)) if address == lid.to_non_ad().to_string() => {
                pn.to_non_ad().to_string()
            }
            _ => address,
        }
    }

    /// Notes a chat's timer for disappearing messages: what is sent has the same.
    pub(super) async fn note_timer(&self, jid: &str, seconds: u32) {
        let jid = jid.to_owned();
        let set = move |c: &rusqlite::Connection| db::groups::set_timer(c, &jid, seconds);
        self.ledger().note("a chat's timer", set).await;
    }

    /// Fetches again what was not acknowledged, when what was wrong may be over.
    pub(super) fn come_again(&self, client: Arc<Client>) {
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            client.reconnect().await;
        });
    }

    async fn deliver(&self, row: &OutboxRow) -> Result<(), SendError> {
        let client = self.client().ok_or(SendError::Offline)?;
        let jid = self.reachable(&client, &row.chat_jid).await;
        let to: Jid = jid.parse().map_err(|_| {
            SendError::Never(format!("{} is no address of WhatsApp's", row.chat_jid))
        })?;
        let (messages, timer) = self.build(&client, row).await?;
        for (part, message) in messages.into_iter().enumerate() {
            if part > 0 {
                crash::point("whatsapp between", &"parts");
            }
            let id = part_id(&row.channel_id, part);
            let mut refused = self.attempt(&client, to.clone(), &id, &message, timer).await?;
            if let Some(Refusal::OtherAddress(_)) = refused
                && let Some(other) = other_address(&client, &to).await
            {
                refused = self.attempt(&client, other, &id, &message, timer).await?;
            }
            match refused {
                None => {}
                Some(Refusal::OtherAddress(why)) => return Err(SendError::Never(why)),
                Some(Refusal::Send(error)) => return Err(error),
                Some(Refusal::Quiet(code)) => {
                    self.note_quiet(&client, &code).await;
                    return Err(SendError::Later(format!("WhatsApp asks to send less ({code})")));
                }
            }
        }
        self.note(Happened::Taken).await;
        Ok(())
    }

    /// Sends once and waits for what WhatsApp says of it; `None` if it was taken.
    async fn attempt(
        &self,
        client: &Arc<Client>,
        to: Jid,
        id: &str,
        message: &wa::Message,
        timer: Option<u32>,
    ) -> Result<Option<Refusal>, SendError> {
        let heard = self.0.acks.expect(id);
        let mut options = SendOptions::default().with_message_id(id);
        if let Some(seconds) = timer {
            options = options.with_ephemeral_expiration(seconds);
        }
        crash::point("whatsapp before sending", &"message");
        client
            .send_message_with_options(to, message.clone(), options)
            .await
            .map_err(|e| refused(client, &e))?;
        crash::point("whatsapp after sending", &"message");
        match tokio::time::timeout(ACKNOWLEDGED, heard).await {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(code))) => Ok(Some(ack::judge(&code))),
            // The connection was lost: it goes again, under the same id.
            Ok(Err(_)) => Err(SendError::Offline),
            Err(_) => {
                // Nobody reads this connection, or not for long.
                client.reconnect_immediately().await;
                Err(SendError::Later("WhatsApp did not acknowledge it in time".into()))
            }
        }
    }

    /// WhatsApp asks for silence. Until when a restriction lasts it says if it is asked.
    async fn note_quiet(&self, client: &Client, code: &str) {
        let mut until = None;
        if code == "463" {
            let asked = tokio::time::timeout(ASKED, client.mex().fetch_reachout_timelock()).await;
            let said = asked.ok().and_then(Result::ok).filter(|lock| lock.is_active == Some(true));
            let seconds = said.and_then(|lock| lock.time_enforcement_ends?.parse::<i64>().ok());
            until = seconds.and_then(|s| s.checked_mul(1_000)).filter(|at| *at > now_ms());
        }
        tracing::warn!(code, "WhatsApp asks to send less");
        self.note(Happened::Refused(code.into(), until)).await;
    }

    async fn note(&self, happened: Happened) {
        crash::point("whatsapp before", &happened);
        let name = crash::name(&happened);
        let note = move |c: &rusqlite::Connection| link::note(c, &happened).map(drop);
        self.ledger().note("how things stand with WhatsApp", note).await;
        crash::point("whatsapp after", &name);
    }

    /// Whether WhatsApp asked for silence: until when, and what to say of it.
    async fn quiet(&self) -> db::Result<Option<Pace>> {
        let quiet = self.ledger().write(link::read).await?.quiet;
        let quiet = quiet.filter(|quiet| quiet.until > now_ms());
        Ok(quiet.map(|quiet| Pace::At(quiet.until, quiet.sentence(self.config().timezone))))
    }

    async fn react_to(&self, mark: &Mark, emoji: &str) -> Result<(), SendError> {
        let client = self.client().ok_or(SendError::Offline)?;
        if !matches!(self.quiet().await, Ok(None)) {
            return Err(SendError::Later("WhatsApp asks to send less".into()));
        }
        let chat = self.reachable(&client, &mark.jid).await;
        let to: Jid = chat.parse().map_err(|_| SendError::Never("no address".into()))?;
        let key = wa::MessageKey {
            remote_jid: Some(chat),
            from_me: Some(mark.from_me),
            id: Some(mark.id.clone()),
            participant: mark.is_group.then(|| mark.sender.clone()),
        };
        client.send_reaction(to, key, emoji).await.map(drop).map_err(|e| refused(&client, &e))
    }

    async fn mark_read(&self, marks: &[Mark]) -> Result<(), SendError> {
        let client = self.client().ok_or(SendError::Offline)?;
        // One receipt for each sender of a chat.
        let mut groups: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for mark in marks.iter().filter(|mark| !mark.from_me) {
            let sender = mark.is_group.then_some(mark.sender.as_str());
            groups.entry((mark.jid.as_str(), sender)).or_default().push(&mark.id);
        }
        for ((chat, sender), ids) in groups {
            let chat = self.reachable(&client, chat).await;
            let chat: Jid = chat.parse().map_err(|_| SendError::Never("no address".into()))?;
            let sender = sender.and_then(|sender| sender.parse::<Jid>().ok());
            client
                .mark_as_read(&chat, sender.as_ref(), &ids)
                .await
                .map_err(|_| SendError::Offline)?;
        }
        Ok(())
    }
}

impl Channel for WhatsApp {
    fn name(&self) -> &str {
        CHANNEL
    }

    fn owns(&self, jid: &str) -> bool {
        is_whatsapp(jid)
    }

    fn send<'a>(&'a self, row: &'a OutboxRow) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(self.deliver(row))
    }

    fn pace<'a>(&'a self, row: &'a OutboxRow) -> Boxed<'a, db::Result<Pace>> {
        Box::pin(async {
            // A row that cannot go anyway waits for the connection.
            if self.client().is_none() {
                return Ok(Pace::Now);
            }
            match self.quiet().await? {
                Some(quiet) => Ok(quiet),
                None => pacing::ask(&self.0.ledger, self.config().pace, row).await,
            }
        })
    }

    fn typing(&self, jid: &str, on: bool) {
        self.0.typing.set(self, jid, on);
    }

    fn settled(&self, _: &str, _: &str, _: MessageState) {}

    fn read<'a>(&'a self, marks: &'a [Mark]) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(self.mark_read(marks))
    }

    fn react<'a>(&'a self, mark: &'a Mark, emoji: &'a str) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(self.react_to(mark, emoji))
    }
}

/// The id of a row's n-th message: the same in each attempt.
fn part_id(id: &str, part: usize) -> String {
    if part == 0 { id.into() } else { format!("{}{part:02X}", &id[..id.len().saturating_sub(2)]) }
}

/// The other address of the same person.
async fn other_address(client: &Client, jid: &Jid) -> Option<Jid> {
    let entry = client.get_lid_pn_entry(jid).await.ok().flatten()?;
    Some(match jid.server {
        Server::Lid => Jid::new(&*entry.phone_number, Server::Pn),
        _ => Jid::new(&*entry.lid, Server::Lid),
    })
}

/// What the library's refusal to send means.
fn refused(client: &Client, error: &whatsapp_rust::SendError) -> SendError {
    use whatsapp_rust::SendError as Theirs;
    match error {
        _ if !client.is_logged_in() => SendError::Offline,
        Theirs::NotLoggedIn | Theirs::Client(_) => SendError::Offline,
        Theirs::InvalidRequest(why) => SendError::Never(why.clone()),
        other => SendError::Later(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_a_row_has_an_id_of_its_own_which_stays() {
        let id = "3EB0AABBCCDDEEFF001122";
        assert_eq!(part_id(id, 0), id);
        assert_eq!(part_id(id, 1), "3EB0AABBCCDDEEFF001101");
        assert_eq!(part_id(id, 1).len(), id.len());
    }

    #[test]
    fn whatsapp_s_addresses_are_known_by_their_servers() {
        assert!(["49170@s.whatsapp.net", "1@lid", "1-2@g.us"].into_iter().all(is_whatsapp));
        assert!(!["tg:1", "terminal:main", "status@broadcast"].into_iter().any(is_whatsapp));
    }
}
