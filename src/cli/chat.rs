//! `nanoclaw chat`: talk as main, through the running daemon or one of its own.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::oneshot;

use super::exit::Exit;
use crate::channel::terminal::{Ended, Terminal};
use crate::config::Config;
use crate::daemon;

/// Talks until standard input ends.
pub async fn run(config: Arc<Config>, began: Instant) -> anyhow::Result<Exit> {
    let ended = match Terminal::connect(&config.socket, &config.assistant_name).await? {
        Some(terminal) => terminal.converse().await?,
        None => with_own_daemon(config, began).await?,
    };
    if ended == Ended::Interrupted {
        eprintln!(
            "\nWhat was not answered yet stays in the ledger; it is answered when the assistant next runs."
        );
    }
    Ok(match ended {
        Ended::Answered => Exit::Ok,
        Ended::Failed | Ended::Interrupted => Exit::Failed,
    })
}

async fn with_own_daemon(config: Arc<Config>, began: Instant) -> anyhow::Result<Ended> {
    log_to_file(&config)?;
    let (stop, stopped) = oneshot::channel::<Duration>();
    let (ready, is_ready) = oneshot::channel();
    // Dropped means the end as well.
    let stopped = async { stopped.await.unwrap_or(daemon::GRACE) };
    let serving = daemon::run(config.clone(), began, |r| _ = ready.send(r.practice), stopped);
    let talking = async {
        let Ok(practice) = is_ready.await else { return Ok(Ended::Failed) };
        if practice {
            eprintln!(
                "No credential is set, so a practice model answers: scripted, not Claude. Try \"remember that ...\", \
                 \"what do you remember?\", \"what can you see?\". To talk to Claude, put ANTHROPIC_API_KEY=... into {}",
                config.home.join(".env").display()
            );
        }
        let terminal = Terminal::connect(&config.socket, &config.assistant_name)
            .await?
            .context("the daemon did not listen")?;
        let ended = terminal.converse().await;
        let grace = match ended {
            Ok(Ended::Interrupted) => Duration::ZERO,
            _ => daemon::GRACE,
        };
        // The daemon is only gone if it failed, which its result says.
        let _ = stop.send(grace);
        ended
    };
    let (served, ended) = tokio::join!(serving, talking);
    served?;
    ended
}

/// The conversation has the terminal; the log goes where `start` would not look.
fn log_to_file(config: &Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(config.logs())?;
    let path = config.logs().join("chat.log");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::sync::Mutex::new(file))
        .with_target(false)
        .with_ansi(false)
        .init();
    Ok(())
}
