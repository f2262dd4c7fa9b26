//! Which runtime guests get: the one that the owner asked for, else the strongest
//! that is ready, and for each stronger one why it is not.
//!
//! A runtime is ready if a guest that tries finds itself isolated, within seconds
//! and without a build. What was found holds until the machine, the program or what
//! is installed changes; it is a row of the ledger, so that `status` can tell it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::RuntimeChoice::{self, Auto, Bwrap, Engine, Microvm};
use crate::container::engine::{self, Dialect};
#[cfg(target_os = "linux")]
use crate::container::microvm::{self, sandbox::Accelerator};
use crate::container::{Health, Runtime, user};
#[cfg(target_os = "linux")]
use crate::daemon::GUEST_PROGRAM;
use crate::db::{self, Ledger};

/// How long one runtime may take to prove itself when several are tried.
const READY: Duration = Duration::from_secs(5);

/// The strongest first: a virtual machine, then namespaces without anybody's
/// daemon, then engines. Docker and Podman on a Mac are not among them: the proxy's
/// socket does not reach their guests.
pub const LADDER: &[RuntimeChoice] = if cfg!(target_os = "macos") {
    &[Engine(Dialect::Apple)]
} else {
    &[Microvm, Bwrap, Engine(Dialect::Podman), Engine(Dialect::Docker)]
};

/// What was chosen, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What the chosen runtime's probe found.
    pub health: Health,
    /// Stronger ones, and why they were passed over.
    pub passed: Vec<Passed>,
    /// On what the choice depends.
    of: String,
    /// On what the probe's result depends besides.
    identity: String,
}

/// A runtime that is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Its name.
    pub runtime: String,
    /// Why, and what makes it ready.
    pub why: String,
}

/// A runtime that is ready.
pub struct Chosen {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Uid and gid of its guests where those are not the daemon's.
    pub owner: Option<(u32, u32)>,
    /// Why this one.
    pub choice: Choice,
}

/// The choice that the ledger remembers.
pub fn known(text: Option<String>) -> Option<Choice> {
    serde_json::from_str(&text?).ok()
}

/// Chooses, and remembers it. No isolation, no start.
pub async fn choose(config: &Config, ledger: &Ledger) -> anyhow::Result<Chosen> {
    let owner = rustix::process::geteuid().is_root().then(|| user::guest(None)).transpose()?;
    let of = depends_on(config);
    let stored = ledger.write(|c| db::settings::get(c, db::settings::RUNTIME)).await?;
    if let Some(choice) = known(stored).filter(|choice| choice.of == of)
        && let Some(runtime) = named(&choice.health.runtime).and_then(|r| build(config, r))
        && runtime.identity().await.is_ok_and(|identity| identity == choice.identity)
    {
        return Ok(Chosen { runtime, owner, choice });
    }
    let (runtime, health, passed) = match config.runtime {
        Auto => strongest(config).await?,
        asked => {
            let runtime = build(config, asked).with_context(|| {
                format!("no isolation, so no agent is started: {} does not exist on this system; use auto", name(asked))
            })?;
            let health =
                ready(runtime.as_ref()).await.context("no isolation, so no agent is started")?;
            (runtime, health, Vec::new())
        }
    };
    let identity = runtime.identity().await?;
    let choice = Choice { health, passed, of, identity };
    let text = serde_json::to_string(&choice)?;
    ledger.write(move |c| db::settings::set(c, db::settings::RUNTIME, &text)).await?;
    Ok(Chosen { runtime, owner, choice })
}

type Found = (Arc<dyn Runtime>, Health, Vec<Passed>);

async fn strongest(config: &Config) -> anyhow::Result<Found> {
    let mut passed = Vec::new();
    for &candidate in LADDER {
        let Some(runtime) = build(config, candidate) else { continue };
        let why = match tokio::time::timeout(READY, ready(runtime.as_ref())).await {
            Ok(Ok(health)) => return Ok((runtime, health, passed)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it is not ready within {} s: nanoclaw doctor", READY.as_secs()),
        };
        passed.push(Passed { runtime: runtime.name().to_owned(), why });
    }
    let reasons: Vec<String> =
        passed.iter().map(|p| format!("\n  {}: {}", p.runtime, p.why)).collect();
    bail!("no isolation, so no agent is started; one of these must work:{}", reasons.concat())
}

/// What a runtime's probe finds, if nothing that it needs is missing.
pub async fn ready(runtime: &dyn Runtime) -> anyhow::Result<Health> {
    runtime.identity().await?;
    Ok(runtime.probe().await?)
}

/// A runtime, or none where the system cannot have it.
pub fn build(config: &Config, choice: RuntimeChoice) -> Option<Arc<dyn Runtime>> {
    match choice {
        Auto => None,
        #[cfg(target_os = "linux")]
        Microvm => Some(Arc::new(microvm(config)?)),
        #[cfg(not(target_os = "linux"))]
        Microvm => None,
        Engine(dialect) => {
            Some(Arc::new(engine::Engine::new(dialect, &config.image, &config.data(), None)))
        }
        #[cfg(target_os = "linux")]
        Bwrap => Some(Arc::new(crate::container::bwrap::Bwrap::new(None))),
        #[cfg(not(target_os = "linux"))]
        Bwrap => None,
    }
}

/// VMs as the settings want them.
#[cfg(target_os = "linux")]
fn microvm(config: &Config) -> Option<microvm::Microvm> {
    let place = microvm::Place {
        program: std::env::current_exe().ok()?.with_file_name(GUEST_PROGRAM),
        cache: config.data().join("microvm"),
        kernels: vec![config.kernels.clone(), "/".into()],
    };
    let accelerator = if config.emulate { Accelerator::Software } else { Accelerator::Kvm };
    Some(microvm::Microvm::new(place, accelerator))
}

/// As in `CONTAINER_RUNTIME`.
pub fn name(choice: RuntimeChoice) -> &'static str {
    match choice {
        Auto => "auto",
        Engine(dialect) => dialect.program(),
        Microvm => "microvm",
        Bwrap => "bwrap",
    }
}

/// The one with this name.
pub fn named(text: &str) -> Option<RuntimeChoice> {
    let engines = [Dialect::Apple, Dialect::Docker, Dialect::Podman].map(Engine);
    [Auto, Microvm, Bwrap].into_iter().chain(engines).find(|choice| name(*choice) == text)
}

/// Whether a program is installed.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

/// The boot, the program, the user, what was asked for, and what is installed.
fn depends_on(config: &Config) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let programs: Vec<&str> =
        ["container", "docker", "podman", "qemu-system-x86_64", "qemu-system-aarch64", "bwrap"]
            .into_iter()
            .filter(|program| on_path(program))
            .collect();
    format!(
        "{} {} {} {} {} kvm:{}{} {}",
        env!("CARGO_PKG_VERSION"),
        boot.trim(),
        rustix::process::geteuid().as_raw(),
        name(config.runtime),
        config.image,
        Path::new("/dev/kvm").exists(),
        if config.emulate { " emulated" } else { "" },
        programs.join(",")
    )
}
