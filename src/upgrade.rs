//! What a directory of NanoClaw 1.x needs besides the upgrade of its database: the
//! old program must not run beside this one, its owner is told what changed, and its
//! agents find a note where the project was.
//!
//! Nothing here writes a file of the owner's.

pub mod memories;
pub mod project;
pub mod rival;

use crate::config::Config;
use crate::db::{self, Ledger, Origin};
use crate::router::SenderAllowlist;

/// Where a 1.x database comes from.
pub fn origin(config: &Config) -> Origin {
    let list = std::fs::read_to_string(config.config_dir.join("sender-allowlist.json"));
    Origin {
        data: config.data(),
        assistant: config.assistant_name.clone(),
        own_number: config.own_number,
        allowlist: SenderAllowlist::from_read(list),
        now: db::now_ms(),
    }
}

/// What the owner is told at the first start after an upgrade, and never again.
pub async fn news(ledger: &Ledger, config: &Config) -> db::Result<Vec<String>> {
    let report = ledger
        .write(|c| {
            let Some(mut report) = db::migrate::report(c)?.filter(|r| !r.told) else {
                return Ok(None);
            };
            report.told = true;
            db::migrate::note(c, &report)?;
            Ok(Some(report))
        })
        .await?;
    let Some(report) = report else { return Ok(Vec::new()) };
    let backup = match &report.backup {
        Some(path) => format!(" As it was, it is in {}.", path.display()),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "This was a directory of NanoClaw 1.x. Its database was upgraded: {} groups, {} messages and {} tasks \
             were kept.{backup}",
            report.groups, report.messages, report.tasks
        ),
        format!(
            "{} messages are answered now; {} had waited for more than a day, and their chats are told.",
            report.queued, report.left_out
        ),
        "Containers that the old program left may still run: `docker ps --filter name=nanoclaw-` shows them, `docker \
         stop` ends them. Moving here, and back: docs/moving-from-1x.md."
            .to_owned(),
    ];
    lines.extend(report.warnings);
    let found = memories::find(&config.groups());
    if !found.is_empty() {
        lines.push(
            "These lines of memories name what is gone. They are yours to change; the agents read them as they are:"
                .to_owned(),
        );
        lines.extend(found.iter().map(ToString::to_string));
    }
    Ok(lines)
}
