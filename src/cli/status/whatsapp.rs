//! WhatsApp in `status`: how it stands, since when, what came and went last.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::channel::whatsapp::link::{self, number};
use crate::channel::whatsapp::{CHANNEL, Link, State, alert};
use crate::db::{self, now_ms};

/// The facts, and what of them is a problem.
pub fn facts(
    c: &Connection,
    runs: bool,
    zone: chrono_tz::Tz,
) -> db::Result<(Value, Option<String>)> {
    let link = link::read(c)?;
    let (waiting, last_in, last_out) = db::outbox::traffic(c, CHANNEL)?;
    let mut sentence = link.sentence(zone);
    let mends = matches!(link.state, State::Connecting | State::Connected | State::Down);
    if !runs && mends {
        let account = link.pn.as_deref().map(number).unwrap_or_default();
        sentence = format!("linked to {account}; the daemon does not run");
    }
    let restricted = link.restricted.filter(|until| *until > now_ms());
    let down = now_ms() - link.since;
    let long = down > i64::try_from(alert::AFTER.as_millis()).unwrap_or(i64::MAX);
    let problem = match (link.is_broken() && (!mends || (runs && long)), restricted) {
        (true, _) => Some(format!("WhatsApp, for {} minutes: {sentence}", down / 60_000)),
        (false, Some(_)) => Some(
            "WhatsApp restricts what this account may send (463): look at the phone for a notice; what waits is tried again"
                .into(),
        ),
        (false, None) => None,
    };
    let facts = json!({
        "state": link.state, "since": link.since, "account": link.pn.as_deref().map(number),
        "addresses": [link.pn, link.lid], "until": link.until, "restricted_until": restricted,
        "sentence": sentence, "waiting": waiting, "last_in": last_in, "last_out": last_out,
    });
    Ok((facts, problem))
}

/// The lines of the text.
pub fn lines(facts: &Value, zone: chrono_tz::Tz) -> Vec<String> {
    let unlinked = || Link::default().sentence(zone);
    let mut lines = vec![facts["sentence"].as_str().map_or_else(unlinked, str::to_owned)];
    if facts["account"].is_string() {
        let at = |name: &str| match facts[name].as_i64() {
            Some(ms) => clock(ms, zone),
            None => "never".into(),
        };
        let (since, last_in, last_out) = (at("since"), at("last_in"), at("last_out"));
        lines.push(format!(
            "since {since}; last message in {last_in}, out {last_out}; {} waiting",
            facts["waiting"]
        ));
    }
    lines
}

fn clock(ms: i64, zone: chrono_tz::Tz) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|t| t.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}
