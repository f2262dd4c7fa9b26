//! The script of a scheduled task: it decides whether the model is woken.
//!
//! Run with bash in the group's folder. The last line of its output must be JSON
//! with a boolean `wakeAgent` and, optionally, `data` for the prompt. Anything
//! else lets the model sleep, as in NanoClaw 1.x. A script that ends well and says
//! nothing says that; one that fails, or says what nobody understands, fails its run.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::processes;

const LIMIT: Duration = Duration::from_secs(30);
const MAX_OUTPUT: u64 = 1024 * 1024;

/// Why the model sleeps.
#[derive(Debug, thiserror::Error)]
pub enum Asleep {
    /// The script said so, or nothing.
    #[error("the script let the model sleep")]
    Said,
    /// The script did not end in time.
    #[error("the script took longer than {} s", LIMIT.as_secs())]
    TimedOut,
    /// The script failed.
    #[error("the script ended with {0}")]
    Failed(std::process::ExitStatus),
    /// It wrote too much.
    #[error("the script wrote more than {MAX_OUTPUT} bytes")]
    TooMuch,
    /// Its last line is not what it must be.
    #[error("the script's last line is no JSON object with a boolean wakeAgent")]
    NoAnswer,
    /// It could not be run.
    #[error("the script could not be run: {0}")]
    Io(#[from] io::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    wake_agent: bool,
    #[serde(default)]
    data: Value,
}

/// Runs `script` in `cwd` and returns the prompt to wake the model with: the
/// whole of `prompt`, preceded by the script's data. `env` is its whole environment;
/// the session tag in it marks its processes, which end with it.
pub async fn run(
    script: &str,
    prompt: &str,
    cwd: &Path,
    env: &[(String, String)],
) -> Result<String, Asleep> {
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).stdin(Stdio::null()).stderr(Stdio::null());
    let (mut child, kept) = processes::spawn(&mut command, cwd, env)?;
    let tag = env.iter().find(|(name, _)| name == processes::TAG).map_or("", |(_, tag)| tag);
    let mut output = Vec::new();
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let outcome = timeout(LIMIT, async {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await?;
        if output.len() as u64 > MAX_OUTPUT { Ok(None) } else { child.wait().await.map(Some) }
    })
    .await;
    let _ = child.start_kill();
    processes::kill_all(|| processes::of_session(Some(kept.pid()), tag)).await;
    let _ = child.wait().await;
    let status = outcome.map_err(|_| Asleep::TimedOut)??.ok_or(Asleep::TooMuch)?;
    if !status.success() {
        return Err(Asleep::Failed(status));
    }
    wake(&String::from_utf8_lossy(&output), prompt)
}

/// Judges the output.
fn wake(output: &str, prompt: &str) -> Result<String, Asleep> {
    let Some(last) = output.trim().lines().last() else { return Err(Asleep::Said) };
    let answer: Answer = serde_json::from_str(last).map_err(|_| Asleep::NoAnswer)?;
    if !answer.wake_agent {
        return Err(Asleep::Said);
    }
    let data = serde_json::to_string_pretty(&answer.data).map_err(|_| Asleep::NoAnswer)?;
    Ok(format!(
        "[SCHEDULED TASK]\n\nThe task's script ran first and found:\n{data}\n\nInstructions:\n{prompt}"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_model_wakes_with_the_data_and_the_whole_prompt() {
        let prompt =
            wake("noise\n{\"wakeAgent\":true,\"data\":{\"n\":3}}\n\n", "do it\nnow").unwrap();
        assert!(
            prompt.starts_with("[SCHEDULED TASK]")
                && prompt.contains("\"n\": 3")
                && prompt.ends_with("do it\nnow")
        );
    }

    #[test]
    fn anything_else_lets_it_sleep() {
        assert!(matches!(wake("{\"wakeAgent\":false}", "p"), Err(Asleep::Said)));
        assert!(matches!(wake(" \n", "p"), Err(Asleep::Said)));
        for output in ["yes", "{}", "{\"wakeAgent\":\"true\"}", "{\"wakeAgent\":true}\ndone"] {
            assert!(matches!(wake(output, "p"), Err(Asleep::NoAnswer)), "{output}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_script_runs_in_the_group_and_its_failure_or_flood_is_sleep() {
        let dir = tempfile::tempdir().unwrap();
        let env = |tag: &str| {
            let path = std::env::var("PATH").unwrap();
            vec![("PATH".to_owned(), path), (processes::TAG.to_owned(), tag.to_owned())]
        };
        let go = async |script: &str, tag: &str| run(script, "p", dir.path(), &env(tag)).await;
        let woken = go("touch here; echo '{\"wakeAgent\":true,\"data\":\"'$PWD'\"}'", "script-1")
            .await
            .unwrap();
        assert!(dir.path().join("here").exists() && woken.contains(dir.path().to_str().unwrap()));
        assert!(matches!(
            go("echo '{\"wakeAgent\":true}'; exit 3", "script-2").await,
            Err(Asleep::Failed(_))
        ));
        assert!(matches!(go("yes", "script-3").await, Err(Asleep::TooMuch)));
    }
}
