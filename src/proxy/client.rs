//! The HTTP client for the model API, built when the first request comes.
//!
//! Most of what an idle daemon would otherwise hold in memory is this client and
//! the system's certificates.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::resolve::Resolver;

/// How long a connection may take, with name resolution and TLS.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client, or why there is none, or nothing yet.
#[derive(Debug, Default)]
pub(super) struct LazyClient(OnceLock<Result<reqwest::Client, String>>);

impl LazyClient {
    /// The client; `proxy` is `NANOCLAW_UPSTREAM_PROXY`. An error says why the
    /// settings or the machine allow none.
    pub(super) fn get(&self, proxy: Option<&str>) -> Result<reqwest::Client, String> {
        self.0.get_or_init(|| build(proxy)).clone()
    }
}

fn build(proxy: Option<&str>) -> Result<reqwest::Client, String> {
    // An error means that a provider is already installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // Variables such as HTTPS_PROXY do not decide where a credential goes.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        // Not the one of the containers, who could keep all its places.
        .dns_resolver(Arc::new(Resolver::default().asker()))
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(4)
        // A connection for each call: on a shared one a container that sends slowly or
        // does not read would hold up the others.
        .http1_only();
    if let Some(url) = proxy {
        // The cause of a parse error may repeat the address and its password.
        let proxy = reqwest::Proxy::all(url).map_err(|_| {
            "NANOCLAW_UPSTREAM_PROXY is not an address like http://host:port".to_owned()
        })?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| format!("the HTTP client cannot be set up: {}", root_cause(&e)))
}

/// The innermost cause of an error: what the system or the peer said, without
/// the address that was asked for.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    // The outermost error of reqwest prints the URL; a lone one is named by kind.
    match inner.downcast_ref::<reqwest::Error>() {
        Some(e) if e.is_timeout() => "no answer in time".to_owned(),
        Some(e) if e.is_builder() => "the address of the model API is not valid".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => inner.to_string(),
    }
}
