//! Whole trees: change the owner of everything, remove everything.
//!
//! However deep a guest nests its directories, neither the stack nor the number of
//! open files follows: the depth is bounded or flattened away.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, FileTypeExt, Metadata, MetadataExt, Permissions, PermissionsExt};
use rustix::fs::{AtFlags, Gid, Uid};

use super::{Tree, TreeError, open_dir};

/// Deeper than any package manager nests.
const MAX_DEPTH: usize = 128;

impl Tree {
    /// Gives this directory and everything in it to `uid` and `gid`: links
    /// themselves, not their targets. Touches only what differs.
    pub fn chown_all(&self, uid: u32, gid: u32) -> Result<(), TreeError> {
        let here = self.dir.dir_metadata().map_err(|e| TreeError::io(".", e))?;
        chown(&self.dir, OsStr::new("."), &here, (uid, gid)).map_err(|e| TreeError::io(".", e))?;
        chown_beneath(&self.dir, &mut PathBuf::new(), 0, (uid, gid))
    }

    /// Removes a name and, if it is a directory, all that is beneath it. Nothing
    /// there is success.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<(), TreeError> {
        let path = path.as_ref();
        let (dir, name) = match self.walk(path) {
            Err(TreeError::Missing(_)) => return Ok(()),
            walked => walked?,
        };
        let gone = |r: io::Result<()>| match r {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(TreeError::io(path, e)),
            _ => Ok(()),
        };
        let meta = match dir.symlink_metadata(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta.map_err(|e| TreeError::io(path, e))?,
        };
        if !meta.is_dir() {
            return gone(dir.remove_file(name));
        }
        unlock(&dir, name, &meta).map_err(|e| TreeError::io(path, e))?;
        empty(&open_dir(&dir, name, path)?).map_err(|e| TreeError::io(path, e))?;
        gone(dir.remove_dir(name))
    }
}

fn chown_beneath(
    dir: &Dir,
    at: &mut PathBuf,
    depth: usize,
    owner: (u32, u32),
) -> Result<(), TreeError> {
    if depth == MAX_DEPTH {
        // Only a guest nests like that, and its directories are its own already.
        tracing::warn!(depth, "directories are nested so deeply that the rest keeps its owner");
        return Ok(());
    }
    for entry in dir.entries().map_err(|e| TreeError::io(&at, e))? {
        let name = entry.map_err(|e| TreeError::io(&at, e))?.file_name();
        at.push(&name);
        match chown_entry(dir, &name, at, depth, owner) {
            // Gone or swapped since it was listed: its new owner is the guest.
            Err(TreeError::Missing(_) | TreeError::NotDirectory(_)) => {}
            result => result?,
        }
        at.pop();
    }
    Ok(())
}

fn chown_entry(
    dir: &Dir,
    name: &OsStr,
    at: &mut PathBuf,
    depth: usize,
    owner: (u32, u32),
) -> Result<(), TreeError> {
    let meta = dir.symlink_metadata(name).map_err(|e| TreeError::io(&at, e))?;
    chown(dir, name, &meta, owner).map_err(|e| TreeError::io(&at, e))?;
    if meta.is_dir() {
        let child = open_dir(dir, name, at)?;
        chown_beneath(&child, at, depth + 1, owner)?;
    }
    Ok(())
}

fn chown(dir: &Dir, name: &OsStr, meta: &Metadata, (uid, gid): (u32, u32)) -> io::Result<()> {
    if (meta.uid(), meta.gid()) == (uid, gid) {
        return Ok(());
    }
    let kind = meta.file_type();
    if kind.is_block_device() || kind.is_char_device() || (!meta.is_dir() && meta.nlink() > 1) {
        return Ok(());
    }
    rustix::fs::chownat(
        dir,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}

/// Empties a directory with two handles however deep it is: what lies two levels
/// down is moved up one, until everything lies on the first level.
fn empty(top: &Dir) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let mut seen = false;
        for entry in top.entries()? {
            let name = entry?.file_name();
            seen = true;
            let Some(meta) = present(top.symlink_metadata(&name))? else { continue };
            if !meta.is_dir() {
                present(top.remove_file(&name))?;
                continue;
            }
            unlock(top, &name, &meta)?;
            let child = top.open_dir_nofollow(&name)?;
            for inner in child.entries()? {
                let inner = inner?.file_name();
                let Some(meta) = present(child.symlink_metadata(&inner))? else { continue };
                if meta.is_dir() {
                    unlock(&child, &inner, &meta)?;
                    hoist(&child, &inner, top, &mut moved)?;
                } else {
                    present(child.remove_file(&inner))?;
                }
            }
            present(top.remove_dir(&name))?;
        }
        if !seen {
            return Ok(());
        }
    }
}

/// Moves a directory up under a name that is free. A rename onto an empty
/// directory would succeed too, and is as good.
fn hoist(from: &Dir, name: &OsStr, top: &Dir, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match from.rename(name, top, format!(".gone-{moved}")) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::AlreadyExists
                ) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

/// Makes a directory readable and writable to its owner: a guest may have taken
/// these rights from itself, and we may be the same user.
pub(super) fn unlock(dir: &Dir, name: &OsStr, meta: &Metadata) -> io::Result<()> {
    if meta.permissions().mode() & 0o700 == 0o700 {
        return Ok(());
    }
    dir.set_permissions(name, Permissions::from_mode(0o700))
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
