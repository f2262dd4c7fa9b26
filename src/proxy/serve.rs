//! Sockets and connections: who is asking, and for what kind of service.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer::Answer;
use super::book::{Book, ModelError, Usage};
use super::client::LazyClient;
use super::credential::Credential;
use super::dial::Dialer;
use super::model::MAX_REQUEST;
use super::resolve::Asker;
use super::{model, web};
use crate::ids::{Folder, Incarnation};

/// The model API unless `ANTHROPIC_BASE_URL` says otherwise.
pub const DEFAULT_BASE: &str = "https://api.anthropic.com";
/// The name of the socket in its directory.
const SOCKET: &str = "proxy.sock";
/// Connections that one container may hold, so that it cannot take all the file
/// descriptors of the daemon: a tunnel is two. A further one waits.
const MAX_CONNECTIONS: usize = 64;
/// Calls of the model that one container may have under way. A further one waits.
const MAX_CALLS: usize = 16;

/// Where the model API is, what it is paid with, and the way out.
#[derive(Clone)]
pub struct Upstream {
    /// Its address, such as [`DEFAULT_BASE`]; may have a path.
    pub base: String,
    /// None with the default address means the practice model; none with another
    /// address means an endpoint that wants no credential.
    pub credential: Option<Credential>,
    /// `NANOCLAW_UPSTREAM_PROXY`, such as `http://user:password@host:3128`.
    pub proxy: Option<String>,
}

impl Upstream {
    /// Whether the built-in practice model answers instead of a real one.
    pub fn is_practice(&self) -> bool {
        self.credential.is_none() && self.base.trim_end_matches('/') == DEFAULT_BASE
    }

    /// Scheme, host and port of the address, for people.
    pub(super) fn host(&self) -> String {
        let origin = reqwest::Url::parse(&self.base).map(|url| url.origin().ascii_serialization());
        origin.unwrap_or_else(|_| "the model API".to_owned())
    }
}

/// Without the passwords that both addresses may hold.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = self.proxy.as_ref().map(|_| "..");
        let mut shown = f.debug_struct("Upstream");
        shown.field("base", &self.host()).field("credential", &self.credential);
        shown.field("proxy", &proxy).finish()
    }
}

/// How much of the web a group may reach. The model API is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Public addresses, ports 80 and 443.
    Web,
    /// Nothing.
    Api,
    /// As `Web`, but only these domains and what is below them.
    Domains(Vec<String>),
}

impl Egress {
    /// `web`, `api`, or domains with commas between, as the ledger has it.
    pub fn parse(text: &str) -> Egress {
        match text {
            "web" => Egress::Web,
            "api" => Egress::Api,
            domains => Egress::Domains(domains.split(',').map(str::to_owned).collect()),
        }
    }
}

/// The container behind one socket.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// This start of the container.
    pub incarnation: Incarnation,
    /// Its group.
    pub group: Folder,
    /// The random placeholder that it sends as its key.
    pub token: String,
    /// What it may reach beside the model.
    pub egress: Egress,
}

/// The proxy of one daemon. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// What all containers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: Upstream,
    pub(super) client: LazyClient,
    pub(super) dialer: Dialer,
}

/// One container at the proxy.
#[derive(Debug)]
pub(super) struct Tenancy {
    pub(super) proxy: Arc<Shared>,
    pub(super) tenant: Tenant,
    pub(super) book: Arc<Book>,
    pub(super) asker: Asker,
    /// Calls of the model that may still begin.
    pub(super) calls: Arc<Semaphore>,
    /// KiB of request bodies that may be in memory.
    pub(super) room: Arc<Semaphore>,
    /// Until when it may not ask the model. Ends when the [`Serving`] is dropped.
    held: watch::Receiver<SystemTime>,
}

impl Tenancy {
    /// Runs `work` until it is done or the container's socket is closed.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut held = self.held.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                // No time satisfies it: this returns when the sender is gone.
                _ = held.wait_for(|_| false) => {}
            }
        });
    }

    /// Ends when the container may not ask the model, which may be at once.
    pub(super) fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut held = self.held.clone();
        async move {
            // An error: the container's socket is closed, which ends what it asks too.
            let _ = held.wait_for(|until| *until > SystemTime::now()).await;
        }
    }
}

