//! What is left when ten times too much comes?
//!
//! An upstream with 64 places that takes 50 ms for each message, and a gateway that
//! knows it. Then ten times what fits: as much as fits must still get through, in the
//! time that it takes otherwise, and what is too much must hear so at once. Then a
//! crowd that connects and sends nothing, or as good as nothing.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{
    client::{Client, Template},
    gateway::{Gateway, raise_descriptors},
    ledger::Ledger,
    report::{Report, mebibytes, milliseconds, percentile},
    upstream::{Manners, Upstream},
};

const PLACES: usize = 64;
const TIME: Duration = Duration::from_millis(50);
/// What that makes in a second.
const CAPACITY: usize = 1280;
/// How often one connection sends; longer than an answer takes.
const BEAT: Duration = Duration::from_millis(125);
const BEATS_PER_SECOND: usize = 8;
/// How long it is quiet before and after.
const QUIET: Duration = Duration::from_secs(5);
/// How often an orchestrator asks.
const PROBES: Duration = Duration::from_millis(20);
/// Connections that send nothing, and that send a byte a second.
const IDLE: usize = 10_000;
const SLOW: usize = 1_000;
/// How long they stay.
const STAY: Duration = Duration::from_secs(10);

pub(crate) async fn run(seconds: usize, report: &mut Report) {
    too_much(Duration::from_secs(u64::try_from(seconds).unwrap()), report).await;
    a_crowd(report).await;
}

async fn too_much(time: Duration, report: &mut Report) {
    let capacity = capacity().await;
    let places = Arc::new(Semaphore::new(PLACES));
    let upstream = Upstream::start(Manners::Busy(places, TIME), ledger()).await;
    let most = PLACES.to_string();
    let gateway = Gateway::start(&upstream, &[("SERVER__MAX_IN_FLIGHT", &most)]);
    let health = Health::watch(gateway.admin_address());

    let before = drive(gateway.address(), CAPACITY / 2, QUIET).await;
    let memory = gateway.memory();
    let mut during = drive(gateway.address(), CAPACITY * 10, time).await;
    let memory_during = gateway.memory();
    let after = drive(gateway.address(), CAPACITY / 2, QUIET).await;
    let mut health = health.end().await;

    report.title(format!("{PLACES} places of {} ms", TIME.as_millis()));
    report.figure("capacity without a gateway, a second", capacity);
    report.figure("answers before, a second", before.accepted.len() / 5);
    report.figure("  median", milliseconds(percentile(&mut before.took(), 50)));
    let usual = percentile(&mut before.took(), 99);
    report.figure("  99 of 100 within", milliseconds(usual));

    report.title(format!("{} times as much, for {} s", 10, time.as_secs()));
    report.figure("messages, a second", during.rate(during.sent(), time));
    let goodput = during.rate(during.accepted.len(), time);
    report.promise(
        "answers, a second",
        goodput,
        goodput * 100 >= capacity * 95,
        "95 % of the capacity",
    );
    report.figure("  median", milliseconds(percentile(&mut during.took(), 50)));
    let slowest = percentile(&mut during.took(), 99);
    report.promise(
        "  99 of 100 within",
        milliseconds(slowest),
        slowest <= usual * 2,
        "twice as long",
    );
    report.figure(
        "refusals, a second",
        during.rate(during.refused.len(), time),
    );
    report.figure(
        "  median",
        milliseconds(percentile(&mut during.refused, 50)),
    );
    let slowest = percentile(&mut during.refused, 99);
    report.promise(
        "  99 of 100 within",
        milliseconds(slowest),
        slowest <= Duration::from_millis(20),
        "20 ms",
    );
    report.none("neither", during.other + before.other + after.other);
    let slowest = percentile(&mut health, 99);
    report.promise(
        "/readyz, 99 of 100 within",
        milliseconds(slowest),
        slowest <= Duration::from_millis(100),
        "100 ms",
    );
    report.figure("memory before", mebibytes(memory));
    report.figure("memory during", mebibytes(memory_during));
    let recovery = after.recovery(percentile(&mut before.took(), 50) * 2);
    report.promise(
        "as before again after",
        milliseconds(recovery),
        recovery < QUIET,
        "5 s",
    );
}

async fn a_crowd(report: &mut Report) {
    let limit = raise_descriptors();
    assert!(
        limit > IDLE + SLOW + 1000,
        "too few descriptors: ulimit -n is {limit}"
    );
    let upstream = Upstream::start(Manners::Prompt, ledger()).await;
    let settings = [
        ("SERVER__MAX_CONNECTIONS", "15000"),
        // Or they would be gone too soon.
        ("SERVER__HEAD_TIMEOUT", "5min"),
    ];
    let gateway = Gateway::start(&upstream, &settings);
    let before = drive(gateway.address(), CAPACITY / 2, QUIET).await;
    let memory = gateway.memory();
    let mut crowd = Vec::new();
    for _ in 0..IDLE + SLOW {
        crowd.push(Client::connect(gateway.address()).await.unwrap());
    }
    let mut slow: Vec<Client> = crowd.split_off(IDLE);
    let during = {
        let dribble = async {
            let mut template = Template::new();
            for byte in template.message(0).to_vec() {
                for client in &mut slow {
                    client.dribble(&[byte]).await.unwrap();
                }
                sleep(Duration::from_secs(1)).await;
            }
            // More than it ever comes to.
            std::future::pending().await
        };
        tokio::select! {
            () = dribble => unreachable!("it goes on"),
            during = drive(gateway.address(), CAPACITY / 2, STAY) => during,
        }
    };
    let memory_during = gateway.memory();
    let descriptors = gateway.descriptors();
    drop((crowd, slow));
    let after = drive(gateway.address(), CAPACITY / 2, QUIET).await;

    report.title(format!(
        "{IDLE} connections that say nothing, {SLOW} that say a byte a second"
    ));
    for (name, phase, time) in [
        ("before", &before, QUIET),
        ("during", &during, STAY),
        ("after", &after, QUIET),
    ] {
        let rate = phase.rate(phase.accepted.len(), time);
        report.promise(
            &format!("answers {name}, a second"),
            rate,
            rate * 100 >= CAPACITY / 2 * 99,
            "99 % of what was sent",
        );
        report.figure(
            "  99 of 100 within",
            milliseconds(percentile(&mut phase.took(), 99)),
        );
    }
    let descriptors = descriptors.map_or("?".to_owned(), |count| count.to_string());
    report.figure("descriptors during", descriptors);
    report.figure("memory before", mebibytes(memory));
    let most = 256 * 1024 * 1024;
    report.promise(
        "memory during",
        mebibytes(memory_during),
        memory_during <= most,
        "256 MiB",
    );
    report.figure("memory after", mebibytes(gateway.memory()));
}

