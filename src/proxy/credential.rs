//! The owner's secret for the model API, and the one place that writes it into a
//! request.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};

/// The beta without which the API refuses an OAuth token.
const OAUTH_BETA: &str = "oauth-2025-04-20";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret; spaces and line ends around it are dropped, since they
    /// come from copying it into a file.
    pub fn new(text: impl AsRef<str>) -> Secret {
        Secret(text.as_ref().trim().to_owned())
    }

    /// The text, for what is about to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the model API is paid with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `ANTHROPIC_API_KEY`, sent as `x-api-key`.
    ApiKey(Secret),
    /// `CLAUDE_CODE_OAUTH_TOKEN`, sent as a bearer token.
    OAuth(Secret),
}

impl Credential {
    /// Adds this credential to a request that carries none (see [`forget`]).
    ///
    /// The betas of the request stay: its body depends on them.
    pub(super) fn apply(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        match self {
            Credential::ApiKey(Secret(key)) => {
                headers.insert(API_KEY, sensitive(key)?);
            }
            Credential::OAuth(Secret(token)) => {
                headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {token}"))?);
                add_beta(headers);
            }
        }
        Ok(())
    }
}

/// Removes whatever the container sent as its credential.
pub(super) fn forget(headers: &mut HeaderMap) {
    headers.remove(API_KEY);
    headers.remove(AUTHORIZATION);
}

/// Whether the request carries `token`, as a key or as a bearer.
pub(super) fn carries(headers: &HeaderMap, token: &str) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    text(&API_KEY) == Some(token)
        || text(&AUTHORIZATION)
            .and_then(|v| v.split_once(' '))
            .is_some_and(|(kind, t)| kind.eq_ignore_ascii_case("bearer") && t.trim() == token)
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn add_beta(headers: &mut HeaderMap) {
    let present: Vec<&str> = headers
        .get_all(BETA)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .collect();
    if present.contains(&OAUTH_BETA) {
        return;
    }
    let all = [present.as_slice(), &[OAUTH_BETA]].concat().join(",");
    // Parts of valid header values, joined by commas, are a valid header value.
    if let Ok(value) = HeaderValue::from_str(&all) {
        headers.insert(BETA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_secret_is_never_printed() {
        let credential = Credential::ApiKey(Secret::new(" sk-ant-real\n"));
        assert_eq!(format!("{credential:?}"), "ApiKey(Secret(..))");
    }

    #[test]
    fn the_oauth_beta_joins_the_others_once() {
        let oauth = Credential::OAuth(Secret::new("real"));
        let mut some = headers(&[("anthropic-beta", "a-1, b-2"), ("anthropic-beta", "c-3")]);
        oauth.apply(&mut some).expect("a header");
        assert_eq!(some["anthropic-beta"], "a-1,b-2,c-3,oauth-2025-04-20");
        oauth.apply(&mut some).expect("a header");
        assert_eq!(some["anthropic-beta"], "a-1,b-2,c-3,oauth-2025-04-20");
        assert_eq!(some["authorization"], "Bearer real");
    }

    #[test]
    fn a_token_is_taken_in_either_header() {
        assert!(carries(&headers(&[("x-api-key", "t")]), "t"));
        assert!(carries(&headers(&[("authorization", "Bearer t")]), "t"));
        assert!(carries(&headers(&[("authorization", "bearer t")]), "t"));
        assert!(!carries(&headers(&[("x-api-key", "other")]), "t"));
        assert!(!carries(&headers(&[("authorization", "Basic t")]), "t"));
        assert!(!carries(&headers(&[]), "t"));
    }

    #[test]
    fn a_key_with_a_line_break_inside_is_an_error_that_does_not_name_it() {
        let error = Credential::ApiKey(Secret::new("sk-a\nb")).apply(&mut HeaderMap::new());
        assert!(!error.expect_err("not a header").to_string().contains("sk-a"));
    }
}
