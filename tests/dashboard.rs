//! Does the dashboard show something?
//!
//! A panel whose query has a typo is empty, and nobody notices until it is needed. So a
//! real Prometheus reads a real gateway, as `deploy/prometheus/` says, and each query of
//! `deploy/grafana/` is put to it, while messages come in of every kind that they ask for.
//!
//! ```text
//! Client ──▶ Portaria ──▶ Upstream
//!               ▲
//!               └── Prometheus ◀── the panels' queries
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::time::Instant;
use url::form_urlencoded;

use support::{Answer, CHAT, Client, Home, Portaria, Script, Step, Upstream, key, post};

mod support;

/// A Prometheus needs some scrapes before it knows a rate, more so beside other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_panel_and_every_recorded_rule_has_data() {
    let world = World::new().await;
    let mut missing: BTreeSet<String> = queries().into_iter().chain(recorded()).collect();
    assert!(missing.len() > 20, "{missing:#?}");

    let end = Instant::now() + PATIENCE;
    while !missing.is_empty() && Instant::now() < end {
        world.send_some().await;
        let mut empty = BTreeSet::new();
        for query in missing {
            if !world.prometheus.has_data_for(&query).await {
                empty.insert(query);
            }
        }
        missing = empty;
    }

    assert!(missing.is_empty(), "nothing is shown for {missing:#?}");
}

#[test]
fn every_alert_has_a_runbook() {
    let rules = read("prometheus/rules.yml");
    let page = read("OPERATING.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let anchors: BTreeSet<_> = headings
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();

    let alerts: BTreeSet<_> = values(&rules, "- alert: ").collect();
    let runbooks: Vec<_> = values(&rules, "runbook: deploy/OPERATING.md#").collect();

    assert_eq!(runbooks.len(), alerts.len());
    for runbook in runbooks {
        assert!(
            anchors.contains(runbook),
            "{runbook} is none of {anchors:#?}"
        );
    }
    for alert in alerts {
        assert!(page.contains(&format!("`{alert}`")), "{alert}");
    }
}

#[test]
fn every_number_that_is_asked_for_is_one_of_ours() {
    let readme = include_str!("../README.md");
    let asked = read("prometheus/rules.yml") + &read("grafana/portaria.json");

    let words = asked.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let names = words.filter(|word| word.starts_with("portaria_"));
    let unknown: BTreeSet<_> = names
        .map(|name| name.trim_end_matches("_bucket"))
        .filter(|name| !readme.contains(&format!("| `{name}` |")))
        .collect();

    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// An upstream, a gateway that has something to tell, and a Prometheus that reads it.
struct World {
    prometheus: Prometheus,
    gateway: SocketAddr,
    _portaria: Portaria,
    _upstream: Upstream,
    _home: Home,
}

impl World {
    async fn new() -> Self {
        // What became of the first message, nobody knows. Later answers are not as Wegly
        // documents them.
        let surprise = Answer::standard().with_body(r#"{"total":"many"}"#);
        let script = Script::each([Step::ReadRequest, Step::Reset])
            .then([Step::Serve(vec![Answer::standard(), surprise])]);
        let upstream = Upstream::start(script).await;
        let home = Home::new(&upstream.url());
        // Keys and tokens that end, limits to run into, and a rule that only reports.
        home.write("wegly-token", &token_that_expires());
        home.edit(|config| {
            config.replace(
                "name = \"shop\"",
                "name = \"shop\"\nexpires_at = 2999-01-01T00:00:00Z\ndomain_mode = \"report\"\n\
                 rate_limit = { rate = \"2/s\", burst = 1 }",
            )
        });
        let portaria = Portaria::start(Portaria::serve(&home));
        let gateway = portaria.address().await;
        let prometheus = Prometheus::start(&home, portaria.admin_address().await);
        Self {
            prometheus,
            gateway,
            _portaria: portaria,
            _upstream: upstream,
            _home: home,
        }
    }

    /// One message that is sent only once, one that is always sent, one that is reported and
    /// soon over its limit, and one with a wrong key.
    async fn send_some(&self) {
        let mut client = Client::connect(self.gateway).await;
        let named = post(CHAT, &key("billing")).header("Idempotency-Key", "only-once");
        let elsewhere = post(CHAT, &key("shop")).header("Origin", "https://elsewhere.example");
        for request in [
            named,
            post(CHAT, &key("billing")),
            elsewhere,
            post(CHAT, "wrong"),
        ] {
            client.exchange(request.to_bytes()).await;
        }
    }
}

/// A real one. Dropped, it is killed.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts it with the config of `deploy/`, in a hurry.
    fn start(home: &Home, gateway: SocketAddr) -> Self {
        let config = read("prometheus/prometheus.yml")
            .replace("127.0.0.1:9090", &gateway.to_string())
            .replace("15s", "1s");
        let config = home.write("prometheus.yml", &config);
        home.write("rules.yml", &read("prometheus/rules.yml"));
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                home.path("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Prometheus is missing. On Debian: apt-get install prometheus");
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut log = log.lines().map_while(Result::ok);
        let mut said = Vec::new();
        let address = log.by_ref().find_map(|line| {
            let (_, address) = line.split_once("\"Listening on\" address=").unzip();
            said.push(line.clone());
            address?.parse().ok()
        });
        let address = address.unwrap_or_else(|| panic!("Prometheus has ended: {said:#?}"));
        // Who does not read on lets it hang.
        thread::spawn(move || log.for_each(drop));
        Self { process, address }
    }

    async fn has_data_for(&self, query: &str) -> bool {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let request =
            format!("GET /api/v1/query?query={query} HTTP/1.1\r\nHost: prometheus\r\n\r\n");
        let mut client = Client::connect(self.address).await;
        let answer = client.exchange(request).await;
        // 503: it is still starting.
        if answer.status == 503 {
            return false;
        }
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        // What is divided by nothing, or by zero, is no number to show.
        result.iter().any(|sample| sample["value"][1] != "NaN")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The queries of all panels and of the choices above them, as Grafana would put them.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/portaria.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let choices = dashboard["templating"]["list"].as_array().unwrap().iter();
    let choices = choices.filter_map(|choice| {
        let inner = choice["query"].as_str()?.strip_prefix("label_values(")?;
        let (series, label) = inner.strip_suffix(')')?.rsplit_once(", ").unwrap();
        Some(format!("count by ({label}) ({series})"))
    });
    let chosen = |query: String| {
        query
            .replace("$job", "portaria")
            .replace("$key", ".*")
            .replace("$__rate_interval", "30s")
            // It would hide a typo.
            .replace(" or vector(0)", "")
    };
    expressions.chain(choices).map(chosen).collect()
}

/// What `deploy/prometheus/rules.yml` computes for others.
fn recorded() -> Vec<String> {
    let rules = read("prometheus/rules.yml");
    values(&rules, "- record: ").map(str::to_owned).collect()
}

/// What stands in the lines that begin with this.
fn values<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines();
    lines.filter_map(move |line| line.trim().strip_prefix(start))
}

fn token_that_expires() -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let (header, claims) = (part(r#"{"alg":"none"}"#), part(r#"{"exp":32472144000}"#));
    format!("{header}.{claims}.canary")
}

fn read(name: &str) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    fs::read_to_string(deploy.join(name)).unwrap()
}
