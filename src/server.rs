//! From socket to pipeline.
//!
//! Accepts, shakes hands, serves HTTP/1.1 and, over TLS, HTTP/2. Every wait has an end:
//! for a handshake, for a head, for a body (in [`body`](crate::middleware::body)), for a
//! client that has stopped reading. What hyper gets to see of HTTP/1 has passed
//! [`framing`](crate::framing).

mod bound;
mod chatter;
pub mod descriptors;
mod http2;
pub mod memory;
mod passed;
mod places;
mod stalling;
pub mod tls;

use std::{convert::Infallible, sync::Arc, time::Duration};

use ::http::{HeaderValue, header};
use futures_util::FutureExt as _;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
    task::{unconstrained, yield_now},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use self::{places::Guest, tls::Tls};
use crate::{
    app::Tasks, framing::Framed, http::Body, middleware::key::failures::Peer, pipeline::Pipeline,
    plan::Plan, shared::Shared,
};

pub use bound::{Access, Bound};
pub use passed::Passed;
pub use places::Places;
pub(crate) use stalling::Stalling;

/// hyper's smallest buffer for a head.
const MIN_BUFFER: usize = 8192;
/// How long a connection on which nothing runs is kept at a stop, at most.
const FAREWELL: Duration = Duration::from_millis(200);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    max_head: usize,
    head_timeout: Duration,
    write_timeout: Duration,
    /// At a stop, how long a connection on which nothing runs is kept.
    farewell: Duration,
}

impl From<&Plan> for Limits {
    fn from(plan: &Plan) -> Self {
        Self {
            max_head: plan.front.max_head,
            head_timeout: plan.head_timeout,
            write_timeout: plan.write_timeout,
            farewell: FAREWELL.min(plan.drain_timeout / 2),
        }
    }
}

/// What a listener serves with. A reload exchanges it as a whole: the limits and the
/// certificate hold for new connections, the pipeline for new requests.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What answers.
    pub pipeline: Pipeline,
    /// What a connection may take.
    pub limits: Limits,
    /// With what TLS is spoken over TCP, if it is.
    pub tls: Option<Arc<Tls>>,
}

impl Serving {
    /// Never exchanged.
    fn alone(pipeline: Pipeline, limits: Limits) -> watch::Receiver<Self> {
        let alone = Self {
            pipeline,
            limits,
            tls: None,
        };
        watch::channel(alone).1
    }
}

/// Accepts until it is told to stop, and then those that waited at that moment. The
/// connections are tasks of their own; at a stop each ends after its next answer, or a moment
/// later.
pub async fn serve(
    mut bound: Bound,
    serving: watch::Receiver<Serving>,
    shared: Shared,
    connections: Tasks,
    stop: CancellationToken,
) {
    let is_tcp = bound.is_tcp();
    let mut accepted_late = 0;
    while let Some((stream, peer)) = next(&mut bound, &stop, &mut accepted_late).await {
        let place = tokio::select! {
            biased;
            place = shared.connections.take(&stop) => place,
            () = stop.cancelled() => break,
        };
        let Serving { limits, tls, .. } = serving.borrow().clone();
        let server = Server {
            serving: serving.clone(),
            limits,
            tls: tls.filter(|_| is_tcp),
            tasks: shared.tasks.clone(),
        };
        let open = shared.metrics.connections.clone();
        open.inc();
        connections.start(async move {
            if let Err(error) = server.serve(stream, peer, place.guest()).await {
                tracing::debug!(error, "connection closed");
            }
            open.dec();
            drop(place);
        });
    }
}

/// The next connection, until the stop; then those that the kernel had let in before it, no
/// more than its queue holds. On a socket that goes on, they are for the next process.
async fn next(
    bound: &mut Bound,
    stop: &CancellationToken,
    accepted_late: &mut u32,
) -> Option<(impl Stream, Peer)> {
    if let Some(accepted) = stop.run_until_cancelled(bound.accept()).await {
        return Some(accepted);
    }
    if *accepted_late == 0 {
        // Or the runtime has not heard of them yet.
        yield_now().await;
    }
    *accepted_late += 1;
    if bound.is_passed || bound::BACKLOG < *accepted_late {
        return None;
    }
    unconstrained(bound.accept()).now_or_never()
}

/// What a connection is served with.
struct Server {
    /// For its requests, one after the other.
    serving: watch::Receiver<Serving>,
    /// As they were when it began.
    limits: Limits,
    tls: Option<Arc<Tls>>,
    /// For what runs beside a connection.
    tasks: Tasks,
}

