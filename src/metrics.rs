//! What is counted?
//!
//! All of it in one struct; the comment of each field is its help text. Labels come
//! from our own lists only: the names of the config, statuses, reasons. Never a path,
//! a key, an origin or an error text. A name that is not known is `none`.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ::http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge,
        histogram::Histogram, info::Info,
    },
    registry::{Metric, Registry, Unit},
};

use crate::{plan::Plan, telemetry, trail::Trail};

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
    pub request_duration: HistogramWithExemplars<ExemplarLabels>,
    /// Time spent waiting for the upstream
    pub upstream_duration: HistogramWithExemplars<ExemplarLabels>,
    /// Time spent neither waiting for the upstream nor for the client's body
    pub overhead: Histogram,
    /// Requests being worked on
    pub in_flight: Gauge,
    /// Connections open
    pub connections: Gauge,
    /// Messages with an Idempotency-Key, by what came of it
    pub idempotency: Family<IdempotencyLabels, Counter>,
    /// Whether limits are counted where the config says; 0 while Redis is away
    pub limit_store_up: Gauge,
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
    /// Lines of the audit that found no room
    pub audit_lines_dropped: Counter,
    /// Times that the file of the audit could not be written
    pub audit_write_failures: Counter,
    /// Answers that are not as the upstream documents them, among those looked at
    pub surprises: Family<SurpriseLabels, Counter>,
    /// Requests whose spans were made, by what became of them
    pub traces: Family<TraceLabels, Counter>,
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

/// The labels of `portaria_upstream_surprises_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SurpriseLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// [`Surprise::kind`](crate::middleware::surprise::Surprise::kind).
    pub kind: &'static str,
}

/// What stands beside a duration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExemplarLabels {
    /// The trace of a request that took so long.
    pub trace_id: String,
}

/// The labels of `portaria_traces_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabels {
    /// `exported` or `dropped`.
    pub result: &'static str,
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
                HistogramWithExemplars::new(SECONDS.into_iter()),
            ),
            upstream_duration: time(
                on,
                "upstream_duration",
                "Time spent waiting for the upstream",
                HistogramWithExemplars::new(SECONDS.into_iter()),
            ),
            overhead: time(
                on,
                "overhead",
                "Time spent neither waiting for the upstream nor for the client's body",
                Histogram::new(OVERHEAD_SECONDS),
            ),
            in_flight: count(on, "requests_in_flight", "Requests being worked on"),
            connections: count(on, "connections", "Connections open"),
            limit_store_up: count(
                on,
                "limit_store_up",
                "Whether limits are counted where the config says; 0 while Redis is away",
            ),
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
            audit_lines_dropped: count(
                on,
                "audit_lines_dropped",
                "Lines of the audit that found no room",
            ),
            audit_write_failures: count(
                on,
                "audit_write_failures",
                "Times that the file of the audit could not be written",
            ),
            surprises: count(
                on,
                "upstream_surprises",
                "Answers that are not as the upstream documents them, among those looked at",
            ),
            traces: count(
                on,
                "traces",
                "Requests whose spans were made, by what became of them",
            ),
            registry: {
                let log_lines_dropped = telemetry::DROPPED.clone();
                on.register(
                    "log_lines_dropped",
                    "Lines of the log that found no reader in time",
                    log_lines_dropped,
                );
                on.register("panics", "Mistakes of ours", telemetry::PANICS.clone());
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
        // A person who looks at what took long can go on to the trace.
        let trace = trail.trace.as_ref().filter(|trace| trace.is_recorded());
        let exemplar = || {
            trace.map(|trace| ExemplarLabels {
                trace_id: trace.id.to_string(),
            })
        };
        let now = trace.map(|_| SystemTime::now());
        self.request_duration
            .observe(durations.total.as_secs_f64(), exemplar(), now);
        self.overhead.observe(durations.own.as_secs_f64());
        if !durations.upstream.is_zero() {
            self.upstream_duration
                .observe(durations.upstream.as_secs_f64(), exemplar(), now);
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
        let surprises = trail.surprises.get().into_iter().flatten();
        let kinds: BTreeSet<&'static str> = surprises.map(|surprise| surprise.kind).collect();
        for kind in kinds {
            self.surprises
                .get_or_create(&SurpriseLabels {
                    route: route.clone(),
                    kind,
                })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `| `portaria_requests_total` | `route`, `key`, `status` | … |`
    #[test]
    fn the_readme_lists_these_metrics_and_no_others() {
        let readme = include_str!("../README.md");
        let rows = readme
            .lines()
            .filter(|line| line.starts_with("| `portaria_"));
        let written: BTreeSet<String> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                format!(
                    "{}{{{}}}",
                    cells[1].replace('`', ""),
                    cells[2].replace('`', "")
                )
            })
            .collect();

        assert_eq!(written, shown(&with_all()));
    }

    /// Each metric with a sample. One that is new does not compile before it has one.
    fn with_all() -> Metrics {
        let metrics = Metrics::default();
        let Metrics {
            requests,
            refusals,
            reported,
            request_duration,
            upstream_duration,
            overhead,
            in_flight: _,
            connections: _,
            credential_expiry,
            key_expiry,
            key_last_seen,
            audit_lines_dropped: _,
            audit_write_failures: _,
            surprises,
            traces,
            idempotency,
            limit_store_up: _,
            reloads,
            credential_generation,
            registry: _,
        } = &metrics;
        let name: Arc<str> = "a".into();
        surprises
            .get_or_create(&SurpriseLabels {
                route: name.clone(),
                kind: "a",
            })
            .inc();
        let outcome = "a";
        idempotency
            .get_or_create(&IdempotencyLabels { outcome })
            .inc();
        traces.get_or_create(&TraceLabels { result: "a" }).inc();
        requests
            .get_or_create(&RequestLabels {
                route: name.clone(),
                key: name.clone(),
                status: 200,
            })
            .inc();
        for family in [refusals, reported] {
            family
                .get_or_create(&RefusalLabels {
                    route: name.clone(),
                    key: name.clone(),
                    reason: "a",
                })
                .inc();
        }
        for histogram in [request_duration, upstream_duration] {
            histogram.observe(0.0, None, None);
        }
        overhead.observe(0.0);
        for family in [credential_expiry, credential_generation] {
            let credential = name.clone();
            family
                .get_or_create(&CredentialLabels { credential })
                .set(0);
        }
        reloads.get_or_create(&ReloadLabels { result: "a" }).inc();
        for family in [key_expiry, key_last_seen] {
            family
                .get_or_create(&KeyLabels { key: name.clone() })
                .set(0);
        }
        metrics
    }

    /// The samples of the page: the name of each and its labels, but `le`; a histogram
    /// under the name that its samples share.
    fn shown(metrics: &Metrics) -> BTreeSet<String> {
        let page = metrics.encode().unwrap();
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|sample| {
                let (sample, _) = sample.rsplit_once(' ').unwrap();
                let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
                let name = ["_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .unwrap_or(name);
                let labels: Vec<&str> = labels
                    .split(',')
                    .filter_map(|label| Some(label.split_once('=')?.0))
                    .filter(|label| *label != "le")
                    .collect();
                format!("{name}{{{}}}", labels.join(", "))
            })
            .collect()
    }
}
