//! Where is the upstream?
//!
//! The system is asked for each new connection, so that a new answer of DNS is followed at
//! once. It answers on a thread, and keeps it for as long as it likes, even when nobody
//! waits any more. So only a few are asked at a time: where DNS hangs, these threads hang,
//! and nothing else does. Who waits for a turn waits within `connect_timeout`.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

/// Threads that may wait for DNS.
const MOST: usize = 8;

/// Asks the system.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    turns: Arc<Semaphore>,
    /// A test has its own.
    ask: fn(&str) -> io::Result<vec::IntoIter<SocketAddr>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(MOST)),
            // The port is that of the URL, whatever it is here.
            ask: |host| (host, 0).to_socket_addrs(),
        }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, host: Name) -> Self::Future {
        let Self { turns, ask } = self.clone();
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let asked = tokio::task::spawn_blocking(move || {
                let addresses = ask(host.as_str());
                // Not before: the thread is taken even if nobody waits for it.
                drop(turn);
                addresses
            });
            asked.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Condvar, Mutex},
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    /// How many were asked, and whether they may answer.
    static DNS: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

    #[tokio::test]
    async fn where_dns_hangs_a_few_threads_hang_and_nothing_else() {
        let mut resolver = Resolver {
            ask: hang,
            ..Resolver::default()
        };
        let mut lookups: Vec<_> = (0..3 * MOST).map(|_| look_up(&mut resolver)).collect();
        for lookup in &mut lookups[..MOST] {
            assert!(futures_util::poll!(lookup).is_pending());
        }
        // Nobody waits for these any more, and yet they hold their threads.
        lookups.drain(..MOST);

        let late = timeout(Duration::from_millis(50), lookups.pop().unwrap()).await;
        let other = tokio::task::spawn_blocking(|| "free").await.unwrap();
        let asked = DNS.0.lock().unwrap().0;
        DNS.0.lock().unwrap().1 = true;
        DNS.1.notify_all();
        let answers = futures_util::future::join_all(lookups).await;

        assert!(late.is_err());
        assert_eq!(other, "free");
        assert!(asked <= MOST, "{asked}");
        assert!(answers.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn the_system_knows_its_own_name() {
        let addresses = look_up(&mut Resolver::default()).await.unwrap();

        assert!(
            addresses
                .into_iter()
                .all(|address| address.ip().is_loopback())
        );
    }

    fn look_up(
        resolver: &mut Resolver,
    ) -> BoxFuture<'static, io::Result<vec::IntoIter<SocketAddr>>> {
        resolver.call("localhost".parse().unwrap())
    }

    fn hang(_host: &str) -> io::Result<vec::IntoIter<SocketAddr>> {
        let (dns, answers) = &DNS;
        let mut state = dns.lock().unwrap();
        state.0 += 1;
        drop(answers.wait_while(state, |(_, answers)| !*answers).unwrap());
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))].into_iter())
    }
}
