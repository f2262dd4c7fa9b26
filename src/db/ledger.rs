//! The writing thread and the handle to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Notify, oneshot};

use super::migrate::{self, Origin};
use super::trace;

/// Why the ledger did not do something.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite refused.
    #[error("the ledger cannot be written: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The batch that the change was part of could not be committed.
    #[error("the ledger cannot be written: {0}")]
    Commit(String),
    /// The file cannot be opened or brought to this version.
    #[error("{path}: {reason}")]
    Open {
        /// The ledger's path.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The change is against a rule; the text says which and what to do.
    #[error("{0}")]
    Refused(String),
    /// The writing thread is gone; the process is ending.
    #[error("the ledger is closed")]
    Closed,
}

/// What only the owner can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full.
    Full,
    /// The disk refuses to be written, as one that has turned read-only does.
    Unwritable,
    /// What is read is no ledger.
    Damaged,
}

impl LedgerError {
    /// What the owner must mend, if that is why.
    pub fn trouble(&self) -> Option<Trouble> {
        let text = match self {
            LedgerError::Sqlite(error) => error.to_string(),
            LedgerError::Commit(text) => text.clone(),
            _ => return None,
        };
        // The words of SQLite, which a batch that is lost hands on.
        let words = [
            ("disk is full", Trouble::Full),
            ("readonly", Trouble::Unwritable),
            ("I/O error", Trouble::Unwritable),
            ("malformed", Trouble::Damaged),
            ("not a database", Trouble::Damaged),
        ];
        words.iter().find(|(words, _)| text.contains(words)).map(|(_, trouble)| *trouble)
    }
}

/// A result of the ledger.
pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// Refuses a change, in words that help whoever asked for it.
pub fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(LedgerError::Refused(reason.into()))
}

/// Answers one caller, once its batch is committed (`None`) or lost (the reason).
type Reply = Box<dyn FnOnce(Option<String>) + Send>;
/// Runs in the open transaction, or is told why there is none. Besides the reply it
/// says what went wrong, if anything did.
type Job =
    Box<dyn FnOnce(std::result::Result<&Connection, &str>) -> (Reply, Option<String>) + Send>;

/// A handle to the writing thread. Cheap to clone; the thread ends with the last.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    damaged: Arc<Notify>,
}

impl Ledger {
    /// Opens the ledger for writing, creates or upgrades it, and starts its thread.
    /// One of 1.x is refused: its upgrade is the daemon's.
    pub fn open(path: &Path) -> Result<Ledger> {
        Ledger::open_from(path, None)
    }

    /// [`Ledger::open`], which upgrades one of 1.x too if it is told where from.
    pub fn open_from(path: &Path, origin: Option<&Origin>) -> Result<Ledger> {
        let connection = connect(path)?;
        doubt(&connection, path)?;
        migrate::run_from(&connection, path, origin)?;
        // Not before: what cannot be upgraded is left as it is, this included.
        connection.execute_batch("PRAGMA journal_mode = WAL")?;
        trace::begin(&connection);
        let (jobs, queue) = mpsc::channel();
        let damaged = Arc::new(Notify::new());
        let (mark, tell) = (mark(path), damaged.clone());
        std::thread::Builder::new()
            .name("ledger".into())
            .stack_size(512 * 1024)
            .spawn(move || write_batches(&connection, &queue, || found_damaged(&mark, &tell)))
            .map_err(|e| {
                let reason =
                    format!("its thread cannot be had ({e}): this user has too many processes");
                LedgerError::Open { path: path.into(), reason }
            })?;
        Ok(Ledger { path: path.into(), jobs, damaged })
    }

    /// Resolves when the ledger was found to be damaged: nothing that it says is to be
    /// relied upon, and the next start refuses it.
    pub async fn damaged(&self) {
        self.damaged.notified().await;
    }

    /// Opens an existing ledger to look at, without a thread; works while a daemon
    /// writes to it. `None` if there is none yet.
    pub fn look(path: &Path) -> Result<Option<Connection>> {
        if !path.exists() {
            return Ok(None);
        }
        let refuse = |reason: String| LedgerError::Open { path: path.into(), reason };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|e| refuse(e.to_string()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        match migrate::version(&connection) {
            Ok(migrate::SCHEMA_VERSION) => Ok(Some(connection)),
            Ok(older) if older < migrate::SCHEMA_VERSION => Err(refuse(format!(
                "is of version {older}, this program reads version {}: run `nanoclaw start` once to upgrade it",
                migrate::SCHEMA_VERSION
            ))),
            Ok(newer) => Err(refuse(migrate::too_new(newer))),
            Err(error) => Err(refuse(unusable(&error))),
        }
    }

    /// Reads what was committed when this begins, on a thread of its own: what somebody
    /// else asks for may take its time, and the writing thread goes on.
    pub async fn read<T, F>(&self, look: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let connection = Ledger::look(&path)?.ok_or(LedgerError::Closed)?;
            trace::begin(&connection);
            connection.execute_batch("BEGIN")?;
            look(&connection)
        });
        reading.await.map_err(|_| LedgerError::Closed)?
    }

    /// [`Ledger::write`] of what is worth noting, and not worth failing for.
    pub async fn note(
        &self,
        what: &'static str,
        change: impl FnOnce(&Connection) -> Result<()> + Send + 'static,
    ) {
        if let Err(error) = self.write(change).await {
            tracing::warn!(%error, "{what} was not noted");
        }
    }

    /// Runs `change` in a transaction and answers when it is durable. An error
    /// rolls back this change alone. The change takes its place in the order when
    /// this is called, not when the future is first polled.
    pub fn write<T, F>(&self, change: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let outcome = match transaction {
                Ok(connection) => whole(connection, change),
                Err(reason) => Err(LedgerError::Commit(reason.into())),
            };
            let wrong = match &outcome {
                Err(LedgerError::Sqlite(error)) => Some(error.to_string()),
                _ => None,
            };
            let reply: Reply = Box::new(move |lost| {
                let outcome = match (lost, outcome) {
                    (Some(reason), Ok(_)) => Err(LedgerError::Commit(reason)),
                    (_, outcome) => outcome,
                };
                // A caller that went away does not need its answer.
                let _ = answer.send(outcome);
            });
            (reply, wrong)
        });
        let sent = self.jobs.send(job);
        async move {
            sent.map_err(|_| LedgerError::Closed)?;
            answered.await.map_err(|_| LedgerError::Closed)?
        }
    }
}

