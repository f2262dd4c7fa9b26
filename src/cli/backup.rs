//! `nanoclaw backup` and `nanoclaw restore`.

use std::path::Path;

use super::exit::Exit;
use crate::backup::{self, Manifest};
use crate::config::Config;
use crate::daemon::Lock;

/// Makes a backup, with the daemon up or down.
pub fn make(config: &Config, to: &Path) -> anyhow::Result<Exit> {
    let made = backup::make(config, to)?;
    say(&made, &format!("backed up to {}", to.display()));
    println!("it holds your settings and conversations: keep it where only you can read");
    Ok(Exit::Ok)
}

/// Restores one into this installation, which must be empty and at rest.
pub fn restore(config: &Config, from: &Path) -> anyhow::Result<Exit> {
    let _lock = Lock::take(&config.data().join("nanoclaw.lock"))?;
    let made = backup::restore(config, from)?;
    say(&made, &format!("restored and compared, as of {}", made.made));
    Ok(Exit::Ok)
}

fn say(made: &Manifest, what: &str) {
    println!("{what}: {} files, {} bytes", made.files.len(), made.bytes());
    made.left_out.iter().for_each(|what| println!("    left out {what}"));
}
