//! How do spans reach the collector?
//!
//! A request leaves them in a bounded queue and goes on; when it is full they are dropped
//! and counted. A task takes all that waits, every second or when much waits, and posts
//! it. A collector that is away is asked a few times; nothing but the queue waits for it.
//!
//! Deliberately absent: compression, and a look at what a collector says it refused of a
//! request that it took.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::{Settings, otlp};
use crate::metrics::{Metrics, TraceLabels};

/// How many bytes of spans may wait.
const MOST: usize = 4 * 1024 * 1024;
/// So many do not wait for the next second.
const MANY: usize = 256 * 1024;
/// For how long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// For one post.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before it is posted once more.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The longest answer that is read, so that its connection can be used again.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where spans wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Much waits.
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: Vec<u8>,
    /// Of so many requests.
    requests: u64,
}

impl Queue {
    /// Leaves the spans of one request, if there is room.
    pub(super) fn leave(&self, spans: &[u8], metrics: &Metrics) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if MOST < waiting.spans.len() + spans.len() {
            drop(waiting);
            count(metrics, "dropped", 1);
            return;
        }
        waiting.spans.extend_from_slice(spans);
        waiting.requests += 1;
        if MANY < waiting.spans.len() {
            self.news.notify_one();
        }
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Posts what waits until it is told to stop, and then what is left.
pub(super) async fn run(
    queue: &Queue,
    settings: &Settings,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let collector = Collector::new(settings);
    let mut is_away = false;
    let mut is_last = false;
    while !is_last {
        let gathered = timeout(GATHER, queue.news.notified());
        is_last = stop.run_until_cancelled(gathered).await.is_none();
        let Waiting { spans, requests } = queue.take();
        if requests == 0 {
            continue;
        }
        match collector.deliver(otlp::request(&spans).into(), &stop).await {
            Ok(()) => {
                count(metrics, "exported", requests);
                if is_away {
                    tracing::info!("traces reach the collector again");
                }
                is_away = false;
            }
            Err(error) => {
                count(metrics, "dropped", requests);
                if !is_away {
                    tracing::warn!(error, "traces do not reach the collector");
                }
                is_away = true;
            }
        }
    }
}

fn count(metrics: &Metrics, result: &'static str, requests: u64) {
    metrics
        .traces
        .get_or_create(&TraceLabels { result })
        .inc_by(requests);
}

/// Who takes them.
struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
}

/// Why not.
enum Refusal {
    /// It may take them later.
    ForNow(BoxError),
    ForEver(BoxError),
}

impl Collector {
    fn new(settings: &Settings) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            endpoint: settings.endpoint.clone(),
        }
    }

    async fn deliver(&self, spans: Bytes, stop: &CancellationToken) -> Result<(), BoxError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let posted = timeout(PATIENCE, self.post(spans.clone())).await;
            let error = match posted {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Refusal::ForEver(error))) => return Err(error),
                Ok(Err(Refusal::ForNow(error))) => error,
                Err(elapsed) => elapsed.into(),
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            // At the stop there is no later.
            if stop
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return Err(error);
            }
        }
    }

    async fn post(&self, spans: Bytes) -> Result<(), Refusal> {
        let mut post = Request::new(Full::new(spans));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = self.endpoint.clone();
        post.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let answer = self.client.request(post).await;
        let answer = answer.map_err(|error| Refusal::ForNow(error.into()))?;
        let status = answer.status();
        let _ = Limited::new(answer.into_body(), LONGEST_ANSWER)
            .collect()
            .await;
        if status.is_success() {
            return Ok(());
        }
        let error = format!("it answers {}", status.as_u16()).into();
        // Those after which OTLP asks for another try.
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Refusal::ForNow(error),
            _ => Refusal::ForEver(error),
        })
    }
}
