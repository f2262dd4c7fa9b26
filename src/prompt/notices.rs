//! What the host itself says in a chat, in plain words.
//!
//! A notice says what happened and what happens next. It never contains what a
//! model or a program printed beyond the one sentence that it is given.

use std::time::Duration;

use crate::db::Trouble;
use crate::prices::dollars;

/// What happens after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Only a new message helps; nothing else will be done.
    WriteAgain,
    /// The owner must do this first.
    OwnerMustAct(&'static str),
}

/// For a turn that takes long; `failed` is why its last attempt did, if there was one.
pub fn still_working(since: Duration, failed: Option<&str>) -> String {
    let since = words(since);
    match failed {
        Some(why) => {
            format!("Still trying, for {since} now: {}. I go on by myself.", plain(why))
        }
        None => format!("Still working on this, for {since} now."),
    }
}

/// For a group that demands a virtual machine where there is none.
pub fn waits_for_a_machine(runtime: &str) -> String {
    format!(
        "This waits: the group may run in a virtual machine only, and here agents run with {runtime}. What you write \
         is kept and answered when there is one. The owner can look at `nanoclaw doctor`, or allow less with \
         `nanoclaw groups set FOLDER --isolation any`."
    )
}

/// For a turn that failed. `reason` is one plain sentence or phrase.
pub fn failed(reason: &str, next: Next) -> String {
    let reason = plain(reason);
    let next = match next {
        Next::WriteAgain => "I will not try again by myself: please write again.".into(),
        Next::OwnerMustAct(what) => {
            format!("My owner must mend that first: {what}. Then please write again.")
        }
    };
    format!("I could not answer: {reason}. {next}")
}

/// A reason as a part of a sentence.
fn plain(reason: &str) -> String {
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(300).collect();
    match reason.trim().trim_end_matches(['.', '!']) {
        "" => "the reason is not known".into(),
        reason => reason.into(),
    }
}

/// What becomes of a task whose run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It has a next time.
    Again,
    /// It is paused, since so many runs failed one after the other.
    Paused(u32),
    /// It has no time left, or is not active.
    Nothing,
}

/// For a run of a task that failed.
pub fn run_failed(task: &str, reason: &str, after: After) -> String {
    let reason = plain(reason);
    let next = match after {
        After::Again => "It runs again at its next time.".into(),
        After::Paused(runs) => format!(
            "That was the {runs}th time in a row, so I paused it: ask me to resume it when that is mended."
        ),
        After::Nothing => "It does not run again by itself.".to_owned(),
    };
    format!("The scheduled task {task} failed: {reason}. {next}")
}

/// For a group, or all (`own` says which), that has used four fifths of its day.
pub fn budget_near(own: bool, spent: i64, limit: i64) -> String {
    let (spent, limit) = (dollars(spent), dollars(limit));
    let whose = if own { "this group's budget" } else { "the budget" };
    format!(
        "{spent} of {whose} for today ({limit}) are spent. When it is used up I go on after midnight."
    )
}

/// For one that has used it up.
pub fn budget_spent(own: bool, limit: i64) -> String {
    let whose = if own { "This group's budget" } else { "The budget" };
    format!(
        "{whose} for today ({}) is spent. What you wrote is kept: I go on after midnight, or when my owner raises it.",
        dollars(limit)
    )
}

/// For main, where another group has used up its own.
pub fn budget_of(folder: &str, limit: i64) -> String {
    format!(
        "The group {folder} has spent its budget for today ({}) and waits until midnight. `nanoclaw usage` shows for what; `nanoclaw groups set {folder} --budget` raises it.",
        dollars(limit)
    )
}

/// For main, where a group starts without directories that it asks for.
pub fn not_mounted(folder: &str, reasons: &[String]) -> String {
    format!(
        "The group {folder} works without directories that it asks for: {}. `nanoclaw groups list` shows what it has; docs/mounts.md says what allows one.",
        reasons.join("; ")
    )
}

/// For a message that could not be decrypted.
pub fn unread(sender: &str) -> String {
    format!(
        "A message from {sender} did not arrive in a form that I can read. Please send it again, and not as \"view once\"."
    )
}

/// For messages that waited too long to be answered now, as after an upgrade.
pub fn left_out(count: usize) -> String {
    let (what, them) = match count {
        1 => ("One older message was".to_owned(), "it"),
        n => (format!("{n} older messages were"), "them"),
    };
    format!(
        "{what} left unanswered. I will see {them} with your next message: write again if it still matters."
    )
}

/// For a message that could not be stored.
pub fn not_stored(trouble: Trouble) -> String {
    let why = match trouble {
        Trouble::Full => "the disk of my machine is full. Please make room",
        Trouble::Unwritable => "the disk of my machine cannot be written. Please mend that",
        Trouble::Damaged => {
            "my ledger is damaged, and I stop. My owner must restore it from a backup"
        }
    };
    format!("I could not store your message, so I will not answer it: {why}, then write again.")
}

/// For what an agent says without being asked, where it is too much.
pub fn too_much() -> String {
    "I have said a great deal here without being asked. What more comes of this is left out; \
     write again if you miss something."
        .into()
}

/// For a chat where others ask so often that it may be two programs that talk.
pub fn too_often(turns: u32, minutes: i64) -> String {
    format!(
        "I was asked {turns} times here within {minutes} minutes, so I listen without answering until it is calmer. \
         What is written meanwhile I will see; my owner may write at any time."
    )
}

/// A duration as one says it: `20 seconds`, `3 minutes`, `2 hours`, `3 days`.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..90 => (seconds.max(1), "second"),
        90..5400 => ((seconds + 30) / 60, "minute"),
        5400..172_800 => ((seconds + 1800) / 3600, "hour"),
        _ => ((seconds + 43_200) / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_say_what_happened_and_what_happens_next() {
        assert_eq!(
            still_working(Duration::from_secs(181), None),
            "Still working on this, for 3 minutes now."
        );
        assert_eq!(
            still_working(Duration::from_secs(181), Some("The model API failed (500).")),
            "Still trying, for 3 minutes now: The model API failed (500). I go on by myself."
        );
        assert_eq!(
            failed("the key was refused", Next::OwnerMustAct("set another")),
            "I could not answer: the key was refused. My owner must mend that first: set another. Then please write again."
        );
        assert!(
            failed(" \n", Next::WriteAgain)
                .starts_with("I could not answer: the reason is not known. I will not")
        );
        assert!(failed(&"x".repeat(10_000), Next::WriteAgain).len() < 500);
        assert!(
            left_out(1).starts_with("One older message")
                && left_out(12).starts_with("12 older messages")
        );
    }

    #[test]
    fn durations_are_said_in_one_unit() {
        let said =
            [0, 1, 89, 90, 180, 3600, 5400, 7200, 172_800].map(|s| words(Duration::from_secs(s)));
        assert_eq!(
            said,
            [
                "1 second",
                "1 second",
                "89 seconds",
                "2 minutes",
                "3 minutes",
                "60 minutes",
                "2 hours",
                "2 hours",
                "2 days"
            ]
        );
    }
}
