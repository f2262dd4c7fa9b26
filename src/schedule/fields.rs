//! One field of a cron expression: from what people write to numbers.

use std::collections::BTreeSet;

use super::{ScheduleError, short};

/// What a field is called, and what may stand in it.
pub(super) struct Field {
    name: &'static str,
    /// The smallest and the largest number; of weekdays 0 and 7 are both Sunday.
    min: u32,
    max: u32,
    /// What `*` reaches to.
    all: u32,
    /// Names, the first for `min`.
    names: &'static [&'static str],
}

pub(super) const SECOND: Field = Field { name: "second", min: 0, max: 59, all: 59, names: &[] };
pub(super) const MINUTE: Field = Field { name: "minute", min: 0, max: 59, all: 59, names: &[] };
pub(super) const HOUR: Field = Field { name: "hour", min: 0, max: 23, all: 23, names: &[] };
pub(super) const DAY: Field = Field { name: "day of month", min: 1, max: 31, all: 31, names: &[] };
pub(super) const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    all: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
pub(super) const WEEKDAY: Field = Field {
    name: "day of week",
    min: 0,
    max: 7,
    all: 6,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

/// Days that a field names: by number, or by their place in the month.
#[derive(Default)]
pub(super) struct Days {
    /// Of the month, or of the week from Sunday, 0.
    pub numbers: BTreeSet<u32>,
    /// `L`: the month's last day.
    pub last: bool,
    /// `5L`: the month's last such weekday.
    pub last_weekdays: BTreeSet<u32>,
    /// `1#2`: the month's second Monday.
    pub nth: BTreeSet<(u32, u32)>,
}

/// Whether a field of days leaves the choice to the other one.
pub(super) fn is_open(text: &str) -> bool {
    text == "*" || text == "?"
}

impl Field {
    /// The numbers that a field names.
    pub fn numbers(&self, text: &str) -> Result<BTreeSet<u32>, ScheduleError> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            self.add(part, &mut numbers)?;
        }
        Ok(numbers)
    }

    /// As [`Field::numbers`] for the two fields of days.
    pub fn days(&self, text: &str) -> Result<Days, ScheduleError> {
        let mut days = Days::default();
        let weekday = self.name == WEEKDAY.name;
        for part in text.split(',') {
            if let Some((day, nth)) = part.split_once('#').filter(|_| weekday) {
                let nth =
                    nth.parse().ok().filter(|nth| (1..=5).contains(nth)).ok_or_else(|| {
                        self.wrong(
                            part,
                            "must have 1 to 5 after #, such as 1#2 for the second Monday",
                        )
                    })?;
                days.nth.insert((self.number(day, part)? % 7, nth));
            } else if part.eq_ignore_ascii_case("L") && !weekday {
                days.last = true;
            } else if let Some(day) = part.strip_suffix(['L', 'l']).filter(|_| weekday) {
                if day.is_empty() {
                    return Err(self.wrong(
                        part,
                        "must say which weekday, such as 5L for the month's last Friday",
                    ));
                }
                days.last_weekdays.insert(self.number(day, part)? % 7);
            } else {
                self.add(part, &mut days.numbers)?;
            }
        }
        Ok(days)
    }

    /// Adds what one part of a list names: `*`, `5`, `1-5`, `*/10`, `5/15`, `0-30/10`.
    fn add(&self, part: &str, numbers: &mut BTreeSet<u32>) -> Result<(), ScheduleError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, part)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if is_open(range) => (self.min, self.all),
            Some((from, to)) => {
                let (from, to) = (self.number(from, part)?, self.number(to, part)?);
                // FRI-SUN ends with the Sunday that follows.
                (from, if self.max == 7 && to == 0 && from > 0 { 7 } else { to })
            }
            None => {
                let from = self.number(range, part)?;
                (from, if step.is_some() { self.max } else { from })
            }
        };
        if from > to {
            return Err(self.wrong(
                part,
                "runs backwards: write two ranges with a comma between, such as 22-23,0-2",
            ));
        }
        let week = self.max == 7;
        numbers.extend(
            (from..=to)
                .step_by(step.unwrap_or(1))
                .map(|number| if week { number % 7 } else { number }),
        );
        Ok(())
    }

    fn step(&self, text: &str, part: &str) -> Result<usize, ScheduleError> {
        let count = self.all + 1 - self.min;
        let step = digits(text).filter(|step| (1..=count).contains(step)).ok_or_else(|| {
            self.wrong(
                part,
                &format!(
                    "must have a step of 1 to {count} after the slash; for longer or other steps use the \
                     type interval"
                ),
            )
        })?;
        Ok(usize::try_from(step).unwrap_or(1))
    }

    fn number(&self, text: &str, part: &str) -> Result<u32, ScheduleError> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.min + u32::try_from(at).unwrap_or(0));
        }
        digits(text).filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(" or a name, {first} to {last}"),
                _ => String::new(),
            };
            let asked = part.to_ascii_uppercase();
            let not_here = if asked.contains('W') && self.name == DAY.name {
                "; W, the nearest working day, is not available"
            } else if asked.starts_with('H') {
                "; H, a time that the scheduler picks, is not available"
            } else if self.name == DAY.name && asked.contains('L') {
                "; L, the last day, stands alone"
            } else {
                ""
            };
            let range = format!("{} to {}", self.min, self.max);
            self.wrong(part, &format!("must be made of numbers {range}{names}{not_here}"))
        })
    }

    fn wrong(&self, part: &str, why: &str) -> ScheduleError {
        ScheduleError::Field { field: self.name, text: short(part), why: why.to_owned() }
    }
}

/// Digits only, and no more than a field can have.
fn digits(text: &str) -> Option<u32> {
    let plain = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}
