//! What an agent may ask of the host, who may ask it, and each effect once.
//!
//! Identity is the incarnation whose mailbox the request came from, never a field
//! of it. Effect and answer are stored in the commit that the caller makes.

mod files;
mod groups;
mod tasks;

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::db::{self, Asked, Group, LedgerError, history, refuse};
use crate::ids::{Incarnation, TurnId};
use crate::prompt::chat_text::chat_text;
use crate::turns::rows;

pub use files::{Staged, discard, stage, sweep};

/// Who asks, as the host knows it.
pub struct Asker<'a> {
    /// The group whose mailbox it came from.
    pub group: &'a Group,
    /// The chat that is being answered.
    pub chat: String,
    /// The turn in whose course it asks; a record by hand has none.
    pub turn: Option<TurnId>,
    /// Whether every message that it works on is the owner's.
    pub trusted: bool,
    /// The owner's zone.
    pub zone: chrono_tz::Tz,
    /// The copy of the file that it names, or why there is none.
    pub file: Option<&'a Result<Staged, String>>,
}

/// Where a request came from.
pub struct Origin<'a> {
    /// The group whose mailbox it came from.
    pub group: &'a Group,
    /// The incarnation whose mailbox it came from.
    pub incarnation: Incarnation,
    /// The turn that the guest names; checked against both.
    pub turn: TurnId,
    /// The owner's zone.
    pub zone: chrono_tz::Tz,
    /// The copy of the file that it names, or why there is none.
    pub file: Option<&'a Result<Staged, String>>,
}

impl Asker<'_> {
    /// Whether it may do what is main's alone: `what` completes "only main may".
    fn administers(&self, what: &str) -> db::Result<()> {
        if !self.group.is_main {
            return refuse(format!("only main may {what}"));
        }
        if !self.trusted {
            return refuse(
                "refused: somebody else's message is being worked on, and it may have asked for this. \
                 Ask the owner to say it in a message of their own",
            );
        }
        Ok(())
    }
}

impl<'a> Origin<'a> {
    /// Who asks, and in which attempt; refused if the turn is another container's.
    fn asker(&self, c: &Connection) -> db::Result<(Asker<'a>, u32)> {
        let Origin { group, incarnation, turn, zone, file } = *self;
        let found = db::turns::row(c, turn.0)?
            .filter(|f| f.folder == group.folder.as_str() && f.incarnation == Some(incarnation));
        let Some(row) = found else {
            return refuse(format!("turn {turn} is not this container's"));
        };
        let trusted = db::turns::all_trusted(c, incarnation)?;
        let (chat, turn) = (row.chat_jid, Some(turn));
        Ok((Asker { group, chat, turn, trusted, zone, file }, row.attempt))
    }
}

/// The most calls with an effect that one turn may make, and the most that it may
/// say of its own accord: far more than a turn needs, and no flood.
pub const MOST: i64 = 200;

