//! Does a reload lose anything?
//!
//! While applications send as fast as they can, the config changes again and again: a token
//! is exchanged, a key revoked and allowed again, a certificate replaced, a schema tightened
//! and loosened. Every message that may pass must be answered with success, every reload
//! must be one, and what it brings must hold for the next message. Nothing that a reload
//! opens may stay open.

use std::{
    fs,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::{Client, Template},
    gateway::Gateway,
    ledger::{Ledger, Told},
    report::{Report, mebibytes, milliseconds, percentile},
    support::{self, Authority, Certificate, Home, TOKEN},
    upstream::{Manners, Upstream},
};

/// How many applications send at once: over a unix socket, and over TLS.
const PLAIN: usize = 12;
const OVER_TLS: usize = 4;
/// Messages over TLS, before the application connects anew.
const PER_CONNECTION: usize = 20;
/// More messages than they can send in that time. Numbers below it have at most seven digits:
/// `RULES` tells them apart by that.
const MESSAGES: usize = 10_000_000;
/// Memory that may come and go.
const SLACK: usize = 16 * 1024 * 1024;
/// The longest that anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whom the certificates name.
const NAME: &str = "portaria.test";
/// What messages must keep: nothing, or what only those below [`MESSAGES`] do.
const RULES: [&str; 2] = [
    "{}",
    r#"{ "properties": { "body": { "properties": { "text": { "pattern": "Mensagem 00000" } } } } }"#,
];

pub(crate) async fn run(count: usize, report: &mut Report) {
    report.title(format!(
        "{count} reloads under the load of {PLAIN} applications, and {OVER_TLS} over TLS"
    ));
    let ledger = Arc::new(Ledger::new(2 * MESSAGES));
    let tokens = Arc::new(RwLock::new(vec![TOKEN.to_owned()]));
    let upstream = Upstream::start(Manners::Strict(tokens.clone()), ledger.clone()).await;
    let authority = Authority::new();
    let certificates = [2100, 2101].map(|year| authority.issue(NAME, year));
    let home = home(&upstream, &certificates[0]);
    let socket = home.path("socket");
    let gateway = Gateway::start_at(home, &[]);
    let connector = TlsConnector::from(Arc::new(authority.client(None, &["http/1.1"])));

    let load = Load {
        ledger: ledger.clone(),
        next: Arc::default(),
        is_over: Arc::default(),
    };
    let mut senders = JoinSet::new();
    for _ in 0..PLAIN {
        let client = Client::connect_unix(&socket).await.unwrap();
        senders.spawn(load.clone().send(client));
    }
    for _ in 0..OVER_TLS {
        let (load, address, connector) = (load.clone(), gateway.address(), connector.clone());
        senders.spawn(async move {
            let mut ended = 0;
            while !load.is_over.load(Ordering::Relaxed) {
                let tls = connect(address, &connector).await;
                ended += load
                    .clone()
                    .send_some(Client::over(tls), PER_CONNECTION)
                    .await;
            }
            ended
        });
    }

    let mut operator = Operator {
        door: support::Client::connect(gateway.admin_address()).await,
        config: fs::read_to_string(gateway.files().config()).unwrap(),
        gateway: &gateway,
        connector,
        certificates,
        tokens,
        probes: 0,
        took: Vec::new(),
        failed: 0,
        without_effect: 0,
    };
    // The first few open what is opened once.
    let warm_up = count / 10;
    operator.change(0..warm_up).await;
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    let began = Instant::now();
    operator.change(warm_up..count).await;
    let all = began.elapsed();
    let (memory_after, descriptors_after) = (gateway.memory(), gateway.descriptors());
    let mut took = std::mem::take(&mut operator.took);
    let (failed, without_effect) = (operator.failed, operator.without_effect);
    load.is_over.store(true, Ordering::Relaxed);
    let ended: usize = senders.join_all().await.into_iter().sum();

    let sent = load.next.load(Ordering::Relaxed);
    report.figure("messages", sent);
    report.figure("seconds, without the first tenth", all.as_secs());
    let passed = ledger.count(|fate| fate.was_told(Told::Success));
    report.none("not answered with success", sent - passed);
    report.none("doubled", ledger.count(|fate| fate.is_doubled()));
    report.none("connections that ended", ended);
    report.none("reloads that failed", failed);
    report.none("reloads that the next message did not see", without_effect);
    report.figure("a reload, median", milliseconds(percentile(&mut took, 50)));
    report.figure(
        "a reload, 99 of 100",
        milliseconds(percentile(&mut took, 99)),
    );
    report.figure("memory after a tenth", mebibytes(memory));
    let growth = memory_after.saturating_sub(memory);
    report.promise(
        "memory after all",
        mebibytes(memory_after),
        growth < SLACK,
        "16 MiB more at most",
    );
    let show = |count: Option<usize>| count.map_or("?".to_owned(), |count| count.to_string());
    report.figure("descriptors after a tenth", show(descriptors));
    report.promise(
        "descriptors after all",
        show(descriptors_after),
        // A few connections come and go.
        descriptors_after <= descriptors.map(|count| count + PLAIN + 2 * OVER_TLS),
        "no more, but for connections",
    );
    drop(operator);
    gateway.terminate();
    let (status, log) = gateway.exit().await;
    report.none("errors in the log", log.errors);
    report.promise("exit", status, status.success(), "0");
}

