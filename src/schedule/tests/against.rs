//! Thousands of generated expressions in many zones, over the clock changes, against
//! `brute.rs`.

use super::*;

/// A small generator, so that a failure can be repeated from its seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap()
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(u32::try_from(of.len()).unwrap()) as usize]
    }
}

/// A valid expression of five fields.
pub fn expression(dice: &mut Dice) -> String {
    let minute = match dice.below(4) {
        0 => dice.one(&["*", "*/5", "*/7", "*/15", "*/30", "*/45"]).to_owned(),
        _ => field(dice, 0, 59),
    };
    // The hours of the clock changes come often.
    let hour = match dice.below(8) {
        0 | 1 => dice.one(&["*", "*/1", "0-23", "0/1"]).to_owned(),
        2 => dice.one(&["*/2", "*/3", "1-3", "0,1,2,3", "2/2"]).to_owned(),
        3 | 4 => dice.below(4).to_string(),
        _ => field(dice, 0, 23),
    };
    let day = match dice.below(8) {
        0..4 => dice.one(&["*", "?"]).to_owned(),
        4 => dice.one(&["L", "15,L", "*/2", "1-31", "L,1"]).to_owned(),
        _ => field(dice, 1, 28),
    };
    let month = match dice.below(4) {
        0 => dice.one(&["MAR,OCT", "JAN-JUN", "9-12", "*/2", "3/7", "FEB-APR,SEP-NOV"]).to_owned(),
        _ => "*".to_owned(),
    };
    let week = match dice.below(8) {
        0..4 => dice.one(&["*", "?"]).to_owned(),
        4 => dice.one(&["SUN", "MON-FRI", "0", "7", "5-7", "0-2", "6,7", "1/2", "*/3"]).to_owned(),
        5 => dice
            .one(&["5L", "0L", "7L", "SUNL", "1#2", "SUN#1", "7#4", "3#5", "1,5L", "0#5,2#1"])
            .to_owned(),
        _ => field(dice, 0, 6),
    };
    format!("{minute} {hour} {day} {month} {week}")
}

fn field(dice: &mut Dice, low: u32, high: u32) -> String {
    let span = high - low + 1;
    let parts = 1 + dice.below(3) / 2 + dice.below(3) / 2;
    let part = |dice: &mut Dice| {
        let from = low + dice.below(span);
        let to = from + dice.below(high - from + 1);
        let step = 1 + dice.below(span.min(20));
        match dice.below(6) {
            0 => format!("{from}-{to}"),
            1 => format!("{from}-{to}/{step}"),
            2 => format!("{from}/{step}"),
            _ => from.to_string(),
        }
    };
    (0..parts).map(|_| part(dice)).collect::<Vec<_>>().join(",")
}

const ZONES: [Tz; 10] = [
    BERLIN,
    NEW_YORK,
    Tz::Australia__Lord_Howe,
    Tz::Asia__Kolkata,
    Tz::UTC,
    Tz::America__Sao_Paulo,
    Tz::Africa__Casablanca,
    Tz::America__St_Johns,
    Tz::Pacific__Chatham,
    Tz::Pacific__Apia,
];

/// Days in which clocks change somewhere: in 2011 Samoa skips a day, in 2018 Brazil
/// its midnight.
const WINDOWS: [(&str, i64); 9] = [
    ("2026-03-06T03:17:00Z", 4),
    ("2026-03-27T11:05:00Z", 4),
    ("2026-04-03T05:00:00Z", 4),
    ("2026-09-25T08:59:00Z", 4),
    ("2026-10-02T00:00:00Z", 4),
    ("2026-10-23T23:41:00Z", 4),
    ("2026-10-30T13:00:00Z", 4),
    ("2018-11-02T12:00:00Z", 4),
    ("2011-12-28T00:00:00Z", 5),
];

