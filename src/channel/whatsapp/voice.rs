//! What is said in a voice note: the owner's own program listens to it.
//!
//! The bytes are a stranger's and the program may have faults, so it runs without a
//! network, on a copy, with everything read-only but a directory of its own, and not
//! for ever. What it prints is the text.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::config::Config;
use crate::crash;
use crate::ids::random_hex;

/// How long it may take: the message waits for it.
const LIMIT: Duration = Duration::from_secs(120);
/// The longest text that is taken, in bytes.
const MOST: u64 = 64 * 1024;

/// What the directory begins with in which one is listened to.
const PLACE: &str = "whatsapp-voice-";

/// Removes what a crash left: the voice notes themselves come again with their messages.
pub fn sweep(config: &Config) {
    for entry in std::fs::read_dir(config.files()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PLACE) {
            // Then the next start.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// What the voice note at `path` says.
pub async fn transcribe(config: &Config, command: &str, path: &Path) -> Result<String, String> {
    let random = random_hex().map_err(|e| e.to_string())?;
    let place = config.files().join(format!("{PLACE}{random}"));
    let heard = in_place(config, command, path, &place).await;
    crash::point("whatsapp after transcribing", &"note");
    let _ = tokio::fs::remove_dir_all(&place).await;
    heard
}

async fn in_place(
    config: &Config,
    command: &str,
    path: &Path,
    place: &Path,
) -> Result<String, String> {
    let copied = async {
        tokio::fs::create_dir(place).await?;
        tokio::fs::copy(path, place.join("voice.ogg")).await
    };
    copied.await.map_err(|e| format!("it could not be copied: {e}"))?;
    let mut child = sandboxed(config, command, place)
        // The daemon's environment holds keys.
        .env_clear()
        .envs(["PATH", "HOME", "LANG"].into_iter().filter_map(|n| Some((n, std::env::var_os(n)?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            format!("the program of NANOCLAW_TRANSCRIBE cannot be started without a network: {e}")
        })?;
    let Some(out) = child.stdout.take() else { return Err("it says nothing".into()) };
    let listening = async {
        let mut text = String::new();
        out.take(MOST).read_to_string(&mut text).await.map_err(|e| e.to_string())?;
        let status = child.wait().await.map_err(|e| e.to_string())?;
        Ok::<_, String>((status, text.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    match tokio::time::timeout(LIMIT, listening).await {
        Err(_) => Err(format!("the program took longer than {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(error),
        Ok(Ok((status, _))) if !status.success() => Err(format!("the program failed ({status})")),
        Ok(Ok((_, text))) if text.is_empty() => Err("the program heard no words".into()),
        Ok(Ok((_, text))) => Ok(text),
    }
}

/// `command` with the copy's path as its last argument.
#[cfg(target_os = "linux")]
fn sandboxed(config: &Config, command: &str, place: &Path) -> Command {
    let mut bwrap = Command::new("bwrap");
    bwrap
        .args(["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/"])
        .args(["--dev", "/dev", "--proc", "/proc", "--setenv", "TMPDIR"])
        .arg(place);
    // What strangers' bytes must not reach, even to read.
    for secret in
        [config.store(), config.groups(), config.data().join("sessions"), config.data().join("ipc")]
    {
        if secret.is_dir() {
            bwrap.arg("--tmpfs").arg(secret);
        }
    }
    let env = config.home.join(".env");
    if env.is_file() {
        bwrap.arg("--ro-bind").arg("/dev/null").arg(env);
    }
    bwrap.arg("--bind").arg(place).arg(place).arg("--chdir").arg(place);
    bwrap.args(["/bin/sh", "-c"]).arg(format!("{command} \"$1\"")).arg("sh");
    bwrap.arg(place.join("voice.ogg"));
    bwrap
}

/// `command` with the copy's path as its last argument.
#[cfg(not(target_os = "linux"))]
fn sandboxed(_: &Config, command: &str, place: &Path) -> Command {
    let mut sandbox = Command::new("/usr/bin/sandbox-exec");
    sandbox
        .args(["-p", "(version 1)(allow default)(deny network*)"])
        .args(["/bin/sh", "-c"])
        .arg(format!("{command} \"$1\""))
        .arg("sh")
        .arg(place.join("voice.ogg"))
        .current_dir(place);
    sandbox
}
