//! What does the gateway answer, without a socket?
//!
//! A [`Gateway`] is the whole pipeline over a [`Wegly`] that plays what it is told and
//! keeps what it got. No answer leaves it unseen: each must carry what every answer
//! carries, and must not hold what none may hold.

use std::{
    collections::VecDeque,
    fmt::Debug,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_LENGTH};
use http_body::Frame;
use http_body_util::BodyExt as _;
use portaria::{
    config::Loaded,
    gateway_key::KeyHash,
    http::{Body, Request, Response},
    pipeline::{Pipeline, pipeline},
    plan::{Plan, Surroundings},
    problem::Problem,
    records::{Local, Store},
    shared::Shared,
    stage::Next,
    trail::{Step, Trail},
};
use tokio::sync::Notify;
use tower::{BoxError, service_fn};
use uuid::Uuid;

use crate::support::{Answer, CHAT, Received, TOKEN, key, message_saying};

/// The token that comes after [`TOKEN`].
pub const NEXT_TOKEN: &str = "canary-token-that-comes-next-0123456789";
/// What every message says.
pub const TEXT: &str = "canary-text";
/// What no answer, no log line and no metric may hold: tokens, keys, messages, queries.
pub const CANARIES: [&str; 5] = [TOKEN, NEXT_TOKEN, "ptr_", TEXT, "canary-query"];

/// A credential, for a config without one.
const MAIN: &str = "
[credentials.main]
token = 'env:TOKEN'
";

/// An application with its [`key`], for a config. `more` are fields of its own.
pub fn application(name: &str, more: &str) -> String {
    let hash = KeyHash::of(&key(name));
    format!("\n[[keys]]\nname = '{name}'\nhash = '{hash}'\n{more}\n")
}

/// The route that is built in, for a config. `more` are fields of its own.
pub fn route(more: &str) -> String {
    format!("\n[[routes]]\nname = 'interactive'\npath = '{PATH}'\n{more}\n")
}

/// The path of that route.
pub const PATH: &str = "/integrations/external/chats/{id}/messages/interactive";

/// The time on the gateway's wall clock: Monday, 23 November 2026, noon.
pub fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_435_200)
}

/// See the [module](self).
pub struct Gateway {
    /// What it was told to do.
    pub plan: Plan,
    /// Its numbers, its places and its tasks.
    pub shared: Shared,
    /// What is behind it.
    pub wegly: Wegly,
    pipeline: Pipeline,
}

impl Gateway {
    /// Runs this config. Left out, there are one credential, and one application: a
    /// server called "billing".
    pub fn new(config: &str) -> Self {
        Self::at(config, noon)
    }

    /// The same, with another clock on the wall.
    pub fn at(config: &str, now: fn() -> SystemTime) -> Self {
        Self::over(config, now, Arc::new(Local::default()))
    }

    /// The same, over this store of sent messages.
    pub fn over(config: &str, now: fn() -> SystemTime, records: Arc<dyn Store>) -> Self {
        let mut text = config.to_owned();
        if !config.contains("credentials") {
            text += MAIN;
        }
        if !config.contains("[[keys]]") {
            text += &application("billing", "");
        }
        let environment = |name: &str| match name {
            "TOKEN" => Some(TOKEN.to_owned()),
            "NEXT_TOKEN" => Some(NEXT_TOKEN.to_owned()),
            _ => None,
        };
        let surroundings = Surroundings {
            environment: &environment,
            now,
        };
        // Nobody is called there, and no certificates are needed to be ready to.
        let url = ["PORTARIA__UPSTREAM__URL", "http://127.0.0.1:9"];
        let loaded = Loaded::parse("test.toml", &text, [url.map(String::from).into()]).unwrap();
        let plan = Plan::compile(&loaded, surroundings).unwrap();
        let shared = Shared {
            records,
            ..Shared::new(&plan)
        };
        let wegly = Wegly::default();
        let upstream = service_fn({
            let wegly = wegly.clone();
            move |req| wegly.clone().play(req)
        });
        Self {
            pipeline: pipeline(&plan, &shared, Next::ending(upstream)).unwrap(),
            plan,
            shared,
            wegly,
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn send(&self, request: Request) -> Answer {
        self.begin(request).await
    }

    /// Sends a request to be answered when the future is polled. Dropped, the client
    /// has hung up.
    pub fn begin(&self, request: Request) -> impl Future<Output = Answer> + use<> {
        let answer = self.pipeline.answer(request);
        async move {
            let response = answer.await;
            let (parts, body) = response.into_parts();
            let mut answer = Answer::new(parts.status.as_u16())
                .with_body(body.collect().await.unwrap().to_bytes());
            for (name, value) in &parts.headers {
                answer = answer.with_header(name.as_str(), value.to_str().unwrap());
            }
            check(&answer);
            answer
        }
    }

    /// What `/metrics` shows of the counter with these labels, in the order of the page.
    pub fn counted(&self, counter: &str) -> u64 {
        let page = self.shared.metrics.encode().unwrap();
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(counter)?.strip_prefix(' '));
        value.map_or(0, |number| number.parse().unwrap())
    }
}

/// What holds for every answer, whatever a test is about.
#[track_caller]
fn check(answer: &Answer) {
    let id: Uuid = answer.header("x-request-id").unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    let delivery = answer.header("portaria-delivery").unwrap();
    assert!(["not_sent", "unknown", "sent"].contains(&delivery));
    if answer.header("content-type") == Some("application/problem+json") {
        let document = answer.json();
        assert_eq!(document["status"], answer.status);
        assert_eq!(document["request_id"], id.to_string());
        assert_eq!(document["delivery"], delivery);
    }
    assert_no_canary(answer);
}

/// What is shown or written never holds a secret, nor what a client said.
#[track_caller]
pub fn assert_no_canary(shown: impl Debug) {
    let shown = format!("{shown:?}");
    for canary in CANARIES {
        assert!(!shown.contains(canary), "{canary} in {shown}");
    }
}

/// What is behind the gateway in a test. It takes every message, unless it is told
/// otherwise.
#[derive(Clone, Default)]
pub struct Wegly(Arc<Inner>);

#[derive(Default)]
struct Inner {
    replies: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
    has_one: Notify,
    may_answer: Notify,
}

/// What happens to one message.
#[derive(Debug)]
pub enum Reply {
    /// It is answered.
    Says(Answer),
    /// Something breaks on the way.
    Fails(Problem),
    /// The step has a bug.
    Panics,
    /// It is taken, when [`Wegly::answer`] says so.
    Waits,
    /// It is never answered.
    Never,
}

impl Wegly {
    /// What happens to the next messages, one each.
    pub fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.replies.lock().unwrap().extend(replies);
    }

