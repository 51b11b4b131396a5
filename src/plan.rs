//! Is the config right?
//!
//! Judges the [tree](crate::config) once, into what the steps work with. Whatever can be
//! wrong is found here, all of it at once; after that nothing about the config can fail.
//! This is the only module that sees both the tree and the types of the steps.

mod idempotency;
mod keys;
mod routes;
mod server;
mod sharing;
mod sight;
mod trust;
mod upstream;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    config::{
        self, Address, Config, Limit, LimitStore, Loaded, LogFormat, Mistakes, OnStoreFailure,
        Path, RecordStore,
    },
    middleware::{
        body, cors::Cors, credential::Credential, front::Front, idempotency::Rule, key::Keys,
        limits::PerChat, schema::Rules, surprise::Expected,
    },
    redis,
    route::Route,
    server::{Access, tls::Tls},
    shared::Kept,
    traces,
    upstream::Settings,
};

/// A config that has been judged, ready to serve.
#[derive(Debug)]
pub struct Plan {
    /// Where applications connect.
    pub listen: Vec<Address>,
    /// Who may connect to the unix sockets among them.
    pub unix: Access,
    /// What the TCP listeners speak TLS with, if they do.
    pub tls: Option<Arc<Tls>>,
    /// Where operators look.
    pub admin: Address,
    /// How the log is written.
    pub log: (LogFormat, String),
    /// Threads that serve applications.
    pub workers: usize,
    /// The file that decisions are written to, if they are.
    pub audit: Option<PathBuf>,
    /// Where traces go, if they are made.
    pub traces: Option<traces::Settings>,
    /// What is documented of answers.
    pub expected: Arc<Expected>,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Requests that may be in flight at once.
    pub max_in_flight: usize,
    /// Until a head must be complete.
    pub head_timeout: Duration,
    /// How long a client may stop reading.
    pub write_timeout: Duration,
    /// Until a request must be answered.
    pub request_timeout: Duration,
    /// Until a stop cuts what still runs.
    pub drain_timeout: Duration,
    /// What the front needs to know.
    pub front: Arc<Front>,
    /// What preflights allow, where they are answered.
    pub cors: Option<Cors>,
    /// Who may call.
    pub keys: Arc<Keys>,
    /// What may be called.
    pub routes: Vec<RoutePlan>,
    /// With which tokens.
    pub credentials: Vec<Arc<Credential>>,
    /// Where it is remembered which messages were sent.
    pub records: RecordStore,
    /// How Redis is reached, if anything is kept there.
    pub redis: Option<redis::Settings>,
    /// Where messages go.
    pub upstream: Arc<Settings>,
    /// What was written.
    pub config: Config,
    /// What the next plan takes over.
    pub kept: Kept,
}

/// What the steps of one route need.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name, method and path.
    pub route: Arc<Route>,
    /// Who may call.
    pub keys: Arc<Keys>,
    /// What a body may be.
    pub body: Arc<body::Limits>,
    /// What a message must keep.
    pub rules: Arc<Rules>,
    /// What is asked of the names of messages, if those are looked at.
    pub once: Option<Rule>,
    /// Messages to one chat.
    pub per_chat: Option<Arc<PerChat>>,
    /// What they may be, all gateways together.
    pub chat_limit: Option<Limit>,
    /// What happens to limits that gateways share while Redis is away. None: this gateway
    /// counts alone.
    pub shared_limits: Option<OnStoreFailure>,
}

/// What a plan takes from outside the config.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Looks up an environment variable that a secret is in.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The wall clock.
    pub now: fn() -> SystemTime,
}

impl Plan {
    /// Judges and compiles.
    ///
    /// # Errors
    /// All mistakes, each with its place.
    pub fn compile(loaded: &Loaded, surroundings: Surroundings<'_>) -> Result<Self, Mistakes> {
        Self::compile_again(loaded, surroundings, Kept::default())
    }

    /// The same for a gateway that runs already: what can be kept of the plan before is.
    ///
    /// # Errors
    /// As with [`compile`](Self::compile).
    pub fn compile_again(
        loaded: &Loaded,
        surroundings: Surroundings<'_>,
        kept: Kept,
    ) -> Result<Self, Mistakes> {
        let mut judge = Judge {
            config: &loaded.config,
            directory: loaded.directory().to_owned(),
            surroundings,
            kept,
            mistakes: loaded.mistakes(),
        };
        let plan = judge.compile();
        match plan {
            Some(plan) if judge.mistakes.is_empty() => Ok(plan),
            Some(_) | None => Err(judge.mistakes),
        }
    }

