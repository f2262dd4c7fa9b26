//! `nanoclaw usage`: what the model was used for, from the ledger, with the daemon up
//! or down.

use std::collections::BTreeMap;

use chrono::Days;
use serde_json::json;

use super::args::Output;
use super::exit::Exit;
use super::plain::json;
use crate::config::Config;
use crate::db::usage::{self, Line};
use crate::db::{self, Ledger, Tokens};
use crate::prices::{self, dollars};

/// `nanoclaw usage`.
#[derive(clap::Args)]
pub struct Usage {
    /// The days that are shown, today included.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=3660))]
    pub days: u64,
    #[command(flatten)]
    pub output: Output,
}

/// Prints each day's account, and the whole time's.
pub fn run(config: &Config, usage: &Usage) -> anyhow::Result<Exit> {
    let today = chrono::Utc::now().with_timezone(&config.timezone).date_naive();
    let first = today.checked_sub_days(Days::new(usage.days - 1)).unwrap_or(today).to_string();
    let mut lines = Vec::new();
    let mut limits: BTreeMap<String, i64> = BTreeMap::new();
    if let Some(c) = Ledger::look(&config.ledger())? {
        lines = usage::since(&c, &first)?;
        for group in db::groups::all(&c)? {
            if let Some(limit) = usage::limit(&c, &group.folder)? {
                limits.insert(group.folder.to_string(), limit);
            }
        }
    }
    let cost = |of: &dyn Fn(&&Line) -> bool| lines.iter().filter(of).map(|l| l.cost).sum::<i64>();
    let (day, all) = (today.to_string(), cost(&|_| true));
    let spent = cost(&|l| l.day == day);
    if usage.output.json {
        let facts = json!({"since": first, "today": day, "spent_today": spent, "spent": all,
            "unit": "millionths of a dollar", "prices_as_of": prices::AS_OF,
            "budget": config.budget, "budgets": limits, "lines": lines});
        return json(&facts);
    }
    let of = config.budget.map(|limit| format!(" of {}", dollars(limit))).unwrap_or_default();
    println!(
        "today {}{of}; since {first} {} (prices of {})",
        dollars(spent),
        dollars(all),
        prices::AS_OF
    );
    for (group, limit) in &limits {
        let own = cost(&|l| l.day == day && l.group == *group);
        println!("  {group} today {} of {}", dollars(own), dollars(*limit));
    }
    let mut shown = "";
    for line in &lines {
        if line.day != shown {
            println!("{}  {}", line.day, dollars(cost(&|l| l.day == line.day)));
            shown = &line.day;
        }
        let Tokens { input, output, cache_read, cache_write } = line.tokens;
        println!(
            "    {}  {}  {}  {input} tokens in, {output} out, {cache_read} from the cache, {cache_write} into it",
            line.group,
            line.model,
            dollars(line.cost),
        );
    }
    if lines.is_empty() {
        println!("nothing was used");
    }
    Ok(Exit::Ok)
}
