//! From the CLI's errors to one plain sentence and whether to try again. Pure.

use super::frames::RunEnd;
use crate::ids::TurnId;
use crate::ipc::record::GuestRecord;

/// Why turns ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One plain sentence for the people in the chat.
    pub error: String,
    /// Whether another attempt may help.
    pub retryable: bool,
}

impl Failure {
    /// What the host is told of turns that ended so.
    pub fn record(self, turns: Vec<TurnId>) -> GuestRecord {
        GuestRecord::Failed { turns, error: self.error, retryable: self.retryable }
    }

    /// Another attempt may help.
    pub fn retry(error: impl Into<String>) -> Failure {
        Failure { error: error.into(), retryable: true }
    }

    /// Another attempt will fail likewise.
    pub fn lasting(error: impl Into<String>) -> Failure {
        Failure { error: error.into(), retryable: false }
    }

    /// The turn was stopped on request.
    pub fn interrupted() -> Failure {
        Failure::retry("interrupted")
    }

    /// The model API refused the credential.
    pub fn credential(status: Option<u16>) -> Failure {
        let status = status.map(|s| format!(" ({s})")).unwrap_or_default();
        Failure::lasting(format!("The model API refused the credential{status}."))
    }

    /// What an erroneous run tells. Of a failed call of the model it tells the kind,
    /// never the words, which are for whoever runs the API.
    pub fn of(end: &RunEnd) -> Failure {
        let lower = end.text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
        let status = end.status.unwrap_or(0);
        let api = |what: &str| format!("The model API {what} ({status}).");
        match status {
            401 | 403 => Failure::credential(end.status),
            402 => Failure::lasting(api("wants payment")),
            _ if has(&["credit balance", "billing"]) => {
                Failure::lasting("The account of the model API has no credit.")
            }
            408 | 409 | 429 | 529 => Failure::retry(api("is overloaded")),
            500.. => Failure::retry(api("failed")),
            _ if has(&["not logged in", "authentication", "invalid api key", "oauth token"]) => {
                Failure::credential(end.status)
            }
            // Often the conversation itself is what the API refuses (an image, its
            // length); the last attempt begins a new one.
            400 | 413 => Failure::retry(api("refused the request")),
            404 => Failure::lasting(api("does not know the model")),
            401.. => Failure::lasting(api("refused the request")),
            _ if matches!(end.subtype.as_str(), "error_max_turns" | "error_max_budget_usd") => {
                Failure::lasting(format!("The agent reached a limit ({}).", end.subtype))
            }
            _ if has(&["malformed response"]) => {
                Failure::retry("What answers as the model API is none.")
            }
            _ if has(&["api error"]) => Failure::retry("The model API cannot be reached."),
            _ => Failure::retry(format!("The agent's run failed: {}", plain(&end.text, 300))),
        }
    }
}

/// `text` on one line, without control characters, of at most `max` characters.
pub fn plain(text: &str, max: usize) -> String {
    let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut words = one_line.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > max {
        words = words.chars().take(max.saturating_sub(1)).collect();
        words.push('…');
    }
    if words.is_empty() { "no reason given".into() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: Option<u16>, text: &str) -> RunEnd {
        RunEnd {
            is_error: true,
            subtype: "success".into(),
            status,
            text: text.into(),
            ..RunEnd::default()
        }
    }

    #[test]
    fn what_will_fail_again_is_not_tried_again() {
        for (status, text) in [
            (Some(401), "Failed to authenticate"),
            (Some(403), ""),
            (Some(404), "no such model"),
            (Some(402), ""),
            (Some(429), "Your credit balance is too low"),
            (None, "Not logged in · Please run /login"),
            (None, "Credit balance is too low"),
        ] {
            let failure = Failure::of(&end(status, text));
            assert!(!failure.retryable, "{failure:?}");
            assert!(text.is_empty() || !failure.error.contains(text), "{failure:?}");
        }
    }

    #[test]
    fn what_passes_is_tried_again() {
        for (status, text) in [
            (Some(429), "slow"),
            (Some(500), ""),
            (Some(529), "overloaded"),
            (Some(400), "API Error: 400 invalid_request_error"),
            (Some(413), "too long"),
            (None, "fetch failed"),
        ] {
            assert!(Failure::of(&end(status, text)).retryable, "{status:?} {text}");
        }
    }

    #[test]
    fn a_sentence_holds_no_control_characters_and_ends() {
        assert_eq!(plain("a\u{1b}[31m\nb\t c", 50), "a [31m b c");
        assert_eq!(plain(&"x".repeat(500), 10).chars().count(), 10);
        assert_eq!(plain("\n", 10), "no reason given");
    }
}
