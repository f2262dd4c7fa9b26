//! The runtimes that are an engine with a command line: Apple's `container`,
//! `docker` and `podman`. One driver, three dialects.
//!
//! The engine's client stays in the foreground: its standard input is the guest's
//! lifeline, its standard error the guest's log. Killing the client does not end
//! the container, so whoever stops one asks the engine, and then looks. Containers
//! are recognised by a label with this installation's id; others are never touched,
//! and neither is the container that this daemon may itself be in.
//!
//! Nothing is pulled or built here: the image is there or the runtime is not ready.

mod apple;
mod argv;
mod client;
mod dialect;
pub mod image;
mod listing;
mod seccomp;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::nested::{self, Inside};
use super::probe::{Question, ask};
use super::{Boxed, ENFORCED, Health, Running, Runtime, RuntimeError, Spec, checked, user};
use crate::ids::Incarnation;
use client::Client;
pub use dialect::Dialect;
use listing::Seen;

/// How long the engine may take for a question.
pub const ASK: Duration = Duration::from_secs(10);
/// For all of a probe.
const PROBE: Duration = Duration::from_secs(20);
/// What a guest gets between TERM and KILL, in whole seconds. It was asked to close
/// before anybody came to this.
const GRACE: u64 = 1;
/// How often a stop looks again.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Runs guests with an engine.
#[derive(Debug)]
pub struct Engine {
    dialect: Dialect,
    client: Client,
    image: String,
    configured: Option<(u32, u32)>,
    /// A directory that can be mounted, for the probe.
    place: PathBuf,
    /// The container that this daemon runs in, if it is one of this engine's.
    inside: OnceCell<Option<Inside>>,
}

impl Engine {
    /// `image` must be there when something is started. `place` is a directory of
    /// the installation. `user` is as for [`user::guest`].
    pub fn new(dialect: Dialect, image: &str, place: &Path, user: Option<(u32, u32)>) -> Engine {
        Engine {
            dialect,
            client: Client::new(dialect),
            image: image.to_owned(),
            configured: user,
            place: place.to_owned(),
            inside: OnceCell::new(),
        }
    }

    /// With this program instead of the one that `PATH` leads to.
    pub fn at(self, program: &Path) -> Engine {
        Engine { client: self.client.at(program), ..self }
    }

    /// The uid and gid of its guests, on the host as well.
    pub fn user(&self) -> Result<(u32, u32), RuntimeError> {
        user::guest(self.configured)
    }

    /// The engine's version, up or not an answer at all.
    async fn version(&self) -> Result<(String, Option<String>), RuntimeError> {
        match self.dialect {
            Dialect::Apple => {
                apple::wake(&self.client).await?;
                apple::version(&self.client).await
            }
            Dialect::Docker => {
                let version =
                    self.client.say(["version", "--format", "{{.Server.Version}}"]).await?;
                Ok((version, None))
            }
            Dialect::Podman => {
                let version =
                    self.client.say(["version", "--format", "{{.Client.Version}}"]).await?;
                Ok((version, None))
            }
        }
    }

    async fn inside(&self) -> Option<&Inside> {
        let found = self.inside.get_or_init(|| async {
            let own = nested::own_id()?;
            let words = ["inspect", "--format", "{{json .Mounts}}", &own].map(OsString::from);
            let mounts = match self.dialect {
                Dialect::Apple => return None,
                // An engine that does not know us is in here with us.
                _ => self.client.call(&words, ASK).await.ok()?,
            };
            Inside::new(own, &mounts)
        });
        found.await.as_ref()
    }

