//! What would the gateway do with this message, and why?
//!
//! The message goes through the very pipeline that `serve` runs, compiled from the same
//! config; only the wire is missing. Neither the key nor the tokens are needed: a key and
//! tokens made up here take their places.

use std::{
    cmp::Ordering,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, header};
use serde_json::Value;
use tokio::sync::mpsc;
use tower::service_fn;

use super::{BAD, ConfigFile, Environment, FAINT, Failure, GOOD, STRONG, example, limit, validate};
use crate::{
    config::{self, Config, Idempotent, LimitStore, OnStoreFailure, RecordStore, Source},
    gateway_key::GatewayKey,
    http::{Body, Request, Response},
    json::Document,
    language::Language,
    middleware::{idempotency::IDEMPOTENCY_KEY, key::Client},
    pipeline::pipeline,
    plan::{Plan, RoutePlan, Surroundings},
    problem::{Code, Problem},
    route::ID,
    shared::Shared,
    stage::Next,
    trail::{Step, Trail},
};

/// Follow one message through every stage, offline
///
/// Shows what each stage says to it, and then what would be sent to Wegly or what the
/// application would be told. Needs neither the key nor the token. Ends with 0 if the
/// message passes, with 1 if it is refused.
#[derive(Debug, Args)]
#[command(after_help = example(
    "portaria explain --key billing --origin https://billing.example.com message.json"
))]
pub(super) struct Explain {
    #[command(flatten)]
    config: ConfigFile,
    /// The name of the key that the application uses
    #[arg(long, value_name = "NAME")]
    key: String,
    /// The page that sends the message, as its browser names it
    #[arg(long, value_name = "https://HOST")]
    origin: Option<String>,
    /// The chat
    #[arg(
        long,
        value_name = "UUID",
        default_value = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
    )]
    id: String,
    /// The name of the route [default: the first that the key may call]
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The message; `-` is standard input
    file: PathBuf,
}

const TOKEN: &str = "not-a-token";
const TOKEN_VARIABLE: &str = "TOKEN";

impl Explain {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(
        self,
        environment: &Environment,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let message = Bytes::from(validate::read(&self.file)?);
        let mut loaded = self.config.load(environment)?;
        let api = loaded.config.upstream.url.trim_end_matches('/').to_owned();
        let key = GatewayKey::generate().map_err(Failure::internal("no random numbers"))?;
        make_do(&mut loaded.config, &self.key, &key)?;
        let surroundings = Surroundings {
            environment: &|name| (name == TOKEN_VARIABLE).then(|| TOKEN.to_owned()),
            now: SystemTime::now,
        };
        let plan = Plan::compile(&loaded, surroundings)?;
        let mut clients = plan.keys.clients();
        let client = clients
            .find(|client| *client.name == *self.key)
            .ok_or_else(lost)?;
        let route = self.route(&plan, client)?;
        let request = self.request(&plan, route, &key, &message)?;

        let end = follow(&plan, request).await?;

        let (routes, keys) = (loaded.config.routes(), &loaded.config.keys);
        let written_route = routes.iter().find(|found| *found.name == *route.route.name);
        let written_key = keys.iter().find(|found| found.name == self.key);
        let story = Story {
            plan: &plan,
            route,
            written: written_route.zip(written_key).ok_or_else(lost)?,
            api: &api,
            upstream: loaded.config.limits.upstream,
            credential: &client.credential.name,
            origin: self.origin.as_deref(),
            message: &message,
        };
        story.print(&end, out)?;
        match end {
            End::Sent { .. } => Ok(()),
            End::Refused { .. } => Err(Failure::Refused),
        }
    }

    /// The route that was asked for, or else the first that the key may call.
    fn route<'a>(&self, plan: &'a Plan, client: &Client) -> Result<&'a RoutePlan, Failure> {
        let mut routes = plan.routes.iter();
        let names = plan.routes.iter().map(|plan| &*plan.route.name);
        match &self.route {
            Some(name) => routes
                .find(|plan| *plan.route.name == **name)
                .ok_or_else(|| unknown("route", name, names)),
            None => routes
                .find(|plan| client.routes.contains(&plan.route.name))
                .ok_or_else(lost),
        }
    }

    /// What the application would send.
    fn request(
        &self,
        plan: &Plan,
        route: &RoutePlan,
        key: &GatewayKey,
        message: &Bytes,
    ) -> Result<Request, Failure> {
        let host = plan.front.hosts.first().map_or("portaria", String::as_str);
        let mut request = http::Request::builder()
            .method(route.route.method.clone())
            .uri(route.route.path.replacen(ID, &self.id, 1))
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, message.len());
        if route.once.is_some_and(|rule| rule.is_required) {
            request = request.header(IDEMPOTENCY_KEY, "explain");
        }
        if let Some(origin) = &self.origin {
            request = request.header(header::ORIGIN, origin.as_bytes());
        }
        request
            .body(Body::full(message.clone()))
            .map_err(Failure::usage("no client could send that"))
    }
}

