//! WhatsApp in `status`: how it stands, since when, what came and went last.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::channel::whatsapp::link::{self, number};
use crate::channel::whatsapp::{CHANNEL, Link, alert};
use crate::db::{self, now_ms};

/// The facts, and what of them is a problem.
pub fn facts(
    c: &Connection,
    runs: bool,
    zone: chrono_tz::Tz,
) -> db::Result<(Value, Option<String>)> {
    let link = link::read(c)?;
    let (waiting, last_in, last_out) = db::outbox::traffic(c, CHANNEL)?;
    let (sentence, mends) = (link.told(runs, zone), link.mends());
    let quiet = link.quiet.as_ref().filter(|quiet| quiet.until > now_ms());
    let down = now_ms() - link.since;
    let long = down > alert::AFTER;
    let problem = if link.is_broken() && (!mends || (runs && long)) {
        Some(format!("WhatsApp, for {} minutes: {sentence}", down / 60_000))
    } else {
        quiet.map(|quiet| quiet.sentence(zone))
    };
    let facts = json!({
        "state": link.state, "since": link.since, "account": link.pn.as_deref().map(number),
        "addresses": [link.pn, link.lid], "until": link.until, "quiet": quiet,
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
            Some(ms) => link::moment(ms, zone),
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
