//! What is counted?
//!
//! All of it in one struct; the comment of each field is its help text. Labels come
//! from our own lists only: the names of the config, statuses, reasons. Never a path,
//! a key, an origin or an error text. A name that is not known is `none`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ::http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

use crate::{plan::Plan, trail::Trail};

/// What a name is that is not known.
const NONE: &str = "none";
/// How a reload ends.
const OK: &str = "ok";
const FAILED: &str = "failed";

/// Around what a person waits for, and what an upstream takes.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Around what a gateway may add.
const OVERHEAD_SECONDS: [f64; 11] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1,
];

/// Every number that Portaria reports.
#[derive(Debug)]
pub struct Metrics {
    /// Requests answered
    pub requests: Family<RequestLabels, Counter>,
    /// Requests refused, by reason
    pub refusals: Family<RefusalLabels, Counter>,
    /// Messages that a rule in report mode would have refused
    pub reported: Family<RefusalLabels, Counter>,
    /// Time from a request's head to its answer
    pub request_duration: Histogram,
    /// Time spent waiting for the upstream
    pub upstream_duration: Histogram,
    /// Time spent neither waiting for the upstream nor for the client's body
    pub overhead: Histogram,
    /// Requests being worked on
    pub in_flight: Gauge,
    /// Connections open
    pub connections: Gauge,
    /// Messages with an Idempotency-Key, by what came of it
    pub idempotency: Family<IdempotencyLabels, Counter>,
    /// Reloads of the config
    pub reloads: Family<ReloadLabels, Counter>,
    /// When the token of a credential stops being valid, if it says so
    pub credential_expiry: Family<CredentialLabels, Gauge>,
    /// Which token of a credential is used: its number in this process
    pub credential_generation: Family<CredentialLabels, Gauge>,
    /// When a key stops being valid
    pub key_expiry: Family<KeyLabels, Gauge>,
    /// When a key was last used with success
    pub key_last_seen: Family<KeyLabels, Gauge>,
    registry: Registry,
}

/// The labels of `portaria_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// The key's name.
    pub key: Arc<str>,
    /// The status of the answer.
    pub status: u16,
}

/// The labels of `portaria_refusals_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// The key's name.
    pub key: Arc<str>,
    /// [`Problem::reason`](crate::problem::Problem::reason).
    pub reason: &'static str,
}

/// The label of `portaria_idempotency_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IdempotencyLabels {
    /// [`Verdict::name`](crate::middleware::idempotency::Verdict::name).
    pub outcome: &'static str,
}

/// The label of `portaria_reloads_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadLabels {
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// A credential's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CredentialLabels {
    /// The credential's name.
    pub credential: Arc<str>,
}

/// A key's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyLabels {
    /// The key's name.
    pub key: Arc<str>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("portaria");
        let on = &mut registry;
        Self {
            requests: count(on, "requests", "Requests answered"),
            refusals: count(on, "refusals", "Requests refused, by reason"),
            reported: count(
                on,
                "reported",
                "Messages that a rule in report mode would have refused",
            ),
            request_duration: time(
                on,
                "request_duration",
                "Time from a request's head to its answer",
                Histogram::new(SECONDS),
            ),
            upstream_duration: time(
                on,
                "upstream_duration",
                "Time spent waiting for the upstream",
                Histogram::new(SECONDS),
            ),
            overhead: time(
                on,
                "overhead",
                "Time spent neither waiting for the upstream nor for the client's body",
                Histogram::new(OVERHEAD_SECONDS),
            ),
            in_flight: count(on, "requests_in_flight", "Requests being worked on"),
            connections: count(on, "connections", "Connections open"),
            idempotency: count(
                on,
                "idempotency",
                "Messages with an Idempotency-Key, by what came of it",
            ),
            reloads: count(on, "reloads", "Reloads of the config"),
            credential_expiry: time(
                on,
                "credential_expiry_timestamp",
                "When the token of a credential stops being valid, if it says so",
                Family::default(),
            ),
            credential_generation: count(
                on,
                "credential_generation",
                "Which token of a credential is used: its number in this process",
            ),
            key_expiry: time(
                on,
                "key_expiry_timestamp",
                "When a key stops being valid",
                Family::default(),
            ),
            key_last_seen: time(
                on,
                "key_last_seen_timestamp",
                "When a key was last used with success",
                Family::default(),
            ),
            registry: {
                let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
                on.register("build", "What is running", version);
                registry
            },
        }
    }
}

/// Registers something that has no unit.
fn count<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers something that is measured in seconds.
fn time<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Metrics {
    /// Counts a request that has been answered.
    pub fn answered(&self, trail: &Trail, status: StatusCode, reason: Option<&'static str>) {
        let key: Arc<str> = trail
            .client
            .get()
            .map_or_else(|| NONE.into(), |client| client.name.clone());
        let route: Arc<str> = trail.route.get().map_or_else(|| NONE.into(), Arc::clone);
        let durations = trail.durations();
        self.request_duration.observe(durations.total.as_secs_f64());
        self.overhead.observe(durations.own.as_secs_f64());
        if !durations.upstream.is_zero() {
            self.upstream_duration
                .observe(durations.upstream.as_secs_f64());
        }
        let refused = reason.map(|reason| (&self.refusals, reason));
        let reported = trail.reported().into_iter();
        for (counter, reason) in refused
            .into_iter()
            .chain(reported.map(|reason| (&self.reported, reason)))
        {
            counter
                .get_or_create(&RefusalLabels {
                    route: route.clone(),
                    key: key.clone(),
                    reason,
                })
                .inc();
        }
        if let Some(verdict) = trail.idempotency.get() {
            let outcome = verdict.name();
            self.idempotency
                .get_or_create(&IdempotencyLabels { outcome })
                .inc();
        }
        // From the rate limit on, the key was accepted.
        if trail.key_was_accepted() {
            self.key_last_seen
                .get_or_create(&KeyLabels { key: key.clone() })
                .set(unix_seconds(SystemTime::now()));
        }
        self.requests
            .get_or_create(&RequestLabels {
                route,
                key,
                status: status.as_u16(),
            })
            .inc();
    }

    /// Counts a reload.
    pub fn reloaded(&self, is_ok: bool) {
        let result = if is_ok { OK } else { FAILED };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// Notes what is known before anything is used, in place of what was known before.
    pub fn knows(&self, plan: &Plan) {
        for result in [OK, FAILED] {
            // From the start, or nobody could see the first one.
            drop(self.reloads.get_or_create(&ReloadLabels { result }));
        }
        self.credential_expiry.clear();
        self.key_expiry.clear();
        for credential in &plan.credentials {
            if let Some(end) = credential.expires_at() {
                let credential = credential.name.clone();
                self.credential_expiry
                    .get_or_create(&CredentialLabels { credential })
                    .set(unix_seconds(end));
            }
        }
        for client in plan.keys.clients() {
            if let Some(end) = client.expires_at {
                let key = client.name.clone();
                self.key_expiry
                    .get_or_create(&KeyLabels { key })
                    .set(unix_seconds(end));
            }
        }
    }

    /// Notes which tokens are used now.
    pub fn uses(&self, plan: &Plan) {
        self.credential_generation.clear();
        for credential in &plan.credentials {
            if let Some(token) = credential.tokens.get(credential.in_use()) {
                let credential = credential.name.clone();
                self.credential_generation
                    .get_or_create(&CredentialLabels { credential })
                    .set(i64::from(*token.generation));
            }
        }
    }

    /// All of it, as OpenMetrics text.
    ///
    /// # Errors
    /// Never: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
