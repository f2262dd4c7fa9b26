//! What an installation needs, looked at one by one: each check says what it found
//! and, where that is not well, the next command.
//!
//! Reads, and starts guests that try their isolation; changes nothing, and asks a
//! running daemon for nothing but whether it takes connections.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use crate::config::{Config, RuntimeChoice, cli};
use crate::container::{VM, nested, user};
use crate::daemon::Lock;
use crate::db::{self, Ledger};
use crate::isolation;
use crate::proxy::{Credential, Upstream};
use crate::router::SenderAllowlist;

/// How well it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with something to know or to mend.
    Warn,
    /// Agents cannot work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// How well.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    pub next: Option<String>,
}

fn check(name: &str, level: Level, found: impl Into<String>, next: &str) -> Check {
    let next = Some(next.to_owned()).filter(|next| !next.is_empty());
    Check { name: name.to_owned(), level, found: found.into(), next }
}

use Level::{Fail, Ok as Fine, Warn};

/// Everything, in the order in which it is needed.
pub async fn examine(config: &Config) -> Vec<Check> {
    let mut checks: Vec<Check> =
        config.warnings.iter().map(|w| check("settings", Warn, w.clone(), "")).collect();
    checks.push(home(config));
    checks.extend(secrets(".env", &config.home.join(".env")));
    #[cfg(feature = "whatsapp")]
    checks.extend(whatsapp(config));
    checks.push(space(&config.home));
    checks.push(claude(config).await);
    checks.push(credential(config));
    checks.push(daemon(config).await);
    checks.extend(allowlist(config));
    checks.extend(namespaces());
    if let Some(id) = nested::own_id() {
        let found = format!("this is the inside of container {}", &id[..id.len().min(12)]);
        checks.push(check("container", Fine, found, ""));
    }
    let (runtimes, machine) = runtimes(config).await;
    checks.extend(runtimes);
    checks.extend(groups(config, machine));
    checks
}

fn home(config: &Config) -> Check {
    let test = config.home.join(format!(".nanoclaw-doctor-{}", std::process::id()));
    let written = std::fs::write(&test, "").and_then(|()| std::fs::remove_file(&test));
    match written {
        Ok(()) => check("home", Fine, config.home.display().to_string(), ""),
        Err(e) => check(
            "home",
            Fail,
            format!("{} cannot be written ({e})", config.home.display()),
            "start as the user who owns it, or set NANOCLAW_HOME",
        ),
    }
}

/// Whether a file of secrets, if there is one, is its owner's alone.
fn secrets(name: &str, path: &Path) -> Option<Check> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Some(check(name, Fine, "yours alone", ""));
    }
    let found = format!("other users may read it (mode {mode:o})");
    Some(check(name, Warn, found, &format!("chmod 600 {}", path.display())))
}

/// The link, and whether its keys are the owner's alone.
#[cfg(feature = "whatsapp")]
fn whatsapp(config: &Config) -> Vec<Check> {
    use crate::channel::whatsapp::{Link, link};
    let ledger = Ledger::look(&config.ledger()).ok().flatten();
    let link = ledger.map_or_else(Link::default, |c| link::read(&c).unwrap_or_default());
    let daemon = Lock::holder(&config.data().join("nanoclaw.lock")).is_some();
    let next = link.next(daemon);
    let well = !link.is_broken() && (!link.is_linked() || next.is_empty());
    let mut found = link.told(daemon, config.timezone);
    if link.since > 0 {
        found += &format!(" (since {})", link::moment(link.since, config.timezone));
    }
    let link = check("WhatsApp", if well { Fine } else { Warn }, found, next);
    [link].into_iter().chain(secrets("whatsapp.db", &config.whatsapp_store())).collect()
}

fn space(home: &Path) -> Check {
    match rustix::fs::statvfs(home) {
        Err(e) => check("disk", Warn, format!("its space is not known ({e})"), ""),
        Ok(fs) => {
            let mib = fs.f_bavail.saturating_mul(fs.f_frsize) >> 20;
            let level = if mib < 100 {
                Fail
            } else if mib < 1024 {
                Warn
            } else {
                Fine
            };
            let next = if level == Fine {
                ""
            } else {
                "make room: what agents wrote is in groups/, what the CLI keeps in data/sessions/"
            };
            check("disk", level, format!("{mib} MiB are free"), next)
        }
    }
}

async fn claude(config: &Config) -> Check {
    let path = config.claude.display();
    if !config.claude.is_file() {
        return check("Claude Code", Fail, format!("there is no {path}"), "./nanoclaw.sh install");
    }
    if !cfg!(target_os = "linux") {
        return check("Claude Code", Fine, format!("{path}, which runs in the guest only"), "");
    }
    let mut command = Command::new(&config.claude);
    command.arg("--version").env_clear().env("HOME", "/nonexistent").kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(10), command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            let version = said.split_whitespace().next().unwrap_or_default().to_owned();
            if version == cli::pinned_version() {
                return check("Claude Code", Fine, version, "");
            }
            let found =
                format!("{version}, and this program was tested with {}", cli::pinned_version());
            check("Claude Code", Warn, found, "unset NANOCLAW_CLAUDE, then ./nanoclaw.sh install")
        }
        Ok(failed) => {
            let why = failed.map_or_else(|e| e.to_string(), |output| output.status.to_string());
            let found = format!("{path} does not run ({why})");
            check("Claude Code", Fail, found, "./nanoclaw.sh install")
        }
        Err(_) => {
            check("Claude Code", Warn, format!("{path} did not tell its version within 10 s"), "")
        }
    }
}