/// Copies any SQLite database as it is at one moment, while others write to it.
pub fn copy_database(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Statements that stay prepared. A message and its answer take about thirty; with
/// fewer than that kept, each would be parsed anew every time.
const PREPARED: usize = 64;

fn connect(path: &Path) -> Result<Connection> {
    let open = |reason: String| LedgerError::Open { path: path.into(), reason };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| open(e.to_string()))?;
    }
    let connection = Connection::open(path).map_err(|e| open(e.to_string()))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -2000;
             SELECT count(*) FROM sqlite_master;",
        )
        .map_err(|e| open(unusable(&e)))?;
    Ok(connection)
}

fn unusable(error: &dyn std::fmt::Display) -> String {
    format!(
        "is not a usable ledger ({error}); restore it from a backup, as docs/faults.md says, or move it away to begin anew"
    )
}

/// Where it is noted that a ledger was found damaged, beside it.
fn mark(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

fn found_damaged(mark: &Path, tell: &Notify) {
    // On a disk that refuses it, the next daemon finds the damage as this one did.
    let _ = std::fs::File::create(mark);
    tell.notify_one();
}

/// Refuses a ledger that was found damaged, unless it is another one by now.
fn doubt(connection: &Connection, path: &Path) -> Result<()> {
    let mark = mark(path);
    if !mark.exists() {
        return Ok(());
    }
    match damage(connection) {
        Some(what) => Err(LedgerError::Open { path: path.into(), reason: unusable(&what) }),
        None => std::fs::remove_file(&mark)
            .map_err(|e| LedgerError::Open { path: mark, reason: e.to_string() }),
    }
}

/// What a look at every page finds wrong.
fn damage(connection: &Connection) -> Option<String> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    found.map_or_else(
        |error| Some(error.to_string()),
        |text: String| Some(text).filter(|t| t != "ok"),
    )
}

fn write_batches(connection: &Connection, queue: &mpsc::Receiver<Job>, damaged: impl Fn()) {
    while let Ok(first) = queue.recv() {
        let mut batch = std::iter::once(first).chain(queue.try_iter().take(256)).peekable();
        let mut doubt = false;
        while batch.peek().is_some() {
            let wrong = write_batch(connection, &mut batch);
            doubt |= wrong
                .is_some_and(|why| LedgerError::Commit(why).trouble() == Some(Trouble::Damaged));
        }
        if doubt && damage(connection).is_some() {
            damaged();
        }
    }
}

/// One transaction, with as many of the jobs as get into it. What went wrong last, if
/// anything did.
fn write_batch(connection: &Connection, jobs: &mut impl Iterator<Item = Job>) -> Option<String> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let reason = error.to_string();
        jobs.for_each(|job| job(Err(&reason)).0(None));
        return Some(reason);
    }
    let (mut replies, mut last) = (Vec::new(), None);
    for job in jobs {
        let (reply, wrong) = job(Ok(connection));
        replies.push(reply);
        // A full disk, and some other errors, make SQLite roll back everything and
        // not just the statement: then nothing of what ran before is there, and
        // what runs after would be committed alone.
        if connection.is_autocommit() {
            let lost = wrong.unwrap_or_else(|| "the transaction was rolled back".into());
            replies.into_iter().for_each(|reply| reply(Some(lost.clone())));
            return Some(lost);
        }
        last = wrong.or(last);
    }
    let lost = connection.execute_batch("COMMIT").err().map(|error| {
        // A failed commit may leave the transaction open.
        let _ = connection.execute_batch("ROLLBACK");
        error.to_string()
    });
    for reply in replies {
        reply(lost.clone());
    }
    lost.or(last)
}

/// Runs `change`, which may be part of a larger one, so that an error undoes all of it
/// and nothing else.
pub fn whole<T>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    connection.execute_batch("SAVEPOINT change")?;
    let outcome = change(connection);
    let end = if outcome.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    match connection.execute_batch(end) {
        Ok(()) => outcome,
        Err(error) => outcome.and(Err(error.into())),
    }
}

#[cfg(test)]
#[path = "tests/ledger.rs"]
mod tests;
