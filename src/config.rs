//! What can an operator set?
//!
//! One struct per section of the TOML file, every field with its meaning, its
//! unit and its default. The tree is dumb: it holds what was written.
//! [`load`](fn@load) reads it, [`Plan::compile`](crate::plan::Plan::compile) judges it,
//! and [`Mistakes`] is how both say what is wrong.

use std::{borrow::Cow, collections::BTreeMap, num::NonZeroU32, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod environment;
mod load;
mod mask;
mod mistakes;
mod shape;
mod values;

pub use load::{Loaded, load};
pub use mistakes::{Mistake, Mistakes, Path, Segment};
pub use shape::json_schema;
pub use values::{
    Address, FileMode, Limit, Misread, Period, Rate, RecordStore, Size, Source, Timestamp,
};

/// Everything an operator can set.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where applications connect, and what one connection may take.
    pub server: Server,
    /// Where operators look: health, metrics.
    pub admin: Admin,
    /// How the log is written.
    pub log: Log,
    /// Where decisions are written down.
    pub audit: Audit,
    /// Where traces go. Left out: none are made.
    pub traces: Option<Traces>,
    /// Where messages go.
    pub upstream: Upstream,
    /// The upstream's tokens, by name.
    pub credentials: BTreeMap<String, Credential>,
    /// What may be called. Left out: the one route for interactive messages.
    pub routes: Vec<Route>,
    /// Who may call: one entry per application.
    pub keys: Vec<Key>,
    /// Limits that hold for all keys together.
    pub limits: Limits,
    /// What is remembered of messages that were sent with an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// What several gateways share.
    pub redis: Redis,
}

impl Config {
    /// The routes as they are written, or else the one that is built in.
    pub fn routes(&self) -> Cow<'_, [Route]> {
        match &*self.routes {
            [] => vec![Route::interactive()].into(),
            written => written.into(),
        }
    }

    /// The same for the same settings, wherever they are written. No secret is in it: none is
    /// in a config.
    pub fn hash(&self) -> String {
        let settings = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(settings);
        digest.iter().fold("sha256:".to_owned(), |text, byte| {
            format!("{text}{byte:02x}")
        })
    }
}

/// Where applications connect, and what one connection may take.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Addresses to listen on: `"127.0.0.1:8080"`, `"[::1]:8080"`,
    /// `"unix:/run/portaria/portaria.sock"`, or `"systemd:portaria.socket"` for the sockets
    /// that systemd passes under that name. Port 0 takes a free one.
    pub listen: Vec<Address>,
    /// Lets the TCP addresses speak TLS, with HTTP/1.1 and HTTP/2. Left out: plain HTTP/1.1.
    pub tls: Option<Tls>,
    /// Who may connect to the unix sockets.
    pub unix: Unix,
    /// Threads that serve. Left out: one for each processor that Portaria may use.
    pub workers: Option<usize>,
    /// Connections that may be open at once. For one more, the one that has waited longest
    /// for a request is closed; while all are asked something, it waits.
    pub max_connections: usize,
    /// Size of a request line with its headers. More is `headers-too-large`.
    pub max_head: Size,
    /// Requests in flight before new ones are refused with `overloaded`.
    pub max_in_flight: usize,
    /// From accepting a connection, or from the last answer, to a complete head. A TLS
    /// handshake has this time for itself.
    pub head_timeout: Period,
    /// For the whole request body. Longer is `body-timeout`, and so is slower than 1 KiB/s
    /// once a fifth of this time is over.
    pub body_timeout: Period,
    /// For a client that has stopped reading its answer; then it is cut off.
    pub write_timeout: Period,
    /// From a request's head to the head of its answer.
    pub request_timeout: Period,
    /// For requests that run when the gateway is told to stop; then they are cut off.
    pub drain_timeout: Period,
    /// Names that the `Host` header may have, without port. Empty: any.
    pub hosts: Vec<String>,
    /// Whether browsers' preflights are answered, from the keys' domains.
    pub cors: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 8080).into())],
            tls: None,
            unix: Unix::default(),
            workers: None,
            max_connections: 4096,
            max_head: Size::kib(16),
            max_in_flight: 1024,
            head_timeout: Period::seconds(10),
            body_timeout: Period::seconds(10),
            write_timeout: Period::seconds(30),
            request_timeout: Period::seconds(30),
            drain_timeout: Period::seconds(25),
            hosts: Vec::new(),
            cors: false,
        }
    }
}

/// Who may connect to the unix sockets.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unix {
    /// Whoever may write to the file may connect: `"0660"` is for its owner and its group.
    pub mode: FileMode,
    /// The owner of the file, by name or number. Left out: the user that Portaria runs as.
    pub owner: Option<String>,
    /// The group of the file, by name or number. Left out: the group that Portaria runs as.
    pub group: Option<String>,
}

