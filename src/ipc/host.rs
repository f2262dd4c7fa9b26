//! The host's end of one incarnation's mailbox.
//!
//! The host writes `in` and reads `out`. It trusts nothing in `out`: names,
//! kinds and sizes are the guest's doing, so every touch goes through
//! [`crate::tree`], and what is not a record is set aside with a reason and never
//! stops the queue.

use std::path::{Path, PathBuf};

use crate::crash;
use crate::ipc::record::{self, GuestRecord, HostRecord, MAX_RECORD, MAX_WAITING};
use crate::tree::{Tree, TreeError};

/// The most bad records that are set aside for one incarnation: enough to find a
/// fault by, and few enough that nobody fills the disk or the host's time with them.
const MAX_BAD: usize = 20;

/// The records for the guest that are kept: one that is further behind is none.
const KEPT: u64 = 200;

/// Why the mailbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The system refused.
    #[error("mailbox {path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory of it is not what the host made.
    #[error("mailbox: {0}")]
    Tree(#[from] TreeError),
    /// Its guest writes rubbish and nothing else.
    #[error("the guest wrote more than {MAX_BAD} bad records")]
    Broken,
    /// More records wait than a guest may leave.
    #[error("the guest left more than {MAX_WAITING} records unread")]
    Flooded,
}

impl MailboxError {
    /// Whether it is not the guest's doing and may be over at the next look.
    pub fn passes(&self) -> bool {
        match self {
            MailboxError::Tree(error) => error.is_shortage(),
            _ => false,
        }
    }
}

/// The two directories of one incarnation.
pub struct HostMailbox {
    inbox: PathBuf,
    outbox: Tree,
    errors: PathBuf,
    label: String,
    written: u64,
    next: u64,
    /// Bad records so far.
    bad: usize,
}

impl HostMailbox {
    /// Makes the directories `in` and `out` under `directory` (data/ipc/<folder>/<n>).
    /// Bad files go to `errors`.
    pub fn create(directory: &Path, errors: &Path) -> Result<HostMailbox, MailboxError> {
        for path in [directory.join("in"), directory.join("out"), errors.to_path_buf()] {
            std::fs::create_dir_all(&path).map_err(|source| MailboxError::Io { path, source })?;
        }
        HostMailbox::open(directory, errors, 0)
    }

    /// Opens the mailbox that a guest left; records up to `done` have had their
    /// effect.
    pub fn open(directory: &Path, errors: &Path, done: u64) -> Result<HostMailbox, MailboxError> {
        let names: Vec<_> = directory.components().rev().take(2).collect();
        let label = names.iter().rev().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>();
        Ok(HostMailbox {
            inbox: directory.join("in"),
            outbox: Tree::open(&directory.join("out"))?,
            errors: errors.to_path_buf(),
            label: label.join("-"),
            written: 0,
            next: done + 1,
            bad: 0,
        })
    }

    /// Where the guest writes, to be watched.
    pub fn out(directory: &Path) -> PathBuf {
        directory.join("out")
    }

    /// Writes the next record for the guest. It is there at once and whole; it is
    /// not synced, because after a power loss the guest is gone too.
    pub fn write(&mut self, record: &HostRecord) -> Result<(), MailboxError> {
        let number = self.written + 1;
        let name = record::file_name(number);
        let (hidden, path) = (self.inbox.join(format!(".{name}")), self.inbox.join(&name));
        let io = |source| MailboxError::Io { path: path.clone(), source };
        let bytes = serde_json::to_vec(record).map_err(|e| io(e.into()))?;
        crash::point("before writing", record);
        std::fs::write(&hidden, bytes).and_then(|()| readable(&hidden)).map_err(io)?;
        crash::point("before showing", record);
        std::fs::rename(&hidden, &path).map_err(io)?;
        crash::point("after showing", record);
        self.written = number;
        if let Some(old) = number.checked_sub(KEPT).filter(|old| *old > 0) {
            // Somebody else may have removed it.
            let _ = std::fs::remove_file(self.inbox.join(record::file_name(old)));
        }
        Ok(())
    }

    /// The next record and its number, if the guest has written it. What is not a
    /// record is set aside.
    pub fn read(&mut self) -> Result<Option<(u64, GuestRecord)>, MailboxError> {
        loop {
            let number = self.next;
            match self.read_numbered(number)? {
                Read::Record(record) => return Ok(Some((number, record))),
                Read::SetAside => self.next += 1,
                Read::Missing => return Ok(None),
            }
        }
    }

