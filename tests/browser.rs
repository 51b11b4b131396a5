//! What does a real page get?
//!
//! Whether a page may send, and what it may read, is decided by its browser: the
//! gateway only gives the answers it decides by. So these pages live in a real one.
//! Chromium opens each on its own, without a window, and prints what became of it.
//!
//! ```text
//! Site ──(page.html)──▶ Chromium ──(preflight, message)──▶ Portaria ──▶ Upstream
//!                          └─▶ the page as it is in the end: the outcome
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    io::ErrorKind,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use url::Url;

use support::{CHAT, Home, Portaria, Script, Upstream, key, message};

mod support;

/// A browser needs its time to start, more so beside other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_page_of_the_shop_sends_and_reads_the_answer_with_its_fields() {
    let world = World::new("cors = true").await;

    let outcome = world.visit(LOCALHOST, "shop", &message()).await;

    assert_eq!(outcome["status"], 200, "{outcome}");
    assert_eq!(outcome["body"]["records"][0]["status"], "sent");
    assert_eq!(outcome["headers"]["portaria-delivery"], "sent");
    for name in ["x-request-id", "ratelimit", "ratelimit-policy"] {
        assert!(outcome["headers"][name].is_string(), "{name} in {outcome}");
    }
    let received = world.upstream.ledger().only_request();
    assert_eq!(received.body, message());
}

