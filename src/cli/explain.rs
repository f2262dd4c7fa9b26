//! `nanoclaw explain`: the life of a message, from rows alone.

use serde_json::json;

use super::args::Explain;
use super::exit::Exit;
use super::plain::{json, say};
use crate::config::Config;
use crate::db::{self, Ledger, OutboxRow, StoredMessage, TurnRow};
use crate::ids::TurnId;
use crate::prices::dollars;

/// Prints the life of each message that was asked for.
pub fn run(config: &Config, explain: &Explain) -> anyhow::Result<Exit> {
    let Some(c) = Ledger::look(&config.ledger())? else {
        eprintln!("nanoclaw: there is no ledger in {} yet", config.store().display());
        return Ok(Exit::NotFound);
    };
    let mut found = match &explain.id {
        Some(id) => db::messages::by_id(&c, id)?,
        None => db::messages::latest(&c, explain.chat.as_deref())?.into_iter().collect(),
    };
    found.retain(|m| explain.chat.as_ref().is_none_or(|chat| *chat == m.chat_jid));
    if found.is_empty() {
        eprintln!(
            "nanoclaw: no such message is in the ledger. Messages of chats that belong to no group are not stored: `nanoclaw groups list` shows which do."
        );
        return Ok(Exit::NotFound);
    }
    let mut lives = Vec::new();
    for message in found {
        let turn = message.turn.map(|turn| db::turns::row(&c, turn)).transpose()?.flatten();
        let said = match message.turn {
            Some(turn) => db::outbox::of_turn(&c, TurnId(turn))?,
            None => Vec::new(),
        };
        lives.push((message, turn, said));
    }
    if explain.output.json {
        let all: Vec<_> =
            lives.iter().map(|(m, t, o)| json!({"message": m, "turn": t, "outbox": o})).collect();
        return json(&all);
    }
    for (message, turn, said) in &lives {
        tell(message, turn.as_ref(), said, config.timezone);
    }
    Ok(Exit::Ok)
}

fn tell(m: &StoredMessage, turn: Option<&TurnRow>, said: &[OutboxRow], zone: chrono_tz::Tz) {
    let at = |ms| clock(ms, zone);
    say!("message {} in {}, number {}", m.id, m.chat_jid, m.seq);
    say!("  {}  stored, from {}", at(m.stored_at), m.sender_name);
    let reason = m.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
    let Some(t) = turn else {
        let means = match m.state.as_str() {
            "ignored" => "no agent will see it",
            "context" => "the agent sees it with the next message that wakes it",
            "queued" => "it waits for the group's container",
            _ => "it was answered before this ledger knew turns",
        };
        say!("  now          {}{reason}: {means}", m.state);
        return;
    };
    say!("  {}  turn {} of {} claimed it", at(t.created_at), t.id, t.folder);
    if let (Some(started), Some(incarnation)) = (t.started_at, t.incarnation) {
        say!("  {}  attempt {} in container {incarnation}", at(started), t.attempt);
    }
    if let Some(error) = &t.error {
        say!("               an attempt failed: {error}");
    }
    if let Some(ended) = t.ended_at {
        say!(
            "  {}  turn {}; {} tokens in, {} out, {}",
            at(ended),
            t.state,
            t.tokens.input,
            t.tokens.output,
            dollars(t.spent)
        );
    }
    for row in said {
        let sent = row.sent_at.map_or_else(|| "            ".into(), at);
        let error = row.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
        say!(
            "  {sent}  {} to {}: {} (attempts: {}){error}",
            row.key,
            row.chat_jid,
            row.state,
            row.attempts
        );
    }
    say!("  now          {}{reason}", m.state);
}

fn clock(ms: i64, zone: chrono_tz::Tz) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|t| t.with_timezone(&zone).format("%H:%M:%S%.3f").to_string())
        .unwrap_or_default()
}
