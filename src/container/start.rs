//! What the drivers have in common: the names of containers, the small files of a
//! start, its process, and how errors are put.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tokio::process::Command;

use super::{GROUP_DIR, Process, Running, RuntimeError, Spec};
use crate::ids::Incarnation;

pub fn failed(text: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed(text.into())
}

/// A tool that is not installed, and the command that mends it.
pub fn missing(tool: &str, remedy: &str) -> RuntimeError {
    RuntimeError::Missing { tool: tool.to_owned(), remedy: remedy.to_owned() }
}

/// A runtime that does not isolate here: what was seen, and what to do.
pub fn unusable(runtime: &str, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Unusable { runtime: runtime.to_owned(), reason: reason.into() }
}

pub fn io_error(what: &str, path: &Path, source: io::Error) -> RuntimeError {
    RuntimeError::Io { what: format!("cannot {what} {}", path.display()), source }
}

/// What the names of an installation's containers begin with. Apple's tool takes at
/// most 63 bytes.
pub fn prefix(install: &str) -> Result<String, RuntimeError> {
    let plain = install.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && (1..=40).contains(&install.len()) {
        Ok(format!("nanoclaw-{install}-"))
    } else {
        Err(failed(format!(
            "{install:?} is no installation id: use 1 to 40 letters, digits or '-'"
        )))
    }
}

/// The name of one container, by which it is found again.
pub fn label(install: &str, incarnation: Incarnation) -> Result<String, RuntimeError> {
    if incarnation.0 < 0 {
        return Err(failed(format!("{incarnation} is no incarnation")));
    }
    Ok(format!("{}{incarnation}", prefix(install)?))
}

/// The incarnation in a name; none if it is of another installation, whose id may
/// begin like ours.
pub fn incarnation(label: &str, prefix: &str) -> Option<Incarnation> {
    let digits = label.strip_prefix(prefix).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().map(Incarnation)
}

/// Makes the directory of a start's own files.
pub fn scratch(directory: &Path) -> Result<(), RuntimeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
        .map_err(|e| io_error("create", directory, e))
}

/// Writes one of them.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RuntimeError> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|e| io_error("write", path, e))
}

/// Refuses what no program can be started with.
pub fn argv(argv: &[String]) -> Result<(), RuntimeError> {
    if argv.is_empty() || argv.iter().any(|a| a.contains('\0')) {
        return Err(failed("a container needs a program, and no argument may hold a zero byte"));
    }
    Ok(())
}

/// The guest's working directory.
pub fn cwd(spec: &Spec) -> &'static str {
    let group = spec.mounts.iter().any(|m| m.guest == Path::new(GROUP_DIR));
    if group { GROUP_DIR } else { "/" }
}

/// The words of a command line, or of what is read in place of one.
#[derive(Debug, Default)]
pub struct Words(pub Vec<OsString>);

impl Words {
    /// One more.
    pub fn add(&mut self, word: impl AsRef<OsStr>) -> &mut Self {
        self.all([word])
    }

    /// Some more.
    pub fn all(&mut self, words: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.0.extend(words.into_iter().map(|w| w.as_ref().to_owned()));
        self
    }

    /// Some more, of different kinds.
    pub fn mixed<const N: usize>(&mut self, words: [&dyn AsRef<OsStr>; N]) -> &mut Self {
        self.all(words.map(|w| w.as_ref()))
    }

    /// As `bwrap --args` reads them: each ended by NUL, which no path and no checked
    /// variable holds, so that every other byte may occur.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|w| w.as_encoded_bytes().iter().copied().chain([0])).collect()
    }
}

/// Starts what `command` says.
pub fn spawn(mut command: Command) -> Result<Running, RuntimeError> {
    let child = command.spawn().map_err(|e| {
        let program = command.as_std().get_program().to_owned();
        io_error("start", Path::new(&program), e)
    })?;
    let pid = child.id().ok_or_else(|| failed("it ended at once"))?;
    let process = Process::of(pid).map_err(|e| io_error("look at", Path::new("/proc"), e))?;
    Ok(Running { child, process })
}

/// Elsewhere a container is found again by its label alone.
#[cfg(not(target_os = "linux"))]
impl Process {
    fn of(pid: u32) -> io::Result<Process> {
        Ok(Process { pid, start_time: 0, boot_id: String::new() })
    }
}
