//! The way out of the guest: a port on loopback, relayed to the host's proxy.
//!
//! Copies bytes and understands none of them. One Unix connection for each TCP
//! connection, so the end of either ends the other, and every runtime looks the
//! same to the CLI.

use std::io;
use std::path::PathBuf;

use tokio::net::{TcpListener, UnixStream};

/// Listens on a free loopback port, which it returns, and relays every
/// connection to `proxy` for as long as the process lives.
pub async fn start(proxy: PathBuf) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            let Ok((mut inside, _)) = listener.accept().await else {
                // Out of descriptors: what is open will end.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let proxy = proxy.clone();
            tokio::spawn(async move {
                // A proxy that is not there looks to the CLI like a network that
                // failed, and the turn's failure tells of it.
                if let Ok(mut outside) = UnixStream::connect(&proxy).await {
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                }
            });
        }
    });
    Ok(port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixListener};

    #[tokio::test(flavor = "current_thread")]
    async fn each_connection_reaches_the_proxy_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.sock");
        let proxy = UnixListener::bind(&path).unwrap();
        let port = start(path).await.unwrap();
        for word in [b"one", b"two"] {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(word).await.unwrap();
            let (mut server, _) = proxy.accept().await.unwrap();
            let mut got = [0; 3];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, word);
            drop(server);
            assert_eq!(client.read(&mut got).await.unwrap(), 0);
        }
    }
}
