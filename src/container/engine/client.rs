//! Calls of an engine's client, each under a deadline: every one of these programs
//! is known to hang. The client is killed then and the error says so.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{ASK, Dialect};
use crate::container::RuntimeError;
use crate::container::start::{failed, missing};

/// What clients need of the daemon's environment: where the engine is and where its
/// files are. Nothing else is handed on, least of all a credential.
fn is_of_engines(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TMPDIR",
        "TERM",
        "SSH_AUTH_SOCK",
        "DBUS_SESSION_BUS_ADDRESS",
        "STORAGE_DRIVER",
        "CONTAINER_HOST",
    ];
    NAMES.contains(&name)
        || ["XDG_", "DOCKER_", "CONTAINERS_"].iter().any(|start| name.starts_with(start))
}

/// One engine's client.
#[derive(Clone, Debug)]
pub struct Client {
    dialect: Dialect,
    program: PathBuf,
}

impl Client {
    /// Of this engine, found by `PATH`.
    pub fn new(dialect: Dialect) -> Client {
        Client { dialect, program: dialect.program().into() }
    }

    /// With this program.
    pub fn at(self, program: &Path) -> Client {
        Client { program: program.to_owned(), ..self }
    }

    /// A call that is not started yet.
    pub fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir("/").kill_on_drop(true).env_clear();
        command
            .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_engines)));
        command
    }

    /// What a call prints. An error has its words.
    pub async fn call(
        &self,
        words: &[impl AsRef<OsStr> + Sync],
        deadline: Duration,
    ) -> Result<String, RuntimeError> {
        let mut command = self.command(words);
        let output = command.stdin(Stdio::null()).output();
        let output = match tokio::time::timeout(deadline, output).await {
            Ok(output) => output.map_err(|e| self.cannot_run(e))?,
            Err(_) => {
                return Err(failed(format!(
                    "`{}` did not answer within {} s and was given up: {}",
                    self.shown(words),
                    deadline.as_secs_f32().ceil(),
                    self.dialect.stuck()
                )));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().filter(|c| *c != '\r').take(600).collect();
        Err(failed(format!("`{}` failed: {said}", self.shown(words))))
    }

    /// [`Client::call`] with the usual deadline; one trimmed line.
    pub async fn say<const N: usize>(&self, words: [&str; N]) -> Result<String, RuntimeError> {
        Ok(self.call(&words, ASK).await?.trim().to_owned())
    }

    /// The call as a person would type it, as far as it matters.
    pub fn shown(&self, words: &[impl AsRef<OsStr>]) -> String {
        let mut shown = self.dialect.program().to_owned();
        for word in words.iter().take(4).filter_map(|w| w.as_ref().to_str()) {
            shown.push(' ');
            shown.push_str(word);
        }
        shown
    }

    /// Why the client itself could not be started.
    pub fn cannot_run(&self, e: std::io::Error) -> RuntimeError {
        let tool = self.dialect.program();
        if e.kind() == std::io::ErrorKind::NotFound {
            missing(tool, self.dialect.install())
        } else {
            RuntimeError::Io { what: format!("cannot run {tool}"), source: e }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_handed_on() {
        for name in [
            "ANTHROPIC_API_KEY",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "NANOCLAW_UPSTREAM_PROXY",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert!(!is_of_engines(name), "{name}");
        }
        for name in ["PATH", "DOCKER_HOST", "XDG_RUNTIME_DIR", "CONTAINERS_STORAGE_CONF"] {
            assert!(is_of_engines(name), "{name}");
        }
    }
}
