//! Both ends: a container's HTTP client and an upstream that asks the test what
//! to answer. No sleeps: each side waits for the other.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nanoclaw::ids::{Folder, Incarnation};
use nanoclaw::proxy::{Credential, Egress, Proxy, Secret, Serving, Tenant, Upstream};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// The placeholder that the container knows.
pub const TOKEN: &str = "placeholder-of-this-container";
/// The key that it must never see.
pub const KEY: &str = "sk-ant-the-real-key";

pub type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

pub fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).boxed_unsync()
}

/// A body that the test writes piece by piece. The sender sees when it is given
/// up.
pub struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

pub fn pieces() -> (mpsc::Sender<Bytes>, AnyBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces(receiver).boxed_unsync())
}

/// A request that arrived upstream and waits for the test to answer it.
pub struct Arrived {
    pub request: Request<Incoming>,
    pub answer: oneshot::Sender<Response<AnyBody>>,
}

impl Arrived {
    /// Reads the body, answers 200 with JSON, and gives what arrived.
    pub async fn answer_json(self, body: &str) -> Request<Bytes> {
        self.answer_with(StatusCode::OK, body).await
    }

    pub async fn answer_with(self, status: StatusCode, body: &str) -> Request<Bytes> {
        let (parts, incoming) = self.request.into_parts();
        let received = incoming.collect().await.unwrap().to_bytes();
        let answer = Response::builder().status(status).header("content-type", "application/json");
        self.answer.send(answer.body(full(body.to_owned())).unwrap()).ok().unwrap();
        Request::from_parts(parts, received)
    }
}

/// An HTTP server on loopback.
pub struct Server {
    pub address: std::net::SocketAddr,
    pub arrived: mpsc::UnboundedReceiver<Arrived>,
}

pub async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrived) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = service_fn(move |request| {
                let (answer, answered) = oneshot::channel();
                let _ = sender.send(Arrived { request, answer });
                answered
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Server { address, arrived }
}

/// A container's socket at the proxy.
pub struct Rig {
    pub serving: Serving,
    pub socket: PathBuf,
    _directory: tempfile::TempDir,
}

pub fn rig(proxy: &Proxy, egress: Egress) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let serving = proxy.serve(directory.path(), tenant(egress)).unwrap();
    Rig { serving, socket: directory.path().join("proxy.sock"), _directory: directory }
}

pub fn tenant(egress: Egress) -> Tenant {
    Tenant {
        incarnation: Incarnation(7),
        group: Folder::parse("family").unwrap(),
        token: TOKEN.to_owned(),
        egress,
    }
}

pub fn key() -> Option<Credential> {
    Some(Credential::ApiKey(Secret::new(KEY)))
}

/// The proxy to `base`, with the real key.
pub fn upstream(base: impl Into<String>) -> Upstream {
    Upstream { base: base.into(), credential: key(), proxy: None }
}

/// A proxy to a server on loopback, and a container at it.
pub async fn to_server() -> (Server, Rig) {
    let server = server().await;
    let proxy = Proxy::new(upstream(format!("http://{}", server.address)));
    (server, rig(&proxy, Egress::Web))
}

impl Rig {
    /// A new connection of the container.
    pub async fn connection(&self) -> SendRequest<AnyBody> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: Request<AnyBody>) -> Response<Incoming> {
        self.connection().await.send_request(request).await.unwrap()
    }

    /// As `send`, and its status and text.
    pub async fn ask(&self, request: Request<AnyBody>) -> (StatusCode, String) {
        let response = self.send(request).await;
        let status = response.status();
        (status, text(response).await)
    }
}

/// For what must happen by itself: a test that waits for ever says nothing.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), what).await.expect("within 20 s")
}

pub async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A request for the model, with the right placeholder.
pub fn messages(body: impl Into<Bytes>) -> Request<AnyBody> {
    request(
        "POST",
        "/v1/messages?beta=true",
        &[("x-api-key", TOKEN), ("accept-encoding", "gzip, br")],
        full(body),
    )
}

pub fn request(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: AnyBody,
) -> Request<AnyBody> {
    let mut builder = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:1");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}
