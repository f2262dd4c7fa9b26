//! Names to addresses, on threads of their own.
//!
//! The system's look-up cannot be given up: a name server that says nothing keeps
//! its thread for half a minute. In the pool of threads that also stops guests,
//! whoever may name hosts could fill that. So a look-up has a thread to itself, of
//! which there are few, and one that nobody waits for any more still counts.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};

/// Look-ups at a time for one container, and for the model.
const FOR_ONE: usize = 2;
/// Look-ups at a time for all containers.
const FOR_ALL: usize = 16;

/// What containers share.
#[derive(Clone, Debug)]
pub(super) struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver(Arc::new(Semaphore::new(FOR_ALL)))
    }
}

/// Whose look-ups they are: each waits for its own before it waits for others'.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    resolver: Resolver,
    own: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn asker(&self) -> Asker {
        Asker { resolver: self.clone(), own: Arc::new(Semaphore::new(FOR_ONE)) }
    }
}

impl Asker {
    /// The addresses of `host`. Waits as long as it takes: the caller has a limit.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = host.to_owned();
        self.run(move || (host, port).to_socket_addrs().map(Iterator::collect)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let closed = |_| io::Error::other("no more names are looked up");
        let own = self.own.clone().acquire_owned().await.map_err(closed)?;
        let all = self.resolver.0.clone().acquire_owned().await.map_err(closed)?;
        let (sender, found) = oneshot::channel();
        std::thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            // Nobody may wait any more.
            let _ = sender.send(look());
            drop((own, all));
        })?;
        found.await.map_err(|_| io::Error::other("the look-up broke off"))?
    }
}

/// For the client of the model API, whose own look-ups would be in that pool.
impl Resolve for Asker {
    fn resolve(&self, name: Name) -> Resolving {
        let asker = self.clone();
        Box::pin(async move {
            let found = asker.addresses(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn names_that_nobody_answers_hold_up_neither_others_nor_what_stops_guests() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let resolver = Resolver::default();
            let (hostile, other) = (resolver.asker(), resolver.asker());
            let (began, begun) = mpsc::channel();
            let (answer, silence) = mpsc::channel::<()>();
            let silence = Arc::new(std::sync::Mutex::new(silence));
            // Given up, as by the limit of a connection, one after the other.
            for _ in 0..20 {
                let (began, silence) = (began.clone(), silence.clone());
                let look = hostile.run(move || {
                    began.send(()).unwrap();
                    let _ = silence.lock().unwrap().recv();
                    Ok(())
                });
                assert!(timeout(Duration::from_millis(20), look).await.is_err());
            }
            assert_eq!(begun.try_iter().count(), FOR_ONE, "those given up still count");
            let soon = Duration::from_secs(10);
            assert_eq!(timeout(soon, other.run(|| Ok(7))).await.unwrap().unwrap(), 7);
            let pool = tokio::task::spawn_blocking(|| 8);
            assert_eq!(timeout(soon, pool).await.unwrap().unwrap(), 8);
            // They end, and their places are free again.
            drop(answer);
            assert_eq!(timeout(soon, hostile.run(|| Ok(9))).await.unwrap().unwrap(), 9);
        });
    }
}
