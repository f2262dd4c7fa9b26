//! The values of `interval` and `once`.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::{ScheduleError, clock, short};

/// The longest interval, milliseconds: a hundred years. What is longer is a mistake of
/// the unit.
const LONGEST: i64 = 100 * 366 * 86_400_000;

/// Milliseconds above zero.
pub(super) fn interval(text: &str) -> Result<i64, ScheduleError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let every = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    every
        .filter(|every| (1..=LONGEST).contains(every))
        .ok_or_else(|| ScheduleError::Interval(short(text)))
}

/// A point in time: as the clock of `zone` shows it, or with a zone of its own.
pub(super) fn instant(text: &str, zone: Tz) -> Result<DateTime<Utc>, ScheduleError> {
    let wrong = || ScheduleError::Time(short(text));
    let (wall, offset) = split_zone(text).ok_or_else(wrong)?;
    let wall = wall.replacen(' ', "T", 1);
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(&wall, form).ok())
        // Times are compared as text: a year has four digits.
        .filter(|wall| (0..=9999).contains(&wall.year()))
        .ok_or_else(wrong)?;
    match offset {
        Some(offset) => local.and_local_timezone(offset).single().map(|at| at.to_utc()),
        None => clock::first(zone, local),
    }
    .ok_or_else(wrong)
}

/// Divides a zone (`Z`, `+01:00`, `+0100`) from the end.
fn split_zone(text: &str) -> Option<(&str, Option<FixedOffset>)> {
    if let Some(wall) = text.strip_suffix(['Z', 'z']) {
        return Some((wall.trim_end(), FixedOffset::east_opt(0)));
    }
    let time = text.find(':')?;
    let Some(sign) = text[time..].find(['+', '-']).map(|at| at + time) else {
        return Some((text, None));
    };
    let (wall, offset) = text.split_at(sign);
    let offset: FixedOffset = offset.parse().ok()?;
    Some((wall.trim_end(), Some(offset)))
}
