//! Mounts, checked just before a start: directories only, by their real path, to
//! places that are meant for it.
//!
//! Between the check and the mount whoever may write the directory *above* a source
//! could put a link there; a guest can write beneath its mounts only, so a mount
//! must not lie beneath a directory that another group's guest can write.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Mount, RuntimeError};

/// Where a mount may be.
pub const MOUNT_ROOTS: [&str; 4] = ["/workspace", "/home/node", "/opt", "/run"];

/// A mount whose source was a real directory a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// Its real path.
    pub source: PathBuf,
    /// Where in the guest.
    pub guest: &'a Path,
    /// Whether the guest may write.
    pub writable: bool,
}

/// All mounts of a spec, or a sentence that names the one that cannot be.
pub fn all(mounts: &[Mount]) -> Result<Vec<Checked<'_>>, RuntimeError> {
    let check = |(i, mount): (usize, &'_ Mount)| {
        let (source, guest) = (source(mount)?, destination(mount)?.to_owned());
        let others = mounts.iter().enumerate().filter(|(j, _)| *j != i);
        match others.map(|(_, m)| m).find(|m| guest.starts_with(&m.guest)) {
            Some(other) => Err(RuntimeError::Failed(format!(
                "the mount {} lies in the mount {}",
                guest.display(),
                other.guest.display()
            ))),
            None => Ok(source),
        }
    };
    let sources: Vec<PathBuf> = mounts.iter().enumerate().map(check).collect::<Result<_, _>>()?;
    Ok(mounts
        .iter()
        .zip(sources)
        .map(|(m, source)| Checked { source, guest: &m.guest, writable: m.writable })
        .collect())
}

fn source(mount: &Mount) -> Result<PathBuf, RuntimeError> {
    let path = &mount.host;
    let refuse = |why: &str| {
        RuntimeError::Failed(format!(
            "cannot mount {} at {}: {why}",
            path.display(),
            mount.guest.display()
        ))
    };
    if !path.is_absolute() {
        return Err(refuse("it is not an absolute path"));
    }
    // A trailing slash or dot would make the system look behind a link.
    let last = path.components().as_path();
    match fs::symlink_metadata(last) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(refuse("it does not exist")),
        Err(e) => Err(refuse(&e.to_string())),
        Ok(meta) if meta.is_symlink() => Err(refuse("it is a link")),
        Ok(meta) if !meta.is_dir() => Err(refuse("it is not a directory")),
        Ok(_) => fs::canonicalize(last).map_err(|e| refuse(&e.to_string())),
    }
}

fn destination(mount: &Mount) -> Result<&Path, RuntimeError> {
    let guest = mount.guest.as_path();
    let plain = guest.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    let allowed =
        MOUNT_ROOTS.iter().any(|root| guest.starts_with(root) && guest != Path::new(root));
    if guest.is_absolute() && plain && allowed {
        Ok(guest)
    } else {
        Err(RuntimeError::Failed(format!(
            "cannot mount {} at {}: a mount must be beneath {}",
            mount.host.display(),
            guest.display(),
            MOUNT_ROOTS.join(", ")
        )))
    }
}