impl Server {
    /// Serves a connection to its end.
    async fn serve(
        self,
        stream: impl Stream,
        peer: Peer,
        guest: Arc<Guest>,
    ) -> Result<(), BoxError> {
        let stream = Stalling::new(stream, self.limits.write_timeout);
        // Each way in a box of its own: most connections wait most of the time, and none shall
        // hold the room that another way would need.
        let Some(tls) = &self.tls else {
            let served = serve_http1(stream, peer, &self.limits, self.serving, guest);
            return Box::pin(served).await;
        };
        let handshake = Box::pin(timeout(self.limits.head_timeout, tls.accept(stream)));
        // Until it is done, nothing was asked.
        let Some(stream) = guest.leave().run_until_cancelled(handshake).await else {
            return Ok(());
        };
        let stream = stream??;
        let (_, session) = stream.get_ref();
        match session.alpn_protocol() {
            Some(tls::HTTP_2) => Box::pin(http2::serve(self, stream, peer, guest)).await,
            Some(_) | None => {
                let served = serve_http1(stream, peer, &self.limits, self.serving, guest);
                Box::pin(served).await
            }
        }
    }
}

/// Serves one connection with HTTP/1.1 to its end, whatever it runs over.
///
/// # Errors
/// It broke off, or what came was no HTTP.
pub async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    limits: &Limits,
    pipeline: Pipeline,
) -> Result<(), BoxError> {
    let stream = Stalling::new(stream, limits.write_timeout);
    let guest = Arc::new(Guest::new(&CancellationToken::new()));
    let serving = Serving::alone(pipeline, limits.clone());
    serve_http1(stream, peer, limits, serving, guest).await
}

async fn serve_http1(
    stream: impl Stream,
    peer: Peer,
    limits: &Limits,
    serving: watch::Receiver<Serving>,
    guest: Arc<Guest>,
) -> Result<(), BoxError> {
    let mut stream = Framed::new(stream, limits.max_head);
    // hyper holds buffers from the start, and there may be thousands that never ask.
    tokio::select! {
        biased;
        begun = timeout(limits.head_timeout, stream.begun()) => begun??,
        () = guest.should_go(limits.farewell) => return Ok(stream.shutdown().await?),
    }
    let connection = open_http1(stream, peer, limits, serving, guest.clone());
    // It is as large as all that may happen on it.
    let mut connection = Box::pin(connection);
    tokio::select! {
        // What has arrived is read first, and is answered: hyper closes a connection on
        // which no request runs without a look at it.
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = guest.should_go(limits.farewell) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

fn open_http1<S: Stream>(
    stream: Framed<S>,
    peer: Peer,
    limits: &Limits,
    serving: watch::Receiver<Serving>,
    guest: Arc<Guest>,
) -> http1::Connection<
    TokioIo<Framed<S>>,
    impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send + use<S>,
> {
    let fault = stream.fault();
    let service = service_fn(move |req: ::http::Request<Incoming>| {
        let asked = guest.is_asked();
        let mut req = req.map(Body::from);
        req.extensions_mut().insert(fault.clone());
        req.extensions_mut().insert(peer);
        // Taken once per request: it sees one config from its first step to its last, and a
        // reload breaks no connection.
        let pipeline = serving.borrow().pipeline.clone();
        let answer = pipeline.answer(req);
        async move {
            let mut response = answer.await;
            if asked.is_last() {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            drop(asked);
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the time that a connection may idle between two requests.
        .header_read_timeout(limits.head_timeout)
        // A little more than is allowed gets in, so that it can be told what is wrong.
        .max_buf_size((2 * limits.max_head).max(MIN_BUFFER))
        // A client may close its side once it has sent its request, and still be answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::config::Address;

    #[tokio::test]
    async fn who_waits_at_the_stop_is_let_in_unless_the_socket_goes_on() {
        for (is_passed, expected) in [(false, 2), (true, 0)] {
            let anywhere: Address = "127.0.0.1:0".parse().unwrap();
            let mut none = Passed::none();
            let bound = Bound::bind(&anywhere, Access::default(), &mut none).await;
            let mut bound = bound.unwrap().remove(0);
            bound.is_passed = is_passed;
            let Address::Tcp(address) = bound.address() else {
                unreachable!("it was asked for")
            };
            // Without an `await`, so nobody has accepted them yet.
            let _waiting = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            let stop = CancellationToken::new();
            stop.cancel();

            let (mut accepted_late, mut count) = (0, 0);
            while next(&mut bound, &stop, &mut accepted_late).await.is_some() {
                count += 1;
            }

            assert_eq!(count, expected);
        }
    }
}
