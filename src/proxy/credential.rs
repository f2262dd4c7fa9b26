//! The owner's credential for the model API.
//!
//! It lives in the host process alone: never in a guest, its environment, its
//! arguments, a file that it can read, or a log.

use std::fmt;

/// A text that must not be shown. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// How the owner pays for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `ANTHROPIC_API_KEY`, sent as `x-api-key`.
    ApiKey(Secret),
    /// `CLAUDE_CODE_OAUTH_TOKEN`, sent as a bearer token.
    OAuth(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_secret() {
        let key = Credential::ApiKey(Secret::new("sk-ant-1234".into()));
        assert_eq!(format!("{key:?}"), "ApiKey(Secret(hidden))");
    }
}
