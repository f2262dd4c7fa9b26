//! What the model was used for, by day, group and model, and what may be spent.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::ledger::Result;
use super::sql::{Sql, row};
use super::turns::Tokens;
use crate::ids::{Folder, TurnId};

/// What some answers of one model took.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    /// The owner's day, such as `2026-01-31`.
    pub day: String,
    /// As the API names it.
    pub model: String,
    /// How many.
    pub tokens: Tokens,
    /// Millionths of a dollar.
    pub cost: i64,
}

row! {
    /// A line of the account.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Line {
        /// The owner's day.
        pub day: String,
        /// The group's folder.
        pub group: String = "folder",
        /// The model.
        pub model: String,
        /// How many.
        pub tokens: Tokens = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens",
        /// Millionths of a dollar.
        pub cost: i64,
    }
}

/// What a day has cost so far, and what it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Today {
    /// All groups, millionths of a dollar.
    pub all: i64,
    /// This group.
    pub own: i64,
    /// The group's own limit, if it has one.
    pub own_limit: Option<i64>,
}

/// Enters what a turn took: in its row, and in the account.
pub fn enter(c: &Connection, turn: TurnId, spent: &Spent) -> Result<()> {
    let Tokens { input, output, cache_read, cache_write } = spent.tokens;
    c.run(
        "UPDATE turns SET model = ?2, input_tokens = input_tokens + ?3, output_tokens = output_tokens + ?4,
         cache_read_tokens = cache_read_tokens + ?5, cache_write_tokens = cache_write_tokens + ?6,
         spent = spent + ?7 WHERE id = ?1",
        params![turn, spent.model, input, output, cache_read, cache_write, spent.cost],
    )?;
    c.run(
        "INSERT INTO usage (day, folder, model, input_tokens, output_tokens, cache_read_tokens,
            cache_write_tokens, cost)
         SELECT ?2, folder, ?3, ?4, ?5, ?6, ?7, ?8 FROM turns WHERE id = ?1
         ON CONFLICT (day, folder, model) DO UPDATE SET
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
            cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
            cost = cost + excluded.cost",
        params![turn, spent.day, spent.model, input, output, cache_read, cache_write, spent.cost],
    )
}

/// What was spent on a day, by all and by one group.
pub fn today(c: &Connection, folder: &Folder, day: &str) -> Result<Today> {
    let (all, own) = c.one(
        "SELECT COALESCE(sum(cost), 0), COALESCE(sum(cost) FILTER (WHERE folder = ?2), 0)
         FROM usage WHERE day = ?1",
        params![day, folder],
    )?;
    Ok(Today { all, own, own_limit: limit(c, folder)? })
}

/// What a group may spend a day, millionths of a dollar; `None` for no limit of its own.
pub fn limit(c: &Connection, folder: &Folder) -> Result<Option<i64>> {
    Ok(c.first("SELECT budget FROM groups WHERE folder = ?1", [folder])?.flatten())
}

/// Sets what a group may spend a day.
pub fn set_limit(c: &Connection, folder: &Folder, limit: Option<i64>) -> Result<()> {
    c.run("UPDATE groups SET budget = ?2 WHERE folder = ?1", params![folder, limit])
}

/// The account from a day on, newest day first, then by cost.
pub fn since(c: &Connection, day: &str) -> Result<Vec<Line>> {
    c.all(
        Line::select("FROM usage WHERE day >= ?1 ORDER BY day DESC, cost DESC, folder, model"),
        [day],
    )
}

/// The chats of a group in which somebody waits for an answer now.
pub fn waiting_chats(c: &Connection, folder: &Folder) -> Result<Vec<String>> {
    c.all(
        "SELECT chat_jid FROM turns WHERE folder = ?1 AND state IN ('queued', 'running')
         UNION SELECT m.chat_jid FROM messages m INDEXED BY messages_queued JOIN chats c ON c.jid = m.chat_jid
            WHERE c.folder = ?1 AND m.state = 'queued'",
        [folder],
    )
}
