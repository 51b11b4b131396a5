//! Does anything but a good request of somebody allowed in reach the upstream?
//!
//! The bytes of a client go through the real server and the whole pipeline. Behind it
//! stands an upstream that writes down what it gets. The clock is stopped, so what
//! waits for too long is over at once.

use std::sync::{Arc, Mutex, PoisonError};

use portaria::{
    config::Loaded,
    gateway_key::KeyHash,
    http::{Body, Request, Response},
    json,
    middleware::key::failures::Peer,
    pipeline::pipeline,
    plan::{Plan, Surroundings},
    problem::Problem,
    server::{Limits, serve_one},
    shared::Shared,
    stage::Next,
    trail::{Step, Trail},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::service_fn;

use crate::wire::{self, Answered, Asked};

/// The token that the upstream knows. It opens nothing.
const TOKEN: &str = "canary-token-of-the-upstream-0123456789";
/// What the upstream answers, and nobody else.
pub const ACCEPTED: u16 = 202;
/// Keys that are let in: of a server, and of the pages of `shop.example.com`.
const KEYS: [&str; 2] = [
    "ptr_billing0000000000000000000000000",
    "ptr_shop0000000000000000000000000000",
];
/// What goes out of a client's fields, and what is ours.
const OUTGOING: [&str; 9] = [
    "accept",
    "accept-language",
    "content-type",
    "content-length",
    "user-agent",
    "via",
    "x-request-id",
    "host",
    "authorization",
];

/// Panics if a promise is broken.
pub fn hunt(bytes: &[u8]) {
    exchange(bytes);
}

/// The same, and gives what the client was told and what was sent on.
pub fn exchange(bytes: &[u8]) -> (Vec<Answered>, Vec<Sent>) {
    thread_local! {
        static GATEWAY: Gateway = Gateway::new();
    }
    let (said, sent) = GATEWAY.with(|gateway| gateway.exchange(bytes));
    let answers = wire::answers(&said);
    check_answers(bytes, &said, &answers);
    check_sent(bytes, &sent);
    let accepted = answers
        .iter()
        .filter(|answer| answer.status == ACCEPTED)
        .count();
    assert_eq!(sent.len(), accepted, "as often sent as accepted");
    (answers, sent)
}

/// The key of a server, or of the pages of `shop.example.com`.
pub fn key(is_page: bool) -> String {
    with_sum(KEYS[usize::from(is_page)])
}

/// What one client may be told.
fn check_answers(bytes: &[u8], said: &[u8], answers: &[Answered]) {
    let knows = |secret: &str| contains(bytes, secret.as_bytes());
    assert!(
        knows(TOKEN) || !contains(said, TOKEN.as_bytes()),
        "the token came back"
    );
    for answer in answers {
        assert!(answer.status != 500, "a bug of ours: {answer:?}");
        let is_problem = answer
            .fields
            .iter()
            .any(|(name, value)| name == "content-type" && value == "application/problem+json");
        if is_problem && !answer.body.is_empty() {
            let document = json::parse(&answer.body).expect("a refusal is strict JSON");
            assert_eq!(document["status"], answer.status);
            assert_eq!(document["delivery"], "not_sent");
            for member in ["title", "detail", "type", "code"] {
                let text = document[member].as_str().expect("a refusal has words");
                assert!(!text.contains("ptr_"), "a key came back");
            }
        }
    }
}

/// What may have been sent on.
fn check_sent(bytes: &[u8], sent: &[Sent]) {
    let mut asked = wire::requests(bytes).into_iter();
    for sent in sent {
        assert_eq!(sent.method, "POST");
        let chat = sent
            .path
            .strip_prefix("/integrations/external/chats/")
            .and_then(|path| path.strip_suffix("/messages/interactive"))
            .expect("the path is the route's");
        let id: uuid::Uuid = chat.parse().expect("a chat is a UUID");
        assert_eq!(id.to_string(), chat, "in its one form");
        for (name, _) in &sent.fields {
            assert!(OUTGOING.contains(&name.as_str()), "{name} went out");
        }
        assert_eq!(sent.values("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(sent.values("content-length"), [sent.body.len().to_string()]);
        assert!(json::parse(&sent.body).is_ok(), "the body is strict JSON");
        let was_asked = asked.any(|Asked { target, body }| {
            // Only the chat may be spelt in another way.
            let (start, end) = sent.path.split_once(chat).unwrap_or_default();
            let spelt = target
                .strip_prefix(start)
                .and_then(|target| target.strip_suffix(end));
            spelt.is_some_and(|spelt| spelt.eq_ignore_ascii_case(chat)) && body == sent.body
        });
        assert!(was_asked, "a request that a strict server does not see");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What the upstream got.
#[derive(Debug)]
pub struct Sent {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Sent {
    /// The values of the fields with this name.
    pub fn values(&self, name: &str) -> Vec<String> {
        let same = self.fields.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }
}

struct Gateway {
    runtime: tokio::runtime::Runtime,
    plan: Plan,
    limits: Limits,
    upstream: Next,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Gateway {
    fn new() -> Self {
        let environment = |_: &str| Some(TOKEN.to_owned());
        let surroundings = Surroundings {
            environment: &environment,
            now: || std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_435_200),
        };
        let loaded = Loaded::parse("fuzz.toml", &config(), []).expect("the config is sound");
        let plan = Plan::compile(&loaded, surroundings).expect("and can be run");
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let upstream = service_fn({
            let sent = sent.clone();
            move |req| std::future::ready(take(&sent, &req))
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs little");
        Self {
            limits: Limits::from(&plan),
            upstream: Next::ending(upstream),
            plan,
            runtime,
            sent,
        }
    }

    /// Lets a client say this, and then no more. Returns what it heard, and what was sent
    /// on meanwhile. No message is remembered for the next one that has its name.
    fn exchange(&self, bytes: &[u8]) -> (Vec<u8>, Vec<Sent>) {
        let said = self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(4 << 20);
            let pipeline = pipeline(&self.plan, &Shared::new(&self.plan), self.upstream.clone());
            let pipeline = pipeline.expect("there is one route");
            let serving = serve_one(server, Peer(None), &self.limits, pipeline);
            let asking = async {
                client.write_all(bytes).await.expect("there is room");
                client.shutdown().await.expect("it ends");
                let mut said = Vec::new();
                client.read_to_end(&mut said).await.expect("it is answered");
                said
            };
            tokio::join!(serving, asking).1
        });
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        (said, std::mem::take(&mut sent))
    }
}

fn take(sent: &Mutex<Vec<Sent>>, req: &Request) -> Result<Response, Problem> {
    let trail = Trail::of(req)?;
    trail.enter(Step::Send);
    trail.sending();
    let fields = req.headers().iter();
    sent.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Sent {
            method: req.method().to_string(),
            path: req.uri().to_string(),
            fields: fields
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            body: req.body().bytes().unwrap_or_default().to_vec(),
        });
    trail.answered();
    let mut answer = Response::new(Body::full("{}"));
    *answer.status_mut() = ACCEPTED.try_into().unwrap_or_default();
    Ok(answer)
}

fn config() -> String {
    let [billing, shop] = KEYS.map(|key| KeyHash::of(&with_sum(key)));
    let limit = "{ rate = '1000000/s', burst = 1000000 }";
    format!(
        "
        [server]
        cors = true
        [upstream]
        url = 'http://127.0.0.1:9'
        [credentials.main]
        token = 'env:TOKEN'
        [limits]
        upstream = {limit}
        [[routes]]
        name = 'interactive'
        path = '/integrations/external/chats/{{id}}/messages/interactive'
        per_chat = {limit}
        [[keys]]
        name = 'billing'
        hash = '{billing}'
        rate_limit = {limit}
        [[keys]]
        name = 'shop'
        hash = '{shop}'
        rate_limit = {limit}
        allowed_domains = ['shop.example.com', 'https://*.apps.example.com']
        "
    )
}

/// A key with its last six characters, which are a checksum.
fn with_sum(key: &str) -> String {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut sum = crc32fast::hash(key.as_bytes());
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[sum as usize % 62];
        sum /= 62;
    }
    key.to_owned() + std::str::from_utf8(&digits).expect("they are ASCII")
}
