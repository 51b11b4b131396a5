//! What does a name cost a message?
//!
//! The same messages go through gateways that keep their records in different places, one
//! after the other: without names, in memory, in a file, in a Redis.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    client::{Client, Template},
    gateway::Gateway,
    ledger::Ledger,
    report::{Report, percentile},
    support::Redis,
    upstream::{Manners, Upstream},
};

/// How many applications send at once.
const CONNECTIONS: usize = 8;
/// Messages of each before anything is measured.
const WARM_UP: usize = 50;
/// The longest that an application waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(count: usize, report: &mut Report) {
    report.title(format!(
        "{count} messages of {CONNECTIONS} applications, past an upstream that answers at once"
    ));
    let each = count / CONNECTIONS + WARM_UP;
    let redis = Redis::start().await;
    let settings = redis.settings("1");
    let [.., (_, url)] = settings[..] else {
        unreachable!("its address comes last")
    };
    let in_redis = format!("store = 'redis'\n[redis]\nurl = '{url}'");
    for (name, template, store) in [
        ("without names", Template::new(), ""),
        ("names in memory", Template::named(), "store = 'local'"),
        (
            "names in a file",
            Template::named(),
            "store = 'file:sent.redb'",
        ),
        ("names in Redis", Template::named(), &in_redis),
    ] {
        let ledger = Arc::new(Ledger::new(CONNECTIONS * each));
        let upstream = Upstream::start(Manners::Prompt, ledger.clone()).await;
        let home = Gateway::home(&upstream);
        home.append(&format!("[idempotency]\nmax_entries = 10000000\n{store}"));
        let gateway = Gateway::start_at(home, &[]);
        let mut senders = JoinSet::new();
        for number in 0..CONNECTIONS {
            let client = Client::connect(gateway.address()).await.unwrap();
            senders.spawn(send(
                client,
                template.clone(),
                number * each..(number + 1) * each,
            ));
        }
        let mut times: Vec<Duration> = senders.join_all().await.into_iter().flatten().collect();
        for percent in [50, 99] {
            let micros = percentile(&mut times, percent).as_micros();
            report.figure(
                &format!("{name}, {percent} % within"),
                format!("{micros} µs"),
            );
        }
        let delivered = ledger.count(|fate| fate.whole == 1);
        report.none(
            &format!("{name}, not sent exactly once"),
            CONNECTIONS * each - delivered,
        );
    }
}

/// Sends these messages, one after the other; returns how long each but the first took.
async fn send(
    mut client: Client,
    mut template: Template,
    numbers: std::ops::Range<usize>,
) -> Vec<Duration> {
    let mut times = Vec::with_capacity(numbers.len());
    for number in numbers {
        let message = template.message(number);
        let began = Instant::now();
        let answer = timeout(PATIENCE, client.exchange(message)).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(answer.unwrap().status, 200);
    }
    times.split_off(WARM_UP)
}