    /// Says that the record's effect is durable: removes it and goes on.
    pub fn done(&mut self, number: u64) -> Result<(), MailboxError> {
        self.next = self.next.max(number + 1);
        match self.outbox.remove(record::file_name(number)) {
            Ok(()) | Err(TreeError::Missing(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The numbers that a dead guest left, in order; gaps are what was done before.
    pub fn left(&self) -> Result<Vec<u64>, MailboxError> {
        let names = self.outbox.list(2 * MAX_WAITING)?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| record::sequence(name.to_str()?))
            .filter(|&number| number >= self.next)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads one of the numbers that a dead guest left.
    pub fn read_left(&mut self, number: u64) -> Result<Option<GuestRecord>, MailboxError> {
        match self.read_numbered(number)? {
            Read::Record(record) => Ok(Some(record)),
            Read::SetAside | Read::Missing => Ok(None),
        }
    }

    /// Refuses a guest that leaves too much.
    pub fn check(&self) -> Result<(), MailboxError> {
        match self.outbox.list(2 * MAX_WAITING)?.len() {
            0..=MAX_WAITING => Ok(()),
            _ => Err(MailboxError::Flooded),
        }
    }

    fn read_numbered(&mut self, number: u64) -> Result<Read, MailboxError> {
        let name = record::file_name(number);
        let reason = match self.outbox.read(&name, MAX_RECORD) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => return Ok(Read::Record(record)),
                Err(error) => error.to_string(),
            },
            Err(TreeError::Missing(_)) => return Ok(Read::Missing),
            Err(error) if error.is_shortage() => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        self.bad += 1;
        if self.bad > MAX_BAD {
            return Err(MailboxError::Broken);
        }
        let aside = format!("{}-{name}", self.label);
        tracing::warn!(mailbox = self.label, record = number, reason, "set a bad record aside");
        let errors = Tree::open(&self.errors)?;
        self.outbox.set_aside(&name, &errors, &aside)?;
        let path = self.errors.join(format!("{aside}.reason"));
        std::fs::write(&path, reason).map_err(|source| MailboxError::Io { path, source })?;
        Ok(Read::SetAside)
    }
}

enum Read {
    Record(GuestRecord),
    SetAside,
    Missing,
}

/// The guest may run under another uid; the directory above keeps everybody else
/// out.
fn readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::TurnId;

    fn mailbox() -> (tempfile::TempDir, HostMailbox, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("ipc/main/7");
        let mailbox = HostMailbox::create(&place, &dir.path().join("ipc/errors")).unwrap();
        let out = place.join("out");
        (dir, mailbox, out)
    }

    #[test]
    fn records_come_in_the_order_of_their_numbers() {
        let (_dir, mut mailbox, out) = mailbox();
        assert!(mailbox.read().unwrap().is_none());
        std::fs::write(out.join(record::file_name(2)), r#"{"type":"state","background":2}"#)
            .unwrap();
        assert!(mailbox.read().unwrap().is_none(), "1 is missing");
        std::fs::write(out.join(record::file_name(1)), r#"{"type":"state","background":1}"#)
            .unwrap();
        for n in 1..=2 {
            let (number, record) = mailbox.read().unwrap().unwrap();
            assert_eq!((number, record), (n, GuestRecord::State { background: n as u32 }));
            mailbox.done(number).unwrap();
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    }

    #[test]
    fn garbage_is_set_aside_and_the_queue_goes_on() {
        let (dir, mut mailbox, out) = mailbox();
        let name = |n| out.join(record::file_name(n));
        std::fs::write(name(1), b"{").unwrap();
        std::fs::write(name(2), b"\xff\xfe").unwrap();
        std::fs::write(name(3), vec![b' '; MAX_RECORD + 1]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", name(4)).unwrap();
        std::fs::create_dir(name(5)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            name(6),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::fs::write(name(7), r#"{"type":"done","turns":[1],"text":"hi"}"#).unwrap();
        let (number, record) = mailbox.read().unwrap().unwrap();
        assert_eq!(number, 7);
        assert_eq!(record, GuestRecord::Done { turns: vec![TurnId(1)], text: Some("hi".into()) });
        let errors = dir.path().join("ipc/errors");
        assert!(errors.join("main-7-0000000000000004.json.reason").exists());
        assert!(
            !std::fs::read_dir(&out)
                .unwrap()
                .any(|f| f.unwrap().file_name() == "0000000000000001.json")
        );
    }

    #[test]
    fn a_drain_finds_what_stands_behind_a_gap() {
        let (_dir, mailbox, out) = mailbox();
        for n in [9_u64, 4, 2] {
            std::fs::write(out.join(record::file_name(n)), "{}").unwrap();
        }
        assert_eq!(mailbox.left().unwrap(), [2, 4, 9]);
    }

    #[test]
    fn the_host_writes_dense_numbers_from_one() {
        let (dir, mut mailbox, _) = mailbox();
        mailbox.write(&HostRecord::Close).unwrap();
        mailbox.write(&HostRecord::Close).unwrap();
        let inbox = dir.path().join("ipc/main/7/in");
        let mut names: Vec<_> = std::fs::read_dir(inbox)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0000000000000001.json", "0000000000000002.json"]);
    }

    #[test]
    fn what_a_guest_is_far_behind_with_is_not_kept() {
        let (dir, mut mailbox, _) = mailbox();
        for _ in 0..KEPT + 5 {
            mailbox.write(&HostRecord::Close).unwrap();
        }
        let inbox = dir.path().join("ipc/main/7/in");
        assert_eq!(std::fs::read_dir(&inbox).unwrap().count() as u64, KEPT);
        assert!(inbox.join(record::file_name(KEPT + 5)).exists());
    }
}
