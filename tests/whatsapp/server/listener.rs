//! The port: WebSockets on `/ws/chat`, files on every other path. It can be closed and
//! opened again under the same number, while everything that the server knows stays.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::state::Shared;
use super::{connection, media, websocket};

/// Opens the port and serves it until the task is aborted, which closes all of it.
pub async fn listen(shared: Arc<Shared>, at: SocketAddr) -> std::io::Result<JoinHandle<()>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    let listener = socket.listen(128)?;
    shared.lock().address = Some(listener.local_addr()?);
    Ok(tokio::spawn(accept(shared, listener)))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    // Dropped with this task: no connection outlives the port.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                tasks.spawn(serve(shared.clone(), stream));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Answers a connection's requests; one of them may turn it into a WebSocket.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let upgrade = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let (shared, upgrade) = (shared.clone(), upgrade.clone());
        async move { Ok::<_, Infallible>(route(&shared, request, &upgrade).await) }
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = http.with_upgrades().await;
    let upgrade = upgrade.lock().unwrap().take();
    if let Some(upgrade) = upgrade
        && let Ok(stream) = upgrade.await
    {
        connection::serve(shared, TokioIo::new(stream)).await;
    }
}

async fn route(
    shared: &Shared,
    mut request: Request<Incoming>,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> Response<Full<Bytes>> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let Some(key) = key.map(str::to_owned).filter(|_| request.uri().path() == "/ws/chat") else {
        return media::answer(shared, request).await;
    };
    *upgrade.lock().unwrap() = Some(hyper::upgrade::on(&mut request));
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, websocket::accept(&key))
        .body(Full::new(Bytes::new()))
        .unwrap()
}
