//! What agents asked of the host. Keyed so that a later attempt of a turn, which
//! makes the same calls again, gets the stored results and no second effect.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::ledger::Result;
use super::now_ms;
use super::sql::Sql;
use crate::ids::{FNV, Incarnation, TurnId, fnv};

/// A request that was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Whether it was granted.
    pub ok: bool,
    /// The result, or the refusal as a string.
    pub result: Value,
}

/// A stable digest of a call's arguments (key order does not matter: serde_json
/// keeps objects sorted). FNV-1a, 64 bits, is enough: the key also has the turn and
/// the tool, so a forged collision can only give an agent its own answer again.
pub fn digest(arguments: &Value) -> String {
    format!("{:016x}", fnv(FNV, arguments.to_string().as_bytes()))
}

/// Which stored call of this kind the turn's next one is, from 1.
pub fn nth(c: &Connection, turn: TurnId, tool: &str, digest: &str) -> Result<i64> {
    c.one(
        "SELECT 1 + count(*) FROM requests WHERE turn = ?1 AND tool = ?2 AND digest = ?3",
        params![turn, tool, digest],
    )
}

/// How many calls a turn has made that are stored.
pub fn count(c: &Connection, turn: TurnId) -> Result<i64> {
    c.one("SELECT count(*) FROM requests WHERE turn = ?1", [turn])
}

/// The stored answer of an earlier attempt, which is marked as used by this one.
///
/// The CLI folds turns into one run, so a call that was the first turn's may in the
/// next attempt be made in the name of another: an answer to any turn that the
/// incarnation works on counts, the asking turn's own first. So does, for a turn that
/// is repeated, one that waits to be repeated: they may have been one run.
pub fn repeat(
    c: &Connection,
    incarnation: Incarnation,
    turn: TurnId,
    tool: &str,
    digest: &str,
) -> Result<Option<Asked>> {
    let found: Option<(i64, i64, u32, bool, String)> = c.first(
        "SELECT r.turn, r.nth, t.attempt + (t.state = 'queued'), r.ok, r.result
         FROM turns a JOIN turns t ON t.folder = a.folder AND t.state IN ('queued', 'running')
            JOIN requests r ON r.turn = t.id AND r.tool = ?3 AND r.digest = ?4
         WHERE a.id = ?2 AND CASE t.state
            WHEN 'running' THEN t.incarnation = ?1 AND r.attempt < t.attempt
            ELSE a.attempt > 1 AND r.attempt <= t.attempt AND r.created_at >= a.created_at END
         ORDER BY r.turn <> ?2, t.state = 'queued', r.turn, r.nth LIMIT 1",
        params![incarnation, turn, tool, digest],
    )?;
    let Some((of, nth, attempt, ok, result)) = found else { return Ok(None) };
    c.run(
        "UPDATE requests SET attempt = ?5 WHERE turn = ?1 AND tool = ?2 AND digest = ?3 AND nth = ?4",
        params![of, tool, digest, nth, attempt],
    )?;
    let result = serde_json::from_str(&result).unwrap_or(Value::String(result));
    Ok(Some(Asked { ok, result }))
}

/// Stores an answer together with its effect.
pub fn store(
    c: &Connection,
    turn: TurnId,
    attempt: u32,
    call: (&str, &str, i64),
    arguments: &Value,
    asked: &Asked,
) -> Result<()> {
    let (tool, digest, nth) = call;
    c.run(
        "INSERT INTO requests (turn, tool, digest, nth, attempt, arguments, ok, result, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            turn,
            tool,
            digest,
            nth,
            attempt,
            arguments.to_string(),
            asked.ok,
            asked.result.to_string(),
            now_ms(),
        ],
    )
}

/// What a turn asked so far: tool, arguments, granted.
pub fn of_turn(c: &Connection, turn: TurnId) -> Result<Vec<(String, String, bool)>> {
    c.all(
        "SELECT tool, arguments, ok FROM requests WHERE turn = ?1 ORDER BY created_at, tool, nth",
        [turn],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_of_a_run_of_two_turns_is_repeated_in_the_name_of_the_other() {
        let c = Connection::open_in_memory().expect("a ledger");
        c.execute_batch(
            "CREATE TABLE turns (id, folder, state, attempt, incarnation, created_at);
             CREATE TABLE requests (turn, tool, digest, nth, attempt, arguments, ok, result, created_at);
             INSERT INTO turns VALUES (1, 'a', 'running', 2, 8, 0), (2, 'a', 'queued', 1, NULL, 0),
                (3, 'a', 'running', 1, 8, 0);",
        )
        .expect("two turns of an earlier run, and a new one");
        let said = Asked { ok: true, result: json!("sent") };
        store(&c, TurnId(2), 1, ("t", "d", 1), &json!({}), &said).expect("stored");
        let ask = |turn| repeat(&c, Incarnation(8), TurnId(turn), "t", "d").expect("asked");
        assert_eq!(ask(3), None, "what was never tried repeats nothing");
        assert_eq!(ask(1), Some(said));
        assert_eq!(ask(1), None, "once");
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).expect("json");
        let b: Value = serde_json::from_str(r#"{"b":2,"a":1}"#).expect("json");
        assert_eq!(digest(&a), digest(&b));
        assert_ne!(digest(&a), digest(&json!({"a": 1})));
    }
}
