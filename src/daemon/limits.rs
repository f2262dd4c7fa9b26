//! The daemon's own limits, which what it starts has too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that the daemon has where the system lets it. No more: what it starts
/// has as many, and there are programs that walk through all they could have.
const FILES: u64 = 10_240;

/// A picture of this process's memory would hold the credential.
pub(super) fn no_core_files() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "a crash may leave a core file, with the credential in it");
    }
}

/// The usual limit, 1024, is for programs that serve nobody: a container's connections
/// take up to two each.
pub(super) fn more_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(FILES).min(FILES);
    if current.is_some_and(|now| now < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum })
    {
        tracing::warn!(%error, "no more file descriptors can be had");
    }
}
