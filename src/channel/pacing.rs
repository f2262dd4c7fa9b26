//! When a message may go out: as somebody would write, and not as a machine does.
//!
//! WhatsApp restricts accounts that write too much, too evenly, or to strangers. The
//! ceilings hold for each chat and for all together; between two messages in one chat
//! lies the time that it takes to write the second; whoever never wrote to us and was
//! not chosen by the owner gets nothing. An answer that comes alone is not held up.
//!
//! [`decide`] is pure: the rows' times come in, a verdict comes out. Nothing here waits
//! or counts; that is the outbox's and the ledger's.

use super::Pace;
use crate::db::pace::Sendings;
use crate::db::{self, Ledger, OutboxRow, now_ms};

/// What may be sent. Zero is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages in one chat within [`MINUTE`].
    pub in_chat: u32,
    /// Messages in all chats within [`HOUR`].
    pub in_all: u32,
}

/// Milliseconds.
pub const MINUTE: i64 = 60_000;
/// Milliseconds.
pub const HOUR: i64 = 60 * MINUTE;

/// The shortest gap between two messages, in whichever chats, in milliseconds.
const BETWEEN: i64 = 250;
/// The gap in one chat begins here and grows by what a letter takes, milliseconds.
const BREATH: i64 = 600;
const LETTER: i64 = 12;
const LONGEST: i64 = 4_000;

/// Whether a row for a chat of WhatsApp's goes now. Without limits there are neither
/// gaps nor ceilings; a stranger gets no first message even so.
pub async fn ask(ledger: &Ledger, limits: Option<Limits>, row: &OutboxRow) -> db::Result<Pace> {
    let (now, jid, length) = (now_ms(), row.chat_jid.clone(), row.text.chars().count());
    let all = limits.map_or(0, |limits| limits.in_all);
    let sent = ledger.write(move |c| db::pace::sendings(c, &jid, now, (MINUTE, HOUR), all)).await?;
    let facts = Facts { now, row: row.id, length, sent };
    Ok(match limits {
        None if !facts.sent.is_stranger => Pace::Now,
        limits => decide(&limits.unwrap_or(Limits { in_chat: 0, in_all: 0 }), &facts),
    })
}

/// What a verdict depends on. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: i64,
    /// The row's number, from which its gap gets its irregularity.
    pub row: i64,
    /// Characters in it.
    pub length: usize,
    /// What was sent within a minute in this chat, and within an hour in all.
    pub sent: Sendings,
}

/// Whether the row of these facts goes now.
pub fn decide(limits: &Limits, facts: &Facts) -> Pace {
    if facts.sent.is_stranger {
        return Pace::Never(
            "nobody in this chat ever wrote here, and it belongs to no group: a first message to a stranger may cost the \
             account. Link the chat with `nanoclaw groups add`, or let them write first"
                .into(),
        );
    }
    let chat = limits.in_chat as usize;
    let all = limits.in_all;
    let mut wait = [
        (facts.sent.last_in_all + BETWEEN, "it takes its turn"),
        (facts.sent.in_chat.first().map_or(0, |last| last + gap(facts)), "it takes its turn"),
        (0, "too many messages in this chat within a minute"),
        (0, "too many messages in all chats within an hour"),
    ];
    if chat > 0 && facts.sent.in_chat.len() >= chat {
        wait[2].0 = facts.sent.in_chat[chat - 1] + MINUTE;
    }
    if all > 0 && facts.sent.count_in_all >= all {
        wait[3].0 = facts.sent.nth_newest + HOUR;
    }
    let (at, why) = wait.into_iter().max_by_key(|(at, _)| *at).unwrap_or_default();
    if at <= facts.now { Pace::Now } else { Pace::At(at, why.into()) }
}

/// How long somebody would take to write this after the message before, more or less.
fn gap(facts: &Facts) -> i64 {
    let letters = i64::try_from(facts.length).unwrap_or(i64::MAX);
    let gap = BREATH.saturating_add(letters.saturating_mul(LETTER)).min(LONGEST);
    // A fifth more or less, from the row's number: the same whenever it is asked for.
    let mixed = facts.row.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).unsigned_abs() >> 40;
    let share = i64::try_from(mixed % 41).unwrap_or(0) - 20;
    gap + gap * share / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { in_chat: 5, in_all: 100 };
    const NOW: i64 = 1_000 * HOUR;

    fn quiet() -> Facts {
        Facts { now: NOW, row: 7, length: 100, ..Facts::default() }
    }

    fn with(sent: Sendings) -> Facts {
        Facts { sent, ..quiet() }
    }

    fn none() -> Sendings {
        Sendings::default()
    }

    fn wait(facts: &Facts) -> i64 {
        match decide(&LIMITS, facts) {
            Pace::Now => 0,
            Pace::At(at, _) => at - NOW,
            Pace::Never(why) => panic!("{why}"),
        }
    }

    #[test]
    fn an_answer_that_comes_alone_goes_at_once() {
        assert_eq!(decide(&LIMITS, &quiet()), Pace::Now);
        let before =
            with(Sendings { in_chat: vec![NOW - 10_000], last_in_all: NOW - 10_000, ..none() });
        assert_eq!(decide(&LIMITS, &before), Pace::Now);
    }

    #[test]
    fn the_next_message_takes_as_long_as_it_takes_to_write() {
        let after = |length, row| {
            let sent = Sendings { in_chat: vec![NOW], last_in_all: NOW, ..none() };
            wait(&Facts { length, row, ..with(sent) })
        };
        assert!((480..=720).contains(&after(0, 1)));
        assert!((3_200..=4_800).contains(&after(100_000, 1)));
        assert!(after(10, 1) < after(200, 1));
        let gaps: std::collections::BTreeSet<i64> = (0..50).map(|row| after(100, row)).collect();
        assert!(gaps.len() > 10, "not like a machine: {gaps:?}");
        assert_eq!(after(100, 3), after(100, 3), "and the same each time it is asked for");
    }

    #[test]
    fn other_chats_are_hardly_held_up() {
        assert_eq!(wait(&with(Sendings { last_in_all: NOW, ..none() })), BETWEEN);
    }

    #[test]
    fn ceilings_hold_for_each_chat_and_for_all() {
        let full = with(Sendings { in_chat: vec![NOW - 30_000; 5], ..none() });
        assert_eq!(wait(&full), 30_000);
        let room = with(Sendings { in_chat: vec![NOW - 30_000; 4], ..none() });
        assert_eq!(wait(&room), 0);
        let all = with(Sendings { count_in_all: 100, nth_newest: NOW - HOUR + 5_000, ..none() });
        assert_eq!(wait(&all), 5_000);
        let free = Limits { in_chat: 0, in_all: 0 };
        let sent = Sendings { count_in_all: 9_999, nth_newest: NOW, ..full.sent };
        assert_eq!(decide(&free, &with(sent)), Pace::Now);
    }

    #[test]
    fn a_stranger_gets_no_first_message() {
        let never = decide(&LIMITS, &with(Sendings { is_stranger: true, ..none() }));
        assert!(matches!(never, Pace::Never(why) if why.contains("stranger")));
    }
}