    /// The buckets that need to be swept.
    pub fn per_chat(&self) -> Vec<Arc<PerChat>> {
        self.routes
            .iter()
            .filter_map(|plan| plan.per_chat.clone())
            .collect()
    }
}

/// Goes through the tree and notes what is wrong. Each part gives `None` where it
/// cannot be used; the others are judged all the same.
struct Judge<'a> {
    config: &'a Config,
    directory: PathBuf,
    surroundings: Surroundings<'a>,
    kept: Kept,
    mistakes: Mistakes,
}

impl Judge<'_> {
    fn compile(&mut self) -> Option<Plan> {
        self.server();
        let tls = self.tls();
        let unix = self.unix();
        let audit = self.audit();
        let traces = self.traces();
        let upstream = self.upstream();
        let redis = self.redis();
        let credentials = self.credentials();
        let routes = self.routes();
        let (records, terms) = self.idempotency();
        // Also those that have mistakes, or every key that names one would seem wrong too.
        let names: Vec<Arc<str>> = self
            .config
            .routes()
            .iter()
            .map(|route| route.name.as_str().into())
            .collect();
        let by_hash = self.keys(&credentials, &names);
        let cors = self.cors(
            &by_hash,
            routes.iter().map(|judged| judged.route.method.clone()),
        );
        let keys = Arc::new(Keys::new(
            by_hash,
            self.surroundings.now,
            self.kept.failures(),
        ));
        let (server, counted) = (&self.config.server, self.counted());
        let is_audited = self.kept.started(self.config).is_audited;
        let body_timeout = server.body_timeout.0;
        let path = config::Route::interactive().path;
        let documented = routes.iter().map(|judged| &judged.route);
        let documented = documented.filter(|route| route.path == path);
        let expected = Expected::of(documented.map(|route| route.name.clone()).collect());
        Some(Plan {
            listen: server.listen.clone(),
            unix,
            tls,
            admin: self.config.admin.listen.clone(),
            log: (self.config.log.format, self.config.log.level.clone()),
            workers: server.workers.unwrap_or_else(processors),
            max_connections: server.max_connections,
            max_in_flight: server.max_in_flight,
            head_timeout: server.head_timeout.0,
            write_timeout: server.write_timeout.0,
            request_timeout: server.request_timeout.0,
            drain_timeout: server.drain_timeout.0,
            front: Arc::new(Front {
                hosts: server.hosts.clone(),
                max_head: server.max_head.0,
            }),
            cors,
            routes: routes
                .into_iter()
                .map(|judged| RoutePlan {
                    per_chat: judged.per_chat.map(|limit| {
                        self.kept
                            .buckets_of_chats(&judged.route.name, self.alone(limit))
                    }),
                    route: Arc::new(judged.route),
                    keys: keys.clone(),
                    body: Arc::new(body::Limits {
                        max_body: judged.max_body,
                        body_timeout,
                        is_hashed: is_audited,
                    }),
                    rules: Arc::new(judged.rules),
                    once: idempotency::rule(judged.idempotency, terms),
                    chat_limit: judged.per_chat,
                    shared_limits: match counted.store {
                        LimitStore::Local => None,
                        LimitStore::Redis => Some(counted.on_store_failure),
                    },
                })
                .collect(),
            keys,
            credentials: credentials.into_values().collect(),
            records,
            upstream: upstream?,
            redis,
            audit,
            expected: Arc::new(expected),
            traces,
            config: self.config.clone(),
            kept: self.kept.clone(),
        })
    }

    /// Names are labels of metrics, and parts of the names of environment variables.
    fn check_name(&mut self, at: Path, name: &str) {
        let is_plain = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if !is_plain {
            self.mistakes.add(
                at,
                format!("`{name}` is no name: 1 to 64 of `a`-`z`, `0`-`9`, `_` and `-`"),
            );
        } else if name == "none" {
            self.mistakes.add(
                at,
                "`none` is taken: in metrics it stands for what is not known",
            );
        }
    }
}

/// Those that this process may use, by its affinity and its quota.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
