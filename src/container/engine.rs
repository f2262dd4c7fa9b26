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

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::nested::{self, Inside};
use super::probe::{Question, ask};
use super::start::{self, label, prefix, scratch, write};
use super::{Boxed, Health, Running, Runtime, RuntimeError, Spec, checked, failed, user};
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
        let whose = match self.dialect {
            Dialect::Apple => {
                apple::wake(&self.client).await?;
                return apple::version(&self.client).await;
            }
            Dialect::Docker => "{{.Server.Version}}",
            Dialect::Podman => "{{.Client.Version}}",
        };
        Ok((self.client.say(["version", "--format", whose]).await?, None))
    }

    async fn inside(&self) -> Option<&Inside> {
        let found = self.inside.get_or_init(|| async {
            let own = nested::own_id()?;
            let words = ["inspect", "--format", "{{json .Mounts}}", &own];
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
        let name = label(&spec.install, spec.incarnation)?;
        scratch(&spec.scratch)?;
        let env = spec.scratch.join("env");
        write(&env, &argv::env_file(&spec.env)?, 0o600)?;
        let profile = match self.dialect {
            Dialect::Podman => seccomp::profile()?,
            _ => None,
        };
        let seccomp = spec.scratch.join("seccomp.json");
        if let Some(text) = &profile {
            write(&seccomp, text.as_bytes(), 0o600)?;
        }
        let mut mounts = checked::all(&spec.mounts)?;
        if let Some(inside) = self.inside().await {
            for mount in &mut mounts {
                mount.source = inside.outside(&mount.source).map_err(failed)?;
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
        start::spawn(command)
    }

    /// Containers of an installation, whatever their state.
    async fn seen(&self, install: &str) -> Result<Vec<Seen>, RuntimeError> {
        prefix(install)?;
        let words = listing::words(self.dialect, install);
        let text = self.client.call(&words, ASK).await?;
        let own = nested::own_id();
        let seen = listing::parse(self.dialect, &text, install)
            .map_err(|e| failed(format!("{}: {e}", self.client.shown(&words))))?;
        Ok(seen.into_iter().filter(|s| own.as_ref().is_none_or(|own| s.id != *own)).collect())
    }

    /// TERM, force, and a look; until nothing is there or the time is over.
    async fn end(
        &self,
        install: &str,
        incarnation: Incarnation,
        until: Instant,
    ) -> Result<(), RuntimeError> {
        let name = label(install, incarnation)?;
        loop {
            let seen = self.seen(install).await?;
            if !seen.iter().any(|s| s.incarnation == incarnation) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!(
                    "container {name} is not dead in time: {}",
                    self.dialect.stuck()
                )));
            }
            let (grace, name) = (GRACE.to_string(), name.as_str());
            // Neither may tell the truth, so their answers are not asked: the list is.
            let _ = self.client.call(&["stop", "-t", &grace, name], ASK.min(left)).await;
            let _ = self.client.call(&["rm", "-f", name], ASK.min(left)).await;
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
                version,
                user: self.user()?,
                place: &self.place,
                boundary: self.dialect.boundary(),
                deadline: PROBE,
                explain: |said| match said {
                    "" => "it failed without a word".to_owned(),
                    said => said.to_owned(),
                },
            };
            Ok(Health { warning, ..ask(question).await? })
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

    fn list<'a>(
        &'a self,
        install: &'a str,
    ) -> Boxed<'a, Result<BTreeSet<Incarnation>, RuntimeError>> {
        Box::pin(async move {
            Ok(self.seen(install).await?.into_iter().map(|s| s.incarnation).collect())
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
