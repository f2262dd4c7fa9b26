//! Unix sockets, however deep they lie: `sun_path` holds about 100 bytes, and an
//! installation may lie deeper than that.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Listens at `path`, which is made, with this mode.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(short(path)?.path())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Connects to whoever listens at `path`.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(short(path)?.path()).await
}

/// A path that a socket can be bound or connected at, valid while this lives.
pub struct Short {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` alive.
    _directory: Option<std::fs::File>,
}

impl Short {
    /// The path to use.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The longest path that every system takes.
const LONGEST: usize = 100;

/// A short way to `path`: itself, or, on Linux, through an open handle of its
/// directory.
pub fn short(path: &Path) -> io::Result<Short> {
    if path.as_os_str().len() <= LONGEST {
        return Ok(Short { path: path.into(), _directory: None });
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket path"));
    };
    if !cfg!(target_os = "linux") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} is too long for a socket; set NANOCLAW_SOCKET to a shorter path",
                path.display()
            ),
        ));
    }
    use std::os::fd::AsRawFd;
    let handle = std::fs::File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(name);
    Ok(Short { path, _directory: Some(handle) })
}
