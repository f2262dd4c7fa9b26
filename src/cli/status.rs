//! `nanoclaw status`: read from the ledger, with the daemon up or down.

#[cfg(feature = "whatsapp")]
mod whatsapp;

use serde_json::{Value, json};

use super::args::Output;
use super::exit::Exit;
use super::plain::{json, say};
use crate::config::Config;
use crate::container::VM;
use crate::daemon::Lock;
use crate::db::{self, Ledger, now_ms};
use crate::isolation;
use crate::prices::dollars;
use crate::proxy::Upstream;
use crate::router::SenderAllowlist;
use crate::upgrade::memories;

/// Prints what runs, what waits, and first of all what is wrong.
pub fn run(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let facts = facts(config)?;
    if output.json {
        return json(&facts);
    }
    for problem in facts["problems"].as_array().into_iter().flatten() {
        say!("! {}", problem.as_str().unwrap_or_default());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown: start the daemon once".into(),
        other => other.to_string(),
    };
    say!("daemon      {}", facts["daemon"].as_str().unwrap_or("not running"));
    say!("home        {}", text(&facts["home"]));
    match &facts["isolation"] {
        Value::Object(h) => say!(
            "isolation   {} {} ({}), limits {}",
            text(&h["runtime"]),
            text(&h["version"]),
            text(&h["boundary"]),
            text(&h["limits"])
        ),
        other => say!("isolation   {}", text(other)),
    }
    if let Some(egress) = facts["isolation"]["egress"].as_str() {
        say!("egress      {egress}");
    }
    for passed in facts["stronger"].as_array().into_iter().flatten() {
        say!("stronger    {} is not ready: {}", text(&passed["runtime"]), text(&passed["why"]));
    }
    say!("model       {}", text(&facts["model"]));
    #[cfg(feature = "whatsapp")]
    for (n, line) in whatsapp::lines(&facts["whatsapp"], config.timezone).iter().enumerate() {
        say!("{:<11} {line}", if n == 0 { "whatsapp" } else { "" });
    }
    say!("groups      {}", facts["groups"]);
    say!(
        "containers  {} of at most {}",
        facts["containers"].as_array().map_or(0, Vec::len),
        facts["max_containers"]
    );
    let messages = facts["messages"].as_object().into_iter().flatten();
    let messages: Vec<String> = messages.map(|(state, count)| format!("{count} {state}")).collect();
    say!(
        "messages    {}",
        if messages.is_empty() { "none yet".into() } else { messages.join(", ") }
    );
    say!("today       {}", dollars(facts["spent_today"].as_i64().unwrap_or(0)));
    say!(
        "outbox      {} waiting, {} given up",
        facts["outbox"]["pending"],
        facts["outbox"]["failed"]
    );
    Ok(Exit::Ok)
}

fn facts(config: &Config) -> anyhow::Result<Value> {
    let daemon = Lock::holder(&config.data().join("nanoclaw.lock"));
    let upstream = Upstream {
        base: config.base_url.to_string(),
        credential: config.credential.clone(),
        proxy: None,
    };
    let mut problems: Vec<String> = config.warnings.clone();
    let list = std::fs::read_to_string(config.config_dir.join("sender-allowlist.json"));
    problems.extend(SenderAllowlist::from_read(list).problem().map(str::to_owned));
    if !config.claude.is_file() {
        problems.push(format!(
            "Claude Code is missing: there is no {}; `./nanoclaw.sh install` fetches it",
            config.claude.display()
        ));
    }
    let mut facts = json!({
        "daemon": daemon,
        "home": config.home,
        "model": if upstream.is_practice() { "practice (no credential is set)".to_owned() } else { config.base_url.to_string() },
        "max_containers": config.max_containers,
        "isolation": null, "groups": 0, "containers": [], "messages": {}, "outbox": {"pending": 0, "failed": 0},
    });
    if let Some(c) = Ledger::look(&config.ledger())? {
        let choice = isolation::known(db::settings::get(&c, db::settings::RUNTIME)?);
        problems.extend(choice.as_ref().and_then(|choice| choice.health.warning.clone()));
        let groups = db::groups::all(&c)?;
        if let Some(choice) = &choice {
            let waiting = groups.iter().filter(|g| g.container.vm && choice.health.boundary != VM);
            problems.extend(waiting.map(|g| {
                format!("{} waits: it runs in a virtual machine only, and there is none; `nanoclaw doctor` says what makes one ready", g.folder)
            }));
        }
        facts["stronger"] = serde_json::to_value(choice.as_ref().map(|choice| &choice.passed))?;
        facts["isolation"] = serde_json::to_value(choice.map(|choice| choice.health))?;
        facts["groups"] = groups.len().into();
        let open = db::incarnations::not_dead(&c)?;
        if daemon.is_some() {
            facts["containers"] =
                open.iter().map(|o| json!({"incarnation": o.id, "group": o.folder})).collect();
        }
        facts["messages"] =
            db::messages::counts(&c)?.into_iter().map(|(s, n)| (s, Value::from(n))).collect();
        #[cfg(feature = "whatsapp")]
        {
            let (link, problem) = whatsapp::facts(&c, daemon.is_some(), config.timezone)?;
            facts["whatsapp"] = link;
            // It leads: nothing else matters as much.
            problems.splice(0..0, problem);
        }
        let (pending, failed, oldest) = db::outbox::health(&c)?;
        facts["outbox"] = json!({"pending": pending, "failed": failed, "oldest_ms": oldest});
        if oldest.is_some_and(|age| age > 5 * 60_000) {
            problems.push(format!("{pending} answers wait for a channel that is not connected, the oldest for {} minutes", oldest.unwrap_or(0) / 60_000));
        }
        if failed > 0 {
            problems.push(format!("{failed} answers could not be delivered and were given up; `nanoclaw explain` shows why"));
        }
        let (held, until) = db::pace::held(&c, now_ms())?;
        facts["outbox"]["held"] = held.into();
        facts["outbox"]["held_until"] = until.into();
        for chat in db::groups::chats(&c, None)?.iter().filter(|chat| chat.folder.is_some()) {
            if let Some(closed) = chat.closed {
                problems.push(format!("{} cannot be answered: {}", chat.name, closed.reason()));
            }
        }
        let today = chrono::Utc::now().with_timezone(&config.timezone).date_naive().to_string();
        let spent: i64 = db::usage::since(&c, &today)?.iter().map(|line| line.cost).sum();
        facts["spent_today"] = spent.into();
        if let Some(limit) = config.budget.filter(|limit| spent >= *limit) {
            problems.push(format!("today's budget ({}) is spent: work waits until midnight, or for a higher NANOCLAW_BUDGET; `nanoclaw usage` shows for what", dollars(limit)));
        }
        for (folder, error) in db::turns::failing(&c)? {
            problems.push(format!("the latest message in {folder} was not answered: {error}"));
        }
        if let Some(report) = db::migrate::report(&c)? {
            let found = memories::find(&config.groups());
            if !found.is_empty() {
                problems.push(format!("groups/*/CLAUDE.md name what NanoClaw 1.x had and is gone, {} times; `nanoclaw status --json` lists the lines under \"memories\"", found.len()));
            }
            facts["memories"] = serde_json::to_value(found)?;
            facts["upgrade"] = serde_json::to_value(report)?;
        }
        facts["at"] = now_ms().into();
    }
    facts["problems"] = problems.into();
    Ok(facts)
}
