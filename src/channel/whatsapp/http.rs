//! The HTTP client that WhatsApp's files and version come through.
//!
//! The connection itself is a WebSocket and not this client's. An answer is an
//! answer whatever its status; only an exchange that did not happen is an error.
//!
//! Where a file lies is what its sender says, so nothing but WhatsApp is asked for
//! anything: neither what lies elsewhere, nor with the ticket that goes along.

use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::runtime::Handle;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse};

use super::media;

/// How long one exchange may take, 25 MB over a slow line included.
const EXCHANGE: Duration = Duration::from_secs(180);
/// How long the other side may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest answer that is held in memory.
const MOST: usize = 32 << 20;
/// The longest that is read as a file: what [`media`](super::media) takes, encrypted.
const LONGEST: u64 = media::MOST + (1 << 20);
/// Why no more of it is read.
pub const TOO_LONG: &str = "it is longer than its sender said";
/// What is WhatsApp's, with all that is beneath it.
const OURS: [&str; 2] = ["whatsapp.net", "whatsapp.com"];

/// Over reqwest, with the upstream proxy that the rest of the program uses.
pub struct Http {
    client: reqwest::Client,
    /// Where everything goes in tests: a base such as `http://127.0.0.1:1234`.
    instead: Option<String>,
}

impl Http {
    /// `proxy` is `NANOCLAW_UPSTREAM_PROXY`; `instead` takes the place of every host.
    pub fn new(proxy: Option<&str>, instead: Option<String>) -> anyhow::Result<Http> {
        // An error means that a provider is already installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(SILENCE)
            .timeout(EXCHANGE)
            .redirect(reqwest::redirect::Policy::custom(|next| match next.previous().len() {
                0..=3 if is_whatsapp(next.url()) => next.follow(),
                _ => next.error("WhatsApp sends it elsewhere"),
            }))
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1);
        if let Some(url) = proxy {
            let proxy = reqwest::Proxy::all(url)
                .map_err(|_| anyhow::anyhow!("NANOCLAW_UPSTREAM_PROXY is not an address"))?;
            builder = builder.proxy(proxy);
        }
        Ok(Http { client: builder.build()?, instead })
    }

    fn request(&self, request: HttpRequest) -> anyhow::Result<reqwest::RequestBuilder> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes())?;
        let mut url = reqwest::Url::parse(&request.url).context("not an address")?;
        anyhow::ensure!(is_whatsapp(&url), "it is said to lie elsewhere than at WhatsApp");
        if let Some(base) = &self.instead {
            let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
            url = reqwest::Url::parse(&format!("{base}{}{query}", url.path()))?;
        }
        let mut builder = self.client.request(method, url);
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            builder = builder.header(name, HeaderValue::from_str(value)?);
        }
        // Bytes have a length, so that the request has a Content-Length.
        Ok(match request.body {
            Some(body) => builder.body(body),
            None => builder,
        })
    }
}

/// Whether this is an address of WhatsApp's own.
fn is_whatsapp(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let beneath = |ours: &str| {
        host.strip_suffix(ours).is_some_and(|name| name.is_empty() || name.ends_with('.'))
    };
    url.scheme() == "https" && OURS.into_iter().any(beneath)
}

/// The address that a request went to has tokens in it: it is no part of an error.
fn anonymous(error: reqwest::Error) -> anyhow::Error {
    error.without_url().into()
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let mut answer = self.request(request)?.send().await.map_err(anonymous)?;
        let status_code = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(anonymous)? {
            anyhow::ensure!(body.len() + piece.len() <= MOST, "the answer is too long");
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status_code, body })
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    /// Called on a thread that may block; the runtime's own thread does the reading.
    fn execute_streaming(&self, request: HttpRequest) -> anyhow::Result<StreamingHttpResponse> {
        let handle = Handle::current();
        let request = self.request(request)?;
        let answer = handle.block_on(request.send()).map_err(anonymous)?;
        let status_code = answer.status().as_u16();
        let body = Body { handle, answer, piece: Vec::new(), read: 0, left: LONGEST };
        Ok(StreamingHttpResponse { status_code, body: Box::new(body) })
    }
}

/// An answer's body, for a thread that reads it as a file.
struct Body {
    handle: Handle,
    answer: reqwest::Response,
    piece: Vec<u8>,
    read: usize,
    /// How much more may come: the size in a message is its sender's word.
    left: u64,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.piece.len() {
            let next = self.handle.block_on(self.answer.chunk());
            let Some(piece) = next.map_err(|e| std::io::Error::other(e.without_url()))? else {
                return Ok(0);
            };
            let left = self.left.checked_sub(piece.len() as u64);
            self.left = left.ok_or_else(|| std::io::Error::other(TOO_LONG))?;
            (self.piece, self.read) = (piece.into(), 0);
        }
        let most = into.len().min(self.piece.len() - self.read);
        into[..most].copy_from_slice(&self.piece[self.read..self.read + most]);
        self.read += most;
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_whatsapp_is_asked_whatever_a_message_says_of_its_file() {
        let asks = |url: &str| is_whatsapp(&reqwest::Url::parse(url).expect("an address"));
        for url in [
            "https://mmg.whatsapp.net/v/t62?auth=a",
            "https://media-fra3-1.cdn.whatsapp.net/x",
            "https://WEB.whatsapp.com/sw.js",
            "https://whatsapp.net/",
        ] {
            assert!(asks(url), "{url}");
        }
        for url in [
            "http://mmg.whatsapp.net/x",
            "https://evil.example/mmg.whatsapp.net",
            "https://mmg.whatsapp.net@evil.example/x?auth=a",
            "https://mmg.whatsapp.net.evil.example/x?auth=a",
            "https://evilwhatsapp.net/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "file:///etc/passwd",
        ] {
            assert!(!asks(url), "{url}");
        }
        let http = Http::new(None, Some("http://127.0.0.1:1".into())).expect("a client");
        let refused = http.request(HttpRequest::get("https://evil.example/x"));
        assert!(refused.is_err(), "also where tests put another server in its place");
    }

    #[test]
    fn a_file_is_read_no_further_than_files_may_be_long() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = |length: u64| {
            let bytes = vec![0_u8; usize::try_from(length).expect("a length")];
            let answer = hyper::Response::new(bytes).into();
            let (piece, read, left) = (Vec::new(), 0, LONGEST);
            let mut body = Body { handle: runtime.handle().clone(), answer, piece, read, left };
            std::io::copy(&mut body, &mut std::io::sink())
        };
        assert_eq!(read(LONGEST).ok(), Some(LONGEST));
        assert_eq!(read(LONGEST + 1).expect_err("too long").to_string(), TOO_LONG);
    }
}
