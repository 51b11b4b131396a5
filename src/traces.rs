//! Where does a request belong in a trace, and what is told of it there?
//!
//! Each traced request is a span, with an event for each step that it reached, and below it
//! a span for each exchange with the upstream, by the HTTP conventions of OpenTelemetry.
//! All are made at once, when the answer is there, from what the trail knows; while a
//! request runs only times are noted. Without `[traces]` not even those.
//!
//! A trace that begins here has the name of its request: a UUID is 16 bytes, too. Whether
//! it is recorded is decided when it begins, and by whoever began it.
//!
//! Deliberately absent: whatever a client chose. The path of no route of ours, the `Host`,
//! the address and the user agent are not told, though the conventions would.

mod context;
mod export;
mod otlp;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::http::{
    Method, StatusCode, Uri, Version,
    uri::{Authority, Scheme},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::context::TRACEPARENT;
pub use self::context::TraceId;
use self::{
    context::{Parent, SAMPLED},
    export::Queue,
    otlp::{Kind, Message, Span, Value},
};
use crate::{
    http::{Request, Response},
    metrics::Metrics,
    middleware::key::failures::Peer,
    plan::Plan,
    problem::Problem,
    route::Route,
    trail::{Step, Trail},
};

/// Where traces go, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the collector takes them.
    pub endpoint: Uri,
    /// The trust anchors, for https.
    pub tls: rustls::ClientConfig,
    /// The share of requests that begin a trace: from 0 to 1.
    pub sample: f64,
}

/// Begins traces, and brings them to the collector.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// The share of requests, of 2³².
    sample: u64,
    has_tls: bool,
    queue: Queue,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// One with nothing to bring yet.
    pub fn new(settings: &Settings, has_tls: bool, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            sample: (settings.sample * 2_f64.powi(32)) as u64,
            settings: settings.clone(),
            has_tls,
            queue: Queue::default(),
            metrics,
        }))
    }

    /// The place of a request, before anything else is known of it.
    pub fn begin(&self, req: &Request, request_id: Uuid) -> Trace {
        let id = request_id.as_u128();
        let (_, low) = request_id.as_u64_pair();
        let parent = Parent::of(req.headers());
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled(),
            // The last 32 bits of our UUIDs are random.
            None => low & u64::from(u32::MAX) < self.0.sample,
        };
        let recording = is_sampled.then(|| {
            let peer = req.extensions().get().copied().unwrap_or(Peer(None));
            Box::new(Recording {
                began: SystemTime::now(),
                method: known(req.method()),
                scheme: match peer {
                    // A unix socket has no TLS.
                    Peer(Some(_)) if self.0.has_tls => "https",
                    Peer(_) => "http",
                },
                version: match req.version() {
                    Version::HTTP_2 => "2",
                    Version::HTTP_10 => "1.0",
                    _ => "1.1",
                },
                steps: Default::default(),
                exchanges: Mutex::default(),
            })
        });
        Trace {
            id: parent.map_or(TraceId(id), |parent| parent.trace),
            span: low,
            parent,
            recording,
        }
    }

    /// Brings what waits to the collector until it is told to stop, and then what is left.
    pub async fn export(self, stop: CancellationToken) {
        export::run(&self.0.queue, &self.0.settings, &self.0.metrics, stop).await;
    }
}

/// The place of a request in a trace.
#[derive(Debug)]
pub struct Trace {
    /// The name of the trace.
    pub id: TraceId,
    span: u64,
    parent: Option<Parent>,
    /// What is noted for its spans, if it is recorded.
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    began: SystemTime,
    method: &'static str,
    scheme: &'static str,
    version: &'static str,
    /// When each step was reached first, in nanoseconds from the beginning; 0: never.
    steps: [AtomicU64; Step::ALL.len()],
    exchanges: Mutex<Vec<Exchange>>,
}

/// One exchange with the upstream.
#[derive(Debug)]
struct Exchange {
    began: Instant,
    ended: Instant,
    status: Option<StatusCode>,
    /// Why there is no answer to pass on.
    reason: Option<&'static str>,
}