#[tokio::test]
async fn a_page_of_the_shop_reads_why_its_message_was_refused() {
    let world = World::new("cors = true").await;

    let outcome = world.visit(LOCALHOST, "shop", b"{}").await;

    assert_eq!(outcome["status"], 422, "{outcome}");
    assert_eq!(outcome["body"]["code"], "invalid-message");
    assert!(!outcome["body"]["errors"].as_array().unwrap().is_empty());
    assert_eq!(outcome["headers"]["portaria-delivery"], "not_sent");
    let request_id = &outcome["headers"]["x-request-id"];
    assert_eq!(outcome["body"]["request_id"], *request_id);
    world.upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn a_page_of_the_shop_reads_how_long_it_must_wait() {
    let world = World::new("cors = true").await;
    world.visit(LOCALHOST, "shop", b"{}").await;

    let outcome = world.visit(LOCALHOST, "shop", &message()).await;

    assert_eq!(outcome["status"], 429, "{outcome}");
    assert_eq!(outcome["body"]["code"], "rate-limited");
    let seconds = outcome["headers"]["retry-after"].as_str().unwrap();
    assert_eq!(outcome["body"]["retry_after"].to_string(), seconds);
    world.upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_even_send() {
    let world = World::new("cors = true").await;

    // The same server and the same page; only by another name.
    let outcome = world.visit(LOOPBACK, "shop", &message()).await;

    assert_eq!(outcome["thrown"], "TypeError", "{outcome}");
    world.assert_only_a_preflight_came().await;
}

#[tokio::test]
async fn a_page_that_shows_a_servers_key_reads_that_it_has_leaked() {
    let world = World::new("cors = true").await;

    let outcome = world.visit(LOCALHOST, "billing", &message()).await;

    assert_eq!(outcome["status"], 403, "{outcome}");
    assert_eq!(outcome["body"]["code"], "key-used-in-browser");
    world.upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn without_cors_no_page_can_send() {
    let world = World::new("cors = false").await;

    let outcome = world.visit(LOCALHOST, "shop", &message()).await;

    assert_eq!(outcome["thrown"], "TypeError", "{outcome}");
    world.assert_only_a_preflight_came().await;
}

/// Two names of one machine; to a browser, two origins.
const LOCALHOST: &str = "localhost";
const LOOPBACK: &str = "127.0.0.1";

/// A shop's web server, the gateway, and the upstream.
struct World {
    site: Site,
    portaria: Portaria,
    upstream: Upstream,
    _home: Home,
}

impl World {
    /// The key "shop" is for the pages of the site by the name of [`LOCALHOST`], and
    /// has a rate of one message an hour.
    async fn new(cors: &str) -> Self {
        let site = Site::start().await;
        let upstream = Upstream::start(Script::serve()).await;
        let home = Home::new(&upstream.url());
        let shop = format!(
            "allowed_domains = [\"http://{LOCALHOST}:{}\"]\n\
             rate_limit = {{ rate = \"1/h\", burst = 1 }}",
            site.port
        );
        home.edit(|text| {
            text.replace("[server]", &format!("[server]\n{cors}"))
                .replace("allowed_domains = [\"shop.example.com\"]", &shop)
        });
        Self {
            site,
            portaria: Portaria::start(Portaria::serve(&home)),
            upstream,
            _home: home,
        }
    }

    /// Opens the site's page by this name of the site; it sends the message with this
    /// application's key. Returns what it wrote into itself.
    async fn visit(&self, name: &str, application: &str, message: &[u8]) -> Value {
        let gateway = format!(
            "http://{}/integrations/external/chats/{CHAT}/messages/interactive",
            self.portaria.address().await
        );
        let page = Url::parse_with_params(
            &format!("http://{name}:{}/", self.site.port),
            [
                ("gateway", gateway.as_str()),
                ("key", &key(application)),
                ("message", str::from_utf8(message).unwrap()),
            ],
        );
        let dom = Chromium::open(&page.unwrap()).await;
        outcome(&dom).unwrap_or_else(|| panic!("no outcome in the page:\n{dom}"))
    }

    async fn assert_only_a_preflight_came(self) {
        self.upstream.ledger().assert_nothing_sent();
        self.portaria.signal("TERM");
        let log = self.portaria.exit().await.stdout;
        let requests = log.lines().filter(|line| line.contains("request_id"));
        let keys = log.lines().filter(|line| line.contains("\"key\""));
        assert_eq!((requests.count(), keys.count()), (1, 0), "{log}");
    }
}

/// What the page wrote into itself.
fn outcome(dom: &str) -> Option<Value> {
    let (_, rest) = dom.split_once(r#"id="outcome">"#)?;
    let (json, _) = rest.split_once("</script>")?;
    serde_json::from_str(json).ok()
}

/// A web server that has one page. Dropped, it is gone.
struct Site {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let page = include_str!("browser/page.html");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
            let mut visits = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                visits.spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_buf(&mut request).await {
                            // A connection that the browser opened in advance.
                            Ok(0) | Err(_) => return,
                            Ok(_) => {}
                        }
                    }
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self {
            port,
            _tasks: tasks,
        }
    }
}

/// A running browser. Dropped, it is killed.
struct Chromium(Child);

impl Chromium {
    /// Opens a page as nobody has ever been there; returns the page when its script
    /// has come to rest.
    async fn open(page: &Url) -> String {
        let profile = TempDir::new().unwrap();
        let mut browser = Self::start(page, &profile);
        let stdout = browser.0.stdout.take().unwrap();
        let read = tokio::task::spawn_blocking(move || std::io::read_to_string(stdout).unwrap());
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(dom) => dom.unwrap(),
            // Its end ends the reading, too.
            Err(_) => {
                drop(browser);
                panic!("waited {PATIENCE:?} in vain for Chromium")
            }
        }
    }

    fn start(page: &Url, profile: &TempDir) -> Self {
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-quic", "--disable-dev-shm-usage"])
            // It goes nowhere but to this machine.
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            .arg("--no-proxy-server")
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            // Its clock stands still while it waits for an answer.
            .args(["--virtual-time-budget=10000", "--dump-dom"])
            .arg(page.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Self(child),
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "Chromium is missing, and these tests need a real browser. \
                 On Debian: apt-get install --no-install-recommends chromium"
            ),
            Err(error) => panic!("Chromium does not start: {error}"),
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
