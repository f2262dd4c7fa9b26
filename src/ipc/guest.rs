//! The guest's end of the mailbox.
//!
//! [`Inbox`] reads the host's records by their next name, so it needs no listing
//! and may be given a read-only directory. [`Outbox`] writes ours: each complete
//! before its name appears, none larger than the host accepts, never so many
//! that the host takes us for a runaway. This module knows nothing of turns or
//! of the CLI.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::crash;

use super::record::{GuestRecord, HostRecord, MAX_RECORD, MAX_WAITING, file_name};

/// Appended to a text that had to be cut.
const CUT: &str = "\n\n[The rest was cut: it is longer than can be delivered.]";
/// How many records may wait before we do: some way below [`MAX_WAITING`], so
/// that a slow host is never mistaken for a runaway guest.
const WAIT_AT: usize = MAX_WAITING - 50;
/// How often a full mailbox is looked at again.
const RETRY: Duration = Duration::from_millis(50);

/// The directory that the host writes.
#[derive(Debug)]
pub struct Inbox {
    directory: PathBuf,
    next: u64,
}

/// A record that cannot be understood; it was passed over.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// It could not be read.
    #[error("record {0} of the host cannot be read: {1}")]
    Unreadable(u64, io::Error),
    /// It is larger than the mailbox allows.
    #[error("record {0} of the host is larger than {MAX_RECORD} bytes")]
    TooLarge(u64),
    /// It is no record of a known type.
    #[error("record {0} of the host is not understood: {1}")]
    Unknown(u64, serde_json::Error),
}

impl Inbox {
    /// Reads `directory` from its first record on.
    pub fn new(directory: impl Into<PathBuf>) -> Inbox {
        Inbox { directory: directory.into(), next: 1 }
    }

    /// The next record, or none if the host has not written it yet.
    pub fn read(&mut self) -> Option<Result<HostRecord, BadRecord>> {
        let sequence = self.next;
        let file = match fs::File::open(self.directory.join(file_name(sequence))) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                self.next += 1;
                return Some(Err(BadRecord::Unreadable(sequence, e)));
            }
        };
        self.next += 1;
        let mut bytes = Vec::new();
        if let Err(e) = file.take(MAX_RECORD as u64 + 1).read_to_end(&mut bytes) {
            return Some(Err(BadRecord::Unreadable(sequence, e)));
        }
        if bytes.len() > MAX_RECORD {
            return Some(Err(BadRecord::TooLarge(sequence)));
        }
        Some(serde_json::from_slice(&bytes).map_err(|e| BadRecord::Unknown(sequence, e)))
    }
}

/// The directory that the host reads.
#[derive(Debug)]
pub struct Outbox {
    directory: PathBuf,
    next: u64,
    /// The oldest record that the host may not have taken yet.
    oldest: u64,
}

impl Outbox {
    /// Writes to `directory`, which is empty: each incarnation has its own.
    pub fn new(directory: impl Into<PathBuf>) -> Outbox {
        Outbox { directory: directory.into(), next: 1, oldest: 1 }
    }

    /// Writes one record, cutting its text where it is too long. Waits while the
    /// host does not take what is already there.
    pub async fn write(&mut self, mut record: GuestRecord) -> io::Result<()> {
        let bytes = fit(&mut record)?;
        while self.waiting() >= WAIT_AT {
            tokio::time::sleep(RETRY).await;
        }
        crash::point("guest before writing", &record);
        write_whole(&self.directory, self.next, &bytes)?;
        crash::point("guest after writing", &record);
        self.next += 1;
        Ok(())
    }

    /// How many records the host has not taken. It takes them in order, so it is
    /// enough to move the oldest on.
    fn waiting(&mut self) -> usize {
        let taken = |n: u64| !self.directory.join(file_name(n)).exists();
        while self.oldest < self.next && taken(self.oldest) {
            self.oldest += 1;
        }
        usize::try_from(self.next - self.oldest).unwrap_or(usize::MAX)
    }
}

/// Writes to a name that readers pass over, then renames: a reader sees a whole
/// record or none.
fn write_whole(directory: &Path, sequence: u64, bytes: &[u8]) -> io::Result<()> {
    let name = file_name(sequence);
    let hidden = directory.join(format!(".{name}"));
    fs::File::create(&hidden)?.write_all(bytes)?;
    fs::rename(hidden, directory.join(name))
}

/// The record as JSON of at most [`MAX_RECORD`] bytes.
fn fit(record: &mut GuestRecord) -> io::Result<Vec<u8>> {
    loop {
        let bytes = serde_json::to_vec(record)?;
        if bytes.len() <= MAX_RECORD {
            return Ok(bytes);
        }
        let text = match record {
            GuestRecord::Done { text: Some(text), .. } => text,
            GuestRecord::Failed { error, .. } => error,
            GuestRecord::Text { text, .. } => text,
            _ => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record is too large"));
            }
        };
        // Escapes make JSON longer than its text; cutting in proportion gets
        // below the limit in a few rounds whatever the text holds.
        let body = text.strip_suffix(CUT).map_or(text.len(), str::len);
        let keep = (body * (MAX_RECORD - 4096) / bytes.len()).min(body.saturating_sub(1));
        text.truncate(text.floor_char_boundary(keep));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::TurnId;

    #[test]
    fn records_are_read_in_order_and_bad_ones_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::new(dir.path());
        assert!(inbox.read().is_none());
        write_whole(dir.path(), 1, br#"{"type":"interrupt","turn":3}"#).unwrap();
        write_whole(dir.path(), 2, br#"{"type":"dance"}"#).unwrap();
        write_whole(dir.path(), 3, br#"{"type":"close","why":"newer"}"#).unwrap();
        assert_eq!(inbox.read().unwrap().unwrap(), HostRecord::Interrupt { turn: TurnId(3) });
        assert!(matches!(inbox.read(), Some(Err(BadRecord::Unknown(2, _)))));
        assert_eq!(inbox.read().unwrap().unwrap(), HostRecord::Close);
        assert!(inbox.read().is_none());
    }

    #[test]
    fn a_long_text_is_cut_to_a_record_that_the_host_accepts_and_says_so() {
        for text in ["ä".repeat(3 * MAX_RECORD), "\u{1}".repeat(MAX_RECORD), "x".repeat(MAX_RECORD)]
        {
            let bytes =
                fit(&mut GuestRecord::Done { turns: vec![TurnId(1)], text: Some(text) }).unwrap();
            assert!(bytes.len() <= MAX_RECORD && bytes.len() > MAX_RECORD / 2, "{}", bytes.len());
            let back: GuestRecord = serde_json::from_slice(&bytes).unwrap();
            assert!(matches!(back, GuestRecord::Done { text: Some(t), .. } if t.ends_with(CUT)));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_host_that_does_not_read_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::new(dir.path());
        for _ in 0..WAIT_AT {
            outbox.write(GuestRecord::State { background: 0 }).await.unwrap();
        }
        let late = outbox.write(GuestRecord::State { background: 1 });
        assert!(
            tokio::time::timeout(Duration::from_millis(200), late).await.is_err(),
            "it did not wait"
        );
        fs::remove_file(dir.path().join(file_name(1))).unwrap();
        outbox.write(GuestRecord::State { background: 1 }).await.unwrap();
        assert!(dir.path().join(file_name(WAIT_AT as u64 + 1)).exists());
    }
}
