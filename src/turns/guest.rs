//! One group's container, from the host's side: its mailbox, its lifeline, its
//! proxy, and everything that has to be prepared before and removed after.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

use crate::config::Config;
use crate::container::mounts::EXTRA;
use crate::container::{Health, Limits, Mount, PROXY_DIR, Process, Runtime, RuntimeError, Spec};
use crate::crash;
use crate::db::{Group, Ledger};
use crate::ids::{Folder, Incarnation, random_hex};
use crate::ipc::host::{HostMailbox, MailboxError};
use crate::ipc::record::{HostRecord, Start};
use crate::lock::lock;
use crate::outbox::Outbox;
use crate::prices::Prices;
use crate::proxy::{Credential, Egress, Proxy, Serving, Tenant};
use crate::tree::{Tree, TreeError};

use super::memory;
use super::slots::Slots;
use super::state::Rules;

/// What all groups share.
pub struct Host {
    /// The settings.
    pub config: Arc<Config>,
    /// The ledger.
    pub ledger: Ledger,
    /// Where guests run.
    pub runtime: Arc<dyn Runtime>,
    /// What its probe found.
    pub health: Health,
    /// Their way to the model and the web.
    pub proxy: Proxy,
    /// Their way to the chats.
    pub outbox: Outbox,
    /// Notified when a task may have changed or ended.
    pub tasks: Arc<tokio::sync::Notify>,
    /// The cap.
    pub slots: Arc<Slots>,
    /// Which mailboxes are watched.
    pub watch: super::dispatch::Watch,
    /// This installation's id.
    pub install: String,
    /// The directory with the guest program, as it is mounted.
    pub program: PathBuf,
    /// Uid and gid that guests write as, when not the daemon's own.
    pub owner: Option<(u32, u32)>,
    /// What tokens cost.
    pub prices: Prices,
    /// Times and limits.
    pub rules: Rules,
}

/// Why a guest cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A directory or file of the host.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that prepared it ended.
    #[error("its preparation failed: {0}")]
    Died(String),
    /// The CLI is not where it should be.
    #[error("Claude Code is missing: there is no {0}; `./nanoclaw.sh install` fetches it")]
    NoCli(PathBuf),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The mailbox.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// A tree that guests write.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A container with its mailbox; the process may not run yet.
pub struct Guest {
    /// Which.
    pub id: Incarnation,
    /// Its mailbox.
    pub mailbox: HostMailbox,
    /// Meters and holds its proxy open.
    pub serving: Serving,
    process: Option<Child>,
    lifeline: Option<ChildStdin>,
    spec: Spec,
    /// The tail of what it wrote to standard error.
    pub complaint: Arc<std::sync::Mutex<String>>,
}

