//! The alarm: when a link has been down for a while, the owner is told outside of it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::link::Link;
use crate::db::{self, Ledger, now_ms};

/// How long a link may be down before anybody is told, milliseconds.
pub const AFTER: i64 = 5 * 60_000;
/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Tells once of each state in which the link was down for [`AFTER`], across restarts:
/// what was told is a row. `command` is NANOCLAW_ALERT. Ends with the sender.
pub async fn watch(
    mut link: watch::Receiver<Link>,
    ledger: Ledger,
    command: Option<String>,
    zone: chrono_tz::Tz,
) {
    loop {
        let now = link.borrow_and_update().clone();
        let long = async {
            match now.is_broken() {
                true => {
                    sleep(Duration::from_millis(
                        (now.since + AFTER - now_ms()).max(0).unsigned_abs(),
                    ))
                    .await
                }
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = link.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = long => {}
        }
        let key = format!("alert:{}", now.since);
        // If that cannot be known: twice is better than never.
        if ledger.write(move |c| db::told::once(c, &key)).await.unwrap_or(true) {
            tell(command.as_deref(), &format!("NanoClaw: WhatsApp is {}", now.sentence(zone)))
                .await;
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// Runs the command with the text as its last argument, else what the desktop has.
pub async fn tell(command: Option<&str>, text: &str) {
    let desktop = if cfg!(target_os = "macos") {
        r#"osascript -e 'on run argv' -e 'display notification (item 1 of argv) with title "NanoClaw"' -e 'end run'"#
    } else {
        "notify-send --urgency=critical NanoClaw"
    };
    let mut run = Command::new("/bin/sh");
    run.arg("-c").arg(format!("{} \"$1\"", command.unwrap_or(desktop))).arg("sh").arg(text);
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
