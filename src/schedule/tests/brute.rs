//! Another implementation, as slow and plain as can be: it walks every minute that
//! really passes and looks at the clock on the wall. It shares no code with the one
//! under test, its parser included.

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc, Weekday};
use chrono_tz::Tz;

/// Every run in `from..to` of a valid expression of five fields.
pub fn runs(
    expression: &str,
    zone: Tz,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    Walk::new(zone, from, to).runs(expression)
}

/// What the clock shows in each minute. Made once, asked for many expressions.
pub struct Walk {
    minutes: Vec<Minute>,
}

struct Minute {
    at: DateTime<Utc>,
    wall: NaiveDateTime,
    /// The wall showed this before.
    again: bool,
    /// What the wall skipped right before.
    skipped: Vec<NaiveDateTime>,
}

impl Walk {
    pub fn new(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Walk {
        let wall = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
        let minute = TimeDelta::minutes(1);
        // Begin two days early, to know what the wall has shown.
        let mut at = from - TimeDelta::days(2);
        let mut highest = wall(at) - minute;
        let mut minutes = Vec::new();
        while at < to {
            let here = wall(at);
            let again = here <= highest;
            let mut skipped = Vec::new();
            while !again && highest + minute < here {
                highest += minute;
                skipped.push(highest);
            }
            highest = highest.max(here);
            if at >= from {
                minutes.push(Minute { at, wall: here, again, skipped });
            }
            at += minute;
        }
        Walk { minutes }
    }

    pub fn runs(&self, expression: &str) -> Vec<DateTime<Utc>> {
        let fields: Vec<&str> = expression.split(' ').collect();
        let minutes: Vec<bool> = (0..60).map(|minute| matches(fields[0], minute, 0, 59)).collect();
        let hours: Vec<bool> = (0..24).map(|hour| matches(fields[1], hour, 0, 23)).collect();
        let hourly = hours.iter().all(|hour| *hour);
        let has = |wall: NaiveDateTime| {
            minutes[wall.minute() as usize]
                && hours[wall.hour() as usize]
                && matches_date(&fields, wall)
        };
        let runs = self.minutes.iter().filter(|minute| {
            let now = has(minute.wall) && (hourly || !minute.again);
            now || (!hourly && minute.skipped.iter().any(|wall| has(*wall)))
        });
        runs.map(|minute| minute.at).collect()
    }
}

fn matches_date(fields: &[&str], wall: NaiveDateTime) -> bool {
    if !matches(&named(fields[3], MONTHS, 1), wall.month(), 1, 12) {
        return false;
    }
    let (day, week) = (fields[2], fields[4]);
    let free = |field: &str| field == "*" || field == "?";
    match (free(day), free(week)) {
        (true, true) => true,
        (false, true) => matches_day(day, wall),
        (true, false) => matches_weekday(week, wall),
        (false, false) => matches_day(day, wall) || matches_weekday(week, wall),
    }
}

fn matches_day(field: &str, wall: NaiveDateTime) -> bool {
    let tomorrow = wall + TimeDelta::days(1);
    field.split(',').any(|part| match part {
        "L" => tomorrow.month() != wall.month(),
        part => matches(part, wall.day(), 1, 31),
    })
}

fn matches_weekday(field: &str, wall: NaiveDateTime) -> bool {
    let today = match wall.weekday() {
        Weekday::Sun => 0,
        Weekday::Mon => 1,
        Weekday::Tue => 2,
        Weekday::Wed => 3,
        Weekday::Thu => 4,
        Weekday::Fri => 5,
        Weekday::Sat => 6,
    };
    named(field, WEEKDAYS, 0).split(',').any(|part| {
        if let Some((day, nth)) = part.split_once('#') {
            let first = wall.day() - 7 * (nth.parse::<u32>().unwrap() - 1).min(wall.day() / 7);
            let in_first_week = (1..=7).contains(&first)
                && first + 7 * (nth.parse::<u32>().unwrap() - 1) == wall.day();
            day.parse::<u32>().unwrap() % 7 == today && in_first_week
        } else if let Some(day) = part.strip_suffix('L') {
            let next_week = wall + TimeDelta::days(7);
            day.parse::<u32>().unwrap() % 7 == today && next_week.month() != wall.month()
        } else if today == 0 {
            (!part.starts_with('*') && matches(part, 7, 0, 7)) || matches(part, 0, 0, 6)
        } else {
            matches(part, today, 0, 6)
        }
    })
}

/// Whether a list of `*`, `5`, `1-5`, each perhaps with a step, has `value`.
fn matches(field: &str, value: u32, low: u32, high: u32) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse().unwrap();
        let mut ends = range.split('-');
        let (first, second) = (ends.next().unwrap(), ends.next());
        let (low, high) = match (first, second) {
            ("*", _) | ("?", _) => (low, high),
            (first, Some(second)) => (first.parse().unwrap(), second.parse().unwrap()),
            (first, None) if part.contains('/') => (first.parse().unwrap(), high),
            (first, None) => (first.parse().unwrap(), first.parse().unwrap()),
        };
        value >= low && value <= high && (value - low).is_multiple_of(step)
    })
}

const MONTHS: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC";
const WEEKDAYS: &str = "SUN MON TUE WED THU FRI SAT";

fn named(field: &str, names: &str, first: usize) -> String {
    names.split(' ').enumerate().fold(field.to_owned(), |field, (index, name)| {
        field.replace(name, &(index + first).to_string())
    })
}