impl Guest {
    /// Makes an incarnation's directories, opens its proxy and writes `start`.
    /// `extras` are mounted besides the usual.
    pub fn prepare(
        host: &Host,
        group: &Group,
        id: Incarnation,
        session_id: Option<String>,
        extras: Vec<Mount>,
    ) -> Result<Guest, GuestError> {
        let config = &host.config;
        let folder = &group.folder;
        let directory = config.ipc(folder, id);
        let mut mailbox = HostMailbox::create(&directory, &errors(config))?;
        let run = directory.join("run");
        let scratch = directory.join("scratch");
        for path in [
            &run,
            &scratch,
            &config.groups().join(folder.as_str()),
            &config.groups().join("global"),
            &config.sessions(folder),
        ] {
            std::fs::create_dir_all(path).map_err(|source| io(path, source))?;
        }
        memory::seed(config, group)?;
        let token = random_hex().map_err(|source| io(&run, source))?;
        let credential = match config.credential {
            Some(Credential::OAuth(_)) => "CLAUDE_CODE_OAUTH_TOKEN",
            _ => "ANTHROPIC_API_KEY",
        };
        let tenant = Tenant {
            incarnation: id,
            group: folder.clone(),
            token: token.clone(),
            egress: Egress::parse(&group.egress),
        };
        let serving = host.proxy.serve(&run, tenant).map_err(|source| io(&run, source))?;
        mailbox.write(&HostRecord::Start(Start {
            incarnation: id,
            group: folder.to_string(),
            is_main: group.is_main,
            assistant_name: config.assistant_name.clone(),
            timezone: config.timezone.to_string(),
            session_id,
            model: group.model.clone().or_else(|| config.model.clone()),
        }))?;
        if let Some((uid, gid)) = host.owner {
            for path in [
                directory.join("out"),
                config.groups().join(folder.as_str()),
                config.sessions(folder),
            ] {
                own(&path, uid, gid)?;
            }
            if group.is_main {
                own(&config.groups().join("global"), uid, gid)?;
            }
        }
        let cli =
            config.claude.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let spec = Spec {
            install: host.install.clone(),
            incarnation: id,
            group: folder.clone(),
            mounts: mounts(host, group, id).into_iter().chain(extras).collect(),
            env: [
                ("HOME", "/home/node".to_owned()),
                ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
                ("LANG", "C.UTF-8".into()),
                ("TZ", config.timezone.to_string()),
                ("CLAUDE_CONFIG_DIR", "/home/node/.claude".into()),
                ("NANOCLAW_CLAUDE", format!("/opt/nanoclaw/cli/{cli}")),
                (credential, token),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .chain(crash::inherited(id))
            .collect(),
            argv: vec!["/opt/nanoclaw/bin/nanoclaw".into(), "agent".into()],
            scratch,
            limits: limits(group),
        };
        Ok(Guest {
            id,
            mailbox,
            serving,
            process: None,
            lifeline: None,
            spec,
            complaint: Arc::default(),
        })
    }

    /// Starts the process.
    pub async fn spawn(&mut self, host: &Host) -> Result<Process, GuestError> {
        if !host.config.claude.is_file() {
            return Err(GuestError::NoCli(host.config.claude.clone()));
        }
        // Checked again, now: a link may have come since.
        self.spec.mounts.retain(|mount| {
            let extra = mount.guest.starts_with(EXTRA);
            let kept = !extra || mount.host.canonicalize().is_ok_and(|real| real == mount.host);
            if !kept {
                tracing::warn!(group = %self.spec.group, mount = ?mount.host, "not mounted: it changed");
            }
            kept
        });
        let mut running = host.runtime.spawn(&self.spec).await?;
        self.lifeline = running.child.stdin.take();
        if let Some(stderr) = running.child.stderr.take() {
            tokio::spawn(listen(self.spec.group.clone(), stderr, self.complaint.clone()));
        }
        self.process = Some(running.child);
        Ok(running.process)
    }

    /// Makes the guest look into its mailbox now. Where it does not read what was
    /// written before, that is there to wake it: nobody waits for it to.
    pub async fn poke(&mut self) {
        if let Some(stdin) = &mut self.lifeline {
            nudge(stdin).await;
        }
    }

    /// Ends what is left of it on the host after its container is verified dead: the
    /// client of an engine may hang.
    pub fn let_go(&mut self) {
        if let Some(child) = &mut self.process {
            // One that has ended already is what we want.
            let _ = child.start_kill();
        }
    }

    /// Waits until the process has ended; for ever if there is none, or if its end
    /// was told already: what follows from it may have to wait for the ledger.
    pub async fn exited(&mut self) -> String {
        let status = match &mut self.process {
            Some(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            None => std::future::pending().await,
        };
        self.process = None;
        status
    }
}

async fn nudge(stdin: &mut ChildStdin) {
    tokio::select! {
        biased;
        // A guest that is gone is noticed by its exit.
        _ = stdin.write(b"\n") => {}
        () = std::future::ready(()) => {}
    }
}

/// Verifies that an incarnation is dead, ending it if it is not.
pub async fn end(host: &Host, id: Incarnation) -> Result<(), RuntimeError> {
    host.runtime.stop(&host.install, id, Duration::from_secs(10)).await
}

/// Where records that are none are kept.
pub fn errors(config: &Config) -> PathBuf {
    config.data().join("ipc").join("errors")
}

/// Removes what an incarnation had on the host.
pub fn remove(config: &Config, folder: &Folder, id: Incarnation) -> Result<(), GuestError> {
    let directory = config.ipc(folder, id);
    let Some(parent) = directory.parent() else { return Ok(()) };
    match Tree::open(parent) {
        Ok(tree) => Ok(tree.remove_all(id.to_string())?),
        Err(TreeError::Missing(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the group wants, else the usual.
fn limits(group: &Group) -> Limits {
    let usual = Limits::default();
    Limits {
        memory: group.container.memory.map_or(usual.memory, |mib| u64::from(mib) << 20),
        cpus: group.container.cpus.unwrap_or(usual.cpus),
        ..usual
    }
}

/// The table of `docs/ARCHITECTURE.md`: what a guest sees, and nothing else.
fn mounts(host: &Host, group: &Group, id: Incarnation) -> Vec<Mount> {
    let config = &host.config;
    let directory = config.ipc(&group.folder, id);
    let cli = config.claude.parent().map(PathBuf::from).unwrap_or_default();
    [
        (config.groups().join(group.folder.as_str()), "/workspace/group", true),
        (config.groups().join("global"), "/workspace/global", group.is_main),
        (config.sessions(&group.folder), "/home/node/.claude", true),
        (directory.join("in"), "/workspace/ipc/in", false),
        (directory.join("out"), "/workspace/ipc/out", true),
        (host.program.clone(), "/opt/nanoclaw/bin", false),
        (cli, "/opt/nanoclaw/cli", false),
        (directory.join("run"), PROXY_DIR, false),
    ]
    .into_iter()
    .map(|(host, guest, writable)| Mount { host, guest: guest.into(), writable })
    .collect()
}

pub(super) fn own(path: &std::path::Path, uid: u32, gid: u32) -> Result<(), GuestError> {
    Ok(Tree::open(path)?.chown_all(uid, gid)?)
}

pub(super) fn io(path: &std::path::Path, source: std::io::Error) -> GuestError {
    GuestError::Io { what: path.display().to_string(), source }
}

/// Passes the guest's log on, a bounded line at a time, and keeps the last line
/// for the error that its end may become.
async fn listen(
    folder: Folder,
    stderr: tokio::process::ChildStderr,
    tail: Arc<std::sync::Mutex<String>>,
) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = tokio::io::AsyncReadExt::take(&mut lines, 4096);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text: String =
            String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).take(400).collect();
        // Engines end with a hint to their own manual, a panic with one to its author,
        // which helps nobody in a chat.
        if text.is_empty() || text.contains("--help'") || text.starts_with("note: run with") {
            continue;
        }
        tracing::debug!(group = %folder, guest = text);
        *lock(&tail) = text;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_guest_that_reads_nothing_is_not_waited_for() {
        let mut sleeper = tokio::process::Command::new("sleep");
        sleeper.arg("60").stdin(std::process::Stdio::piped()).kill_on_drop(true);
        let mut child = sleeper.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than any pipe holds: a test that hangs fails.
        for _ in 0..1_200_000 {
            nudge(&mut stdin).await;
        }
    }
}
