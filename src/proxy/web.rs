//! The web proxy: `http://` requests and CONNECT, to what the group may reach.
//!
//! No redirects are followed and nothing inside a tunnel is looked at. Logs name
//! the host and never the path. A denied request is told why in plain words,
//! since it is an agent that reads it.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{self, Answer};
use super::dial::{DialError, parse_host};
use super::serve::{Egress, Tenancy};

/// Opens a tunnel. `place` is held until it ends.
pub(super) async fn connect(
    tenancy: Arc<Tenancy>,
    place: Arc<OwnedSemaphorePermit>,
    request: Request<Incoming>,
) -> Answer {
    let mut stream = match reach(&tenancy, request.uri(), None).await {
        Ok(stream) => stream,
        Err(denial) => return *denial,
    };
    // The tunnel begins when this answer is out, so it cannot run in here.
    tenancy.run(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // Either side may hang up at any time; nobody is left to be told.
            let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
        }
        drop(place);
    });
    answer::empty(StatusCode::OK)
}

/// Passes on one plain request.
pub(super) async fn forward(tenancy: Arc<Tenancy>, mut request: Request<Incoming>) -> Answer {
    let uri = std::mem::take(request.uri_mut());
    if uri.scheme_str() != Some("http") {
        return denied("an https:// address is reached with CONNECT, other kinds not at all");
    }
    let stream = match reach(&tenancy, &uri, Some(80)).await {
        Ok(stream) => stream,
        Err(denial) => return *denial,
    };
    match exchange(&tenancy, stream, &uri, request).await {
        Ok(answer) => answer,
        Err(error) => {
            let host = uri.host().unwrap_or_default();
            answer::text(
                StatusCode::BAD_GATEWAY,
                &format!("NanoClaw: {host} did not answer properly: {error}"),
            )
        }
    }
}

async fn exchange(
    tenancy: &Tenancy,
    stream: TcpStream,
    uri: &Uri,
    mut request: Request<Incoming>,
) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tenancy.run(async move {
        // Its error reaches the answer or its body, which are polled elsewhere.
        let _ = connection.await;
    });
    *request.uri_mut() =
        uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    answer::strip_hop_by_hop(request.headers_mut());
    // What was checked is what is asked for, whatever the request's own says.
    if let Some(host) = host_header(uri) {
        request.headers_mut().insert(HOST, host);
    }
    let (mut parts, body) = sender.send_request(request).await?.into_parts();
    answer::strip_hop_by_hop(&mut parts.headers);
    Ok(Answer::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
}

fn host_header(uri: &Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    HeaderValue::from_str(host).ok()
}

/// Checks and dials. An error is the answer for the container.
async fn reach(
    tenancy: &Tenancy,
    uri: &Uri,
    default_port: Option<u16>,
) -> Result<TcpStream, Box<Answer>> {
    let group = &tenancy.tenant.group;
    let port = uri.port_u16().or(default_port);
    let (host, port) = match permit(&tenancy.tenant.egress, uri.host().unwrap_or_default(), port) {
        Ok(target) => target,
        Err(why) => {
            tracing::info!(%group, host = ?shown(uri), "web: refused: {why}");
            return Err(Box::new(denied(&why)));
        }
    };
    match tenancy.proxy.dialer.dial(&tenancy.asker, &host, port).await {
        Ok(stream) => {
            tracing::info!(%group, host, port, "web: connected");
            Ok(stream)
        }
        Err(DialError::Refused(why)) => {
            tracing::info!(%group, host, port, "web: refused: {why}");
            Err(Box::new(denied(&why)))
        }
        Err(DialError::Failed(why)) => {
            tracing::info!(%group, host, port, "web: {why}");
            Err(Box::new(answer::text(StatusCode::BAD_GATEWAY, &format!("NanoClaw: {why}"))))
        }
    }
}

fn denied(why: &str) -> Answer {
    answer::text(StatusCode::FORBIDDEN, &format!("NanoClaw did not pass this on: {why}."))
}

fn shown(uri: &Uri) -> String {
    uri.host().unwrap_or_default().chars().take(80).collect()
}

/// What can be said without asking the network: the host in its one form and the
/// port, or why not.
fn permit(egress: &Egress, host: &str, port: Option<u16>) -> Result<(String, u16), String> {
    if *egress == Egress::Api {
        return Err(
            "this group may reach the model and nothing else (its web access is `api`)".to_owned()
        );
    }
    let host = parse_host(host)?;
    let port =
        port.filter(|p| [80, 443].contains(p)).ok_or("only the ports 80 and 443 may be reached")?;
    match egress {
        Egress::Domains(domains) if !domains.iter().any(|domain| is_within(&host, domain)) => {
            Err(format!("{host} is not among the domains that this group may reach"))
        }
        _ => Ok((host, port)),
    }
}

/// Whether `host` is `domain` or below it.
fn is_within(host: &str, domain: &str) -> bool {
    let domain = domain.trim().trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    !domain.is_empty()
        && (host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_match_whole_labels() {
        let only = Egress::Domains(vec![
            "Example.com".to_owned(),
            "*.rust-lang.org".to_owned(),
            String::new(),
        ]);
        for (host, allowed) in [
            ("example.com", true),
            ("EXAMPLE.com.", true),
            ("api.example.com", true),
            ("badexample.com", false),
            ("example.com.evil.org", false),
            ("com", false),
            ("doc.rust-lang.org", true),
            ("1.1.1.1", false),
        ] {
            assert_eq!(permit(&only, host, Some(443)).is_ok(), allowed, "{host}");
        }
    }

    #[test]
    fn ports_and_modes_are_kept() {
        assert_eq!(permit(&Egress::Web, "a.org", Some(80)), Ok(("a.org".to_owned(), 80)));
        for port in [None, Some(0), Some(22), Some(8080), Some(8443)] {
            assert!(permit(&Egress::Web, "a.org", port).is_err(), "{port:?}");
        }
        assert!(permit(&Egress::Api, "a.org", Some(443)).is_err());
        assert!(permit(&Egress::Web, "0x7f.1", Some(80)).is_err());
    }
}
