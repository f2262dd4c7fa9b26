//! What an agent may ask of the host, who may ask it, and each effect once.
//!
//! Identity is the incarnation whose mailbox the request came from, never a field
//! of it. Effect and answer are stored in the commit that the caller makes.

mod files;

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::db::{self, Asked, Group};
use crate::ids::{Incarnation, TurnId};
use crate::prompt::chat_text::chat_text;
use crate::turns::rows;

pub use files::{Staged, discard, stage, sweep};

/// Who asks.
pub struct Asker<'a> {
    /// The group whose mailbox it came from.
    pub group: &'a Group,
    /// The incarnation whose mailbox it came from.
    pub incarnation: Incarnation,
    /// The turn that the guest names; checked against both.
    pub turn: TurnId,
    /// The copy of the file that it names, or why there is none.
    pub file: Option<&'a Result<Staged, String>>,
}

/// A refusal, in words for the agent.
type Refusal = String;

/// What one call led to: a result or a refusal.
type Outcome = db::Result<Result<Value, Refusal>>;
/// Carries out a tool that changes something, under the key of this one call.
type Effect = fn(&Connection, &Asker<'_>, &str, Value) -> Outcome;

#[derive(Deserialize)]
struct SendMessage {
    text: String,
    #[serde(default)]
    chat: Option<String>,
}

#[derive(Deserialize)]
struct ReadHistory {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    before: Option<i64>,
    #[serde(default)]
    limit: Option<u32>,
}

/// Carries a request out, or repeats the answer that an earlier attempt got for
/// the same call.
pub fn handle(
    c: &Connection,
    asker: &Asker<'_>,
    tool: &str,
    arguments: &Value,
) -> db::Result<Asked> {
    let refuse = |why: String| Ok(Asked { ok: false, result: Value::String(why) });
    let attempt = match db::turns::facts(c, asker.turn)? {
        Some(f) if f.folder == asker.group.folder.as_str() => f.attempt,
        _ => return refuse(format!("turn {} is not this group's", asker.turn)),
    };
    let effect: Effect = match tool {
        "read_history" => return answer(read_history(c, asker, arguments.clone())?),
        "list_groups" => return answer(list_groups(c, asker)?),
        "send_message" => send_message,
        "send_file" => files::send_file,
        other => return refuse(format!("there is no tool {other:?}")),
    };
    let digest = db::digest(arguments);
    if let Some(asked) = db::requests::repeat(c, asker.incarnation, asker.turn, tool, &digest)? {
        return Ok(asked);
    }
    // Not kept: the next attempt may find the file.
    if let Some(Err(why)) = asker.file {
        return refuse(why.clone());
    }
    let nth = db::requests::nth(c, asker.turn, tool, &digest)?;
    let key = format!("request:{tool}:{digest}:{nth}");
    let asked = answer(effect(c, asker, &key, arguments.clone())?)?;
    db::requests::store(c, asker.turn, attempt, (tool, &digest, nth), arguments, &asked)?;
    Ok(asked)
}

fn answer(outcome: Result<Value, Refusal>) -> db::Result<Asked> {
    Ok(match outcome {
        Ok(result) => Asked { ok: true, result },
        Err(refusal) => Asked { ok: false, result: Value::String(refusal) },
    })
}

fn arguments<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|e| format!("the arguments do not fit: {e}"))
}

