//! What can an operator ask?
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /livez` | 200 while the process runs |
//! | `GET /readyz` | 200 if it takes requests, else 503; each part by name |
//! | `GET /metrics` | all numbers, as OpenMetrics |
//! | `GET /status` | what runs, since when, and what came of the last reload |
//! | `POST /reload` | reloads the config: 200, or 422 with all mistakes |
//!
//! On a listener of its own, which has no lock: keep it where only operators reach it.

mod status;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    app::Tasks,
    http::Body,
    middleware::credential::Credential,
    reload::{Door, Now},
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
    /// The config that serves.
    pub config: watch::Receiver<Now>,
    /// Where a reload is asked for, if there can be one.
    pub reload: Option<Door>,
    /// The wall clock; a test has its own.
    pub clock: fn() -> SystemTime,
}

impl Admin {
    /// Answers one question.
    pub async fn answer<B>(&self, req: &Request<B>) -> Response<Body> {
        let is_read = [Method::GET, Method::HEAD].contains(req.method());
        match req.uri().path() {
            "/livez" if is_read => page(StatusCode::OK, JSON, json!({ "live": true }).to_string()),
            "/readyz" if is_read => self.ready(),
            "/metrics" if is_read => self.metrics(),
            "/status" if is_read => self.status(),
            "/livez" | "/readyz" | "/metrics" | "/status" => not_allowed("GET, HEAD"),
            "/reload" if req.method() == Method::POST => self.reload(req.headers()).await,
            "/reload" => not_allowed("POST"),
            _ => page(StatusCode::NOT_FOUND, JSON, String::new()),
        }
    }

    async fn reload(&self, headers: &HeaderMap) -> Response<Body> {
        // A browser of an operator's, on a page of somebody else's.
        let site = headers.get("sec-fetch-site");
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return page(StatusCode::FORBIDDEN, JSON, String::new());
        }
        let Some(door) = &self.reload else {
            return page(StatusCode::NOT_FOUND, JSON, String::new());
        };
        let Some(report) = door.ask().await else {
            return page(StatusCode::SERVICE_UNAVAILABLE, JSON, String::new());
        };
        let status = match report.result {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut document = status::report(&report);
        document["waiting"] = self.config.borrow().waiting.clone().into();
        page(status, JSON, document.to_string())
    }

    fn status(&self) -> Response<Body> {
        let document = status::document(&self.config.borrow(), &self.shared, (self.clock)());
        page(StatusCode::OK, JSON, document.to_string())
    }

    fn ready(&self) -> Response<Body> {
        let (now, plan) = ((self.clock)(), self.config.borrow().plan.clone());
        let has_expired =
            |credential: &Credential| credential.expires_at().is_some_and(|end| end <= now);
        // The gateway does not listen before its config is loaded and its tokens are read.
        let parts = [
            ("config_loaded", true),
            ("tokens_readable", true),
            (
                "tokens_not_expired",
                !plan
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
        self.shared.metrics.uses(&self.config.borrow().plan);
        match self.shared.metrics.encode() {
            Ok(numbers) => page(StatusCode::OK, OPENMETRICS, numbers),
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, JSON, String::new()),
        }
    }
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, JSON, String::new());
    let allowed = header::HeaderValue::from_static(allowed);
    refusal.headers_mut().insert(header::ALLOW, allowed);
    refusal
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
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(admin.answer(&req).await) }
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
