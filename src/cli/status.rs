//! `nanoclaw status`: read from the ledger, with the daemon up or down.

use serde_json::{Value, json};

use super::args::Output;
use super::exit::Exit;
use super::plain::say;
use crate::config::Config;
use crate::container::Health;
use crate::daemon::Lock;
use crate::db::{self, Ledger, now_ms};
use crate::proxy::Upstream;
use crate::router::SenderAllowlist;
use crate::upgrade::memories;

/// Prints what runs, what waits, and first of all what is wrong.
pub fn run(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let facts = facts(config)?;
    if output.json {
        println!("{}", serde_json::to_string_pretty(&facts)?);
        return Ok(Exit::Ok);
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
    say!("model       {}", text(&facts["model"]));
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
        let health = db::settings::get(&c, db::settings::RUNTIME)?;
        let health = health.and_then(|text| serde_json::from_str::<(Health, String)>(&text).ok());
        facts["isolation"] = serde_json::to_value(health.map(|(health, _)| health))?;
        facts["groups"] = db::groups::all(&c)?.len().into();
        let open = db::incarnations::not_dead(&c)?;
        if daemon.is_some() {
            facts["containers"] =
                open.iter().map(|o| json!({"incarnation": o.id, "group": o.folder})).collect();
        }
        facts["messages"] =
            db::messages::counts(&c)?.into_iter().map(|(s, n)| (s, Value::from(n))).collect();
        let (pending, failed, oldest) = db::outbox::health(&c)?;
        facts["outbox"] = json!({"pending": pending, "failed": failed, "oldest_ms": oldest});
        if oldest.is_some_and(|age| age > 5 * 60_000) {
            problems.push(format!("{pending} answers wait for a channel that is not connected, the oldest for {} minutes", oldest.unwrap_or(0) / 60_000));
        }
        if failed > 0 {
            problems.push(format!("{failed} answers could not be delivered and were given up; `nanoclaw explain` shows why"));
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
