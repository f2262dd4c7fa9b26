//! Where an agent runs: one container per group, behind `trait Runtime`.
//!
//! A [`Spec`] says intent only (which directories, how much memory); each driver
//! turns it into what its tool wants. Drivers know nothing of turns, messages or
//! the ledger.

#[cfg(target_os = "linux")]
pub mod bwrap;
mod checked;
pub mod engine;
#[cfg(target_os = "linux")]
pub mod limits;
#[cfg(target_os = "linux")]
pub mod microvm;
pub mod mounts;
pub mod nested;
pub mod probe;
#[cfg(target_os = "linux")]
pub mod process;
mod start;
pub mod user;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crate::ids::{Folder, Incarnation};
use start::{failed, io_error};

/// Where a guest has its group's directory, which it works in.
pub const GROUP_DIR: &str = "/workspace/group";
/// Where a guest finds the proxy's socket: a mount of a directory with this name in
/// the guest holds that socket and nothing else.
pub const PROXY_DIR: &str = "/run/nanoclaw";
/// The socket's name in there.
pub const PROXY_SOCKET: &str = "proxy.sock";

/// A boxed future, so that `dyn Runtime` is possible.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a container is to be, without a word of any tool's command line.
#[derive(Clone, Debug)]
pub struct Spec {
    /// This installation's random id: the label by which its containers are
    /// recognised. Nothing without it is ever touched.
    pub install: String,
    /// This start of the container.
    pub incarnation: Incarnation,
    /// The group it belongs to.
    pub group: Folder,
    /// The directories that it sees.
    pub mounts: Vec<Mount>,
    /// Its environment, whole: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Program (a path in the guest) and arguments.
    pub argv: Vec<String>,
    /// A directory of the host for the driver's own small files of this
    /// incarnation; not mounted.
    pub scratch: PathBuf,
    /// What it may use.
    pub limits: Limits,
}

/// One directory of the host, seen in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path of a directory on the host.
    pub host: PathBuf,
    /// Absolute path in the guest.
    pub guest: PathBuf,
    /// Whether the guest may write.
    pub writable: bool,
}

/// What one container may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of memory, `/tmp` and `/home/node` included.
    pub memory: u64,
    /// CPUs, as a fraction.
    pub cpus: f64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes in `/tmp`.
    pub tmp: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 2 << 30, cpus: 2.0, pids: 512, tmp: 512 << 20 }
    }
}

/// A container that was started: the host's ends of its pipes.
#[derive(Debug)]
pub struct Running {
    /// The process to wait for. Its standard input is the guest's lifeline: the
    /// guest ends when it closes, and looks into its mailbox when a byte arrives.
    /// Its standard error is the guest's log.
    pub child: tokio::process::Child,
    /// How to find it again after a restart of the host.
    pub process: Process,
}

/// What identifies a process beyond the reuse of its pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What a probe found out by really running something.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// The runtime's name, such as `bwrap`.
    pub runtime: String,
    /// The version of its tool.
    pub version: String,
    /// What separates guest and host: `vm`, `namespaces`.
    pub boundary: String,
    /// `full`, or `partial: ` and what is missing.
    pub limits: String,
    /// Whether the guest's way out is `enforced` (there is none but the proxy) or
    /// `advisory` (it is told to use the proxy), and how.
    #[serde(default)]
    pub egress: String,
    /// What its owner should mend although it works.
    #[serde(default)]
    pub warning: Option<String>,
}

/// The [`Health::boundary`] of a virtual machine.
pub const VM: &str = "vm";

/// Why a runtime cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Its tool is not installed; the second text is the command that mends it.
    #[error("{tool} is not installed: {remedy}")]
    Missing {
        /// The program that was looked for.
        tool: String,
        /// What to do.
        remedy: String,
    },
    /// The probe ran and showed that isolation does not work here.
    #[error("{runtime} cannot isolate here: {reason}")]
    Unusable {
        /// The runtime's name.
        runtime: String,
        /// What was seen, and what to do.
        reason: String,
    },
    /// A container could not be started or stopped.
    #[error("{0}")]
    Failed(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A way to run containers.
pub trait Runtime: Send + Sync {
    /// The name as in `CONTAINER_RUNTIME`.
    fn name(&self) -> &'static str;

    /// Really runs something: a nonce written on the host is read back inside.
    /// Within 5 seconds.
    fn probe(&self) -> Boxed<'_, Result<Health, RuntimeError>>;

    /// What the result of a probe depends on beside this machine's boot: versions,
    /// the image. An error says what is missing, without having run anything.
    fn identity(&self) -> Boxed<'_, Result<String, RuntimeError>> {
        Box::pin(async { Ok(String::new()) })
    }

    /// Starts a container. The guest's readiness is its own to report.
    fn spawn<'a>(&'a self, spec: &'a Spec) -> Boxed<'a, Result<Running, RuntimeError>>;

    /// The incarnations of this installation that have a living process.
    fn list<'a>(
        &'a self,
        install: &'a str,
    ) -> Boxed<'a, Result<BTreeSet<Incarnation>, RuntimeError>>;

    /// Ends a container and all its processes by force, if it is still there,
    /// and returns when it is verified dead.
    fn stop<'a>(
        &'a self,
        install: &'a str,
        incarnation: Incarnation,
        deadline: Duration,
    ) -> Boxed<'a, Result<(), RuntimeError>>;
}
