//! A week in an hour, and that in a moment: 200 tasks in three zones, over the spring
//! and the autumn change, driven as the scheduler drives them, with downtimes.

use std::collections::BTreeMap;

use super::against::{Dice, expression};
use super::*;

struct Task {
    schedule: Schedule,
    /// What it is, for the plain computation.
    kind: Kind,
    next: Option<DateTime<Utc>>,
}

enum Kind {
    Cron(String),
    Every(i64),
    Once(DateTime<Utc>),
}

const ZONES: [Tz; 3] = [BERLIN, NEW_YORK, Tz::Australia__Lord_Howe];

fn tasks(begin: DateTime<Utc>) -> Vec<Task> {
    (0..200)
        .map(|nth| {
            let mut dice = Dice::new(9_000 + nth);
            let zone = ZONES[dice.below(3) as usize];
            let (kind, name, value) = match dice.below(5) {
                0 => {
                    let every = i64::from(1 + dice.below(300)) * 60_000;
                    (Kind::Every(every), "interval", every.to_string())
                }
                1 => {
                    let once = begin + TimeDelta::minutes(i64::from(1 + dice.below(7 * 24 * 60)));
                    (Kind::Once(once), "once", once.to_rfc3339())
                }
                _ => {
                    let expression = expression(&mut dice);
                    (Kind::Cron(expression.clone()), "cron", expression)
                }
            };
            let schedule = Schedule::stored(name, &value, zone, begin).unwrap();
            let next = schedule.next_after(begin);
            Task { schedule, kind, next }
        })
        .collect()
}

/// Every run of a week, computed plainly.
fn planned(
    tasks: &[Task],
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
) -> BTreeMap<usize, Vec<DateTime<Utc>>> {
    let walks: Vec<_> = ZONES
        .iter()
        .map(|zone| (*zone, brute::Walk::new(*zone, begin + TimeDelta::minutes(1), end)))
        .collect();
    let runs = tasks.iter().map(|task| match &task.kind {
        Kind::Cron(expression) => {
            let (_, walk) = walks.iter().find(|(zone, _)| *zone == task.schedule.zone()).unwrap();
            walk.runs(expression)
        }
        Kind::Every(every) => {
            let mut all = vec![begin + TimeDelta::milliseconds(*every)];
            while all[all.len() - 1] < end {
                all.push(all[all.len() - 1] + TimeDelta::milliseconds(*every));
            }
            all.retain(|run| *run < end);
            all
        }
        Kind::Once(at) => vec![*at],
    });
    runs.enumerate().collect()
}

#[test]
fn a_week_in_an_hour_runs_what_another_implementation_plans() {
    for begin in [
        "2026-03-06T00:00:00Z",
        "2026-03-27T00:00:00Z",
        "2026-10-01T00:00:00Z",
        "2026-10-28T00:00:00Z",
    ] {
        let begin = at(begin);
        let end = begin + TimeDelta::days(7);
        let mut tasks = tasks(begin);
        let expected = planned(&tasks, begin, end);
        let mut ran: BTreeMap<usize, Vec<DateTime<Utc>>> =
            (0..tasks.len()).map(|nth| (nth, vec![])).collect();
        // The host wakes at the next run, a little later, until none is left.
        let mut now = begin;
        while let Some(wake) =
            tasks.iter().filter_map(|task| task.next).min().filter(|wake| *wake < end)
        {
            now = now.max(wake) + TimeDelta::milliseconds(300);
            for (nth, task) in tasks.iter_mut().enumerate() {
                let Some(due) = task.next.and_then(|next| task.schedule.due(next, now)) else {
                    continue;
                };
                assert!(due.late.is_none() && !due.skipped, "{nth}: {due:?}");
                ran.entry(nth).or_default().push(due.planned);
                task.next = due.next;
            }
        }
        assert_eq!(ran, expected, "from {begin}");
        assert!(ran.values().map(Vec::len).sum::<usize>() > 2000);
    }
}

#[test]
fn after_a_downtime_each_task_runs_once_and_then_as_if_nothing_had_been() {
    let begin = at("2026-03-27T00:00:00Z");
    let (down, up, end) =
        (begin + TimeDelta::hours(20), begin + TimeDelta::hours(55), begin + TimeDelta::days(7));
    let mut made_up = 0;
    let mut all = tasks(begin);
    let expected = planned(&all, begin, end);
    for (nth, task) in all.iter_mut().enumerate() {
        let mut ran = Vec::new();
        while let Some(next) = task.next.filter(|next| *next < end) {
            // Down from `down` to `up`: what is planned there is seen at `up`.
            let now = if next < down || next > up { next } else { up };
            let due = task.schedule.due(next, now).unwrap();
            ran.push(due.planned);
            task.next = due.next;
        }
        let missed = expected[&nth].iter().filter(|run| **run >= down && **run <= up);
        let latest = missed.max();
        made_up += usize::from(latest.is_some());
        let outside = |run: &&DateTime<Utc>| **run < down || **run > up || Some(*run) == latest;
        let should: Vec<_> = expected[&nth].iter().filter(outside).copied().collect();
        assert_eq!(ran, should, "task {nth}");
    }
    assert!(made_up > 50, "{made_up}");
}
