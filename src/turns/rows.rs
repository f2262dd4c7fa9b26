//! What the state machine's row effects do to the ledger: one step, one commit.

use std::time::Duration;

use rusqlite::Connection;

use super::state::{Effect, Why};
use crate::crash;
use crate::db::usage::{self, Spent};
use crate::db::{self, NewRow};
use crate::ids::{Incarnation, TurnId};
use crate::prompt::chat_text::chat_text;
use crate::prompt::{notices, outgoing};
use crate::router::Command;

/// What came with the event whose effects these are.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// The agent's text.
    pub text: Option<String>,
    /// One plain sentence about what went wrong.
    pub error: Option<String>,
    /// What the model was used for since the last step.
    pub spent: Vec<Spent>,
}

/// What came to its end in a step.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// These turns.
    pub turns: Vec<TurnId>,
    /// Whether runs of tasks were among them.
    pub runs: bool,
}

/// Applies the row effects among `effects`.
pub fn apply(c: &Connection, effects: &[Effect], payload: &Payload) -> db::Result<Ended> {
    let mut ended = Vec::new();
    let metered = match effects.iter().find_map(turn_of) {
        Some(turn) => Some(turn),
        None => effects
            .iter()
            .find_map(dead)
            .map(|id| db::turns::latest_of(c, id))
            .transpose()?
            .flatten(),
    };
    for effect in effects {
        crash::point("before", effect);
        match effect {
            Effect::Complete(turns) => ended.extend(complete(c, turns, payload.text.as_deref())?),
            Effect::GiveUp { turn, why } => {
                let reason = reason(*why, payload);
                if db::turns::fail(c, *turn, &reason)? {
                    let text = match db::occurrences::of_turn(c, *turn)? {
                        Some(run) => notices::run_failed(&run.task, &reason, after(c, &run.task)?),
                        None => notices::failed(&reason, next(&reason)),
                    };
                    say(c, Some(*turn), "notice:failed", &db::turns::jid(c, *turn)?, &text)?;
                    ended.push(*turn);
                }
            }
            Effect::Requeue { turn, not_before, costs } => {
                let error = payload.error.as_deref().unwrap_or("interrupted");
                db::turns::requeue(c, *turn, *not_before, *costs, error)?;
            }
            Effect::Notice(turn) => {
                db::turns::notice(c, *turn)?;
                // Nobody waits for a task.
                if db::occurrences::of_turn(c, *turn)?.is_some() {
                    continue;
                }
                let jid = db::turns::jid(c, *turn)?;
                let age = db::now_ms() - db::turns::open(c, *turn)?.created_at;
                let since = Duration::from_millis(age.unsigned_abs());
                let failed = db::turns::row(c, turn.0)?.and_then(|row| row.error);
                let text = notices::still_working(since, failed.as_deref());
                say(c, Some(*turn), "notice:working", &jid, &text)?;
            }
            Effect::Dead(id) => {
                let reason = payload.error.as_deref().unwrap_or("ended");
                db::incarnations::dead(c, *id, reason)?;
            }
            _ => {}
        }
    }
    if let Some(turn) = metered {
        payload.spent.iter().try_for_each(|spent| usage::enter(c, turn, spent))?;
    }
    Ok(Ended { runs: finish_runs(c, &ended, payload)?, turns: ended })
}

/// What becomes of a task after one more failed run.
fn after(c: &Connection, task: &str) -> db::Result<notices::After> {
    Ok(match db::tasks::get(c, task)? {
        Some(t) if t.status == db::TaskStatus::Active => {
            match t.failures + 1 >= db::occurrences::FAILURES {
                true => notices::After::Paused(db::occurrences::FAILURES),
                false => notices::After::Again,
            }
        }
        _ => notices::After::Nothing,
    })
}

/// Logs the runs of tasks among turns that ended.
fn finish_runs(c: &Connection, ended: &[TurnId], payload: &Payload) -> db::Result<bool> {
    let mut runs = false;
    for &turn in ended {
        if db::occurrences::of_turn(c, turn)?.is_some() {
            runs = true;
            let failed = db::turns::failure(c, turn)?;
            let text = payload.text.as_deref().and_then(chat_text);
            let said = failed.as_deref().or(text.as_deref());
            db::occurrences::finished(c, turn, failed.is_none(), said, db::now_ms())?;
        }
    }
    Ok(runs)
}

