//! The last step: the wire.
//!
//! A message is written at most once. What went wrong is told apart by one question:
//! may a byte of it have left? hyper asks for a request's body before it writes any of
//! the request, so over HTTP/1.1 a body that was never asked for never left ([`Asked`]).
//! Over HTTP/2 it may have, unless there was no connection or the upstream says that it
//! refused the request unseen.
//!
//! What never left is tried once more, by [`credential`](crate::middleware::credential);
//! a pooled connection that turns out to be closed is replaced by hyper-util itself.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    HeaderValue, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tower::{BoxError, Service, timeout::Timeout, util::BoxCloneSyncService};

use crate::{
    config::HttpVersion,
    http::{Body, Request, Response},
    problem::{AnswerFault, Problem},
    trail::{Step, Trail},
};

pub mod headers;

/// About the largest head of an answer; hyper alone would take 400 KiB.
const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// How the upstream is reached.
#[derive(Debug)]
pub struct Settings {
    /// http or https.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Which HTTP to speak.
    pub http_version: HttpVersion,
    /// The trust anchors, for https.
    pub tls: rustls::ClientConfig,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request written to the head of the answer.
    pub response_timeout: Duration,
    /// The largest answer.
    pub max_response: usize,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
}

/// The upstream, as a service.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Inner>);

/// Opens a connection within its time.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

#[derive(Debug)]
struct Inner {
    client: Client<Connector, Asked>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// HTTP/2 has `:authority` instead of `Host`.
    may_be_http2: bool,
    is_always_http2: bool,
    response_timeout: Duration,
    max_response: usize,
}

impl Upstream {
    /// Makes the pool. No connection is opened yet.
    ///
    /// # Errors
    /// The authority is no header value.
    pub fn new(settings: &Settings) -> Result<Self, ::http::header::InvalidHeaderValue> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls.clone())
            .https_or_http();
        let https = match settings.http_version {
            HttpVersion::Http1 => https.enable_http1().wrap_connector(tcp),
            HttpVersion::Http2 => https.enable_http2().wrap_connector(tcp),
            HttpVersion::Auto => https.enable_all_versions().wrap_connector(tcp),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(settings.pool_idle_timeout)
            .http1_max_buf_size(MAX_ANSWER_HEAD)
            .http2_only(settings.http_version == HttpVersion::Http2)
            .build(Connector::new(Timeout::new(
                https,
                settings.connect_timeout,
            )));
        let may_be_http2 = match settings.http_version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => settings.scheme == Scheme::HTTPS,
        };
        Ok(Self(Arc::new(Inner {
            client,
            host: HeaderValue::from_str(settings.authority.as_str())?,
            scheme: settings.scheme.clone(),
            authority: settings.authority.clone(),
            may_be_http2,
            is_always_http2: settings.http_version == HttpVersion::Http2,
            response_timeout: settings.response_timeout,
            max_response: settings.max_response,
        })))
    }
}

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = Problem;
    type Future = BoxFuture<'static, Result<Response, Problem>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            let trail = Trail::of(&req)?.clone();
            trail.enter(Step::Send);
            let began = Instant::now();
            let answer = upstream.send(&trail, req).await;
            trail.waited_for_upstream(began.elapsed());
            answer
        })
    }
}

impl Inner {
    async fn send(&self, trail: &Trail, req: Request) -> Result<Response, Problem> {
        let begun = Arc::new(Begun::default());
        let mut req = self.address(req)?.map(|body| Asked {
            body,
            begun: begun.clone(),
        });
        let connection = capture_connection(&mut req);
        trail.sending();
        let answer = tokio::select! {
            biased;
            answer = self.client.request(req) => answer.map_err(Ended::Broken),
            () = begun.then(self.response_timeout) => Err(Ended::Late),
            () = sleep_until(trail.deadline) => Err(Ended::Late),
        };
        let ended = match answer {
            Ok(answer) => {
                trail.answered();
                return self.read(trail, answer).await;
            }
            Err(ended) => ended,
        };
        // Over HTTP/2 the head is written before the body is asked for.
        let is_http2 = connection
            .connection_metadata()
            .as_ref()
            .is_some_and(Connected::is_negotiated_h2);
        let may_have_left = begun.is_set() || is_http2 || self.is_always_http2;
        Err(match ended {
            Ended::Broken(error)
                if may_have_left && !error.is_connect() && !was_refused_unseen(&error) =>
            {
                Problem::UpstreamBrokeOff {
                    source: error.into(),
                }
            }
            Ended::Late if may_have_left => Problem::UpstreamTimeout,
            Ended::Broken(error) => {
                trail.never_left();
                Problem::UpstreamUnreachable {
                    source: error.into(),
                }
            }
            Ended::Late => {
                trail.never_left();
                Problem::UpstreamUnreachable {
                    source: "no connection within the time of the request".into(),
                }
            }
        })
    }

    /// Turns a path into a request to our one authority. Whatever made the request, it
    /// cannot go anywhere else, and so cannot its token.
    fn address(&self, mut req: Request) -> Result<Request, Problem> {
        let path = req
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"));
        *req.uri_mut() = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| Problem::bug("a checked path became no URI"))?;
        *req.version_mut() = Version::HTTP_11;
        if !self.may_be_http2 {
            // First, as every client sends it; that leaves the token last.
            let fields = std::mem::take(req.headers_mut());
            req.headers_mut().insert(header::HOST, self.host.clone());
            req.headers_mut().extend(fields);
        }
        Ok(req)
    }

    /// Reads the answer whole, so that nobody ever sees half of one.
    async fn read(
        &self,
        trail: &Trail,
        answer: ::http::Response<hyper::body::Incoming>,
    ) -> Result<Response, Problem> {
        let status = answer.status();
        let refused = |fault| Problem::UpstreamAnswerRefused { status, fault };
        if status.is_redirection() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(AnswerFault::Redirect));
        }
        let (mut parts, body) = answer.into_parts();
        let deadline = trail.deadline.min(Instant::now() + self.response_timeout);
        let body = match timeout_at(deadline, Limited::new(body, self.max_response).collect()).await
        {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(refused(AnswerFault::TooLarge));
            }
            Ok(Err(_)) | Err(_) => return Err(refused(AnswerFault::CutOff)),
        };
        headers::strip_answer(&mut parts.headers);
        // With them goes the reason phrase, which nobody looks at for the token.
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, Body::full(body)))
    }
}

/// Whether the upstream says that it has not looked at the request: HTTP/2's
/// `REFUSED_STREAM` (RFC 9113 §8.7).
fn was_refused_unseen(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

/// How an exchange ends without an answer.
enum Ended {
    Broken(hyper_util::client::legacy::Error),
    Late,
}

/// Whether a request has begun to be written.
#[derive(Debug, Default)]
struct Begun {
    is_set: AtomicBool,
    news: Notify,
}

impl Begun {
    fn set(&self) {
        if !self.is_set.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Waits for the beginning, and then so much longer.
    async fn then(&self, wait: Duration) {
        self.news.notified().await;
        sleep(wait).await;
    }
}

/// A body that notes when it is first asked for. (One without a byte is never asked for,
/// but strict JSON has at least one.)
#[derive(Debug)]
struct Asked {
    body: Body,
    begun: Arc<Begun>,
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.begun.set();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