/// Nobody asks which messages came here: only how many, and how fast.
fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(1))
}

/// How many messages a second the upstream takes when nothing stands before it.
async fn capacity() -> usize {
    let places = Arc::new(Semaphore::new(PLACES));
    let upstream = Upstream::start(Manners::Busy(places, TIME), ledger()).await;
    let address = upstream.address();
    let end = Instant::now() + Duration::from_secs(3);
    let mut senders = JoinSet::new();
    for _ in 0..PLACES {
        senders.spawn(async move {
            let mut template = Template::new();
            let mut client = Client::connect(address).await.unwrap();
            let mut count = 0;
            while Instant::now() < end {
                client.exchange(template.message(0)).await.unwrap();
                count += 1;
            }
            count
        });
    }
    senders.join_all().await.into_iter().sum::<usize>() / 3
}

/// What came of some time of sending.
#[derive(Default)]
struct Phase {
    /// When each was answered, counted from the beginning, and how long it took.
    accepted: Vec<(Duration, Duration)>,
    /// When the last refusal came.
    last_refusal: Duration,
    /// How long each refusal took.
    refused: Vec<Duration>,
    /// Whatever else: other refusals, other answers, lost connections.
    other: usize,
}

impl Phase {
    fn sent(&self) -> usize {
        self.accepted.len() + self.refused.len() + self.other
    }

    fn rate(&self, count: usize, time: Duration) -> usize {
        count / usize::try_from(time.as_secs()).unwrap().max(1)
    }

    fn took(&self) -> Vec<Duration> {
        self.accepted.iter().map(|(_, took)| *took).collect()
    }

    /// When the last refusal, or the last answer that took longer than `usual`, came.
    fn recovery(&self, usual: Duration) -> Duration {
        let slow = self.accepted.iter().filter(|(_, took)| *took > usual);
        let last_slow = slow.map(|(at, _)| *at).max().unwrap_or_default();
        last_slow.max(self.last_refusal)
    }

    fn add(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        self.refused.extend(other.refused);
        self.last_refusal = self.last_refusal.max(other.last_refusal);
        self.other += other.other;
    }
}

/// Sends so many messages a second, whatever becomes of them, over as many connections
/// as that takes.
async fn drive(address: SocketAddr, rate: usize, time: Duration) -> Phase {
    let connections = rate / BEATS_PER_SECOND;
    let began = Instant::now() + Duration::from_millis(500);
    let mut senders = JoinSet::new();
    for index in 0..u32::try_from(connections).unwrap() {
        let first = began + BEAT * index / u32::try_from(connections).unwrap();
        senders.spawn(async move {
            let mut phase = Phase::default();
            let mut template = Template::new();
            let mut client = Client::connect(address).await.unwrap();
            let mut beats = interval_at(first, BEAT);
            beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                let sent = beats.tick().await;
                if sent >= began + time {
                    return phase;
                }
                let sent = Instant::now();
                let result = client.exchange(template.message(0)).await;
                let (at, took) = (began.elapsed(), sent.elapsed());
                match result.map(|answer| answer.status) {
                    Ok(200) => phase.accepted.push((at, took)),
                    Ok(503) => {
                        phase.refused.push(took);
                        phase.last_refusal = at;
                    }
                    Ok(_) | Err(_) => phase.other += 1,
                }
                if result.map_or(true, |answer| answer.is_last) {
                    client = Client::connect(address).await.unwrap();
                }
            }
        });
    }
    let mut sum = Phase::default();
    while let Some(phase) = senders.join_next().await {
        sum.add(phase.unwrap());
    }
    sum
}

/// Asks again and again whether the gateway is ready, as an orchestrator does: each time
/// over a connection of its own.
struct Health(JoinSet<Vec<Duration>>, Arc<Notify>);

impl Health {
    fn watch(address: SocketAddr) -> Self {
        let end = Arc::new(Notify::new());
        let ended = end.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut took = Vec::new();
            loop {
                let began = Instant::now();
                is_ready(address).await.expect("the gateway is ready");
                took.push(began.elapsed());
                if timeout(PROBES, ended.notified()).await.is_ok() {
                    return took;
                }
            }
        });
        Self(tasks, end)
    }

    /// How long each answer took.
    async fn end(mut self) -> Vec<Duration> {
        self.1.notify_one();
        self.0.join_next().await.unwrap().unwrap()
    }
}

pub(crate) async fn is_ready(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = b"GET /readyz HTTP/1.1\r\nHost: portaria.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}