/// Puts a key of ours in the place of the application's, of which only the hash is known,
/// and a token of ours in the place of each, which may not be readable here.
fn make_do(config: &mut Config, name: &str, key: &GatewayKey) -> Result<(), Failure> {
    let names: Vec<String> = config.keys.iter().map(|key| key.name.clone()).collect();
    let written = config.keys.iter_mut().find(|written| written.name == name);
    let written = written.ok_or_else(|| unknown("key", name, names.iter().map(String::as_str)))?;
    written.hash = Some(key.hash().to_string());
    written.hashes.clear();
    for credential in config.credentials.values_mut() {
        credential.token = Source::Env(TOKEN_VARIABLE.to_owned());
        credential.next_token = None;
    }
    // Nothing is sent, so nothing has to be counted with others or remembered, and no
    // certificates are needed.
    config.limits.store = LimitStore::Local;
    config.limits.on_store_failure = OnStoreFailure::Local;
    config.limits.replicas = None;
    config.redis = config::Redis::default();
    config.idempotency.store = RecordStore::Local;
    let upstream = &mut config.upstream;
    upstream.url = upstream.url.replacen("https://", "http://", 1);
    upstream.plaintext = true;
    upstream.ca = None;
    Ok(())
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    Failure::Usage(format!(
        "there is no {what} `{name}`; there are: {}",
        known.join(", ")
    ))
}

/// For what a sound plan and a sound pipeline rule out.
fn lost() -> Failure {
    Failure::Internal("the message was lost on its way".to_owned())
}

/// How it ended.
enum End {
    /// This would be sent.
    Sent {
        trail: Arc<Trail>,
        fields: HeaderMap,
        path: String,
    },
    /// This would be answered.
    Refused {
        trail: Arc<Trail>,
        problem: Arc<Problem>,
        answer: Response,
    },
}

/// Sends a request through the pipeline, up to the wire.
async fn follow(plan: &Plan, request: Request) -> Result<End, Failure> {
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let wire = service_fn(move |req: Request| {
        let sender = sender.clone();
        async move {
            Trail::of(&req)?.enter(Step::Send);
            let _ = sender.send(req);
            Ok::<_, Problem>(Response::default())
        }
    });
    let pipeline = pipeline(plan, &Shared::new(plan), Next::ending(wire)).map_err(
        Failure::internal("the routes passed and cannot be put together"),
    )?;
    let answer = pipeline.answer(request).await;
    let of_answer = answer.extensions();
    let refused = of_answer
        .get::<Arc<Trail>>()
        .cloned()
        .zip(of_answer.get::<Arc<Problem>>().cloned());
    if let Some((trail, problem)) = refused {
        return Ok(End::Refused {
            trail,
            problem,
            answer,
        });
    }
    let sent = arrived.try_recv().map_err(|_| lost())?;
    let trail = Trail::of(&sent).map_err(|_| lost())?.clone();
    let path = sent.uri().path().to_owned();
    let fields = sent.into_parts().0.headers;
    Ok(End::Sent {
        trail,
        fields,
        path,
    })
}

/// What is told of it.
struct Story<'a> {
    plan: &'a Plan,
    route: &'a RoutePlan,
    /// The route and the key as they were written.
    written: (&'a config::Route, &'a config::Key),
    api: &'a str,
    upstream: config::Limit,
    credential: &'a str,
    origin: Option<&'a str>,
    message: &'a Bytes,
}

