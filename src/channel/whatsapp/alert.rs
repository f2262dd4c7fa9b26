//! The alarm: when a link has been down for a while, the owner is told outside of it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use super::link::Link;

/// How long a link may be down before anybody is told.
pub const AFTER: Duration = Duration::from_secs(5 * 60);
/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Tells once for each time that the link is down for `after`. `command` is
/// NANOCLAW_ALERT. Ends with the sender.
pub async fn watch(
    mut link: watch::Receiver<Link>,
    command: Option<String>,
    zone: chrono_tz::Tz,
    after: Duration,
) {
    loop {
        while !link.borrow_and_update().is_broken() {
            if link.changed().await.is_err() {
                return;
            }
        }
        let mended = async {
            while link.borrow_and_update().is_broken() {
                link.changed().await?;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        match timeout(after, mended).await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        let text = format!("NanoClaw: WhatsApp is {}", link.borrow().sentence(zone));
        tell(command.as_deref(), &text).await;
        while link.borrow_and_update().is_broken() {
            if link.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Runs the command with the text as its argument, else what the desktop has.
pub async fn tell(command: Option<&str>, text: &str) {
    let mut run = match command {
        Some(command) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(format!("{command} \"$1\"")).arg("sh").arg(text);
            shell
        }
        None if cfg!(target_os = "macos") => {
            let mut script = Command::new("osascript");
            script
                .args(["-e", "on run argv", "-e"])
                .arg("display notification (item 1 of argv) with title \"NanoClaw\"")
                .args(["-e", "end run"])
                .arg(text);
            script
        }
        None => {
            let mut notify = Command::new("notify-send");
            notify.args(["--urgency=critical", "NanoClaw"]).arg(text);
            notify
        }
    };
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let told = async {
        let status = run.status().await?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
    };
    match timeout(LIMIT, told).await {
        Ok(Ok(())) => tracing::info!("the alert was given"),
        Ok(Err(error)) if command.is_none() => {
            tracing::info!(%error, "there is no desktop to notify; NANOCLAW_ALERT may name a command");
        }
        Ok(Err(error)) => tracing::warn!(%error, "the command of NANOCLAW_ALERT failed"),
        Err(_) => tracing::warn!("the alert took too long"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::link::State;
    use super::*;

    fn link(state: State) -> Link {
        Link { state, pn: Some("49170@s.whatsapp.net".into()), ..Link::default() }
    }

    async fn lines(path: &std::path::Path, count: usize) -> String {
        for _ in 0..500 {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} lines in {}", path.display());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_is_down_for_long_is_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alerts");
        let command = format!("say() {{ echo \"$1\" >> {}; }}; say", file.display());
        let (state, watched) = watch::channel(link(State::Connected));
        let after = Duration::from_millis(300);
        let watching = tokio::spawn(watch(watched, Some(command), chrono_tz::UTC, after));
        // Shorter than that is nobody's concern.
        state.send_replace(link(State::Down));
        tokio::time::sleep(after / 10).await;
        state.send_replace(link(State::Connected));
        tokio::time::sleep(after * 2).await;
        assert!(!file.exists());
        state.send_replace(link(State::Down));
        assert!(lines(&file, 1).await.contains("not connected"));
        // What is told is not told again while it lasts, and is when it begins anew.
        state.send_replace(link(State::Replaced));
        tokio::time::sleep(after * 2).await;
        state.send_replace(link(State::Connected));
        tokio::time::sleep(after / 10).await;
        state.send_replace(link(State::LoggedOut));
        let told = lines(&file, 2).await;
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(told.contains("removed this device"));
        drop(state);
        watching.await.unwrap();
    }
}