#[test]
fn generated_expressions_run_when_another_implementation_says() {
    let (mut compared, mut found) = (0, 0);
    for (nth, zone) in (0..).zip(ZONES) {
        for (window, (from, days)) in (0..).zip(WINDOWS) {
            let from = at(from);
            let to = from + TimeDelta::days(days);
            let walk = brute::Walk::new(zone, from, to);
            for seed in 0..40 {
                let expression =
                    expression(&mut Dice::new(nth * 1_000_000 + window * 1000 + seed + 1));
                let expected = walk.runs(&expression);
                let Ok(schedule) = Schedule::stored("cron", &expression, zone, from) else {
                    panic!("{expression} was refused");
                };
                let first = schedule.next_after(from - TimeDelta::milliseconds(1));
                let runs = std::iter::successors(first, |run| schedule.next_after(*run));
                let runs: Vec<_> = runs.take_while(|run| *run < to).take(400).collect();
                let expected = &expected[..expected.len().min(400)];
                assert_eq!(runs, expected, "{expression} in {zone} from {from}");
                compared += 1;
                found += runs.len();
            }
        }
    }
    assert!(compared == 3600 && found > 60_000, "{compared} expressions, {found} runs");
}

#[test]
fn rare_days_come_when_another_implementation_says() {
    for (nth, zone) in (0..).zip([BERLIN, NEW_YORK, Tz::Australia__Lord_Howe]) {
        let from = at("2027-12-20T00:00:00Z");
        // Over a leap day.
        let to = from + TimeDelta::days(430);
        let walk = brute::Walk::new(zone, from, to);
        for seed in 0..40 {
            let mut dice = Dice::new(77_000 + nth * 1000 + seed);
            let minute = dice.below(60);
            let hour = dice.below(4);
            let rest = dice.one(&[
                "29 2 *",
                "L * *",
                "L 2 *",
                "31 * *",
                "30,L 1-6 *",
                "* * 5L",
                "* * 0#1",
                "* 2 2#5",
                "29 2 1L",
                "13 * 5",
                "* * SUN#5",
                "1/10 */5 ?",
                "? 3,10 SUNL",
                "28-31 FEB SAT",
                "* * 1#1,1L",
                "*/9 * 7#2",
            ]);
            let expression = format!("{minute} {hour} {rest}");
            let schedule = cron(&expression, zone);
            let first = schedule.next_after(from - TimeDelta::milliseconds(1));
            let runs = std::iter::successors(first, |run| schedule.next_after(*run));
            let runs: Vec<_> = runs.take_while(|run| *run < to).collect();
            assert_eq!(runs, walk.runs(&expression), "{expression} in {zone}");
            assert!(!runs.is_empty(), "{expression} in {zone}");
        }
    }
}

/// What is due at any instant is the last of the runs before it.
#[test]
fn what_is_due_is_the_latest_run_that_another_implementation_knows() {
    for seed in 0..200 {
        let mut dice = Dice::new(500_000 + seed);
        let zone = ZONES[dice.below(10) as usize];
        let from = at(WINDOWS[dice.below(9) as usize].0);
        let expression = expression(&mut dice);
        let now = from + TimeDelta::seconds(i64::from(dice.below(4 * 86_400)));
        let runs = brute::runs(&expression, zone, from, now + TimeDelta::seconds(1));
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { continue };
        let schedule = Schedule::stored("cron", &expression, zone, from).unwrap();
        let due = schedule.due(*first, now).unwrap();
        assert_eq!(
            (due.planned, due.skipped),
            (*last, runs.len() > 1),
            "{expression} in {zone} at {now}"
        );
        assert!(due.next.is_none_or(|next| next > now), "{expression} in {zone} at {now}");
    }
}

/// Seconds, over a change, by a plain look at each one.
#[test]
fn seconds_count_over_a_clock_change() {
    for (expression, from, matches) in [
        ("*/20 30 2 * * *", "2026-10-25T00:00:00Z", vec!["00:30:00", "00:30:20", "00:30:40"]),
        ("59 59 * * * *", "2026-10-25T00:00:00Z", vec!["00:59:59", "01:59:59", "02:59:59"]),
        ("15 59 1-2 * * *", "2026-03-29T00:00:00Z", vec!["00:59:15", "01:00:00"]),
    ] {
        let schedule = cron(expression, BERLIN);
        let runs =
            std::iter::successors(schedule.next_after(at(from)), |run| schedule.next_after(*run));
        let runs = runs.take_while(|run| *run < at(from) + TimeDelta::hours(3));
        assert_eq!(
            runs.map(|run| run.format("%H:%M:%S").to_string()).collect::<Vec<_>>(),
            matches,
            "{expression}"
        );
    }
}
