//! `nanoclaw start`: the daemon in the foreground.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use crate::config::Config;
use crate::container::Health;
use crate::daemon::{self, Ready};

/// Runs until SIGTERM or SIGINT; a second one ends it at once.
pub async fn run(config: Arc<Config>, began: Instant) -> anyhow::Result<Exit> {
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would complain with a macro that panics where the log's disk is full.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = async move {
        let got = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal = got, "ending: running turns may finish; again to end at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            #[expect(clippy::disallowed_methods, reason = "asked for; the ledger has everything")]
            std::process::exit(i32::from(Exit::Failed as u8));
        });
        daemon::GRACE
    };
    daemon::run(config.clone(), began, |ready| announce(&config, ready), stop).await?;
    Ok(Exit::Ok)
}

fn announce(config: &Config, ready: &Ready) {
    let model = match (&config.credential, ready.practice) {
        (_, true) => "the practice model (no credential is set)".to_owned(),
        (_, false) => config.base_url.to_string(),
    };
    let Health { runtime, boundary, limits, .. } = &ready.health;
    let mut text = format!(
        "ready in {} ms\n  groups     {}\n  isolation  {runtime} ({boundary}), limits {limits}\n  \
         model      {model}\n  socket     {}\n",
        ready.took.as_millis(),
        ready.groups,
        config.socket.display(),
    );
    for passed in &ready.passed {
        text += &format!("  stronger   {} is not ready: {}\n", passed.runtime, passed.why);
    }
    for line in ready.health.warning.iter().chain(&ready.news) {
        text += &format!("\n{line}\n");
    }
    // Whoever started us may have closed our standard output; that is no reason to end.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