/// A gateway with TLS, a unix socket beside it, and an application that comes and goes.
fn home(upstream: &Upstream, certificate: &Certificate) -> Home {
    let home = Gateway::home(upstream);
    home.write("rules.json", RULES[0]);
    // In one file, so that both are replaced at once.
    let pem = home.write("tls.pem", &pem(certificate));
    let (pem, socket) = (pem.display(), home.path("socket"));
    home.set_up_server(&format!(
        "tls = {{ cert = 'file:{pem}', key = 'file:{pem}' }}"
    ));
    let guest = portaria::gateway_key::KeyHash::of(&support::key("guest"));
    home.edit(|text| {
        let listen = format!("\"127.0.0.1:0\", \"unix:{}\"", socket.display());
        let text = text.replacen("\"127.0.0.1:0\"", &listen, 1);
        text.replace(
            "name = \"interactive\"",
            "name = \"interactive\"\nschema = 'rules.json'",
        ) + &format!("\n[[keys]]\nname = \"guest\"\nhash = \"{guest}\"\n")
    });
    home
}

fn pem(certificate: &Certificate) -> String {
    format!("{}{}", certificate.cert, certificate.key)
}

async fn connect(address: std::net::SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    timeout(PATIENCE, connector.connect(name, tcp))
        .await
        .unwrap()
        .unwrap()
}

/// What all applications send.
#[derive(Clone)]
struct Load {
    ledger: Arc<Ledger>,
    next: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    /// Sends over this connection, to the end; returns whether it ended before.
    async fn send(self, client: Client) -> usize {
        self.send_some(client, usize::MAX).await
    }

    async fn send_some(self, mut client: Client, most: usize) -> usize {
        let mut template = Template::new();
        for _ in 0..most {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let exchange = client.exchange(template.message(number));
            let result = timeout(PATIENCE, exchange).await.unwrap();
            self.ledger.note_told(number, &result);
            if result.map_or(true, |answer| answer.is_last) {
                return 1;
            }
        }
        0
    }
}

/// Whoever changes the config, and looks whether it holds.
struct Operator<'a> {
    gateway: &'a Gateway,
    door: support::Client,
    /// As it is while all may come in.
    config: String,
    connector: TlsConnector,
    certificates: [Certificate; 2],
    /// Those that the upstream takes.
    tokens: Arc<RwLock<Vec<String>>>,
    /// How many messages have looked.
    probes: usize,
    took: Vec<Duration>,
    failed: usize,
    without_effect: usize,
}

impl Operator<'_> {
    async fn change(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            // Every kind of change, one way and back.
            let is_back = number / 4 % 2;
            let is_seen = match number % 4 {
                0 => {
                    let token = format!("{TOKEN}-{number}");
                    {
                        let mut tokens = self.tokens.write().unwrap();
                        tokens.push(token.clone());
                        // What is on its way may have the last one still.
                        let old = tokens.len().saturating_sub(2);
                        tokens.drain(..old);
                    }
                    self.replace("wegly-token", &token).await;
                    self.asks("billing", false).await == 200
                }
                1 => {
                    let off = "name = \"guest\"\ndisabled = true";
                    let (config, expected) = match is_back {
                        0 => (self.config.replace("name = \"guest\"", off), 401),
                        _ => (self.config.clone(), 200),
                    };
                    self.replace("portaria.toml", &config).await;
                    self.asks("guest", false).await == expected
                }
                2 => {
                    let certificate = self.certificates[1 - is_back].clone();
                    self.replace("tls.pem", &pem(&certificate)).await;
                    let tls = connect(self.gateway.address(), &self.connector).await;
                    tls.get_ref().1.peer_certificates().unwrap() == [certificate.der()]
                }
                _ => {
                    self.replace("rules.json", RULES[1 - is_back]).await;
                    let expected = [422, 200][is_back];
                    self.asks("billing", true).await == expected
                }
            };
            self.without_effect += usize::from(!is_seen);
        }
    }

    /// Replaces a file and reloads. The gateway looks by itself, too: nothing is ever half
    /// written.
    async fn replace(&mut self, file: &str, content: &str) {
        let files = self.gateway.files();
        let new = files.write("new", content);
        fs::rename(new, files.path(file)).unwrap();
        let began = Instant::now();
        let request = "POST /reload HTTP/1.1\r\nHost: portaria.test\r\n\r\n";
        let answer = self.door.exchange(request).await;
        self.took.push(began.elapsed());
        self.failed += usize::from(answer.status != 200);
    }

    /// What is said to a message of this application, one that keeps every rule or not.
    async fn asks(&mut self, application: &str, is_odd: bool) -> u16 {
        self.probes += 1;
        // Far above those of the load.
        let number = if is_odd { 2 * MESSAGES } else { MESSAGES } - self.probes;
        let socket = self.gateway.files().path("socket");
        let mut client = Client::connect_unix(&socket).await.unwrap();
        let mut template = Template::of(application);
        let exchange = client.exchange(template.message(number));
        timeout(PATIENCE, exchange).await.unwrap().unwrap().status
    }
}
