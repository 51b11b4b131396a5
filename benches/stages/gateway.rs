//! What is measured?
//!
//! A gateway without a socket that does the whole job: keys with pages, rates and chats
//! that are limited, the stricter of the two schemas, metrics, and a line of the log for
//! each request. Behind it is an upstream that answers at once, with what Wegly answers.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::Full;
use portaria::{
    config::Loaded,
    gateway_key::KeyHash,
    http::{Body, Request, Response},
    pipeline::{Pipeline, pipeline},
    plan::{Plan, RoutePlan, Surroundings},
    shared::Shared,
    stage::Next,
    telemetry::{self, Json},
    trail::{Step, Trail},
};
use tokio::runtime::{self, Runtime};
use tower::service_fn;
use tracing_subscriber::{
    Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use uuid::Uuid;

use crate::support::{TOKEN, key};

/// A message with three buttons.
pub(crate) const SMALL: &str = include_str!("../messages/small.json");
/// A message with a list of ten rows.
pub(crate) const LARGE: &str = include_str!("../messages/large.json");
/// A message with one button too many.
pub(crate) const REFUSED: &str = include_str!("../messages/refused.json");
/// What Wegly answers.
const ANSWER: &str = include_str!("../messages/answer.json");

/// The page that all messages come from.
const PAGE: &str = "https://app.example.com";

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Shared,
    pipeline: Pipeline,
}

impl Gateway {
    /// With so many applications, and one more that has had all that its rate allows.
    pub(crate) fn new(applications: usize) -> Self {
        runtime();
        let mut config = CONFIG.to_owned();
        for number in 0..applications {
            config += &application(&name(number), "1000000/s", 1_000_000);
        }
        config += &application("spent", "1/h", 1);
        let surroundings = Surroundings {
            environment: &|_name| Some(TOKEN.to_owned()),
            now: SystemTime::now,
        };
        let loaded = Loaded::parse("benchmark.toml", &config, []).unwrap();
        let plan = Plan::compile(&loaded, surroundings).unwrap();
        let shared = Shared::new(&plan);
        let gateway = Self {
            pipeline: pipeline(&plan, &shared, Next::ending(service_fn(answer))).unwrap(),
            plan: Arc::new(plan),
            shared,
        };
        gateway.answer(message("spent", chat(0), SMALL));
        gateway
    }

    /// Answers a request, to its last byte. Nothing here has to be waited for.
    pub(crate) fn answer(&self, request: Request) -> Response {
        let _guard = runtime().enter();
        let answer = self.pipeline.answer(request).now_or_never();
        answer.expect("it waits for nobody")
    }

    /// The one route.
    pub(crate) fn route(&self) -> &RoutePlan {
        &self.plan.routes[0]
    }

    /// A request as it is below the key: what the steps above found out is in its trail.
    pub(crate) fn known(&self, mut request: Request) -> Request {
        let trail = Trail::begin(Uuid::now_v7(), Duration::from_secs(30));
        trail.route.set(self.route().route.name.clone()).unwrap();
        trail.chat.set(chat(0)).unwrap();
        request.extensions_mut().insert(Arc::new(trail));
        portaria::middleware::key::check(&self.plan.keys, &mut request).unwrap();
        request
    }
}

const CONFIG: &str = r#"
[upstream]
url = "http://127.0.0.1:9"

[credentials.main]
token = "env:TOKEN"

[limits]
upstream = { rate = "1000000/s", burst = 1000000 }

[[routes]]
name = "interactive"
path = "/integrations/external/chats/{id}/messages/interactive"
per_chat = { rate = "1000000/s", burst = 1000000 }
"#;

fn application(name: &str, rate: &str, burst: usize) -> String {
    let hash = KeyHash::of(&key(name));
    format!(
        r#"
[[keys]]
name = "{name}"
hash = "{hash}"
allowed_domains = ["app.example.com"]
rate_limit = {{ rate = "{rate}", burst = {burst} }}
"#
    )
}

/// The name of an application.
pub(crate) fn name(number: usize) -> String {
    format!("app{number:05}")
}

/// A chat.
pub(crate) fn chat(number: usize) -> Uuid {
    Uuid::from_u64_pair(0x0192_f3a4_5b6c_7d8e, u64::try_from(number).unwrap())
}

/// A message of an application to a chat, as a connection hands it over.
pub(crate) fn message(application: &str, chat: Uuid, body: &'static str) -> Request {
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(body.as_bytes()))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(format!(
        "/integrations/external/chats/{chat}/messages/interactive"
    ))
    .unwrap();
    let bearer = format!("Bearer {}", key(application));
    for (name, value) in [
        (header::HOST, "portaria.internal:8080"),
        (
            header::USER_AGENT,
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0)",
        ),
        (header::ACCEPT, "application/json, text/plain, */*"),
        (header::ACCEPT_LANGUAGE, "pt-BR,pt;q=0.9,en;q=0.8"),
        (header::ORIGIN, PAGE),
        (header::AUTHORIZATION, &bearer),
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_LENGTH, &body.len().to_string()),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// The upstream.
async fn answer(req: Request) -> Result<Response, portaria::problem::Problem> {
    let trail = Trail::of(&req)?;
    trail.enter(Step::Send);
    trail.sending();
    trail.answered();
    Ok(answered())
}

/// Wegly's answer.
pub(crate) fn answered() -> Response {
    let mut response = Response::new(Body::full(ANSWER));
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The one runtime, and with it a log that is written to nowhere.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let level = telemetry::parse_level("info").unwrap();
        let lines = fmt::layer().event_format(Json).with_writer(io::sink);
        tracing_subscriber::registry()
            .with(lines.with_ansi(false).with_filter(level))
            .init();
        runtime::Builder::new_current_thread()
            .enable_all()
            // What is done now and then, by the clock, is done once, before anything counts.
            .start_paused(true)
            .build()
            .unwrap()
    })
}
