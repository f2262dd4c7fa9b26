//! Copying a file from one tree into another.
//!
//! Bytes that a row of the ledger will name must survive a power loss before that
//! row does, so a copy is synced, and so is the directory that holds its name.

use std::io::{self, Read};
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::{Tree, TreeError};

/// Uid and gid of a copy that is not to be the daemon's own.
pub type Owner = Option<(u32, u32)>;

impl Tree {
    /// Copies the regular file at `path` to `name` in `into` and returns its size.
    /// At most `limit` bytes are read, however the file grows meanwhile. The name
    /// appears when all bytes are there and synced; a file or link of that name is
    /// replaced. Mode 0644 less the umask.
    pub fn copy(
        &self,
        path: impl AsRef<Path>,
        into: &Tree,
        name: &str,
        limit: u64,
        owner: Owner,
    ) -> Result<u64, TreeError> {
        let path = path.as_ref();
        let from = self.open_file(path)?;
        let too_large = || TreeError::TooLarge {
            path: path.to_owned(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        // A sparse file of a terabyte is refused before a byte of it is written.
        if from.metadata().map_err(|e| TreeError::io(path, e))?.len() > limit {
            return Err(too_large());
        }
        let (dir, name) = into.walk(Path::new(name))?;
        let (hidden, to) = Tree::hidden(&dir, path)?;
        let mut to = to.into_std();
        let copied = io::copy(&mut from.take(limit + 1), &mut to).and_then(|size| {
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            to.sync_all()?;
            Ok(size)
        });
        let kept = match copied {
            Ok(size) if size > limit => Err(too_large()),
            Ok(size) => dir
                .rename(&hidden, &dir, name)
                .and_then(|()| sync(&dir))
                .map(|()| size)
                .map_err(|e| TreeError::io(path, e)),
            Err(e) => Err(TreeError::io(path, e)),
        };
        if kept.is_err() {
            // The copy's error matters; a leftover dot-name is harmless.
            let _ = dir.remove_file(&hidden);
        }
        kept
    }

    /// Lets its owner run a file.
    pub fn make_executable(&self, path: impl AsRef<Path>) -> Result<(), TreeError> {
        let path = path.as_ref();
        let file = self.open_file(path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755))
            .map_err(|e| TreeError::io(path, e.into()))
    }

    /// Gives this directory itself, and nothing in it, to another user.
    pub fn chown(&self, owner: Owner) -> Result<(), TreeError> {
        let Some((uid, gid)) = owner else { return Ok(()) };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&self.dir, ".", uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| TreeError::io(".", e.into()))
    }

    /// Makes the names in this directory survive a power loss.
    pub fn sync(&self) -> Result<(), TreeError> {
        sync(&self.dir).map_err(|e| TreeError::io(".", e))
    }
}

/// A handle of ours may serve for paths alone, so the directory is opened again.
fn sync(dir: &Dir) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(opened)?)
}
