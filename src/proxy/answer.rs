//! What the proxy says in its own name, and what it keeps from passing through.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

/// Any error of a body on its way.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way to the container.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer to the container.
pub(super) type Answer = Response<Body>;

/// `text` as a body.
pub(super) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|e: Infallible| match e {}).boxed_unsync()
}

/// An answer with a body of the given content type.
pub(super) fn with(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = status;
    answer
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    with(status, "application/json", value.to_string())
}

/// A plain sentence.
pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    with(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// An error in the shape of the Messages API, so that the CLI shows its text.
pub(super) fn api_error(status: StatusCode, message: &str) -> Answer {
    let kind = match status {
        StatusCode::BAD_REQUEST => "invalid_request_error",
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::PAYMENT_REQUIRED => "billing_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        _ => "api_error",
    };
    json(status, &json!({"type": "error", "error": {"type": kind, "message": message}}))
}

/// Removes the headers that concern one connection only (RFC 9110, 7.6.1),
/// and `expect`, which this proxy has answered itself.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in
        ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"]
    {
        headers.remove(name);
    }
    let proxy: Vec<HeaderName> =
        headers.keys().filter(|n| n.as_str().starts_with("proxy-")).cloned().collect();
    for name in proxy {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("anthropic-version", "2023-06-01"),
            ("content-length", "5"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["anthropic-version", "content-length"]);
    }
}
