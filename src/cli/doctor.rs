//! `nanoclaw doctor`: what an installation needs, with the daemon up or down.

use serde_json::json;

use super::args::Output;
use super::exit::Exit;
use super::plain::json;
use crate::config::Config;
use crate::doctor::{self, Level};

/// Prints each check; fails if one does.
pub async fn run(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let checks = doctor::examine(config).await;
    let worst = checks.iter().map(|check| check.level).max();
    let exit = if worst == Some(Level::Fail) { Exit::Failed } else { Exit::Ok };
    if output.json {
        json(&json!({"ok": exit == Exit::Ok, "checks": checks}))?;
    } else {
        for check in &checks {
            let level = match check.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            println!("{level}  {:<16} {}", check.name, check.found);
            if let Some(next) = &check.next {
                println!("      {:<16} -> {next}", "");
            }
        }
    }
    Ok(exit)
}