/// Puts a text into the outbox, as the chat's network shows it and in pieces.
pub fn say(
    c: &Connection,
    turn: Option<TurnId>,
    key: &str,
    jid: &str,
    text: &str,
) -> db::Result<()> {
    for (part, text) in outgoing::pieces(jid, text).iter().enumerate() {
        db::outbox::add(c, &NewRow { turn, key, part, jid, text })?;
    }
    Ok(())
}

/// Says something in the chats of main that its owner uses: those that somebody has
/// written in, else all.
pub fn tell_main(c: &Connection, key: &str, text: &str) -> db::Result<()> {
    db::groups::chats_of_owner(c)?.iter().try_for_each(|jid| say(c, None, key, jid, text))
}

/// Ends turns that one result answers. The text goes once to each chat that asked,
/// unless the agent sent the very same text by a tool before.
fn complete(c: &Connection, turns: &[TurnId], text: Option<&str>) -> db::Result<Vec<TurnId>> {
    let text = text.and_then(chat_text);
    let mut ended = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for &turn in turns {
        if !db::turns::complete(c, turn, text.is_none())? {
            continue;
        }
        ended.push(turn);
        let jid = db::turns::jid(c, turn)?;
        if let Some(done) = Command::confirmation(&db::turns::prompt(c, turn)?) {
            say(c, Some(turn), "answer", &jid, done)?;
            continue;
        }
        if let Some(text) = &text
            && !told.contains(&jid)
        {
            let said = db::outbox::of_turn(c, turn)?;
            let pieces = outgoing::pieces(&jid, text);
            let said_before = |text: &String| {
                said.iter().any(|row| row.chat_jid == jid && row.text.trim() == text.trim())
            };
            if !pieces.iter().all(said_before) {
                say(c, Some(turn), "answer", &jid, text)?;
                if let Some(message) = db::messages::to_quote(c, turn, &jid)? {
                    db::outbox::quote(c, turn, "answer", &message)?;
                }
            }
            told.push(jid);
        }
    }
    Ok(ended)
}

fn reason(why: Why, payload: &Payload) -> String {
    match why {
        Why::Deadline => "it took longer than a turn may, and was stopped".into(),
        Why::Interrupted => "the assistant was stopped in the middle of it too often".into(),
        Why::Failed | Why::Drain | Why::Budget => {
            payload.error.clone().unwrap_or_else(|| "the agent ended without an answer".into())
        }
    }
}

/// What helps, by what the reason says: these are the owner's to mend.
fn next(reason: &str) -> notices::Next {
    const OWNERS: [(&str, &str); 8] = [
        (
            "credential",
            "set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN anew in .env and start me again",
        ),
        ("no credit", "put money on the account of the model API"),
        ("wants payment", "put money on the account of the model API"),
        (
            "not know the model",
            "name another in NANOCLAW_MODEL or with `nanoclaw groups set --model`",
        ),
        ("cannot be reached", "look at the network of my machine and at ANTHROPIC_BASE_URL"),
        ("model API is none", "look at ANTHROPIC_BASE_URL, and at what lies between"),
        ("is missing", "`nanoclaw doctor` says more"),
        ("cannot start", "`nanoclaw doctor` says more"),
    ];
    let owners = OWNERS.iter().find(|(words, _)| reason.contains(words));
    owners.map_or(notices::Next::WriteAgain, |(_, what)| notices::Next::OwnerMustAct(what))
}

fn turn_of(effect: &Effect) -> Option<TurnId> {
    match effect {
        Effect::Complete(turns) => turns.first().copied(),
        Effect::GiveUp { turn, .. } | Effect::Requeue { turn, .. } | Effect::Notice(turn) => {
            Some(*turn)
        }
        _ => None,
    }
}

fn dead(effect: &Effect) -> Option<Incarnation> {
    match effect {
        Effect::Dead(id) => Some(*id),
        _ => None,
    }
}
