//! The one way to touch a directory that a guest can write.
//!
//! A guest may put anything there at any moment: a link to `/etc/shadow`, a pipe
//! that blocks its reader, a file of a terabyte, a directory where a file was a
//! microsecond ago. A [`Tree`] works beneath an open handle, walks one component
//! at a time, follows no link in any position, opens regular files only and
//! never blocks on one. What it cannot accept it refuses with a typed error.
//!
//! It owns no policy: what is set aside and where is the caller's. Host code must
//! not use `std::fs` on such a directory. Names in errors are quoted, since a
//! guest chose them.
//!
//! Why not only resolve-beneath: a link that stays beneath the handle is still a
//! way to make the host read or replace one file where it means another.

mod copy;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt, OpenOptions, OpenOptionsExt};

pub use copy::Owner;

/// What the name of a file begins with that is not whole yet.
pub const UNFINISHED: &str = ".new-";

/// Why something in a tree was refused.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Nothing has this name.
    #[error("{0:?} does not exist")]
    Missing(PathBuf),
    /// A link, directory, pipe, socket or device where a file belongs.
    #[error("{0:?} is not a regular file")]
    NotRegular(PathBuf),
    /// A link or file where a directory belongs.
    #[error("{0:?} is not a directory")]
    NotDirectory(PathBuf),
    /// A regular file that has a second name, perhaps outside the tree.
    #[error("{0:?} has more than one hard link")]
    Linked(PathBuf),
    /// More bytes than the caller accepts.
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that was accepted.
        limit: usize,
    },
    /// Empty, absolute, or with `.` or `..` in it.
    #[error("{0:?} is not a path beneath a directory")]
    BadName(PathBuf),
    /// The operating system refused.
    #[error("{path:?}: {source}")]
    Io {
        /// What was being touched.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl TreeError {
    fn io(path: impl AsRef<Path>, source: io::Error) -> TreeError {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => TreeError::Missing(path),
            _ => TreeError::Io { path, source },
        }
    }

    /// Whether the machine has too little of something just now: not what is there is
    /// wrong.
    pub fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let TreeError::Io { source, .. } = self else { return false };
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
            .iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}

/// An open directory, and the only handle on what is beneath it.
#[derive(Debug)]
pub struct Tree {
    dir: Dir,
}

impl Tree {
    /// Opens a directory whose own name is not a link. The directories above it
    /// are the host's, so links among them are followed.
    pub fn open(path: &Path) -> Result<Tree, TreeError> {
        let io = |source| TreeError::io(path, source);
        let Some(name) = path.file_name() else {
            // `/`, `.` or `..`: none of them can be a link.
            return Ok(Tree { dir: Dir::open_ambient_dir(path, ambient_authority()).map_err(io)? });
        };
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = Dir::open_ambient_dir(parent, ambient_authority()).map_err(io)?;
        Ok(Tree { dir: open_dir(&parent, name, path)? })
    }