impl Default for Unix {
    fn default() -> Self {
        Self {
            mode: FileMode(0o660),
            owner: None,
            group: None,
        }
    }
}

/// With which certificate it answers. The files may change while it runs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, in PEM, with those between it and an authority: `"file:/path"`.
    pub cert: Source,
    /// Its private key, in PEM: `"file:/path"`.
    pub key: Source,
    /// Authorities, in PEM. A client then needs a certificate of one of them, or gets
    /// no connection.
    #[serde(default)]
    pub client_ca: Option<Source>,
}

/// Where operators look.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of `/livez`, `/readyz`, `/metrics`, `/status` and `POST /reload`. It has no
    /// lock: keep it where only operators reach it.
    pub listen: Address,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Address::Tcp(([127, 0, 0, 1], 9090).into()),
        }
    }
}

/// How the log is written.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// JSON lines for machines, or text for people.
    pub format: LogFormat,
    /// Tracing directives: `"info"`, `"warn,portaria=debug"`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// One line of text.
    Text,
}

/// Where decisions are written down: one JSON object per request, without its content.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file, relative to the config. It may be moved at any time; it is then made anew.
    /// Left out: nothing is written.
    pub file: Option<PathBuf>,
}

/// Where traces go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Where a collector takes OTLP over HTTP: `"http://127.0.0.1:4318/v1/traces"`.
    pub endpoint: String,
    /// The share of requests that begin a trace, from 0 to 1. A request that continues one
    /// is traced if that one is.
    #[serde(default = "Traces::default_sample")]
    #[schemars(range(min = 0, max = 1))]
    pub sample: f64,
}

impl Traces {
    fn default_sample() -> f64 {
        0.1
    }
}

/// Where messages go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Scheme and authority of the API, without a path. Plain `http://` only to a
    /// loopback address, or with `plaintext = true`.
    pub url: String,
    /// Allows `http://` to an address that is not loopback. The token then crosses
    /// the network unprotected.
    pub plaintext: bool,
    /// DNS, TCP and TLS together.
    pub connect_timeout: Period,
    /// From the request written to the head of the answer.
    pub response_timeout: Period,
    /// The largest answer that is passed on.
    pub max_response: Size,
    /// How long an unused connection is kept. Keep it below the upstream's own
    /// limit: a connection that the upstream closes just as it is reused costs a
    /// message whose fate nobody knows.
    pub pool_idle_timeout: Period,
    /// Certificate authorities to trust instead of the system's, in PEM.
    pub ca: Option<Source>,
    /// Which HTTP to speak.
    pub http_version: HttpVersion,
    /// The longest pause that an upstream `Retry-After` may cause.
    pub cool_down_cap: Period,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: "https://api.wegly.com.br".to_owned(),
            plaintext: false,
            connect_timeout: Period::seconds(2),
            response_timeout: Period::seconds(20),
            max_response: Size::mib(1),
            pool_idle_timeout: Period::seconds(3),
            ca: None,
            http_version: HttpVersion::Auto,
            cool_down_cap: Period::seconds(60),
        }
    }
}

/// Which HTTP to speak to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.1 alone.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 alone.
    #[serde(rename = "2")]
    Http2,
    /// What the upstream prefers (ALPN); HTTP/1.1 without TLS.
    #[serde(rename = "auto")]
    Auto,
}

/// One of the upstream's tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Where the token is: `"file:/path"` or `"env:NAME"`.
    pub token: Source,
    /// A second live token, tried once when the upstream answers 401.
    #[serde(default)]
    pub next_token: Option<Source>,
    /// The `Origin` sent upstream, for an upstream key with `allowed_domain`:
    /// an origin, or `"forward"` for the client's own. Left out: none is sent.
    #[serde(default)]
    pub origin: Option<String>,
}

/// What may be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in `[[keys]]`, logs and metrics: `[a-z0-9_-]{1,64}`.
    pub name: String,
    /// The method: `"POST"`.
    #[serde(default = "Route::default_method")]
    pub method: String,
    /// The path, with `{id}` where the chat's UUID stands.
    pub path: String,
    /// The rules a message must keep: `"wegly"`, `"whatsapp"`, or the path of a
    /// JSON Schema file (2020-12).
    #[serde(default = "Route::default_schema")]
    pub schema: String,
    /// Whether a message that breaks them is refused, or only logged and counted.
    #[serde(default)]
    pub schema_mode: Mode,
    /// The largest body. More is `body-too-large`.
    #[serde(default = "Route::default_max_body")]
    pub max_body: Size,
    /// Messages to one chat. Left out: no limit.
    #[serde(default)]
    pub per_chat: Option<Limit>,
    /// Whether an `Idempotency-Key` is looked at.
    #[serde(default)]
    pub idempotency: Idempotent,
}

