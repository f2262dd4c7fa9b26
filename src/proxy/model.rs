//! The model API: the few paths that an agent needs, with the real credential.
//!
//! Bodies pass unread in both directions, but those of groups that may not reach the
//! web: `errand` looks through them first. Answers pass chunk by chunk, by way of the
//! meter. When the container hangs up, the request upstream is dropped with
//! the future that carries it, which is how an interrupt reaches the model.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::{self, Answer};
use super::body::{Metered, Outgoing, PATIENCE, Stalled};
use super::book::ModelError;
use super::client::{self, CONNECT_TIMEOUT};
use super::credential;
use super::errand::errand;
use super::meter::{Form, Meter};
use super::practice;
use super::serve::{Egress, Tenancy};
use crate::crash;

/// The largest request body, in bytes. Images are what makes one large.
pub(super) const MAX_REQUEST: usize = 64 * 1024 * 1024;
const TOO_LARGE: &str = "the request is larger than 64 MB";
const STALLED: &str = "the request did not go on for a minute";

/// What a request to the model API is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Is anybody there? Answered here.
    Hello,
    Messages,
    CountTokens,
    Models,
}

/// Only this is passed on: no files, batches, administration or OAuth.
fn call(method: &Method, path: &str) -> Option<Call> {
    match (method.as_str(), path) {
        ("HEAD", "/" | "/api/hello") => Some(Call::Hello),
        ("POST", "/v1/messages") => Some(Call::Messages),
        ("POST", "/v1/messages/count_tokens") => Some(Call::CountTokens),
        ("GET", "/v1/models") => Some(Call::Models),
        ("GET", _) => {
            path.strip_prefix("/v1/models/").filter(|rest| is_plain(rest)).map(|_| Call::Models)
        }
        _ => None,
    }
}

/// Whether a path means the same to everybody: nothing escaped, no dots that
/// climb.
fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain))
}

/// Serves one request in origin form.
pub(super) async fn serve(tenancy: &Tenancy, request: Request<Incoming>) -> Answer {
    let Some(call) = call(request.method(), request.uri().path()) else {
        return answer::api_error(
            StatusCode::FORBIDDEN,
            "NanoClaw passes on no other request than those for messages and models",
        );
    };
    if call == Call::Hello {
        return answer::empty(StatusCode::OK);
    }
    if !credential::carries(request.headers(), &tenancy.tenant.token) {
        return answer::api_error(
            StatusCode::UNAUTHORIZED,
            "this is not the key of this container",
        );
    }
    if request.body().size_hint().lower() > MAX_REQUEST as u64 {
        return answer::api_error(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE);
    }
    crash::point("proxy before asking", &"model");
    let ask = async {
        match tenancy.proxy.upstream.is_practice() {
            true => rehearse(tenancy, call, request).await,
            false => forward(tenancy, call, request).await,
        }
    };
    let answer = tokio::select! {
        biased;
        () = tenancy.held(), if call == Call::Messages => spent(),
        answer = ask => answer,
    };
    crash::point("proxy after asking", &"model");
    answer
}

/// Says so in a way that the CLI takes for final.
fn spent() -> Answer {
    let text = "NanoClaw: the day's budget is spent; it begins anew at midnight";
    let mut answer = answer::api_error(StatusCode::PAYMENT_REQUIRED, text);
    answer.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    answer
}

