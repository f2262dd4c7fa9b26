//! Cron expressions, as users of NanoClaw 1.x write them, over the `cron` crate.
//!
//! The crate finds the next match, but it speaks another dialect: seconds are not
//! optional, 1 is Sunday, both fields of days must match, and there is no `L` and no
//! `#`. So an expression is read here, strictly, into numbers; the crate gets one
//! rule in its own words for each way in which a day can match, and of what the
//! rules find the earliest counts.
//!
//! Understood: five fields, or six with seconds in front; names (`MON`, `JAN`, in any
//! case), ranges, lists, steps (`*/5`, `5/15` from 5 on, `0-30/10`); `?` as `*`; 7 as
//! Sunday, also at the end of a range; `L` the month's last day, `5L` its last Friday,
//! `1#2` its second Monday, each also in lists; `@yearly` to `@secondly`, `@weekdays`,
//! `@weekends`. Days match when the day of month *or* the day of week does, if both
//! are given; given is what is not exactly `*` or `?`, so `*/2` is.
//!
//! Refused, rather than read in another way than it was meant: fewer than five fields,
//! a year, `W`, `H`, a range that runs backwards, a step that is larger than its field
//! (1.x takes `*/90` for every hour), dates that never come.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};

use super::fields::{DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, is_open};
use super::{ScheduleError, short};

const SHORTHANDS: [(&str, &str); 11] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@minutely", "* * * * *"),
    ("@secondly", "* * * * * *"),
    ("@weekdays", "0 0 * * 1-5"),
    ("@weekends", "0 0 * * 0,6"),
];

/// The times on the wall that an expression names.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// A time matches when one of them does.
    rules: Vec<Rule>,
    every_hour: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    times: cron::Schedule,
    days: Days,
}

/// Which of the days that the crate finds count.
#[derive(Clone, Copy, Debug)]
enum Days {
    All,
    LastOfMonth,
    LastWeekOfMonth,
    /// From 1.
    WeekOfMonth(u32),
}

impl Calendar {
    /// Reads an expression whose parts have one space between.
    pub fn parse(expression: &str) -> Result<Calendar, ScheduleError> {
        let expanded = if expression.starts_with('@') {
            let known = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(expression));
            known.ok_or_else(|| ScheduleError::Shorthand(short(expression)))?.1
        } else {
            expression
        };
        let mut fields: Vec<&str> = expanded.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = fields[..] else {
            return Err(ScheduleError::FieldCount(fields.len()));
        };
        let time = [SECOND.numbers(second)?, MINUTE.numbers(minute)?, HOUR.numbers(hour)?];
        let months = list(MONTH.numbers(month)?);
        let every_hour = time[2].len() == 24;
        let time = time.map(list).join(" ");

        let mut rules = Vec::new();
        let mut add = |day: &str, weekday: &str, days: Days| {
            let words = format!("{time} {day} {months} {weekday}");
            // What is made of checked numbers the crate takes.
            let times = words
                .parse()
                .map_err(|_: cron::error::Error| ScheduleError::NeverComes(short(expression)))?;
            rules.push(Rule { times, days });
            Ok(())
        };
        let by_month = DAY.days(day)?;
        let by_week = WEEKDAY.days(weekday)?;
        if is_open(day) && is_open(weekday) {
            add("*", "*", Days::All)?;
        }
        if !is_open(day) {
            if !by_month.numbers.is_empty() {
                add(&list(by_month.numbers), "*", Days::All)?;
            }
            if by_month.last {
                add("28-31", "*", Days::LastOfMonth)?;
            }
        }
        if !is_open(weekday) {
            if !by_week.numbers.is_empty() {
                add("*", &weekdays(by_week.numbers), Days::All)?;
            }
            if !by_week.last_weekdays.is_empty() {
                add("*", &weekdays(by_week.last_weekdays), Days::LastWeekOfMonth)?;
            }
            for (weekday, nth) in by_week.nth {
                add("*", &weekdays([weekday]), Days::WeekOfMonth(nth))?;
            }
        }
        Ok(Calendar { rules, every_hour })
    }

    /// Whether its hour field names every hour.
    pub fn every_hour(&self) -> bool {
        self.every_hour
    }

    /// The first match after a time on the wall, before the year 2101.
    pub fn next_after(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.rules.iter().filter_map(|rule| rule.next_after(wall)).min()
    }
}

impl Rule {
    fn next_after(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        // The crate searches in UTC, which has no clock changes: what it finds is a
        // time on the wall.
        let mut from = wall;
        loop {
            let found = self.times.after(&from.and_utc()).next()?.naive_utc();
            if self.days.has(found.date()) {
                return Some(found);
            }
            from = found.date().and_time(LAST_SECOND);
        }
    }
}

/// Of a day.
const LAST_SECOND: NaiveTime = match NaiveTime::from_hms_opt(23, 59, 59) {
    Some(time) => time,
    None => NaiveTime::MIN,
};

impl Days {
    fn has(self, date: NaiveDate) -> bool {
        let left = u32::from(date.num_days_in_month()) - date.day();
        match self {
            Days::All => true,
            Days::LastOfMonth => left == 0,
            Days::LastWeekOfMonth => left < 7,
            Days::WeekOfMonth(nth) => date.day().div_ceil(7) == nth,
        }
    }
}

fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// In the crate's words: its Sunday is 1.
fn weekdays(numbers: impl IntoIterator<Item = u32>) -> String {
    list(numbers.into_iter().map(|weekday| weekday + 1))
}
