//! The day's budget: what was used goes into the ledger while it is used, and where
//! it is spent a group waits until midnight, on the owner's clock.
//!
//! At four fifths, and at the end, those who wait are told, once a day and chat. What
//! runs then is interrupted, which costs it no attempt, and the proxy asks the model
//! nothing more for that container, whoever in it wants to. What a model call had taken
//! when it was cut is paid for all the same: a day may cost more by those.

use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Days, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use rusqlite::Connection;

use super::actor::Actor;
use super::rows;
use super::state::Event;
use crate::config::Config;
use crate::db::usage::{self, Spent, Today};
use crate::db::{self, Tokens, now_ms};
use crate::ids::{Folder, TurnId};
use crate::prices::{self, Prices};
use crate::prompt::notices;
use crate::proxy::Usage;

/// A day of the owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Such as `2026-01-31`.
    pub name: String,
    /// When the next begins, milliseconds.
    pub ends: i64,
}

/// The day at an instant, milliseconds.
pub fn day(now: i64, zone: Tz) -> Day {
    let now = DateTime::from_timestamp_millis(now).unwrap_or_else(Utc::now).with_timezone(&zone);
    let date = now.date_naive();
    let midnight = date.checked_add_days(Days::new(1)).unwrap_or(date).and_time(NaiveTime::MIN);
    // Where the clock skips midnight, the day begins an hour later.
    let ends = zone
        .from_local_datetime(&midnight)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(midnight + chrono::TimeDelta::hours(1))).earliest());
    Day {
        name: date.to_string(),
        ends: ends.map_or(now.timestamp_millis() + 3_600_000, |e| e.timestamp_millis()),
    }
}

/// What answers of the model took, priced.
pub fn priced(usage: &[Usage], prices: &Prices, day: &str) -> Vec<Spent> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let one = |usage: &Usage| {
        let tokens = Tokens {
            input: signed(usage.input_tokens),
            output: signed(usage.output_tokens),
            cache_read: signed(usage.cache_read_tokens),
            cache_write: signed(usage.cache_write_tokens),
        };
        let searches = prices::SEARCH.saturating_mul(signed(usage.web_searches));
        let cost = prices.cost(&usage.model, &tokens).saturating_add(searches);
        Spent { day: day.to_owned(), model: usage.model.clone(), tokens, cost }
    };
    usage.iter().map(one).collect()
}

/// How near a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Fine,
    Near,
    Spent,
}

fn level(spent: i64, limit: Option<i64>) -> Level {
    match limit {
        Some(limit) if spent >= limit => Level::Spent,
        Some(limit) if spent >= limit - limit / 5 => Level::Near,
        _ => Level::Fine,
    }
}

/// Whether the group must wait, once those who wait for it are told.
fn weigh(c: &Connection, config: &Config, folder: &Folder, day: &Day) -> db::Result<bool> {
    let Today { all, own, own_limit } = usage::today(c, folder, &day.name)?;
    let scopes = [("all", all, config.budget), (folder.as_str(), own, own_limit)];
    let mut over = false;
    for (scope, spent, limit) in scopes {
        let (Some(limit), level) = (limit, level(spent, limit)) else { continue };
        over |= level == Level::Spent;
        if level == Level::Fine {
            continue;
        }
        let own = scope != "all";
        let text = match level {
            Level::Spent => notices::budget_spent(own, limit),
            _ => notices::budget_near(own, spent, limit),
        };
        for jid in usage::waiting_chats(c, folder)? {
            let key = format!("budget:{}:{scope}:{level:?}:{jid}", day.name);
            if db::told::once(c, &key)? {
                rows::say(c, None, "notice:budget", &jid, &text)?;
            }
        }
        let key = format!("budget:{}:{scope}:{level:?}", day.name);
        if own && level == Level::Spent && db::told::once(c, &key)? {
            rows::tell_main(c, "notice:budget", &notices::budget_of(folder.as_str(), limit))?;
        }
    }
    Ok(over)
}

impl Actor {
    /// Enters what the guest has used so far, and holds the group, or lets it go on,
    /// as the budget says.
    pub(super) async fn weigh(&mut self) {
        let now = now_ms();
        let day = day(now, self.host.config.timezone);
        self.collect(&day.name);
        let (spent, config, folder) =
            (self.spent.clone(), self.host.config.clone(), self.folder.clone());
        let (at_work, id) = (self.at_work(), self.state.incarnation());
        let of = day.clone();
        let weighed = self.write("cannot look at the budget", move |c| {
            let turn = match (at_work, id) {
                (None, Some(id)) if !spent.is_empty() => db::turns::latest_of(c, id)?,
                (turn, _) => turn,
            };
            if let Some(turn) = turn {
                spent.iter().try_for_each(|spent| usage::enter(c, turn, spent))?;
            }
            let before = c.total_changes();
            let over = weigh(c, &config, &folder, &of)?;
            Ok((turn.is_some(), over, c.total_changes() > before))
        });
        let Some((entered, over, said)) = weighed.await else { return };
        if entered {
            self.spent.clear();
        }
        if said {
            self.host.outbox.wake();
        }
        if over != (self.state.held > now) {
            tracing::warn!(group = %self.folder, over, "the day's budget");
            self.handle(Event::Held(if over { day.ends } else { 0 })).await;
        }
        // After the state, which then knows why what is refused or cut ends.
        if let Some(guest) = &self.guest {
            let until = Duration::from_millis(self.state.held.max(0).unsigned_abs());
            guest.serving.hold(UNIX_EPOCH + until);
        }
    }

    /// Takes over what the guest has used since last time, priced.
    pub(super) fn collect(&mut self, day: &str) {
        if let Some(guest) = &self.guest {
            self.spent.extend(priced(&guest.serving.take_usage(), &self.host.prices, day));
        }
    }

    fn at_work(&self) -> Option<TurnId> {
        self.state.turns.iter().find(|t| t.phase.is_given()).map(|t| t.id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn a_day_ends_at_the_owner_s_midnight_also_where_the_clock_changes() {
        let berlin = day(ms("2026-01-31T22:59:59Z"), Tz::Europe__Berlin);
        assert_eq!((berlin.name.as_str(), berlin.ends), ("2026-01-31", ms("2026-01-31T23:00:00Z")));
        let next = day(berlin.ends, Tz::Europe__Berlin);
        assert_eq!(next.name, "2026-02-01");
        // 25 hours.
        let long = day(ms("2026-10-25T00:00:00Z"), Tz::Europe__Berlin);
        assert_eq!(long.ends, ms("2026-10-25T23:00:00Z"));
        // There is no midnight: 0:00 is 1:00.
        let cairo = day(ms("2026-04-23T12:00:00Z"), Tz::Africa__Cairo);
        assert_eq!(cairo.ends, ms("2026-04-23T22:00:00Z"));
        assert_eq!(day(cairo.ends, Tz::Africa__Cairo).name, "2026-04-24");
    }

    #[test]
    fn searches_of_the_web_cost_a_cent_each_whatever_the_model() {
        let usage = Usage { model: "practice".into(), web_searches: 3, ..Usage::default() };
        assert_eq!(priced(&[usage], &Prices::default(), "2026-01-31")[0].cost, 30_000);
    }

    #[test]
    fn a_limit_is_near_at_four_fifths_and_spent_when_it_is_reached() {
        let levels = [0, 79, 80, 99, 100, 101].map(|spent| level(spent, Some(100)));
        use Level::*;
        assert_eq!(levels, [Fine, Fine, Near, Near, Spent, Spent]);
        assert_eq!(level(i64::MAX, None), Fine);
    }
}
