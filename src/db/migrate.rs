//! Brings a ledger to this program's version, from any older one or from any state
//! of a NanoClaw 1.x database.
//!
//! A version is a list of parts: SQL of `migrations/`, and functions for what SQL
//! alone cannot say. All that are missing run in one transaction, after a backup:
//! the ledger is at the new version or as it was. The functions know the tables of
//! their own version only, and so use none of the ledger's other modules.

mod columns;
mod import;
mod settle;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::ledger::{LedgerError, Result};
use super::settings;
use super::sql::Sql as _;
use crate::crash;
use crate::router::SenderAllowlist;

/// A part of a version.
enum Part {
    Sql(&'static str),
    Code(fn(&Connection, &mut Work<'_>) -> Result<()>),
}

use Part::{Code, Sql};

/// Applied in order; the number of those applied is `user_version`.
const VERSIONS: &[&[Part]] = &[
    &[
        Code(columns::complete),
        Sql(include_str!("../../migrations/0001_nanoclaw_1x.sql")),
        Code(import::files),
    ],
    &[
        Code(settle::screen),
        Sql(include_str!("../../migrations/0002_ledger.sql")),
        Code(settle::messages),
    ],
    &[Sql(include_str!("../../migrations/0003_search.sql"))],
    &[Sql(include_str!("../../migrations/0004_tasks.sql"))],
    &[Sql(include_str!("../../migrations/0005_files.sql"))],
    &[Sql(include_str!("../../migrations/0006_people.sql"))],
    &[Sql(include_str!("../../migrations/0007_whatsapp.sql"))],
    &[Sql(include_str!("../../migrations/0008_runtimes.sql"))],
    &[Sql(include_str!("../../migrations/0009_limits.sql"))],
    &[Sql(include_str!("../../migrations/0010_search.sql"))],
];

/// The version that this program reads and writes.
pub const SCHEMA_VERSION: i64 = VERSIONS.len() as i64;
/// The first that is not 1.x's.
const OWN: i64 = 2;

/// What the upgrade of a 1.x database must know besides the database.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where the first days' JSON files lie.
    pub data: PathBuf,
    /// The assistant's name.
    pub assistant: String,
    /// Whether the WhatsApp number is the assistant's alone.
    pub own_number: bool,
    /// Who may wake it.
    pub allowlist: SenderAllowlist,
    /// When this is, milliseconds.
    pub now: i64,
}

/// What the upgrade of a 1.x database did; kept as the setting `upgrade`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When, milliseconds.
    pub at: i64,
    /// The copy of the database as it was; none if there was no database.
    pub backup: Option<PathBuf>,
    /// Groups that are served on.
    pub groups: i64,
    /// Messages that were kept.
    pub messages: i64,
    /// Of these, those that are answered now.
    pub queued: i64,
    /// Of these, those that should have been answered more than a day ago.
    pub left_out: i64,
    /// Tasks that were kept.
    pub tasks: i64,
    /// What the owner should know: one sentence each.
    pub warnings: Vec<String>,
    /// JSON files that were read and wait to be renamed.
    pub files: Vec<PathBuf>,
    /// Whether the owner has seen this.
    pub told: bool,
}

/// What the parts of one upgrade hand to each other.
struct Work<'a> {
    /// None for a new ledger.
    origin: Option<&'a Origin>,
    /// Chats whose group the 1.x tables can hold only once: (jid, name, folder).
    links: Vec<(String, String, String)>,
    /// Rows of (messages, scheduled_tasks, task_run_logs, sessions) before.
    rows: [i64; 4],
    report: Report,
}

/// The version of an open ledger.
pub fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Makes a new ledger, or upgrades one of this program. One of 1.x is refused: it
/// takes [`run_from`].
#[cfg(test)]
pub fn run(connection: &Connection, path: &Path) -> Result<()> {
    run_from(connection, path, None)
}

