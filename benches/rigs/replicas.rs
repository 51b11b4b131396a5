//! Are three gateways one?
//!
//! Three processes share a real Redis. Together they must allow what one would, send a
//! message that has a name once, whichever of them is asked, and fail nobody while Redis is
//! away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    client::{Answer, Client, Template},
    gateway::Gateway,
    ledger::Ledger,
    report::{Report, milliseconds, percentile},
    support::Redis,
    upstream::{Manners, Upstream},
};

const GATEWAYS: usize = 3;
/// Applications that ask for more than they may.
const CLIENTS: usize = 200;
/// What all of them may, and for how long they try.
const RATE: usize = 300;
const BURST: usize = 100;
const TRY: Duration = Duration::from_secs(20);
/// Between two messages of an application.
const BREATH: Duration = Duration::from_millis(20);
/// Names that all gateways are asked for at once.
const NAMES: usize = 1000;
/// The longest that the upstream takes: the others are asked meanwhile.
const UNHURRIED: Duration = Duration::from_millis(5);
/// Applications that send while Redis is away, and for how long it is.
const SENDERS: usize = 24;
const AWAY: Duration = Duration::from_secs(3);
/// More messages than they send in that time.
const MESSAGES: usize = 100_000;
/// What a question to Redis may take: `[redis].timeout`, as it is without a config.
const BUDGET: Duration = Duration::from_millis(50);
/// The longest that anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// However busy the machine is, Redis is asked.
const PATIENT: (&str, &str) = ("REDIS__TIMEOUT", "5s");

pub(crate) async fn run(report: &mut Report) {
    one_limit(report).await;
    names(report).await;
    outages(report).await;
}

async fn three(upstream: &Upstream, redis: &Redis, settings: &[(&str, &str)]) -> Vec<Gateway> {
    let replicas = GATEWAYS.to_string();
    let settings = [&redis.settings(&replicas), settings].concat();
    let gateways: Vec<Gateway> = (0..GATEWAYS)
        .map(|_| Gateway::start(upstream, &settings))
        .collect();
    for gateway in &gateways {
        gateway.await_metric("portaria_limit_store_up 1").await;
    }
    gateways
}

async fn one_limit(report: &mut Report) {
    report.title(format!(
        "{CLIENTS} applications ask {GATEWAYS} gateways for more than {RATE} messages a second"
    ));
    let ledger = Arc::new(Ledger::new(1));
    let upstream = Upstream::start(Manners::Prompt, ledger).await;
    let redis = Redis::start().await;
    let (rate, burst) = (format!("{RATE}/s"), BURST.to_string());
    let settings = [
        PATIENT,
        ("LIMITS__UPSTREAM__RATE", &*rate),
        ("LIMITS__UPSTREAM__BURST", &burst),
    ];
    let gateways = three(&upstream, &redis, &settings).await;
    let end = Instant::now() + TRY;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let address = gateways[number % GATEWAYS].address();
        clients.spawn(async move {
            let mut client = Client::connect(address).await.unwrap();
            let (mut template, mut passed, mut refused) = (Template::new(), Vec::new(), 0);
            while Instant::now() < end {
                // Each to a chat of its own. All have the same number: nobody looks at the
                // ledger.
                let answer = client.exchange(template.message_to(number, 0)).await;
                match answer.unwrap().status {
                    200 => passed.push(Instant::now()),
                    429 => refused += 1,
                    status => panic!("{status}"),
                }
                sleep(BREATH).await;
            }
            (passed, refused)
        });
    }
    let (passed, refused): (Vec<_>, Vec<usize>) = clients.join_all().await.into_iter().unzip();
    let passed = passed.concat();
    let first = passed.iter().min().unwrap();
    let time = passed.iter().max().unwrap().duration_since(*first);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let share = passed.len() as f64 / (time.as_secs_f64() * RATE as f64 + BURST as f64);
    report.figure("refused", refused.iter().sum::<usize>());
    report.figure("let through", passed.len());
    report.promise(
        "of what one gateway would",
        format!("{:.2} %", share * 100.0),
        (0.99..=1.01).contains(&share),
        "within 1 %",
    );
}