fn send_message(c: &Connection, asker: &Asker<'_>, key: &str, value: Value) -> Outcome {
    let call: SendMessage = match arguments(value) {
        Ok(call) => call,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(text) = chat_text(&call.text) else {
        return Ok(Err("there is no text to send outside <internal>".into()));
    };
    let jid = match addressee(c, asker, call.chat)? {
        Ok(jid) => jid,
        Err(refusal) => return Ok(Err(refusal)),
    };
    rows::say(c, asker.turn, key, &jid, &text)?;
    Ok(Ok(json!({"sent_to": jid})))
}

/// The chat that an agent may write to when it names `chat`, or none. Own chats
/// always; others only for main, and only while every message that it works on is
/// the owner's.
fn addressee(
    c: &Connection,
    asker: &Asker<'_>,
    chat: Option<String>,
) -> db::Result<Result<String, Refusal>> {
    let own = db::turns::jid(c, asker.turn)?;
    let jid = chat.unwrap_or_else(|| own.clone());
    if jid != own {
        let chat = db::groups::chats(c, None)?.into_iter().find(|chat| chat.jid == jid);
        let Some(chat) = chat else {
            return Ok(Err(format!("no chat {jid:?} is known; list_groups shows those there are")));
        };
        if chat.folder.as_ref() != Some(&asker.group.folder) {
            if !asker.group.is_main {
                return Ok(Err("only main may write to the chats of other groups".into()));
            }
            if !db::turns::all_trusted(c, asker.incarnation)? {
                return Ok(Err("refused: somebody else's message is being worked on, and it may have asked for this. \
                    Ask the owner to say it in a message of their own".into()));
            }
        }
    }
    Ok(Ok(jid))
}

fn read_history(c: &Connection, asker: &Asker<'_>, value: Value) -> Outcome {
    let call: ReadHistory = match arguments(value) {
        Ok(call) => call,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let limit = call.limit.unwrap_or(50).clamp(1, 200);
    let found = db::messages::history(
        c,
        asker.group.folder.as_str(),
        call.query.as_deref().filter(|q| !q.is_empty()),
        call.before,
        limit,
    )?;
    let mut left = 256 * 1024_usize;
    let mut messages: Vec<Value> = Vec::new();
    for m in found.iter().rev() {
        let text: String = m.content.chars().take(8_000).collect();
        left = left.saturating_sub(text.len() + 200);
        if left == 0 {
            break;
        }
        messages.push(json!({"number": m.seq, "time": m.timestamp, "sender": m.sender_name,
            "chat": m.chat_jid, "text": text, "files": m.attachments}));
    }
    messages.reverse();
    let earlier =
        messages.first().and_then(|m| m["number"].as_i64()).filter(|_| found.len() as u32 >= limit);
    Ok(Ok(json!({"messages": messages, "earlier": earlier.map(|n| json!({"before": n}))})))
}

/// Main sees every group and chat, others themselves.
fn list_groups(c: &Connection, asker: &Asker<'_>) -> Outcome {
    let groups: Vec<Value> = db::groups::all(c)?
        .into_iter()
        .filter(|g| asker.group.is_main || g.folder == asker.group.folder)
        .map(|g| {
            let chats = db::groups::chats(c, Some(&g.folder))?;
            let chats: Vec<Value> =
                chats.iter().map(|c| json!({"chat": c.jid, "name": c.name})).collect();
            Ok(json!({"folder": g.folder, "name": g.name, "is_main": g.is_main,
                "trigger": g.trigger, "requires_trigger": g.requires_trigger, "chats": chats}))
        })
        .collect::<db::Result<_>>()?;
    let mut result = json!({"groups": groups});
    if asker.group.is_main {
        let free: Vec<Value> = db::groups::chats(c, None)?
            .into_iter()
            .filter(|chat| chat.folder.is_none())
            .take(200)
            .map(|chat| json!({"chat": chat.jid, "name": chat.name, "is_group": chat.is_group}))
            .collect();
        result["unregistered_chats"] = Value::Array(free);
    }
    Ok(Ok(result))
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
            incarnation,
            deadline: 0,
            render: &|_| String::new(),
            command: &|_| None,
            isolate_strangers: false,
        };
        db::turns::claim(c, &claim).unwrap().unwrap().open.id
    }

    #[test]
    fn a_call_takes_effect_once_whichever_of_the_folded_turns_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        drop(Ledger::open(&path).unwrap());
        let c = Ledger::look(&path).unwrap().unwrap();
        let folder = Folder::parse("family").unwrap();
        let group = Group {
            folder: folder.clone(),
            name: "Family".into(),
            is_main: false,
            trigger: String::new(),
            requires_trigger: false,
            egress: "web".into(),
            model: None,
        };
        db::groups::add(&c, &NewGroup { group: group.clone(), chats: vec!["t:1".into()] }).unwrap();
        let say = |incarnation, turn| {
            let asker = Asker { group: &group, incarnation, turn, file: None };
            assert!(handle(&c, &asker, "send_message", &json!({"text": "hi"})).unwrap().ok);
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
