//! Mounts, checked just before a start: directories only, by their real path, to
//! places that are meant for it.
//!
//! Each tool looks a source up once more, by its name. Where somebody else may write
//! above it, as may be with the owner's directories, that name can lead elsewhere by
//! then. So of each of those the identity is taken together with the path that was
//! allowed, and [`witness`] compares it with what was mounted before anything is run.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::mounts::EXTRA;
use super::{Mount, RuntimeError, failed};

/// Where a mount may be.
pub const MOUNT_ROOTS: [&str; 4] = ["/workspace", "/home/node", "/opt", "/run"];

/// Run in place of the guest's program, which it becomes. Its arguments are pairs of
/// an identity and a place, `--`, and that program.
const WITNESS: &str = r#"while [ "$1" != -- ]; do
    [ "$(stat -c %d:%i "$2")" = "$1" ] || {
        echo "nanoclaw: another directory took the place of $2 while the container started: nothing is run in it" >&2
        exit 125
    }
    shift 2
done
shift
exec "$@""#;

/// A mount whose source was a real directory a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// Its real path.
    pub source: PathBuf,
    /// Where in the guest.
    pub guest: &'a Path,
    /// Whether the guest may write.
    pub writable: bool,
    /// Device and number of the directory.
    pub identity: (u64, u64),
}

/// All mounts of a spec, or a sentence that names the one that cannot be.
pub fn all(mounts: &[Mount]) -> Result<Vec<Checked<'_>>, RuntimeError> {
    mounts.iter().map(|mount| check(mount, mounts)).collect()
}

/// What has to stand before the guest's program: nothing where no directory is the
/// owner's. `root` is where the guest's root is.
pub fn witness(mounts: &[Checked<'_>], root: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    for Checked { guest, identity: (device, number), .. } in
        mounts.iter().filter(|m| m.guest.starts_with(EXTRA))
    {
        let mut place = OsString::from(root);
        place.push(guest);
        words.extend([format!("{device}:{number}").into(), place]);
    }
    if !words.is_empty() {
        words.splice(0..0, ["/bin/sh", "-c", WITNESS, "nanoclaw"].map(OsString::from));
        words.push("--".into());
    }
    words
}

fn check<'a>(mount: &'a Mount, all: &[Mount]) -> Result<Checked<'a>, RuntimeError> {
    let (path, guest) = (mount.host.as_path(), mount.guest.as_path());
    let refuse = |why: &str| {
        failed(format!("cannot mount {} at {}: {why}", path.display(), guest.display()))
    };
    let plain = guest.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    if !plain || !MOUNT_ROOTS.iter().any(|r| guest.starts_with(r) && guest != Path::new(r)) {
        return Err(refuse(&format!("a mount must be beneath {}", MOUNT_ROOTS.join(", "))));
    }
    let within = |other: &&Mount| !std::ptr::eq(*other, mount) && guest.starts_with(&other.guest);
    if let Some(other) = all.iter().find(within) {
        return Err(refuse(&format!("it lies in the mount {}", other.guest.display())));
    }
    if !path.is_absolute() {
        return Err(refuse("it is not an absolute path"));
    }
    // A trailing slash or dot would make the system look behind a link.
    let path = path.components().as_path();
    let (source, identity) = opened(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => refuse("it does not exist"),
        io::ErrorKind::NotADirectory if path.is_symlink() => refuse("it is a link"),
        io::ErrorKind::NotADirectory => refuse("it is not a directory"),
        _ => refuse(&e.to_string()),
    })?;
    if guest.starts_with(EXTRA) && source != path {
        return Err(refuse("another directory has taken its place since it was allowed"));
    }
    Ok(Checked { source, guest, writable: mount.writable, identity })
}

/// The real path of a directory, and its identity: both of the same one.
#[cfg(target_os = "linux")]
fn opened(path: &Path) -> io::Result<(PathBuf, (u64, u64))> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    let real = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    Ok((real, (stat.st_dev, stat.st_ino)))
}

/// Elsewhere every guest is a machine of its own, which sees other identities.
#[cfg(not(target_os = "linux"))]
fn opened(path: &Path) -> io::Result<(PathBuf, (u64, u64))> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => Ok((fs::canonicalize(path)?, (0, 0))),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}