/// Upgrades in one transaction: it is at the new version or untouched. A ledger
/// with rows is copied beside itself first.
pub fn run_from(connection: &Connection, path: &Path, origin: Option<&Origin>) -> Result<()> {
    let refuse = |reason: String| LedgerError::Open { path: path.into(), reason };
    let from = version(connection)?;
    if from > SCHEMA_VERSION {
        return Err(refuse(too_new(from)));
    }
    if from < SCHEMA_VERSION {
        let tables: i64 = connection.one("SELECT count(*) FROM sqlite_master", [])?;
        if tables > 0 && from < OWN && origin.is_none() {
            return Err(refuse(
                "is of NanoClaw 1.x: run `nanoclaw start` once, which upgrades it".into(),
            ));
        }
        let backup = (tables > 0).then(|| back_up(connection, path, from)).transpose().map_err(|e| {
            refuse(format!(
                "needs an upgrade, but its backup could not be made ({e}); nothing was changed. \
                 If it is damaged, restore it from a backup of yours"
            ))
        })?;
        crash::point("upgrade after copying", &"ledger");
        if let Err(error) = upgrade(connection, origin, backup.clone()) {
            // It equals what is still there.
            if let Some(backup) = backup {
                let _ = std::fs::remove_file(backup);
            }
            return Err(refuse(format!("could not be upgraded ({error}); nothing was changed")));
        }
    }
    if origin.is_some() { retire_files(connection) } else { Ok(()) }
}

/// Why a ledger of this version is not touched.
pub fn too_new(version: i64) -> String {
    format!(
        "was written by a newer NanoClaw (version {version}, this one knows {SCHEMA_VERSION}): start that one, or restore the backup made before the upgrade"
    )
}

fn upgrade(
    connection: &Connection,
    origin: Option<&Origin>,
    backup: Option<PathBuf>,
) -> Result<()> {
    // Dropping and renaming tables must not cascade; SQLite wants this outside.
    connection.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")?;
    let applied = apply(connection, origin, backup);
    crash::point("upgrade before committing", &"ledger");
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end);
    if ended.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    crash::point("upgrade after committing", &"ledger");
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    applied.and(ended.map_err(Into::into))
}

fn apply(c: &Connection, origin: Option<&Origin>, backup: Option<PathBuf>) -> Result<()> {
    // Looked at again, now that nobody else writes: another process may have done it.
    let from = version(c)?;
    let report = Report { at: origin.map_or(0, |o| o.now), backup, ..Report::default() };
    let mut work = Work { origin, links: Vec::new(), rows: [0; 4], report };
    for (number, parts) in (1..).zip(VERSIONS).skip(usize::try_from(from).unwrap_or(0)) {
        for part in *parts {
            match part {
                Sql(sql) => c.execute_batch(sql)?,
                Code(code) => code(c, &mut work)?,
            }
            crash::point("upgrade within", &number);
        }
    }
    Ok(c.pragma_update(None, "user_version", SCHEMA_VERSION)?)
}

fn back_up(connection: &Connection, path: &Path, from: i64) -> Result<PathBuf> {
    let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%S%3f");
    let copy = path.with_extension(format!("v{from}.{stamp}.db"));
    match connection.change("VACUUM INTO ?1", [copy.to_string_lossy()]) {
        Ok(_) => Ok(copy),
        Err(error) => {
            let _ = std::fs::remove_file(&copy);
            Err(error)
        }
    }
}

/// What the upgrade of a 1.x database did, if this ledger was one.
pub fn report(c: &Connection) -> Result<Option<Report>> {
    let text = settings::get(c, settings::UPGRADE)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Notes a changed report.
pub fn note(c: &Connection, report: &Report) -> Result<()> {
    let text = serde_json::to_string(report).map_err(|e| LedgerError::Refused(e.to_string()))?;
    settings::set(c, settings::UPGRADE, &text)
}

/// Only now that their rows are durable; a crash in between leaves it to the next
/// start.
fn retire_files(c: &Connection) -> Result<()> {
    let Some(mut report) = report(c)?.filter(|r| !r.files.is_empty()) else { return Ok(()) };
    for file in std::mem::take(&mut report.files) {
        let mut retired = file.clone().into_os_string();
        retired.push(".migrated");
        match std::fs::rename(&file, &retired) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => report.warnings.push(format!(
                "{} was read but cannot be renamed ({e}): it has no effect any more",
                file.display()
            )),
            _ => {}
        }
        crash::point("upgrade after renaming", &"file");
    }
    note(c, &report)
}

#[cfg(test)]
mod tests;
