//! Where tests let the program die: a call of [`point`] before and after each step
//! that the outside could see half done.
//!
//! It owns the environment variable `CRASH_AT`, which tests set to the name of one
//! point, such as `before Claim`. It decides nothing, and a program that is built
//! for use (without debug assertions) has none of it. `tests/crash.rs` finds every
//! call in the source, and dies at each.

use std::fmt::Debug;

use crate::ids::Incarnation;

const VARIABLE: &str = "CRASH_AT";

/// Ends the process as a crash does, if this is the point that the test named:
/// `when` and the first word of `what`, which for an enum is its variant.
pub fn point(when: &str, what: &impl Debug) {
    static AT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    if cfg!(debug_assertions)
        && let Some(at) = AT.get_or_init(|| std::env::var(VARIABLE).ok())
        && at.strip_prefix(when).is_some_and(|rest| rest.trim_start() == name(what))
    {
        std::process::abort();
    }
}

/// The first word of `what`, for a point after it is gone.
pub fn name(what: &impl Debug) -> String {
    if !cfg!(debug_assertions) {
        return String::new();
    }
    let text = format!("{what:?}");
    text.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).unwrap_or("").into()
}

/// What the first guest of an installation inherits, so that it dies once.
pub fn inherited(id: Incarnation) -> Option<(String, String)> {
    let mine = cfg!(debug_assertions) && id.0 == 1;
    let at = mine.then(|| std::env::var(VARIABLE).ok()).flatten()?;
    Some((VARIABLE.into(), at))
}