async fn forward(tenancy: &Tenancy, call: Call, request: Request<Incoming>) -> Answer {
    let (upstream, book) = (&tenancy.proxy.upstream, &tenancy.book);
    // Never closed, so a place always comes. It is kept to the end of the answer.
    let place = tenancy.calls.clone().acquire_owned().await;
    let (parts, body) = request.into_parts();
    let sent = Arc::new(AtomicU64::new(0));
    // From here on what was asked is paid for, whether its answer is waited for or not.
    let mut meter = Meter::new(book.clone(), sent.clone());
    if call != Call::Messages {
        meter.forget();
    }
    let mut room = None;
    let body = if body.is_end_stream() {
        None
    } else if tenancy.tenant.egress == Egress::Web {
        Some(reqwest::Body::wrap(Outgoing::new(Limited::new(body, MAX_REQUEST), sent, PATIENCE)))
    } else {
        match looked_through(tenancy, body).await {
            Ok((bytes, taken)) => {
                room = Some(taken);
                Some(reqwest::Body::wrap(Outgoing::new(Full::<Bytes>::from(bytes), sent, PATIENCE)))
            }
            Err(refusal) => return *refusal,
        }
    };
    let sent = match prepare(tenancy, parts, body) {
        Ok((client, request)) => client.execute(request).await.map_err(|error| cause(&error)),
        Err(reason) => Err(Cause::Reason(reason)),
    };
    drop(room);
    if !sent.as_ref().is_ok_and(|response| response.status().is_success()) {
        meter.forget();
    }
    let response = match sent {
        Ok(response) => hyper::Response::<reqwest::Body>::from(response),
        Err(Cause::Request(status, text)) => return answer::api_error(status, text),
        Err(Cause::Reason(reason)) => {
            let error = ModelError::Unreachable { host: upstream.host(), reason };
            tracing::warn!(group = %tenancy.tenant.group, incarnation = %tenancy.tenant.incarnation, "{error}");
            let answer = answer::api_error(StatusCode::BAD_GATEWAY, &format!("NanoClaw {error}"));
            book.failed(error);
            return answer;
        }
    };
    let (mut parts, body) = response.into_parts();
    answer::strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    match form(&parts.headers) {
        _ if call != Call::Messages => {}
        _ if !parts.status.is_success() => {
            tracing::warn!(group = %tenancy.tenant.group, status = parts.status.as_u16(), "the model API refused");
            book.failed(ModelError::Status(parts.status.as_u16()));
        }
        form => {
            book.succeeded();
            meter.begin(form);
        }
    }
    let body = Metered { inner: body, meter, held: Box::pin(tenancy.held()), _place: place };
    Answer::from_parts(parts, body.boxed_unsync())
}

type Read = (Vec<u8>, OwnedSemaphorePermit);

/// A whole body, once the container's others leave room for it in memory, which they
/// do when what comes with it is dropped.
async fn read(tenancy: &Tenancy, body: Incoming) -> Result<Read, Box<Answer>> {
    let refuse = |status, text: &str| Box::new(answer::api_error(status, text));
    // What does not say its length may have any.
    let most = body.size_hint().upper().unwrap_or(u64::MAX).min(MAX_REQUEST as u64);
    let room = tenancy.room.clone().acquire_many_owned(most.div_ceil(1024) as u32).await;
    let room = room.map_err(|_| refuse(StatusCode::SERVICE_UNAVAILABLE, "there is no room"))?;
    let mut bytes = Vec::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or(0));
    let mut body = Outgoing::new(Limited::new(body, MAX_REQUEST), Arc::default(), PATIENCE);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match () {
            () if error.is::<LengthLimitError>() => {
                refuse(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE)
            }
            () if error.is::<Stalled>() => refuse(StatusCode::REQUEST_TIMEOUT, STALLED),
            () => refuse(StatusCode::BAD_REQUEST, "the request ended early"),
        })?;
        bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
    }
    Ok((bytes, room))
}