impl Route {
    /// The route that is there when none is written.
    pub fn interactive() -> Self {
        Self {
            name: "interactive".to_owned(),
            method: Self::default_method(),
            path: "/integrations/external/chats/{id}/messages/interactive".to_owned(),
            schema: Self::default_schema(),
            schema_mode: Mode::Enforce,
            max_body: Self::default_max_body(),
            per_chat: Some(Limit::per_minute(10, 45)),
            idempotency: Idempotent::Optional,
        }
    }

    fn default_method() -> String {
        "POST".to_owned()
    }

    fn default_schema() -> String {
        "whatsapp".to_owned()
    }

    fn default_max_body() -> Size {
        Size::kib(64)
    }
}

/// Whether an `Idempotency-Key` is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Idempotent {
    /// It is ignored.
    Off,
    /// A message that has one is sent once.
    #[default]
    Optional,
    /// A message without one is refused.
    Required,
}

/// Whether a broken rule refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is logged and counted, and the message goes through.
    Report,
}

/// One application.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name in logs and metrics: `[a-z0-9_-]{1,64}`.
    pub name: String,
    /// `"sha256:…"` of its key, as `portaria key new` prints it.
    #[serde(default)]
    pub hash: Option<String>,
    /// Several of them, while a key is being rotated.
    #[serde(default)]
    pub hashes: Vec<String>,
    /// The key is not valid before this time.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// The key is not valid from this time on.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// The key is switched off.
    #[serde(default)]
    pub disabled: bool,
    /// With which of `[credentials]` its messages go out. May be left out when
    /// there is only one.
    #[serde(default)]
    pub credential: Option<String>,
    /// The routes it may call. Left out: all.
    #[serde(default)]
    pub routes: Option<Vec<String>>,
    /// The pages it may be used from: `"billing.example.com"`,
    /// `"https://billing.example.com:8443"`, `"*.apps.example.com"`. Empty: it is a
    /// server's key.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// Whether another page is refused, or only logged and counted.
    #[serde(default)]
    pub domain_mode: Mode,
    /// What happens to a server's key that is used from a web page.
    #[serde(default)]
    pub browser: Browser,
    /// How often it may call. Left out: as often as it likes.
    #[serde(default)]
    pub rate_limit: Option<Limit>,
}

/// What happens to a server's key that is used from a web page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Browser {
    /// It has leaked: refuse it.
    #[default]
    Refuse,
    /// That is meant.
    Allow,
}

/// Limits that hold for all keys together.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Messages toward the upstream, per credential.
    pub upstream: Limit,
    /// Where the limits are counted.
    pub store: LimitStore,
    /// What happens to shared limits while Redis is away.
    pub on_store_failure: OnStoreFailure,
    /// How many gateways share the limits. Needed with Redis, where each allows its part
    /// while it is away.
    pub replicas: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upstream: Limit::per_second(80, 80),
            store: LimitStore::Local,
            on_store_failure: OnStoreFailure::Local,
            replicas: None,
        }
    }
}

/// Where the limits are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitStore {
    /// In the memory of this process.
    Local,
    /// In Redis, for several gateways together.
    Redis,
}

/// What happens to shared limits while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnStoreFailure {
    /// Each gateway counts alone, and allows its part: a limit divided by `replicas`.
    Local,
    /// What needs a limit is refused with `store-unavailable`.
    Refuse,
}

/// What several gateways share.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Where its URL is, which may hold a password: `"file:/path"` or `"env:NAME"`. It is
    /// `redis://user:password@host:port/database`, `rediss://` with TLS, or
    /// `redis+unix:///path`.
    pub url: Option<Source>,
    /// How long a question to it may take. It is what an outage costs a request, at most.
    pub timeout: Period,
    /// Certificate authorities to trust instead of the system's, in PEM, for `rediss://`.
    pub ca: Option<Source>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Period::millis(50),
            ca: None,
        }
    }
}

/// What is remembered of messages that were sent with an `Idempotency-Key`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// For how long, from the first request on.
    pub ttl: Period,
    /// Of how many messages. More, with a key, are refused with `store-unavailable`.
    pub max_entries: usize,
    /// How many bytes that may take, answers included. More are refused likewise.
    pub max_bytes: Size,
    /// Where: `"local"`, in the memory of this process; `"file:PATH"`, relative to this file;
    /// or `"redis"`, for several gateways together.
    pub store: RecordStore,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            ttl: Period::seconds(24 * 3600),
            max_entries: 100_000,
            max_bytes: Size::mib(128),
            store: RecordStore::Local,
        }
    }
}