/// What one call led to: a result, or [`LedgerError::Refused`] in words for the agent.
pub type Outcome = db::Result<Value>;
/// Carries out a tool that changes something, under the key of this one call.
type Effect = fn(&Connection, &Asker<'_>, &str, Value) -> Outcome;

#[derive(Deserialize)]
struct SendMessage {
    text: String,
    chat: Option<String>,
}

#[derive(Deserialize)]
struct ReadHistory {
    query: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// The tools that change nothing, and so may be answered beside the ledger's writing
/// thread, by [`look`].
pub fn only_looks(tool: &str) -> bool {
    matches!(tool, "read_history" | "list_groups" | "list_tasks")
}

/// Answers a request that changes nothing.
pub fn look(
    c: &Connection,
    origin: &Origin<'_>,
    tool: &str,
    arguments: Value,
) -> db::Result<Asked> {
    answer(origin.asker(c).and_then(|(asker, _)| match tool {
        "read_history" => read_history(c, &asker, arguments),
        "list_groups" => list_groups(c, &asker),
        _ => tasks::list(c, &asker),
    }))
}

/// Carries a request out, or repeats the answer that an earlier attempt got for
/// the same call.
pub fn handle(
    c: &Connection,
    origin: &Origin<'_>,
    tool: &str,
    arguments: &Value,
) -> db::Result<Asked> {
    let Origin { incarnation, turn, file, .. } = *origin;
    let (asker, attempt) = match origin.asker(c) {
        Ok(found) => found,
        Err(error) => return answer(Err(error)),
    };
    let digest = db::digest(arguments);
    if let Some(asked) = db::requests::repeat(c, incarnation, turn, tool, &digest)? {
        return Ok(asked);
    }
    // Not kept, or refusals would be what fills the ledger.
    let said = db::outbox::count(c, turn)?;
    if db::requests::count(c, turn)? >= MOST || said >= 2 * MOST {
        return answer(refuse(format!(
            "refused: this turn has said or changed {MOST} things, and may make no more such calls. \
             Say so in your answer; with the next message you may go on"
        )));
    }
    // Not kept: the next attempt may find the file.
    if let Some(Err(why)) = file {
        return answer(refuse(why));
    }
    let nth = db::requests::nth(c, turn, tool, &digest)?;
    let key = format!("request:{tool}:{digest}:{nth}");
    let asked = answer(perform(c, &asker, tool, &key, arguments.clone()))?;
    db::requests::store(c, turn, attempt, (tool, &digest, nth), arguments, &asked)?;
    Ok(asked)
}

/// Carries out a tool that changes something, under the `key` of this one call. What
/// breaks a rule of the ledger is refused whole, in the ledger's words.
pub fn perform(
    c: &Connection,
    asker: &Asker<'_>,
    tool: &str,
    key: &str,
    arguments: Value,
) -> Outcome {
    let effect: Effect = match tool {
        "send_message" => send_message,
        "send_file" => files::send_file,
        "schedule_task" => tasks::schedule,
        "pause_task" => tasks::pause,
        "resume_task" => tasks::resume,
        "cancel_task" => tasks::cancel,
        "update_task" => tasks::update,
        "register_group" => groups::register,
        other => return refuse(format!("there is no tool {other:?}")),
    };
    db::whole(c, |c| effect(c, asker, key, arguments))
}

/// What the agent is told, and the ledger keeps.
fn answer(outcome: Outcome) -> db::Result<Asked> {
    match outcome {
        Ok(result) => Ok(Asked { ok: true, result }),
        Err(LedgerError::Refused(reason)) => Ok(Asked { ok: false, result: reason.into() }),
        Err(error) => Err(error),
    }
}

fn arguments<T: for<'de> Deserialize<'de>>(value: Value) -> db::Result<T> {
    serde_json::from_value(value).or_else(|e| refuse(format!("the arguments do not fit: {e}")))
}

fn send_message(c: &Connection, asker: &Asker<'_>, key: &str, value: Value) -> Outcome {
    let call: SendMessage = arguments(value)?;
    let Some(text) = chat_text(&call.text) else {
        return refuse("there is no text to send outside <internal>");
    };
    let jid = addressee(c, asker, call.chat)?;
    rows::say(c, asker.turn, key, &jid, &text)?;
    Ok(json!({"sent_to": jid}))
}

/// The chat that a call means: the one that is being answered, or another, which for
/// all but main must be of its own group.
fn addressee(c: &Connection, asker: &Asker<'_>, chat: Option<String>) -> db::Result<String> {
    let jid = db::people::canonical(c, &chat.unwrap_or_else(|| asker.chat.clone()))?;
    if jid != asker.chat {
        let chat = db::groups::chats(c, None)?.into_iter().find(|chat| chat.jid == jid);
        let Some(chat) = chat else {
            return refuse(format!("no chat {jid:?} is known; list_groups shows those there are"));
        };
        if let Some(closed) = chat.closed {
            return refuse(format!("nothing can be sent there: {}", closed.reason()));
        }
        if chat.folder.as_ref() != Some(&asker.group.folder) {
            asker.administers("write to the chats of other groups")?;
        }
    }
    Ok(jid)
}

fn read_history(c: &Connection, asker: &Asker<'_>, value: Value) -> Outcome {
    let call: ReadHistory = arguments(value)?;
    let mut before = (i64::MAX, 0);
    if let Some(text) = &call.before {
        // A time, and the key that `earlier` adds to it.
        let (time, key) = text.split_once('#').unwrap_or((text, "0"));
        let (Ok(time), Ok(key)) = (chrono::DateTime::parse_from_rfc3339(time), key.parse()) else {
            return refuse(
                "before: write a time such as 2026-01-31T09:00:00Z, or what `earlier` says",
            );
        };
        before = (time.timestamp_millis(), key);
    }
    let limit = call.limit.unwrap_or(50).clamp(1, 200);
    let query = call.query.as_deref().filter(|q| !q.is_empty());
    if query.is_some_and(|q| q.split_whitespace().nth(history::MOST_WORDS).is_some()) {
        return refuse(format!("query: {} words at most", history::MOST_WORDS));
    }
    let found = history::page(c, asker.group.folder.as_str(), query, before, limit)?;
    let mut left = 256 * 1024_usize;
    let mut messages: Vec<Value> = Vec::new();
    for said in found.iter().rev() {
        let text: String = said.text.chars().take(8_000).collect();
        left = left.saturating_sub(text.len() + 200);
        if left == 0 {
            break;
        }
        let sender = said.sender.as_deref().unwrap_or("you, the assistant");
        messages.push(json!({"time": said.time, "sender": sender, "chat": said.chat_jid,
            "text": text, "files": said.files}));
    }
    // There may be more where the page is full or was cut.
    let earlier = found
        .get(found.len().saturating_sub(messages.len()))
        .filter(|_| found.len() as u32 >= limit || messages.len() < found.len())
        .and_then(|said| {
            let time = chrono::DateTime::from_timestamp_millis(said.place.0)?;
            let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            Some(json!({"before": format!("{time}#{}", said.place.1)}))
        });
    messages.reverse();
    Ok(json!({"messages": messages, "earlier": earlier}))
}

fn listed(chat: &db::Chat) -> Value {
    let mut entry = json!({"chat": chat.jid, "name": chat.name, "is_group": chat.is_group,
        "last_activity": chat.last_activity});
    if let Some(closed) = chat.closed {
        entry["cannot_be_written_to"] = json!(closed.reason());
    }
    entry
}

/// Main sees every group and chat, those with the latest activity first; others see
/// themselves.
fn list_groups(c: &Connection, asker: &Asker<'_>) -> Outcome {
    let groups: Vec<Value> = db::groups::all(c)?
        .into_iter()
        .filter(|g| asker.group.is_main || g.folder == asker.group.folder)
        .map(|g| {
            let chats = db::groups::chats(c, Some(&g.folder))?;
            let chats: Vec<Value> = chats.iter().map(listed).collect();
            Ok(json!({"folder": g.folder, "name": g.name, "is_main": g.is_main,
                "trigger": g.trigger, "requires_trigger": g.requires_trigger,
                "who_may_trigger": g.speakers.as_str(), "keep_context": g.keeps_context,
                "web": g.egress != "api", "chats": chats}))
        })
        .collect::<db::Result<_>>()?;
    let mut result = json!({"groups": groups});
    if asker.group.is_main {
        let free: Vec<Value> = db::groups::chats(c, None)?
            .into_iter()
            .filter(|chat| chat.folder.is_none())
            .take(200)
            .map(|chat| listed(&chat))
            .collect();
        result["unregistered_chats"] = Value::Array(free);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::{Claim, Incoming, Ledger, MessageState, NewGroup};
    use crate::ids::Folder;

    fn claim(c: &Connection, group: &Group, incarnation: Incarnation, id: &str) -> TurnId {
        let message = Incoming { jid: "t:1".into(), id: id.into(), ..Incoming::default() };
        db::messages::store(c, &message, MessageState::Queued, None).unwrap();
        let claim = Claim {
            folder: &group.folder,
            incarnation: Some(incarnation),
            deadline: 0,
            render: &|_| String::new(),
            command: &|_| None,
            isolate_strangers: false,
        };
        db::claim(c, &claim).unwrap().unwrap().open.id
    }

    #[test]
    fn a_call_takes_effect_once_whichever_of_the_folded_turns_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        drop(Ledger::open(&path).unwrap());
        let c = Ledger::look(&path).unwrap().unwrap();
        let folder = Folder::parse("family").unwrap();
        let group =
            Group { requires_trigger: false, ..Group::new(folder.clone(), "Family".into()) };
        db::groups::add(&c, &NewGroup { group: group.clone(), chats: vec!["t:1".into()] }).unwrap();
        let say = |incarnation, turn| {
            let origin =
                Origin { group: &group, incarnation, turn, zone: chrono_tz::UTC, file: None };
            assert!(handle(&c, &origin, "send_message", &json!({"text": "hi"})).unwrap().ok);
            c.query_row("SELECT count(*) FROM outbox", [], |r| r.get::<_, i64>(0)).unwrap()
        };

        let first = db::incarnations::open(&c, &folder, "test").unwrap();
        let one = claim(&c, &group, first, "m1");
        assert_eq!(say(first, one), 1);
        assert_eq!(say(first, one), 2, "the same text again, meant so");
        db::turns::requeue(&c, one, 0, false, "killed").unwrap();

        let second = db::incarnations::open(&c, &folder, "test").unwrap();
        db::turns::give(&c, one, second, 0).unwrap();
        let two = claim(&c, &group, second, "m2");
        assert_eq!(say(second, two), 2, "the first turn's call, made in the name of the second");
        assert_eq!(say(second, one), 2);
        assert_eq!(say(second, two), 3, "the second turn's own");
        assert_eq!(say(second, one), 4);
    }
}
