//! Heads of web requests: whatever a guest sends to its proxy, it is answered or hung
//! up on, what reaches the web is what was checked, and the next request is served.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nanoclaw::ids::{Folder, Incarnation};
use nanoclaw::proxy::{Egress, Proxy, Tenant, Upstream};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use super::inputs::{config, near};

const HEADS: &[&str] = &[
    "GET http://good.test/a?b=c HTTP/1.1\r\nHost: good.test\r\nProxy-Authorization: Basic x\r\nConnection: close\r\n\r\n",
    "GET http://u:p@good.test:80/ HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
    "POST http://good.test/ HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\nProxy-Connection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "POST http://good.test/ HTTP/1.1\r\nHost: good.test\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "GET http://127.0.0.1/ HTTP/1.0\r\n\r\n",
    "CONNECT evil.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n",
    "GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: token\r\nConnection: close\r\n\r\n",
    "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{}",
];

/// A web server that keeps what it was asked, and where it is.
async fn origin() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let (mut head, mut piece) = (Vec::new(), [0; 4096]);
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
                        _ => return,
                    }
                }
                kept.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            });
        }
    });
    (address, asked)
}

/// What comes back for these bytes, until the proxy hangs up.
async fn say(place: &std::path::Path, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = UnixStream::connect(place.join("proxy.sock")).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), exchange).await;
    assert!(ended.is_ok(), "neither answered nor hung up on");
    answer
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_any_head_what_was_checked_is_asked_for_and_the_next_one_is_served(bytes in near(HEADS)) {
        let place = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(async {
            let (address, asked) = origin().await;
            let upstream = Upstream { base: "http://127.0.0.1:1".into(), credential: None, proxy: None };
            let proxy = Proxy::with_pinned_hosts(upstream, vec![("good.test".into(), address)]);
            let tenant = Tenant {
                incarnation: Incarnation(1),
                group: Folder::parse("family").unwrap(),
                token: "token".into(),
                egress: Egress::Domains(vec!["good.test".into()]),
            };
            let _serving = proxy.serve(place.path(), tenant).unwrap();
            say(place.path(), &bytes).await;
            let answer = say(place.path(), b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            std::mem::take(&mut *asked.lock().unwrap())
        });
        // What goes through a tunnel is between its ends.
        if bytes.windows(7).any(|w| w == b"CONNECT") {
            return Ok(());
        }
        for head in asked {
            let head = head.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
            prop_assert!(head.split(' ').nth(1).is_some_and(|path| path.starts_with(['/', '*'])), "{head}");
            let hosts: Vec<&str> = head.lines().filter(|l| l.starts_with("host:")).collect();
            let right = ["host: good.test", "host: good.test:80", "host: good.test:443"];
            prop_assert!(hosts.len() == 1 && right.contains(&hosts[0].trim_end_matches('.')), "{head}");
            prop_assert!(!head.contains("\nproxy-authorization:") && !head.contains("\nproxy-connection:"), "{head}");
        }
    }
}