    /// Waits until a message has come that [waits](Reply::Waits) for its answer.
    pub async fn has_one(&self) {
        self.0.has_one.notified().await;
    }

    /// Answers it.
    pub fn answer(&self) {
        self.0.may_answer.notify_one();
    }

    /// What has come so far.
    pub fn received(&self) -> Vec<Received> {
        self.0.received.lock().unwrap().clone()
    }

    /// The tokens with which it came.
    pub fn tokens(&self) -> Vec<String> {
        let received = self.received();
        let tokens = received.iter().map(|received| {
            let field = received.header("authorization");
            field.strip_prefix("Bearer ").unwrap().to_owned()
        });
        tokens.collect()
    }

    /// Like the real last step, it writes down how far the message came.
    async fn play(self, req: Request) -> Result<Response, Problem> {
        let trail = Trail::of(&req)?.clone();
        trail.enter(Step::Send);
        trail.sending();
        self.0.received.lock().unwrap().push(received(&req));
        let reply = self.0.replies.lock().unwrap().pop_front();
        let answer = match reply {
            None => Answer::standard(),
            Some(Reply::Says(answer)) => answer,
            Some(Reply::Fails(problem)) => return Err(problem),
            Some(Reply::Panics) => panic!("as the test wants it"),
            Some(Reply::Waits) => {
                self.0.has_one.notify_one();
                self.0.may_answer.notified().await;
                Answer::standard()
            }
            Some(Reply::Never) => {
                tokio::time::sleep_until(trail.deadline).await;
                return Err(Problem::UpstreamTimeout);
            }
        };
        trail.answered();
        Ok(response(answer))
    }
}

fn received(req: &Request) -> Received {
    let headers = req.headers().iter();
    Received {
        method: req.method().to_string(),
        target: req.uri().to_string(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body: req.body().bytes().unwrap().to_vec(),
        is_complete: true,
        ..Received::default()
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::full(answer.body));
    *response.status_mut() = answer.status.try_into().unwrap();
    for (name, value) in answer.headers {
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A message of "billing" that keeps every rule, unless a test spoils it.
pub fn post() -> Request {
    post_by("billing")
}

/// The same of another application.
pub fn post_by(name: &str) -> Request {
    Request::new(Body::empty())
        .with_method("POST")
        .target(&PATH.replace("{id}", CHAT))
        .set("host", "portaria.test")
        .set("authorization", &format!("Bearer {}", key(name)))
        .set("content-type", "application/json")
        .with_body(message_saying(TEXT))
}

/// What a test may do to a request.
pub trait Spoil: Sized {
    /// With this method.
    fn with_method(self, method: &str) -> Self;
    /// To this target.
    fn target(self, target: &str) -> Self;
    /// With this field, instead of others with its name.
    fn set(self, name: &str, value: &str) -> Self;
    /// With this field beside others with its name.
    fn add(self, name: &str, value: &str) -> Self;
    /// Without this field.
    fn without(self, name: &str) -> Self;
    /// With this body and its length.
    fn with_body(self, bytes: impl AsRef<[u8]>) -> Self;
    /// With a body that is still to come.
    fn stream(
        self,
        body: impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    ) -> Self;
}

impl Spoil for Request {
    fn with_method(mut self, method: &str) -> Self {
        *self.method_mut() = method.parse().unwrap();
        self
    }

    fn target(mut self, target: &str) -> Self {
        *self.uri_mut() = target.parse().unwrap();
        self
    }

    fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    fn add(mut self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let name: HeaderName = name.parse().unwrap();
        self.headers_mut().append(name, value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers_mut().remove(name);
        self
    }

    fn with_body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        *self.body_mut() = Body::full(bytes.to_vec());
        self.set(CONTENT_LENGTH.as_str(), &bytes.len().to_string())
    }

    fn stream(
        mut self,
        body: impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    ) -> Self {
        *self.body_mut() = Body::new(body);
        self.without(CONTENT_LENGTH.as_str())
    }
}

/// A body that nobody may ask for.
pub struct Untouchable;

impl http_body::Body for Untouchable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("the body was asked for");
    }
}

/// A body that begins, and then nothing more of it comes.
pub struct Stalled(pub &'static str);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::take(&mut self.0) {
            "" => Poll::Pending,
            start => Poll::Ready(Some(Ok(Frame::data(start.into())))),
        }
    }
}