fn credential(config: &Config) -> Check {
    let base = config.base_url.to_string();
    let upstream =
        Upstream { base: base.clone(), credential: config.credential.clone(), proxy: None };
    let found = match &config.credential {
        _ if upstream.is_practice() => {
            let next = "echo 'ANTHROPIC_API_KEY=sk-ant-...' >> .env";
            return check("credential", Warn, "none: the practice model answers", next);
        }
        Some(Credential::ApiKey(_)) => format!("a key, for {base}"),
        Some(Credential::OAuth(_)) => format!("a subscription's token, for {base}"),
        None => format!("none, for {base}"),
    };
    check("credential", Fine, found, "")
}

async fn daemon(config: &Config) -> Check {
    let Some(holder) = Lock::holder(&config.data().join("nanoclaw.lock")) else {
        return check("daemon", Fine, "not running; `nanoclaw start` runs it", "");
    };
    match crate::unix::connect(&config.socket).await {
        Ok(_) => check("daemon", Fine, format!("{holder}, takes connections"), ""),
        Err(e) => check(
            "daemon",
            Fail,
            format!("{holder} runs, but takes no connections at {} ({e})", config.socket.display()),
            "stop it and start it again; its log says why",
        ),
    }
}

fn allowlist(config: &Config) -> Option<Check> {
    let list = std::fs::read_to_string(config.config_dir.join("sender-allowlist.json"));
    let problem = SenderAllowlist::from_read(list).problem().map(str::to_owned)?;
    Some(check("sender allowlist", Warn, problem, "mend the file; it is read at each message"))
}

/// Whether an ordinary user can be isolated by bubblewrap or rootless Podman.
fn namespaces() -> Option<Check> {
    if !cfg!(target_os = "linux") || rustix::process::geteuid().is_root() {
        return None;
    }
    Some(match user::restricted(|path| std::fs::read_to_string(path).ok()) {
        Some((found, next)) => check("user namespaces", Warn, found, next),
        None => check("user namespaces", Fine, "allowed", ""),
    })
}

/// Every runtime that this system can have, and whether the one that guests get is a
/// virtual machine.
async fn runtimes(config: &Config) -> (Vec<Check>, Option<bool>) {
    let mut checks = Vec::new();
    let mut chosen = None;
    let all = match config.runtime {
        RuntimeChoice::Auto => isolation::LADDER.to_vec(),
        asked => {
            let others = isolation::LADDER.iter().copied().filter(|other| *other != asked);
            [asked].into_iter().chain(others).collect()
        }
    };
    for choice in all {
        let Some(runtime) = isolation::build(config, choice) else {
            if choice == config.runtime {
                checks.push(check(
                    isolation::name(choice),
                    Fail,
                    "does not exist on this system",
                    "unset CONTAINER_RUNTIME",
                ));
            }
            continue;
        };
        let limit = Duration::from_secs(30);
        let ready = tokio::time::timeout(limit, isolation::ready(runtime.as_ref())).await;
        let asked = choice == config.runtime;
        let takes = chosen.is_none() && (asked || config.runtime == RuntimeChoice::Auto);
        let problem = if asked { Fail } else { Warn };
        let (level, found, next) = match ready {
            Ok(Ok(h)) => {
                let taken = if takes { "; agents run here" } else { "" };
                if takes {
                    chosen = Some(h.boundary == VM);
                }
                let found = format!(
                    "{} isolates ({}), limits {}, egress {}{taken}",
                    h.version, h.boundary, h.limits, h.egress
                );
                (
                    if h.warning.is_some() { Warn } else { Fine },
                    found,
                    h.warning.unwrap_or_default(),
                )
            }
            Ok(Err(e)) => (problem, format!("not ready: {e}"), String::new()),
            Err(_) => (problem, "not ready within 30 s".to_owned(), String::new()),
        };
        checks.push(check(runtime.name(), level, found, &next));
    }
    if chosen.is_none() {
        checks.push(check(
            "isolation",
            Fail,
            "no runtime is ready, so no agent is started",
            "sudo apt install bubblewrap",
        ));
    }
    (checks, chosen)
}

fn groups(config: &Config, machine: Option<bool>) -> Vec<Check> {
    let look = || -> anyhow::Result<Vec<Check>> {
        let Some(c) = Ledger::look(&config.ledger())? else {
            return Ok(vec![check("ledger", Fine, "none yet; the first start makes it", "")]);
        };
        let groups = db::groups::all(&c)?;
        let mut checks = vec![check("ledger", Fine, format!("{} groups", groups.len()), "")];
        for group in groups.iter().filter(|g| g.container.vm && machine != Some(true)) {
            let next = format!(
                "make a virtual machine ready, or: nanoclaw groups set {} --isolation any",
                group.folder
            );
            checks.push(check(
                "groups",
                Warn,
                format!("{} waits for a virtual machine", group.folder),
                &next,
            ));
        }
        Ok(checks)
    };
    look().unwrap_or_else(|e| vec![check("ledger", Fail, format!("{e:#}"), "nanoclaw start")])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_that_others_may_read_are_told_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        assert_eq!(secrets(".env", &path), None);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let told = secrets(".env", &path).unwrap();
        assert_eq!(
            (told.level, told.next.unwrap()),
            (Warn, format!("chmod 600 {}", path.display()))
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(secrets(".env", &path).unwrap().level, Fine);
    }
}