    async fn start(&self, spec: &Spec) -> Result<Running, RuntimeError> {
        if self.dialect == Dialect::Apple {
            apple::wake(&self.client).await?;
        }
        let name = name(&spec.install, spec.incarnation)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&spec.scratch)
            .map_err(|e| io_error("create", &spec.scratch, e))?;
        let env = spec.scratch.join("env");
        write(&env, &argv::env_file(&spec.env)?)?;
        let profile = match self.dialect {
            Dialect::Podman => seccomp::profile()?,
            _ => None,
        };
        let seccomp = spec.scratch.join("seccomp.json");
        if let Some(text) = &profile {
            write(&seccomp, text.as_bytes())?;
        }
        let mut mounts = checked::all(&spec.mounts)?;
        if let Some(inside) = self.inside().await {
            for mount in &mut mounts {
                mount.source = inside.outside(&mount.source).map_err(RuntimeError::Failed)?;
            }
        }
        let words = argv::run(&argv::Start {
            dialect: self.dialect,
            spec,
            name: &name,
            image: &self.image,
            user: self.user()?,
            mounts: &mounts,
            env: &env,
            seccomp: profile.is_some().then_some(seccomp.as_path()),
        })?;
        let mut command = self.client.command(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|e| self.client.cannot_run(e))?;
        let pid = child.id().ok_or_else(|| {
            RuntimeError::Failed(format!("{} ended at once", self.dialect.program()))
        })?;
        let process = process(pid).map_err(|e| io_error("look at", Path::new("/proc"), e))?;
        Ok(Running { child, process })
    }

    /// Containers of an installation, whatever their state.
    async fn seen(&self, install: &str) -> Result<Vec<Seen>, RuntimeError> {
        prefix(install)?;
        let words = listing::words(self.dialect, install);
        let text = self.client.call(&words, ASK).await?;
        let own = nested::own_id();
        let seen = listing::parse(self.dialect, &text, install)
            .map_err(|e| RuntimeError::Failed(format!("{}: {e}", self.client.shown(&words))))?;
        Ok(seen.into_iter().filter(|s| own.as_ref().is_none_or(|own| s.id != *own)).collect())
    }

    /// TERM, force, and a look; until nothing is there or the time is over.
    async fn end(
        &self,
        install: &str,
        incarnation: Incarnation,
        until: Instant,
    ) -> Result<(), RuntimeError> {
        let name = name(install, incarnation)?;
        loop {
            let seen = self.seen(install).await?;
            if !seen.iter().any(|s| s.incarnation == incarnation) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RuntimeError::Failed(format!(
                    "container {name} is not dead in time: {}",
                    self.dialect.stuck()
                )));
            }
            let (grace, name) = (GRACE.to_string(), name.as_str());
            // Neither may tell the truth, so their answers are not asked: the list is.
            let stop = ["stop", "-t", &grace, name].map(OsString::from);
            let _ = self.client.call(&stop, ASK.min(left)).await;
            let remove = ["rm", "-f", name].map(OsString::from);
            let _ = self.client.call(&remove, ASK.min(left)).await;
            tokio::time::sleep(STOP_POLL.min(left)).await;
        }
    }
}

impl Runtime for Engine {
    fn name(&self) -> &'static str {
        self.dialect.program()
    }

    fn probe(&self) -> Boxed<'_, Result<Health, RuntimeError>> {
        Box::pin(async move {
            let (version, warning) = self.version().await?;
            let question = Question {
                runtime: self,
                user: self.user()?,
                place: &self.place,
                machine: self.dialect == Dialect::Apple,
                deadline: PROBE,
                explain: |said| {
                    if said.is_empty() {
                        "it failed without a word".to_owned()
                    } else {
                        said.to_owned()
                    }
                },
            };
            let seen = ask(question).await?;
            Ok(Health {
                runtime: self.name().to_owned(),
                version,
                boundary: self.dialect.boundary().to_owned(),
                limits: seen.limits(),
                egress: ENFORCED.to_owned(),
                warning,
            })
        })
    }

    fn identity(&self) -> Boxed<'_, Result<String, RuntimeError>> {
        Box::pin(async move {
            let (version, _) = self.version().await?;
            let image = image::id(&self.client, self.dialect, &self.image).await?;
            Ok(format!("{version} {image}"))
        })
    }

    /// Starts a guest. What goes wrong from then on is told on its standard error:
    /// the engine's own words, with exit code 125, or 1 from Apple's.
    fn spawn<'a>(&'a self, spec: &'a Spec) -> Boxed<'a, Result<Running, RuntimeError>> {
        Box::pin(self.start(spec))
    }

    fn list<'a>(&'a self, install: &'a str) -> Boxed<'a, Result<Vec<Incarnation>, RuntimeError>> {
        Box::pin(async move {
            let mut found: Vec<_> =
                self.seen(install).await?.into_iter().map(|s| s.incarnation).collect();
            found.sort_unstable();
            found.dedup();
            Ok(found)
        })
    }

    fn stop<'a>(
        &'a self,
        install: &'a str,
        incarnation: Incarnation,
        deadline: Duration,
    ) -> Boxed<'a, Result<(), RuntimeError>> {
        Box::pin(self.end(install, incarnation, Instant::now() + deadline))
    }
}

fn prefix(install: &str) -> Result<String, RuntimeError> {
    let plain = install.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // Apple's tool takes names of at most 63 bytes.
    if plain && (1..=40).contains(&install.len()) {
        Ok(format!("nanoclaw-{install}-"))
    } else {
        Err(RuntimeError::Failed(format!(
            "{install:?} is no installation id: use 1 to 40 letters, digits or '-'"
        )))
    }
}

fn name(install: &str, incarnation: Incarnation) -> Result<String, RuntimeError> {
    Ok(format!("{}{incarnation}", prefix(install)?))
}

#[cfg(target_os = "linux")]
fn process(pid: u32) -> std::io::Result<super::Process> {
    super::Process::of(pid)
}

/// Elsewhere a container is found again by its label alone.
#[cfg(not(target_os = "linux"))]
fn process(pid: u32) -> std::io::Result<super::Process> {
    Ok(super::Process { pid, start_time: 0, boot_id: String::new() })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RuntimeError> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .map_err(|e| io_error("write", path, e))
}

fn io_error(what: &str, path: &Path, source: std::io::Error) -> RuntimeError {
    RuntimeError::Io { what: format!("cannot {what} {}", path.display()), source }
}
