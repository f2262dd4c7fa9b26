//! The web through the proxy.

use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use nanoclaw::proxy::{Egress, Proxy, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::*;

/// An address that sends everything back.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send_back(stream));
        }
    });
    address
}

async fn send_back(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

fn connect(target: &str) -> hyper::Request<AnyBody> {
    request("CONNECT", target, &[], full(""))
}

async fn tunnel(rig: &Rig, target: &str) -> TokioIo<hyper::upgrade::Upgraded> {
    let response = rig.send(connect(target)).await;
    assert_eq!(response.status(), StatusCode::OK);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

async fn assert_echoes(tunnel: &mut TokioIo<hyper::upgrade::Upgraded>) {
    for text in ["first", "again"] {
        tunnel.write_all(text.as_bytes()).await.unwrap();
        let mut back = [0; 5];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test]
async fn a_tunnel_relays_both_ways_and_ends_with_its_container() {
    let hosts = vec![("echo.test".to_owned(), echo().await)];
    let proxy = Proxy::with_pinned_hosts(upstream("http://127.0.0.1:1"), hosts);
    let rig = rig(&proxy, Egress::Web);
    let mut first = tunnel(&rig, "echo.test:443").await;
    let mut second = tunnel(&rig, "ECHO.test.:443").await;
    assert_echoes(&mut first).await;
    assert_echoes(&mut second).await;
    first.shutdown().await.unwrap();
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert_echoes(&mut second).await;
    drop(rig.serving);
    // Cut off: an end or an error, but not a wait.
    let _ = soon(second.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_container_has_so_many_connections_and_the_next_waits_for_one_to_end() {
    let hosts = vec![("echo.test".to_owned(), echo().await)];
    let proxy = Proxy::with_pinned_hosts(upstream("http://127.0.0.1:1"), hosts);
    let (rig, other) = (rig(&proxy, Egress::Web), crate::rig::rig(&proxy, Egress::Web));
    let mut tunnels = Vec::new();
    for _ in 0..64 {
        tunnels.push(tunnel(&rig, "echo.test:443").await);
    }
    let mut waiting = Box::pin(tunnel(&rig, "echo.test:443"));
    let short = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(short, &mut waiting).await.is_err());
    assert_echoes(&mut tunnel(&other, "echo.test:443").await).await;
    tunnels.pop();
    assert_echoes(&mut soon(waiting).await).await;
}

#[tokio::test]
async fn plain_requests_are_passed_on_and_redirects_are_not_followed() {
    let mut server = server().await;
    let hosts = vec![("site.test".to_owned(), server.address)];
    let rig = rig(&Proxy::with_pinned_hosts(upstream("http://127.0.0.1:1"), hosts), Egress::Web);
    let headers = [("proxy-connection", "keep-alive"), ("x-mine", "1"), ("te", "trailers")];
    let request = request("POST", "http://site.test/path?q=1", &headers, full("body"));
    let (response, arrived) = tokio::join!(rig.send(request), async {
        let arrived = server.arrived.recv().await.unwrap();
        let answer = Response::builder().status(302).header("location", "http://127.0.0.1/secret");
        arrived.answer.send(answer.body(full("moved")).unwrap()).ok().unwrap();
        arrived.request
    });
    assert_eq!(arrived.uri(), "/path?q=1");
    assert_eq!(arrived.headers()["host"], "site.test");
    assert_eq!(arrived.headers()["x-mine"], "1");
    assert!(
        !arrived.headers().contains_key("proxy-connection")
            && !arrived.headers().contains_key("te")
    );
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.headers()["location"], "http://127.0.0.1/secret");
    assert_eq!(text(response).await, "moved");
}

#[tokio::test]
async fn what_is_not_public_is_refused_in_every_form() {
    let rig = rig(&Proxy::new(upstream("http://127.0.0.1:1")), Egress::Web);
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::808:808]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ] {
        for request in [
            connect(&format!("{host}:443")),
            request("GET", &format!("http://{host}/"), &[], full("")),
        ] {
            let (status, text) = rig.ask(request).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{host}: {text}");
            assert!(text.starts_with("NanoClaw did not pass this on: "), "{text}");
        }
    }
}

#[tokio::test]
async fn ports_and_schemes_other_than_the_webs_are_refused() {
    let hosts = vec![("echo.test".to_owned(), echo().await)];
    let rig = rig(&Proxy::with_pinned_hosts(upstream("http://127.0.0.1:1"), hosts), Egress::Web);
    for request in [
        connect("echo.test:22"),
        connect("echo.test:8443"),
        request("GET", "http://echo.test:8080/", &[], full("")),
        request("GET", "https://echo.test/", &[], full("")),
        request("GET", "ftp://echo.test/", &[], full("")),
    ] {
        let shown = format!("{} {}", request.method(), request.uri());
        assert_eq!(rig.ask(request).await.0, StatusCode::FORBIDDEN, "{shown}");
    }
}

#[tokio::test]
async fn a_group_reaches_what_it_may_and_is_told_why_not_more() {
    let address = echo().await;
    let hosts =
        ["echo.test", "a.echo.test", "other.test"].map(|h| (h.to_owned(), address)).to_vec();
    let proxy = Proxy::with_pinned_hosts(upstream("http://127.0.0.1:1"), hosts);
    let only = rig(&proxy, Egress::Domains(vec!["echo.test".to_owned()]));
    assert_echoes(&mut tunnel(&only, "echo.test:443").await).await;
    assert_echoes(&mut tunnel(&only, "a.echo.test:443").await).await;
    let (status, text) = only.ask(connect("other.test:443")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("other.test is not among the domains"), "{text}");
    let none = rig(&proxy, Egress::Api);
    for request in [connect("echo.test:443"), request("GET", "http://echo.test/", &[], full(""))] {
        let (status, text) = none.ask(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(text.contains("the model and nothing else"), "{text}");
    }
}

#[tokio::test]
async fn an_upstream_proxy_is_asked_for_the_checked_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = echo().await;
    let upstream = Upstream {
        base: "http://127.0.0.1:1".to_owned(),
        credential: key(),
        proxy: Some(format!("http://me:p%40ss@{address}")),
    };
    let proxy = Proxy::with_pinned_hosts(upstream, vec![("echo.test".to_owned(), target)]);
    let rig = rig(&proxy, Egress::Web);
    let (mut tunnel, head) = tokio::join!(tunnel(&rig, "echo.test:443"), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").await.unwrap();
        tokio::spawn(send_back(stream));
        String::from_utf8(head).unwrap()
    });
    assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
    // me:p@ss
    assert!(head.contains("Proxy-Authorization: Basic bWU6cEBzcw==\r\n"), "{head}");
    assert_echoes(&mut tunnel).await;
    let (refused, ()) = tokio::join!(rig.ask(connect("echo.test:443")), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
    });
    assert_eq!(refused.0, StatusCode::BAD_GATEWAY);
    assert!(refused.1.contains("the upstream proxy answered 407"), "{}", refused.1);
    assert!(!refused.1.contains("p@ss") && !refused.1.contains("p%40ss"));
}