async fn names(report: &mut Report) {
    report.title(format!(
        "{NAMES} names, each at {GATEWAYS} gateways at once"
    ));
    let ledger = Arc::new(Ledger::new(NAMES));
    let upstream = Upstream::start(Manners::Unhurried(UNHURRIED), ledger.clone()).await;
    let redis = Redis::start().await;
    let settings = [PATIENT, ("IDEMPOTENCY__STORE", "redis")];
    let gateways = three(&upstream, &redis, &settings).await;
    let mut clients = Vec::new();
    for gateway in &gateways {
        clients.push(Client::connect(gateway.address()).await.unwrap());
    }
    let (mut template, mut statuses) = (Template::named(), Vec::new());
    for number in 0..NAMES {
        let message = template.message(number);
        let asked = clients.iter_mut().map(|client| client.exchange(message));
        let asked = join_all(asked);
        let answers = timeout(PATIENCE, asked).await.unwrap();
        statuses.extend(answers.into_iter().map(Result::unwrap));
    }
    let count = |is_so: fn(&Answer) -> bool| statuses.iter().filter(|one| is_so(one)).count();
    let sent = count(|answer| answer.status == 200 && !answer.is_replay);
    report.promise("answered by the upstream", sent, sent == NAMES, "each once");
    report.figure(
        "answered again",
        count(|answer| answer.status == 200 && answer.is_replay),
    );
    report.figure("in progress", count(|answer| answer.status == 409));
    report.none(
        "answered otherwise",
        count(|answer| ![200, 409].contains(&answer.status)),
    );
    report.none(
        "not sent exactly once",
        NAMES - ledger.count(|fate| fate.whole == 1 && fate.part == 0),
    );
}

async fn outages(report: &mut Report) {
    report.title(format!("{SENDERS} applications send while Redis is away"));
    let ledger = Arc::new(Ledger::new(MESSAGES));
    let upstream = Upstream::start(Manners::Prompt, ledger.clone()).await;
    let mut redis = Redis::start().await;
    let gateways = three(&upstream, &redis, &[]).await;
    let load = Load::start(&gateways);
    sleep(AWAY).await;
    let usual = load.take();

    redis.kill();
    let local = switched(&gateways, "portaria_limit_store_up 0").await;
    sleep(AWAY).await;
    redis.restart().await;
    let back = switched(&gateways, "portaria_limit_store_up 1").await;
    let killed = load.take();
    redis.pause();
    let paused_local = switched(&gateways, "portaria_limit_store_up 0").await;
    sleep(AWAY).await;
    redis.resume();
    let paused_back = switched(&gateways, "portaria_limit_store_up 1").await;
    let (paused, messages) = load.end().await;

    for (name, took, most) in [
        ("killed: all on their own", local, 1),
        ("restarted: all together", back, 2),
        ("paused: all on their own", paused_local, 1),
        ("resumed: all together", paused_back, 2),
    ] {
        let wanted = format!("{most} s");
        let holds = took <= Duration::from_secs(most);
        report.promise(name, milliseconds(took), holds, &wanted);
    }
    report.figure("messages", messages);
    report.none(
        "not answered with success",
        messages - usual.passed - killed.passed - paused.passed,
    );
    let mut slowest = |name: &str, mut took: Vec<Duration>, most: Option<Duration>| {
        let last = percentile(&mut took, 100);
        let name = format!("{name}: the slowest answer");
        match most {
            None => report.figure(&name, milliseconds(last)),
            Some(most) => report.promise(&name, milliseconds(last), last <= most, "50 ms more"),
        }
        last
    };
    let before = slowest("before", usual.took, None);
    slowest("killed", killed.took, Some(before + BUDGET));
    slowest("paused", paused.took, Some(before + BUDGET));
    report.none("doubled", ledger.count(|fate| fate.is_doubled()));
}

/// How long it takes until all of them say so.
async fn switched(gateways: &[Gateway], line: &str) -> Duration {
    let began = Instant::now();
    for gateway in gateways {
        gateway.await_metric(line).await;
    }
    began.elapsed()
}

/// Applications that send until they are told to stop.
struct Load {
    senders: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    phase: Arc<Mutex<Phase>>,
}

/// What the answers of a while were.
#[derive(Default)]
struct Phase {
    passed: usize,
    took: Vec<Duration>,
}

impl Load {
    fn start(gateways: &[Gateway]) -> Self {
        let mut load = Self {
            senders: JoinSet::new(),
            is_over: Arc::default(),
            next: Arc::default(),
            phase: Arc::default(),
        };
        for sender in 0..SENDERS {
            let address = gateways[sender % GATEWAYS].address();
            let (is_over, next) = (load.is_over.clone(), load.next.clone());
            let phase = load.phase.clone();
            load.senders.spawn(async move {
                let mut client = Client::connect(address).await.unwrap();
                let (mut template, mut pace) = (Template::new(), interval(BREATH));
                while !is_over.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    let exchange = client.exchange(template.message(number));
                    let answer = timeout(PATIENCE, exchange).await.unwrap().unwrap();
                    let mut phase = phase.lock().unwrap();
                    phase.took.push(began.elapsed());
                    phase.passed += usize::from(answer.status == 200);
                }
            });
        }
        load
    }

    /// What came since it was last asked.
    fn take(&self) -> Phase {
        std::mem::take(&mut *self.phase.lock().unwrap())
    }

    /// Ends it; returns the last answers, and how many messages were sent in all.
    async fn end(self) -> (Phase, usize) {
        self.is_over.store(true, Ordering::Relaxed);
        self.senders.join_all().await;
        let last = std::mem::take(&mut *self.phase.lock().unwrap());
        (last, self.next.load(Ordering::Relaxed))
    }
}