    /// Opens a directory beneath this one.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Tree, TreeError> {
        let path = path.as_ref();
        let (dir, name) = self.walk(path)?;
        Ok(Tree { dir: open_dir(&dir, name, path)? })
    }

    /// Makes a directory (mode 0755, less the umask) unless it is there, and opens
    /// it. The directories above it must exist.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<Tree, TreeError> {
        let path = path.as_ref();
        let (dir, name) = self.walk(path)?;
        match dir.create_dir_with(name, DirBuilder::new().mode(0o755)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(TreeError::io(path, e));
            }
            _ => {}
        }
        Ok(Tree { dir: open_dir(&dir, name, path)? })
    }

    /// Opens a regular file with one name for reading. It may grow or shrink while
    /// it is read; [`Tree::read`] bounds that.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File, TreeError> {
        let path = path.as_ref();
        let (dir, name) = self.walk(path)?;
        // Looked at before it is opened, because opening a pipe or a device can
        // have effects; and again afterwards, because it may have been swapped.
        let before = dir.symlink_metadata(name).map_err(|e| TreeError::io(path, e))?;
        if !before.is_file() {
            return Err(TreeError::NotRegular(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let file = match dir.open_with(name, &options) {
            Ok(file) => file,
            Err(e) if is_swapped(&e) => return Err(TreeError::NotRegular(path.to_owned())),
            Err(e) => return Err(TreeError::io(path, e)),
        };
        let meta = file.metadata().map_err(|e| TreeError::io(path, e))?;
        match (meta.is_file(), meta.nlink()) {
            (false, _) => Err(TreeError::NotRegular(path.to_owned())),
            (true, 0 | 1) => Ok(file.into_std()),
            (true, _) => Err(TreeError::Linked(path.to_owned())),
        }
    }

    /// Reads a whole regular file of at most `limit` bytes.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>, TreeError> {
        let path = path.as_ref();
        let file = self.open_file(path)?;
        let size = file.metadata().map_err(|e| TreeError::io(path, e))?.len();
        let too_large = || TreeError::TooLarge { path: path.to_owned(), limit };
        if size > limit as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // One more than allowed, to notice a file that grew since.
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| TreeError::io(path, e))?;
        if bytes.len() > limit { Err(too_large()) } else { Ok(bytes) }
    }

    /// Writes a file whole: under a name that begins with `.`, then renamed, so
    /// that no reader sees half of it. Replaces a file or link of that name (the
    /// link itself, never its target). Mode 0644 less the umask. Not synced: after
    /// a power loss the name may be missing or the file empty.
    pub fn write_new(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), TreeError> {
        let path = path.as_ref();
        let (dir, name) = self.walk(path)?;
        let (hidden, mut file) = Self::hidden(&dir, path)?;
        let done = file.write_all(bytes).and_then(|()| dir.rename(&hidden, &dir, name));
        done.map_err(|e| {
            // The write's error matters; a leftover dot-name is harmless.
            let _ = dir.remove_file(&hidden);
            TreeError::io(path, e)
        })
    }

    /// A new, empty file in `dir` under a name that readers pass over, for `path`.
    fn hidden(dir: &Dir, path: &Path) -> Result<(String, cap_std::fs::File), TreeError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).follow(FollowSymlinks::No).mode(0o644);
        // A taken name is a leftover of an earlier process of the same pid, or a
        // guest's mischief; each try uses another.
        for _ in 0..100 {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED}{}-{n}", std::process::id());
            match dir.open_with(&name, &options) {
                Ok(file) => return Ok((name, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(TreeError::io(path, e)),
            }
        }
        Err(TreeError::io(path, io::ErrorKind::AlreadyExists.into()))
    }

    /// Removes one name that is not a directory; a link goes, its target stays.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<(), TreeError> {
        let path = path.as_ref();
        let (dir, name) = self.walk(path)?;
        dir.remove_file(name).map_err(|e| TreeError::io(path, e))
    }

    /// Moves whatever has this name, of any kind, into another tree, replacing a
    /// file called `name` there. A file that cannot be moved (another filesystem) is
    /// removed, so that it is out of the way: true if it was kept. A directory may take
    /// long to remove, so that one stays, and is an error.
    pub fn set_aside(
        &self,
        path: impl AsRef<Path>,
        into: &Tree,
        name: &str,
    ) -> Result<bool, TreeError> {
        let path = path.as_ref();
        let (dir, from) = self.walk(path)?;
        let (to, name) = into.walk(Path::new(name))?;
        match dir.rename(from, &to, name) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(TreeError::io(path, e)),
            Err(e) => {
                let meta = dir.symlink_metadata(from).map_err(|e| TreeError::io(path, e))?;
                if !meta.is_dir() {
                    return self.remove(path).map(|()| false);
                }
                // Its guest may have taken the right to move it from itself, and from us.
                let moved =
                    walk::unlock(&dir, from, &meta).and_then(|()| dir.rename(from, &to, name));
                moved.map(|()| true).map_err(|_| TreeError::io(path, e))
            }
        }
    }

    /// At most `limit` names in this directory, sorted. Ask for one more than you
    /// accept to notice that there are more.
    pub fn list(&self, limit: usize) -> Result<Vec<OsString>, TreeError> {
        let entries = self.dir.entries().map_err(|e| TreeError::io(".", e))?;
        let mut names = entries
            .take(limit)
            .map(|entry| entry.map(|e| e.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|e| TreeError::io(".", e))?;
        names.sort();
        Ok(names)
    }

    /// The directory that holds the last component, reached without a link.
    fn walk<'a>(&self, path: &'a Path) -> Result<(Dir, &'a OsStr), TreeError> {
        let bad = || TreeError::BadName(path.to_owned());
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                _ => return Err(bad()),
            }
        }
        let last = names.pop().ok_or_else(bad)?;
        let mut dir = self.dir.try_clone().map_err(|e| TreeError::io(path, e))?;
        for name in names {
            dir = open_dir(&dir, name, path)?;
        }
        Ok((dir, last))
    }
}

fn open_dir(parent: &Dir, name: &OsStr, path: &Path) -> Result<Dir, TreeError> {
    match parent.open_dir_nofollow(name) {
        Ok(dir) => Ok(dir),
        Err(e) if is_swapped(&e) => Err(TreeError::NotDirectory(path.to_owned())),
        Err(e) => Err(TreeError::io(path, e)),
    }
}

/// Whether an open failed because of what the name is, not of what we may do.
fn is_swapped(e: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::LOOP, Errno::NXIO, Errno::NOTDIR, Errno::ISDIR]
        .iter()
        .any(|errno| e.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
