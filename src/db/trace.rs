//! Which statements the ledger really runs, for the test that looks at their plans.
//!
//! `SQL_TRACE` names a file that gets each statement once, a line of JSON. A program
//! that is built for use has none of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

static SEEN: Mutex<Option<(HashSet<String>, File)>> = Mutex::new(None);

/// Writes down what `connection` runs, where a test wants to know.
pub(super) fn begin(connection: &Connection) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(path) = std::env::var_os("SQL_TRACE") else { return };
    let Ok(file) = File::options().create(true).append(true).open(path) else { return };
    if let Ok(mut seen) = SEEN.lock() {
        seen.get_or_insert_with(|| (HashSet::new(), file));
    }
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
}

fn note(event: TraceEvent<'_>) {
    let TraceEvent::Stmt(statement, _) = event else { return };
    let sql = statement.sql().to_string();
    if let Ok(mut seen) = SEEN.lock()
        && let Some((seen, file)) = seen.as_mut()
        && seen.insert(sql.clone())
    {
        let _ = writeln!(file, "{}", serde_json::Value::String(sql));
    }
}
