//! From socket to pipeline.
//!
//! Accepts, serves HTTP/1.1, drains. Every wait has an end: for a head, for a body
//! (in [`body`](crate::middleware::body)), for a client that has stopped reading. What
//! hyper gets to see has passed [`framing`](crate::framing).

use std::{
    convert::Infallible,
    io,
    os::unix::fs::FileTypeExt as _,
    path::Path,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    app::{Shared, Tasks},
    config::Address,
    framing::Framed,
    http::Body,
    middleware::{front::MAX_FIELDS, key::failures::Peer},
    pipeline::Pipeline,
    plan::Plan,
};

/// After a failure to accept. Most often it is "too many open files", which passes;
/// spinning would not help it.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// hyper's smallest buffer for a head.
const MIN_BUFFER: usize = 8192;

/// A connection of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    address: Address,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Binds an address.
    ///
    /// # Errors
    /// It cannot be had; the address is named.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        match address {
            Address::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(named)?;
                let address = Address::Tcp(listener.local_addr().map_err(named)?);
                Ok(Self {
                    listener: Listener::Tcp(listener),
                    address,
                })
            }
            Address::Unix(path) => {
                remove_stale(path).map_err(named)?;
                Ok(Self {
                    listener: Listener::Unix(UnixListener::bind(path).map_err(named)?),
                    address: address.clone(),
                })
            }
        }
    }

    /// Where it listens; port 0 is a real one by now.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    pub(crate) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Peer(Some(peer.ip()))))
            }
            Listener::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok((Box::new(stream), Peer(None)))
            }
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // Whoever finds it next would only be refused.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a socket that nobody listens on any more: what a crash leaves behind. What is
/// no socket, or is in use, stays, and binding fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)
                }
                Ok(_) | Err(_) => Ok(()),
            }
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    connections: Arc<Semaphore>,
    max_head: usize,
    head_timeout: Duration,
    write_timeout: Duration,
}

impl From<&Plan> for Limits {
    fn from(plan: &Plan) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(
                plan.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            max_head: plan.front.max_head,
            head_timeout: plan.head_timeout,
            write_timeout: plan.write_timeout,
        }
    }
}

/// Accepts until it is told to stop. Its connections are tasks of their own.
pub async fn serve(
    bound: Bound,
    limits: Limits,
    pipeline: Pipeline,
    shared: Shared,
    tasks: Tasks,
    stop: CancellationToken,
) {
    loop {
        let Some(Ok(place)) = stop
            .run_until_cancelled(limits.connections.clone().acquire_owned())
            .await
        else {
            break;
        };
        let (stream, peer) = match stop.run_until_cancelled(bound.accept()).await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = open(stream, peer, &limits, pipeline.clone());
        let count = shared.metrics.connections.clone();
        count.inc();
        let stop = stop.clone();
        tasks.start(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                // What has arrived is read first, and is answered: hyper closes a
                // connection on which no request runs without a look at it.
                biased;
                ended = &mut connection => ended,
                () = stopped_a_turn_ago(&stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection closed");
            }
            count.dec();
            drop(place);
        });
    }
}

/// Waits for the stop, and then until the runtime has asked once more what has arrived.
async fn stopped_a_turn_ago(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::task::yield_now().await;
}

/// Serves one connection to its end, whatever it runs over.
///
/// # Errors
/// It broke off, or what came was no HTTP.
pub async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    limits: &Limits,
    pipeline: Pipeline,
) -> hyper::Result<()> {
    open(stream, peer, limits, pipeline).await
}

fn open<S: Stream>(
    stream: S,
    peer: Peer,
    limits: &Limits,
    pipeline: Pipeline,
) -> http1::Connection<
    TokioIo<Framed<Stalling<S>>>,
    impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send + use<S>,
> {
    let stream = Stalling::new(stream, limits.write_timeout);
    let stream = Framed::new(stream, limits.max_head);
    let fault = stream.fault();
    let service = service_fn(move |req: ::http::Request<Incoming>| {
        let pipeline = pipeline.clone();
        let mut req = req.map(Body::new);
        req.extensions_mut().insert(fault.clone());
        req.extensions_mut().insert(peer);
        async move {
            let Ok(response) = pipeline.oneshot(req).await;
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the time that a connection may idle between two requests.
        .header_read_timeout(limits.head_timeout)
        // A little more than is allowed gets in, so that it can be told what is wrong.
        .max_headers(2 * MAX_FIELDS)
        .max_buf_size((2 * limits.max_head).max(MIN_BUFFER))
        // A client may close its side once it has sent its request, and still be answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
}

pin_project! {
    /// A stream whose writes fail when the other side has read nothing for too long.
    #[derive(Debug)]
    pub(crate) struct Stalling<S> {
        #[pin]
        stream: S,
        stalled: Pin<Box<Sleep>>,
        is_stalled: bool,
        write_timeout: Duration,
    }
}

impl<S> Stalling<S> {
    pub(crate) fn new(stream: S, write_timeout: Duration) -> Self {
        Self {
            stream,
            stalled: Box::pin(tokio::time::sleep(write_timeout)),
            is_stalled: false,
            write_timeout,
        }
    }

    /// Passes on what a write says, unless it has said "not now" for too long.
    fn judge<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = self.project();
        if progress.is_ready() {
            *this.is_stalled = false;
            return progress;
        }
        if !*this.is_stalled {
            *this.is_stalled = true;
            this.stalled
                .as_mut()
                .reset(Instant::now() + *this.write_timeout);
        }
        ready!(this.stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead> AsyncRead for Stalling<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = self.as_mut().project().stream.poll_write(cx, bytes);
        self.judge(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = self
            .as_mut()
            .project()
            .stream
            .poll_write_vectored(cx, slices);
        self.judge(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = self.as_mut().project().stream.poll_flush(cx);
        self.judge(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = self.as_mut().project().stream.poll_shutdown(cx);
        self.judge(cx, progress)
    }
}
