//! The `bwrap` runtime: bubblewrap over the host's own `/usr`. No engine, no image.
//!
//! An ordinary user gets one layer: a user namespace in which the guest has the
//! daemon's uid and no right. Root gets two: an outer bubblewrap as real root builds
//! the view (so that directories only root can enter can be mounted), then gives
//! up root for a real unprivileged uid, and an inner one in a user namespace takes
//! the last capabilities and the way to get new ones.
//!
//! No network namespace has more than `lo`: the proxy's socket is the only way
//! out. Options go through a file, so that paths of the host are on no command line;
//! the label is on it, since that is how a sandbox is found again.
//!
//! The guest dies with the *thread* that started it (`PR_SET_PDEATHSIG` follows the
//! thread): [`Runtime::spawn`] starts it from the thread that polls it, so the
//! daemon must be a `current_thread` runtime or hold that thread to its end.

pub(super) mod launch;
pub(super) mod probe;
pub(super) mod seccomp;
pub(super) mod view;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::limits::{CGROUP_ROOT, Limiter, scope_from, scope_probe};
use super::process::labelled;
use super::start::{incarnation, label, prefix, scratch, spawn};
pub use super::user::DEFAULT_UID;
use super::{Boxed, Health, Process, Running, Runtime, RuntimeError, Spec, failed, io_error, user};
use crate::ids::Incarnation;
use crate::lock::lock;
use view::User;

/// How often a stop looks again.
const STOP_POLL: Duration = Duration::from_millis(10);

/// Runs guests with bubblewrap. One for each daemon: it alone knows which of the
/// installation's empty groups are of a guest that is just starting.
#[derive(Debug)]
pub struct Bwrap {
    configured: Option<(u32, u32)>,
    limiter: OnceCell<Limiter>,
    /// Labels that this process started and did not yet stop: their groups may be
    /// empty because their first process is still on its way.
    started: Arc<Mutex<BTreeSet<String>>>,
}

impl Bwrap {
    /// `user` is the guest's uid and gid where the daemon is root, by default
    /// [`DEFAULT_UID`]. Otherwise the guest has the daemon's, and another is refused
    /// at the start.
    pub fn new(user: Option<(u32, u32)>) -> Bwrap {
        Bwrap { configured: user, limiter: OnceCell::new(), started: Arc::default() }
    }

    /// The uid and gid of its guests, on the host as well: what they shall write
    /// must be theirs.
    pub fn user(&self) -> Result<(u32, u32), RuntimeError> {
        user::guest(self.configured)
    }

    /// How guests are limited here; found out once.
    async fn limiter(&self) -> &Limiter {
        self.limiter.get_or_init(find_limiter).await
    }

    async fn start(&self, spec: &Spec) -> Result<Running, RuntimeError> {
        let (uid, gid) = self.user()?;
        let user = User { uid, gid };
        let label = label(&spec.install, spec.incarnation)?;
        scratch(&spec.scratch)?;
        let limiter = self.limiter().await;
        lock(&self.started).insert(label.clone());
        let started = launch::command(spec, &label, user, limiter).and_then(spawn);
        if started.is_err() {
            lock(&self.started).remove(&label);
            // The start's error is the one to tell; an empty group is swept later.
            let _ = limiter.remove(&label);
        }
        started
    }
}

impl Runtime for Bwrap {
    fn name(&self) -> &'static str {
        "bwrap"
    }

    fn probe(&self) -> Boxed<'_, Result<Health, RuntimeError>> {
        Box::pin(probe::probe(self))
    }

    /// Starts a guest. What goes wrong after this process was made, such as a
    /// program that is not there, is told on its standard error (bubblewrap's own
    /// words begin with `bwrap:`), and the exit code is 1 or 127. Its group lasts
    /// until it is stopped: call [`Runtime::stop`] also after it ended by itself.
    fn spawn<'a>(&'a self, spec: &'a Spec) -> Boxed<'a, Result<Running, RuntimeError>> {
        Box::pin(self.start(spec))
    }

    fn list<'a>(
        &'a self,
        install: &'a str,
    ) -> Boxed<'a, Result<BTreeSet<Incarnation>, RuntimeError>> {
        Box::pin(async move {
            let prefix = prefix(install)?;
            let limiter = self.limiter().await.clone();
            blocking(move || alive(&limiter, &prefix)).await
        })
    }

    fn stop<'a>(
        &'a self,
        install: &'a str,
        incarnation: Incarnation,
        deadline: Duration,
    ) -> Boxed<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let (prefix, label) = (prefix(install)?, label(install, incarnation)?);
            let limiter = self.limiter().await.clone();
            let started = Arc::clone(&self.started);
            blocking(move || {
                end(&limiter, &label, Instant::now() + deadline)?;
                let mut started = lock(&started);
                started.remove(&label);
                sweep(&limiter, &prefix, &started);
                Ok(())
            })
            .await
        })
    }
}

/// Those that have a process, by its command line or its control group.
pub(super) fn alive(
    limiter: &Limiter,
    prefix: &str,
) -> Result<BTreeSet<Incarnation>, RuntimeError> {
    let processes = scan()?.into_iter().map(|(_, label)| label);
    let groups = limiter.labels(prefix).into_iter().filter(|l| !limiter.pids(l).is_empty());
    Ok(processes.chain(groups).filter_map(|label| incarnation(&label, prefix)).collect())
}

/// Kills until nothing is left, then removes the groups.
pub(super) fn end(limiter: &Limiter, label: &str, until: Instant) -> Result<(), RuntimeError> {
    loop {
        limiter.kill(label);
        let mut alive = 0;
        for (process, _) in scan()?.into_iter().filter(|(_, l)| l == label) {
            alive += 1;
            process
                .kill()
                .map_err(|e| io_error("kill", Path::new(&format!("/proc/{}", process.pid)), e))?;
        }
        let grouped = limiter.pids(label).len();
        // A group stays busy for a moment after its last process is gone.
        if alive + grouped == 0 && limiter.remove(label).is_ok() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(failed(format!(
                "container {label} is not dead in time: {} processes are left; they cannot be killed while they wait for a disk or a network drive",
                alive.max(grouped)
            )));
        }
        #[expect(clippy::disallowed_methods, reason = "this runs on a thread for blocking work")]
        std::thread::sleep(STOP_POLL);
    }
}

/// Removes the empty groups that an earlier daemon of this installation left.
fn sweep(limiter: &Limiter, prefix: &str, started: &BTreeSet<String>) {
    for label in limiter.labels(prefix) {
        let ours = incarnation(&label, prefix).is_some() && !started.contains(&label);
        if ours && limiter.pids(&label).is_empty() {
            // Not empty after all: it has a living process and is for `list`.
            let _ = limiter.remove(&label);
        }
    }
}

fn scan() -> Result<Vec<(Process, String)>, RuntimeError> {
    labelled().map_err(|e| io_error("look through", Path::new("/proc"), e))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(failed(format!("the runtime is shutting down: {e}"))),
    }
}

async fn find_limiter() -> Limiter {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if let Some(limiter) = Limiter::detect(Path::new(CGROUP_ROOT), &own) {
        return limiter;
    }
    let words = scope_probe();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(2), command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            scope_from(&String::from_utf8_lossy(&output.stdout)).unwrap_or(Limiter::Rlimits)
        }
        _ => Limiter::Rlimits,
    }
}
