//! The file store: encrypted blobs over plain HTTP on the same port. It looks at the
//! ticket of each request, as the real one does, and forgets files when it is told to.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use whatsapp_rust::wacore::libsignal::crypto::CryptographicHash;
use whatsapp_rust::wacore_binary::Node;

use super::faults::{What, When};
use super::node::NodeBuilder;
use super::state::Shared;

/// The one ticket that the store accepts.
const TICKET: &str = "ticket-of-the-test-server";
/// Where files are: clients take nothing but WhatsApp's own for that, and tests see to
/// it that they ask here.
pub const HOST: &str = "mmg.whatsapp.net";

/// What is stored, by path.
#[derive(Default)]
pub struct Media {
    blobs: HashMap<String, Blob>,
    counter: u64,
}

struct Blob {
    data: Vec<u8>,
    /// Answers with this status instead: it expired.
    gone: Option<u16>,
}

impl Media {
    /// Stores a blob; its path.
    pub fn store(&mut self, kind: &str, data: Vec<u8>) -> String {
        self.counter += 1;
        let path = format!("/v/t62.test/{kind}/{}.enc", self.counter);
        self.blobs.insert(path.clone(), Blob { data, gone: None });
        path
    }

    /// Lets a file expire: from now on this status.
    pub fn expire(&mut self, path: &str, status: u16) {
        if let Some(blob) = self.blobs.get_mut(path) {
            blob.gone = Some(status);
        }
    }

    /// Brings an expired file back, under a new path.
    pub fn restore(&mut self, path: &str) -> Option<String> {
        let data = self.blobs.get(path)?.data.clone();
        Some(self.store("again", data))
    }

    /// The stored bytes, expired or not.
    pub fn blob(&self, path: &str) -> Option<Vec<u8>> {
        self.blobs.get(path).map(|blob| blob.data.clone())
    }
}

/// Where files are, for a linked device.
pub fn hosts() -> Node {
    let host = NodeBuilder::new("host")
        .attr("hostname", HOST)
        .attr("type", "primary")
        .children([NodeBuilder::new("upload").build(), NodeBuilder::new("download").build()]);
    NodeBuilder::new("media_conn")
        .attr("auth", TICKET)
        .attr("ttl", "3600")
        .attr("auth_ttl", "21600")
        .attr("max_buckets", "12")
        .children([host.build()])
        .build()
}

/// Answers an HTTP request.
pub async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let fault = shared.lock().faults.take(When::Media, None);
    match fault {
        Some(What::Fail(status)) => return status_only(status),
        Some(What::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(decoded)
    };
    let (auth, resume) = (parameter("auth"), parameter("resume"));
    let token = parameter("token").or_else(|| parameter("hash"));
    if request.method() == Method::GET {
        return download(shared, &path, auth, token);
    }
    let Ok(body) = request.into_body().collect().await else { return status_only(400) };
    if auth.as_deref() != Some(TICKET) {
        return status_only(401);
    }
    if resume.is_some() {
        return json("{}".to_owned());
    }
    let data = body.to_bytes().to_vec();
    if token != Some(hash(&data)) {
        return status_only(400);
    }
    let kind = path.split('/').nth(2).unwrap_or("file").to_owned();
    let mut state = shared.lock();
    let path = state.media.store(&kind, data);
    let answer = serde_json::json!({
        "url": format!("https://{HOST}{path}"),
        "direct_path": path,
    });
    json(answer.to_string())
}

fn download(
    shared: &Shared,
    path: &str,
    auth: Option<String>,
    token: Option<String>,
) -> Response<Full<Bytes>> {
    let state = shared.lock();
    let Some(blob) = state.media.blobs.get(path) else { return status_only(404) };
    if let Some(status) = blob.gone {
        return status_only(status);
    }
    // A full link in a message is a ticket of its own; what else a client adds to it
    // must be right.
    if auth.is_some_and(|auth| auth != TICKET) || token.is_some_and(|t| t != hash(&blob.data)) {
        return status_only(403);
    }
    Response::new(Full::new(Bytes::from(blob.data.clone())))
}

/// The name that a client has for a blob: its digest.
fn hash(data: &[u8]) -> String {
    let mut sha = CryptographicHash::new("SHA-256").unwrap();
    sha.update(data);
    URL_SAFE_NO_PAD.encode(sha.finalize())
}

/// Undoes the escapes that base64 gets in a query.
fn decoded(text: &str) -> String {
    text.replace("%3D", "=").replace("%2B", "-").replace("%2F", "_").trim_end_matches('=').into()
}

fn status_only(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn json(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text)))
}
