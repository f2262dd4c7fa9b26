//! Requests of a guest to its proxy, byte by byte, up to the practice model: whatever
//! came before, the next connection is served.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nanoclaw::ids::{Folder, Incarnation};
use nanoclaw::proxy::{DEFAULT_BASE, Egress, Proxy, Serving, Tenant, Upstream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// One proxy for all: what one request leaves behind must not harm the next.
struct Rig {
    runtime: Runtime,
    place: TempDir,
    _serving: Serving,
}

fn rig() -> Rig {
    let place = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let upstream = Upstream { base: DEFAULT_BASE.into(), credential: None, proxy: None };
    let tenant = Tenant {
        incarnation: Incarnation(1),
        group: Folder::parse("family").unwrap(),
        token: "token".into(),
        // Nothing leaves this machine.
        egress: Egress::Api,
    };
    let _serving =
        runtime.block_on(async { Proxy::new(upstream).serve(place.path(), tenant).unwrap() });
    Rig { runtime, place, _serving }
}

thread_local!(static RIG: Rig = rig());

fuzz_target!(|bytes: &[u8]| {
    RIG.with(|rig| {
        rig.runtime.block_on(async {
            say(rig.place.path(), bytes).await;
            let next = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let answer = say(rig.place.path(), next).await;
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        });
    });
});

async fn say(place: &std::path::Path, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = UnixStream::connect(place.join("proxy.sock")).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    // One that hangs up is as good as one that answers.
    let ended = tokio::time::timeout(Duration::from_secs(5), exchange).await;
    assert!(ended.is_ok(), "neither answered nor ended");
    answer
}
