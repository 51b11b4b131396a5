//! What can an operator ask?
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /livez` | 200 while the process runs |
//! | `GET /readyz` | 200 if it takes requests, else 503; each part by name |
//! | `GET /metrics` | all numbers, as OpenMetrics |
//!
//! On a listener of its own, which has no lock: keep it where only operators reach it.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    app::Tasks,
    http::Body,
    middleware::credential::Credential,
    server::{Bound, Stalling},
    shared::Shared,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// For a head, between two questions, and for an operator that has stopped reading.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct Admin {
    /// What is shared with the pipeline.
    pub shared: Shared,
    /// Whose tokens have to be valid.
    pub credentials: Vec<Arc<Credential>>,
    /// The wall clock; a test has its own.
    pub now: fn() -> SystemTime,
}

impl Admin {
    /// Answers one question.
    pub fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        match (path, method == Method::GET || method == Method::HEAD) {
            ("/livez", true) => page(StatusCode::OK, JSON, json!({ "live": true }).to_string()),
            ("/readyz", true) => self.ready(),
            ("/metrics", true) => self.metrics(),
            ("/livez" | "/readyz" | "/metrics", false) => {
                let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, JSON, String::new());
                refusal
                    .headers_mut()
                    .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
                refusal
            }
            _ => page(StatusCode::NOT_FOUND, JSON, String::new()),
        }
    }

    fn ready(&self) -> Response<Body> {
        let now = (self.now)();
        let has_expired =
            |credential: &Credential| credential.expires_at().is_some_and(|end| end <= now);
        // The gateway does not listen before its config is loaded and its tokens are read.
        let parts = [
            ("config_loaded", true),
            ("tokens_readable", true),
            (
                "tokens_not_expired",
                !self
                    .credentials
                    .iter()
                    .any(|credential| has_expired(credential)),
            ),
            ("not_draining", !self.shared.room.is_draining()),
        ];
        let is_ready = parts.iter().all(|(_, holds)| *holds);
        let mut document = serde_json::Map::from_iter([("ready".to_owned(), is_ready.into())]);
        document.extend(parts.map(|(part, holds)| (part.to_owned(), holds.into())));
        let status = match is_ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        page(status, JSON, Value::from(document).to_string())
    }

    fn metrics(&self) -> Response<Body> {
        let in_flight = i64::try_from(self.shared.room.in_flight()).unwrap_or(i64::MAX);
        self.shared.metrics.in_flight.set(in_flight);
        match self.shared.metrics.encode() {
            Ok(numbers) => page(StatusCode::OK, OPENMETRICS, numbers),
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, JSON, String::new()),
        }
    }
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut page = Response::new(Body::full(text));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    page
}

/// Serves until it is told to stop, and then stops at once.
pub async fn serve(mut bound: Bound, admin: Admin, tasks: Tasks, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some((stream, _peer)) = stop.run_until_cancelled(bound.accept()).await {
        // Who comes when all places are taken is not served: nobody has that many operators.
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let (admin, stop) = (admin.clone(), stop.clone());
        tasks.start(async move {
            let service = service_fn(move |req: Request<Incoming>| {
                let answer = admin.answer(req.method(), req.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(Stalling::new(stream, PATIENCE)), service);
            stop.run_until_cancelled(connection).await;
            drop(place);
        });
    }
}