impl Trace {
    /// Whether its spans will be told.
    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Notes that a step is reached.
    pub fn reached(&self, step: Step, after: impl FnOnce() -> Duration) {
        if let Some(recording) = &self.recording {
            let _ = recording.steps[step as usize].compare_exchange(
                0,
                nanoseconds(after()).max(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Notes an exchange with the upstream that ends now.
    pub fn exchanged(&self, began: Instant, answer: &Result<Response, Problem>) {
        let Some(recording) = &self.recording else {
            return;
        };
        let (status, reason) = match answer {
            Ok(answer) => (Some(answer.status()), None),
            Err(problem) => (problem.upstream_status(), Some(problem.reason())),
        };
        let exchange = Exchange {
            began,
            ended: Instant::now(),
            status,
            reason,
        };
        recording
            .exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(exchange);
    }
}

/// What is told of requests beside what their trails know.
#[derive(Clone, Debug)]
pub struct Spans {
    tracer: Tracer,
    routes: Arc<HashMap<Arc<str>, Arc<Route>>>,
    upstream: (Scheme, Authority),
}

impl Spans {
    /// Those of the requests of this plan.
    pub fn new(tracer: Tracer, plan: &Plan) -> Self {
        let routes = plan.routes.iter();
        Self {
            tracer,
            routes: Arc::new(
                routes
                    .map(|plan| (plan.route.name.clone(), plan.route.clone()))
                    .collect(),
            ),
            upstream: (
                plan.upstream.scheme.clone(),
                plan.upstream.authority.clone(),
            ),
        }
    }

    fn server(
        &self,
        trail: &Trail,
        trace: &Trace,
        recording: &Recording,
        response: &Response,
    ) -> Span {
        let route = trail.route.get().and_then(|name| self.routes.get(name));
        let problem = response.extensions().get::<Arc<Problem>>();
        let problem = problem.map(|problem| &**problem);
        let status = response.status();
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("http.request.method", recording.method.into()),
            ("url.scheme", recording.scheme.into()),
            ("network.protocol.version", recording.version.into()),
            ("http.response.status_code", status.as_u16().into()),
            ("portaria.request_id", trail.id.to_string().into()),
            ("portaria.outcome", Problem::outcome(problem, status).into()),
            ("portaria.delivery", trail.delivery(problem).name().into()),
        ];
        if let Some(route) = route {
            attributes.push(("http.route", route.path.as_str().into()));
            if let Ok(path) = route.upstream_path(trail) {
                attributes.push(("url.path", path.into()));
            }
        }
        if let Some(client) = trail.client.get() {
            attributes.push(("portaria.key", (*client.name).into()));
        }
        if let Some(problem) = problem {
            attributes.push(("portaria.reason", problem.reason().into()));
        }
        if status.is_server_error() {
            let status = || status.as_u16().to_string().into();
            let error = problem.map_or_else(status, |problem| problem.reason().into());
            attributes.push(("error.type", error));
        }
        let name = match (route, recording.method) {
            (Some(route), method) => format!("{method} {}", route.path),
            (None, OTHER) => "HTTP".to_owned(),
            (None, method) => method.to_owned(),
        };
        let began = since_1970(recording.began);
        let mut events: Vec<(u64, &'static str)> = Step::ALL
            .into_iter()
            .zip(&recording.steps)
            .map(|(step, after)| (after.load(Ordering::Relaxed), step.name()))
            .filter(|(after, _)| *after != 0)
            .map(|(after, name)| (began + after, name))
            .collect();
        events.sort_unstable_by_key(|(time, _)| *time);
        Span {
            trace: trace.id,
            id: trace.span,
            parent: trace.parent.map(|parent| parent.span),
            flags: flags(trace),
            name,
            kind: Kind::Server,
            began,
            ended: began + nanoseconds(trail.started.elapsed()),
            attributes,
            events,
            has_failed: status.is_server_error(),
        }
    }

    fn client(
        &self,
        trail: &Trail,
        trace: &Trace,
        recording: &Recording,
        (number, exchange): (u16, &Exchange),
    ) -> Span {
        let (scheme, authority) = &self.upstream;
        let port = authority.port_u16().unwrap_or(match scheme.as_str() {
            "http" => 80,
            _ => 443,
        });
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("http.request.method", recording.method.into()),
            ("server.address", authority.host().into()),
            ("server.port", port.into()),
        ];
        let route = trail.route.get().and_then(|name| self.routes.get(name));
        if let Some(path) = route.and_then(|route| route.upstream_path(trail).ok()) {
            attributes.push(("url.full", format!("{scheme}://{authority}{path}").into()));
        }
        if let Some(status) = exchange.status {
            attributes.push(("http.response.status_code", status.as_u16().into()));
        }
        if 0 < number {
            attributes.push(("http.request.resend_count", number.into()));
        }
        let refused = exchange
            .status
            .filter(|status| status.is_client_error() || status.is_server_error());
        let error = match (exchange.reason, refused) {
            (Some(reason), _) => Some(Value::from(reason)),
            (None, Some(status)) => Some(status.as_u16().to_string().into()),
            (None, None) => None,
        };
        let has_failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", error)));
        let at = |instant: Instant| {
            since_1970(recording.began) + nanoseconds(instant.duration_since(trail.started))
        };
        Span {
            trace: trace.id,
            id: trace.span.wrapping_add(u64::from(number) + 1),
            parent: Some(trace.span),
            flags: flags(trace),
            name: recording.method.to_owned(),
            kind: Kind::Client,
            began: at(exchange.began),
            ended: at(exchange.ended),
            attributes,
            events: Vec::new(),
            has_failed,
        }
    }
}

/// Leaves the spans of a request, if it is recorded.
pub fn tell(spans: &Spans, trail: &Trail, response: &mut Response) {
    let Some(trace) = &trail.trace else {
        return;
    };
    let Some(recording) = &trace.recording else {
        return;
    };
    let mut message = Message::default();
    spans
        .server(trail, trace, recording, response)
        .write(&mut message);
    let exchanges = recording.exchanges.lock();
    let exchanges = exchanges.unwrap_or_else(PoisonError::into_inner);
    for exchange in (0..).zip(exchanges.iter()) {
        spans
            .client(trail, trace, recording, exchange)
            .write(&mut message);
    }
    let inner = &spans.tracer.0;
    inner.queue.leave(&message.into_bytes(), &inner.metrics);
}

fn flags(trace: &Trace) -> u8 {
    trace.parent.map_or(SAMPLED, |parent| parent.flags)
}

const OTHER: &str = "_OTHER";

/// A method, if it is one of those that are known; a client may invent others.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];

    let is_it = |known: &&&str| **known == method.as_str();
    KNOWN.iter().find(is_it).copied().unwrap_or(OTHER)
}

fn since_1970(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