impl Proxy {
    /// A proxy to `upstream`. Settings that cannot work show at the first
    /// request, in its answer.
    pub fn new(upstream: Upstream) -> Proxy {
        Proxy::with_pinned_hosts(upstream, Vec::new())
    }

    /// For tests: as [`Proxy::new`], but these web hosts are at these addresses,
    /// unresolved and unchecked.
    #[doc(hidden)]
    pub fn with_pinned_hosts(
        upstream: Upstream,
        hosts: Vec<(String, std::net::SocketAddr)>,
    ) -> Proxy {
        let dialer = Dialer::new(upstream.proxy.clone(), hosts);
        Proxy { shared: Arc::new(Shared { upstream, client: LazyClient::default(), dialer }) }
    }

    /// Listens for `tenant` on `directory/proxy.sock`, within a tokio runtime.
    ///
    /// Anybody who can reach the socket may connect: the directory must be
    /// private to the host's user and the container.
    pub fn serve(&self, directory: &Path, tenant: Tenant) -> io::Result<Serving> {
        let path = directory.join(SOCKET);
        let listener = UnixListener::from_std(bind(directory, &path)?)?;
        let (hold, held) = watch::channel(SystemTime::UNIX_EPOCH);
        let book = Arc::new(Book::default());
        let tenancy = Arc::new(Tenancy {
            proxy: self.shared.clone(),
            tenant,
            book: book.clone(),
            asker: self.shared.dialer.asker(),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            room: Arc::new(Semaphore::new(MAX_REQUEST / 1024)),
            held,
        });
        tenancy.clone().run(accept(listener, tenancy));
        Ok(Serving { path, book, hold })
    }
}

/// A container being served. Dropping it ends the listener and every connection,
/// and removes the socket.
#[derive(Debug)]
pub struct Serving {
    path: PathBuf,
    book: Arc<Book>,
    hold: watch::Sender<SystemTime>,
}

impl Serving {
    /// What the model's answers took since this was last asked, one entry each.
    /// An answer is in it before the container has seen its end.
    pub fn take_usage(&self) -> Vec<Usage> {
        self.book.take()
    }

    /// Until then the container asks the model nothing: what is under way is cut,
    /// what comes is refused.
    pub fn hold(&self, until: SystemTime) {
        self.hold.send_if_modified(|held| std::mem::replace(held, until) != until);
    }

    /// The last failure of the model API, unless it has worked since.
    pub fn last_model_error(&self) -> Option<ModelError> {
        self.book.error()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The directory goes with the incarnation; a socket that stays in it
        // until then only refuses connections.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn bind(directory: &Path, path: &Path) -> io::Result<StdListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = bind_in(directory)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket's address has room for 108 bytes; through a handle of the directory
/// any directory will do.
#[cfg(target_os = "linux")]
fn bind_in(directory: &Path) -> io::Result<StdListener> {
    use std::os::fd::AsRawFd;
    let handle = std::fs::File::open(directory)?;
    StdListener::bind(format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn bind_in(directory: &Path) -> io::Result<StdListener> {
    StdListener::bind(directory.join(SOCKET))
}

async fn accept(listener: UnixListener, tenancy: Arc<Tenancy>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed, so a place always comes.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => tenancy.run(connection(stream, tenancy.clone(), Arc::new(place))),
            Err(error) => {
                // Out of file descriptors, mostly: they come back.
                tracing::warn!(group = %tenancy.tenant.group, "cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, tenancy: Arc<Tenancy>, place: Arc<OwnedSemaphorePermit>) {
    let service = service_fn(move |request| {
        let (tenancy, place) = (tenancy.clone(), place.clone());
        async move { Ok::<_, std::convert::Infallible>(answer(tenancy, place, request).await) }
    });
    // An error is the container's hanging up or not speaking HTTP: its affair.
    let _ =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(
    tenancy: Arc<Tenancy>,
    place: Arc<OwnedSemaphorePermit>,
    request: Request<Incoming>,
) -> Answer {
    if request.method() == Method::CONNECT {
        web::connect(tenancy, place, request).await
    } else if request.uri().scheme().is_some() {
        web::forward(tenancy, request).await
    } else {
        model::serve(&tenancy, request).await
    }
}