impl Story<'_> {
    fn print(&self, end: &End, out: &mut impl Write) -> io::Result<()> {
        let (trail, refusal) = match end {
            End::Sent { trail, .. } => (trail, None),
            End::Refused { trail, problem, .. } => (trail, Some(problem)),
        };
        let reported = trail.reported();
        let reported_at = |step| {
            let rule = RULES.into_iter().find(|(rule, _)| *rule == step);
            rule.filter(|(_, code)| reported.contains(&code.name()))
        };
        for step in Step::ALL {
            let name = step.name();
            match (refusal, trail.step().cmp(&step)) {
                (Some(_), Ordering::Less) => {
                    writeln!(out, "{FAINT}{name:<12}not reached{FAINT:#}")?;
                }
                (Some(problem), Ordering::Equal) => {
                    let cause = problem.cause().map(|cause| format!(": {cause}"));
                    let (reason, cause) = (problem.reason(), cause.unwrap_or_default());
                    writeln!(out, "{name:<12}{BAD}refused{BAD:#}   {reason}{cause}")?;
                }
                (None, _) | (Some(_), Ordering::Greater) => {
                    let note = self.note(step);
                    match reported_at(step) {
                        None => writeln!(out, "{name:<12}{GOOD}passed{GOOD:#}    {note}")?,
                        Some((_, code)) => {
                            writeln!(out, "{name:<12}{BAD}reported{BAD:#}  {}", code.name())?;
                        }
                    }
                }
            }
            if step == Step::Schema && reported_at(step).is_some() {
                for violation in self.violations() {
                    writeln!(out, "{:<22}{violation}", "")?;
                }
            }
        }
        match end {
            End::Sent { path, fields, .. } => self.print_sent(path, fields, out),
            End::Refused { answer, .. } => print_answer(answer, out),
        }
    }

    /// What a step that let it pass looked at.
    fn note(&self, step: Step) -> String {
        let (route, key) = self.written;
        let upstream = limit(self.upstream);
        match step {
            Step::Room => format!("{} requests at once", self.plan.max_in_flight),
            Step::Front => match &*self.plan.front.hosts {
                [] => "any Host".to_owned(),
                hosts => format!("Host {}", hosts.join(", ")),
            },
            Step::Route => format!("{}: {} {}", route.name, route.method, route.path),
            Step::Key => key.name.clone(),
            Step::Domain => match (&*key.allowed_domains, self.origin) {
                ([], _) => "a key for servers".to_owned(),
                (domains, origin) => {
                    format!(
                        "{} is one of {}",
                        origin.unwrap_or_default(),
                        domains.join(", ")
                    )
                }
            },
            Step::Rate => match key.rate_limit {
                Some(rate) => limit(rate),
                None => "no limit".to_owned(),
            },
            Step::Body => {
                format!(
                    "strict JSON, {} bytes of {}",
                    self.message.len(),
                    route.max_body
                )
            }
            Step::Schema => route.schema.clone(),
            Step::Idempotency => match route.idempotency {
                Idempotent::Off => "not asked for".to_owned(),
                Idempotent::Optional => "a new message".to_owned(),
                Idempotent::Required => "a new message, with an Idempotency-Key".to_owned(),
            },
            Step::Limits => match route.per_chat {
                Some(per_chat) => format!("{} to one chat, {upstream} to Wegly", limit(per_chat)),
                None => format!("{upstream} to Wegly"),
            },
            Step::Credential => self.credential.to_owned(),
            Step::Send => "nothing leaves this machine".to_owned(),
        }
    }

    /// Which rules of the schema it breaks.
    fn violations(&self) -> Vec<String> {
        let Ok(message) = Document::parse(Bytes::copy_from_slice(self.message)) else {
            return Vec::new();
        };
        let violations = self.route.rules.schema.violations(&message).list;
        violations
            .iter()
            .map(|violation| {
                format!(
                    "{} {}",
                    violation.pointer,
                    violation.detail(Language::English)
                )
            })
            .collect()
    }

    fn print_sent(&self, path: &str, fields: &HeaderMap, out: &mut impl Write) -> io::Result<()> {
        let (method, api) = (&self.route.route.method, self.api);
        writeln!(out, "\n{STRONG}Wegly would get{STRONG:#}\n")?;
        writeln!(out, "  {method} {api}{path}")?;
        writeln!(out, "  host: {}", self.plan.upstream.authority)?;
        for (name, value) in fields {
            match (name, value.to_str().unwrap_or_default()) {
                (&header::AUTHORIZATION, _) => {
                    writeln!(out, "  {name}: Bearer … (the token of {})", self.credential)?;
                }
                (name, value) => writeln!(out, "  {name}: {value}")?,
            }
        }
        writeln!(out, "\n  and the message, byte for byte")?;
        writeln!(
            out,
            "\n{STRONG}The application would get{STRONG:#} what Wegly answers"
        )
    }
}

/// The rules that may be only reported.
const RULES: [(Step, Code); 2] = [
    (Step::Domain, Code::OriginNotAllowed),
    (Step::Schema, Code::InvalidMessage),
];

fn print_answer(answer: &Response, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{STRONG}The application would get{STRONG:#}\n")?;
    writeln!(out, "  {}", answer.status())?;
    for (name, value) in answer.headers() {
        writeln!(out, "  {name}: {}", value.to_str().unwrap_or_default())?;
    }
    let body = answer.body().bytes().unwrap_or_default();
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    writeln!(out)?;
    for line in format!("{document:#}").lines() {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