/// A body with which the provider fetches and runs nothing; else why not.
async fn looked_through(tenancy: &Tenancy, body: Incoming) -> Result<Read, Box<Answer>> {
    let (bytes, room) = read(tenancy, body).await?;
    // A large one takes its time: not on the thread that serves everybody.
    let (sender, looked) = oneshot::channel();
    let thread = std::thread::Builder::new().name("request".to_owned()).spawn(move || {
        // Nobody may wait any more.
        let _ = sender.send((errand(&bytes), bytes));
    });
    let (status, why) = match (thread, looked.await) {
        (Ok(_), Ok((Ok(None), bytes))) => return Ok((bytes, room)),
        (Ok(_), Ok((Ok(Some(why)), _))) => {
            let group = &tenancy.tenant.group;
            tracing::info!(%group, "model: refused: {why}");
            (StatusCode::BAD_REQUEST, format!("{why}, and this group may not reach the web"))
        }
        (Ok(_), Ok((Err(_), _))) => (StatusCode::BAD_REQUEST, "it is not JSON".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no thread can be had".to_owned()),
    };
    let text = format!("NanoClaw did not pass this request on: {why}");
    Err(Box::new(answer::api_error(status, &text)))
}

/// The request as it goes upstream. An error says what is wrong with the
/// settings.
fn prepare(
    tenancy: &Tenancy,
    parts: hyper::http::request::Parts,
    body: Option<reqwest::Body>,
) -> Result<(reqwest::Client, reqwest::Request), String> {
    let upstream = &tenancy.proxy.upstream;
    let client = tenancy.proxy.client.get(upstream.proxy.as_deref())?;
    let target = target(&upstream.base, &parts.uri)?;
    let mut headers = parts.headers;
    answer::strip_hop_by_hop(&mut headers);
    credential::forget(&mut headers);
    headers.remove(HOST);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(credential) = &upstream.credential {
        credential.apply(&mut headers).map_err(|_| {
            "the configured credential has characters that no credential has".to_owned()
        })?;
    }
    let mut request = reqwest::Request::new(parts.method, target);
    *request.headers_mut() = headers;
    *request.body_mut() = body;
    Ok((client, request))
}

/// The address upstream: the base, whose path is a prefix, and the path of the
/// request, which [`call`] has checked.
fn target(base: &str, uri: &Uri) -> Result<reqwest::Url, String> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let text = format!("{}{path}", base.trim_end_matches('/'));
    let mut url = reqwest::Url::parse(&text)
        .map_err(|_| "ANTHROPIC_BASE_URL is not an address".to_owned())?;
    // One credential only: a name and password in the base URL are not sent.
    // Both fail only for addresses without a host, which the client refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}

enum Cause {
    /// The container's own.
    Request(StatusCode, &'static str),
    Reason(String),
}

fn cause(error: &reqwest::Error) -> Cause {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if e.is::<LengthLimitError>() {
            return Cause::Request(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE);
        }
        if e.is::<Stalled>() {
            return Cause::Request(StatusCode::REQUEST_TIMEOUT, STALLED);
        }
        source = e.source();
    }
    Cause::Reason(if error.is_timeout() {
        format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
    } else {
        client::root_cause(error)
    })
}

fn form(headers: &HeaderMap) -> Form {
    if headers.get(CONTENT_ENCODING).is_some_and(|v| v != "identity") {
        tracing::warn!("the model API compresses although it was asked not to: its bytes count");
        return Form::Document;
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => Form::Stream,
        "text/html" => Form::Page,
        _ => Form::Document,
    }
}

/// Lets the practice model answer. It reads the body, as a model does.
async fn rehearse(tenancy: &Tenancy, call: Call, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    if call == Call::Models {
        return answer::json(StatusCode::OK, &practice::models(path.strip_prefix("/v1/models/")));
    }
    let body = match read(tenancy, request.into_body()).await {
        Ok((body, _)) => body,
        Err(refusal) => return *refusal,
    };
    let Ok(body) = serde_json::from_slice(&body) else {
        return answer::api_error(StatusCode::BAD_REQUEST, "the request is not JSON");
    };
    if call == Call::CountTokens {
        return answer::json(StatusCode::OK, &practice::count_tokens(&body));
    }
    let reply = practice::reply(&body);
    tenancy.book.succeeded();
    tenancy.book.add(reply.usage());
    if practice::wants_stream(&body) {
        answer::with(StatusCode::OK, "text/event-stream", reply.to_stream())
    } else {
        answer::json(StatusCode::OK, &reply.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_calls_pass() {
        for (method, path, expected) in [
            ("POST", "/v1/messages", Some(Call::Messages)),
            ("POST", "/v1/messages/count_tokens", Some(Call::CountTokens)),
            ("GET", "/v1/models", Some(Call::Models)),
            ("GET", "/v1/models/claude-opus-5-5", Some(Call::Models)),
            ("GET", "/v1/models/vendor/model:free", Some(Call::Models)),
            ("HEAD", "/", Some(Call::Hello)),
            ("HEAD", "/api/hello", Some(Call::Hello)),
            ("GET", "/v1/messages", None),
            ("GET", "/", None),
            ("POST", "/v1/messages/", None),
            ("POST", "/v1/messages/batches", None),
            ("POST", "//v1/messages", None),
            ("POST", "/v1/complete", None),
            ("GET", "/v1/files", None),
            ("POST", "/v1/models", None),
            ("DELETE", "/v1/models/x", None),
            ("GET", "/v1/modelsx", None),
            ("GET", "/v1/models/", None),
            ("GET", "/v1/models/../files", None),
            ("GET", "/v1/models/./x", None),
            ("GET", "/v1/models/%2e%2e/files", None),
            ("GET", "/v1/models/..%2ffiles", None),
            ("GET", "/v1/models/x\\..\\..\\files", None),
        ] {
            let method: Method = method.parse().expect("a method");
            assert_eq!(call(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn the_base_may_have_a_path_but_sends_no_password() {
        let uri: Uri = "/v1/messages?beta=true".parse().expect("a URI");
        let url = target("https://u:p@gateway.example/anthropic/", &uri).expect("a URL");
        assert_eq!(url.as_str(), "https://gateway.example/anthropic/v1/messages?beta=true");
        assert!(target("no address", &uri).is_err());
    }
}
