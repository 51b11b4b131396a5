//! Does a stop lose an answer?
//!
//! Again and again a gateway under load gets a SIGTERM at a random moment. A message
//! that the gateway has read must be answered, whole; one that it has not read must
//! not have gone out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, Ended, Template},
    gateway::Gateway,
    ledger::{Ledger, Told},
    report::{Report, milliseconds, percentile},
    upstream::{Manners, Random, Upstream},
};

/// How many applications send at once.
const CONNECTIONS: usize = 32;
/// Messages that one of them sends, at most.
const MESSAGES: usize = 10_000;
/// The longest that the upstream takes: answers are under way at every moment.
const UNHURRIED: Duration = Duration::from_millis(20);
/// The longest that a gateway runs before its SIGTERM, in microseconds.
const RUN: usize = 150_000;
/// The longest that an application waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the messages of all stops.
#[derive(Default)]
struct Sum {
    answered: usize,
    refused: usize,
    unread: usize,
    unaccepted: usize,
    lost: usize,
    half: usize,
    doubled: usize,
    unlogged: usize,
    unclean: usize,
    drains: Vec<Duration>,
}

pub(crate) async fn run(count: usize, report: &mut Report) {
    report.title(format!(
        "{count} SIGTERMs under the load of {CONNECTIONS} applications"
    ));
    let mut random = Random(1);
    let mut sum = Sum::default();
    for _ in 0..count {
        let moment = Duration::from_micros(u64::try_from(random.below(RUN)).unwrap());
        stop(moment, &mut sum).await;
    }
    report.figure("answered by the upstream", sum.answered);
    report.figure("refused as draining", sum.refused);
    report.figure("never read, never sent", sum.unread);
    report.figure("  of these, on a new connection", sum.unaccepted);
    report.none("sent, and not answered", sum.lost);
    report.none("answered in half", sum.half);
    report.none("sent more than once", sum.doubled);
    report.none("answers less than log lines", sum.unlogged);
    report.none("exits other than 0", sum.unclean);
    report.figure(
        "SIGTERM to exit, median",
        milliseconds(percentile(&mut sum.drains, 50)),
    );
    report.figure(
        "SIGTERM to exit, longest",
        milliseconds(percentile(&mut sum.drains, 100)),
    );
}

/// Starts a gateway, stops it at this moment, and adds up what became of the messages.
async fn stop(moment: Duration, sum: &mut Sum) {
    let ledger = Arc::new(Ledger::new(CONNECTIONS * MESSAGES));
    let upstream = Upstream::start(Manners::Unhurried(UNHURRIED), ledger.clone()).await;
    let gateway = Gateway::start(&upstream, &[]);
    let mut senders = JoinSet::new();
    for number in 0..CONNECTIONS {
        senders.spawn(send(gateway.address(), number * MESSAGES, ledger.clone()));
    }
    sleep(moment).await;
    let began = Instant::now();
    gateway.terminate();
    let (status, log) = gateway.exit().await;
    sum.drains.push(began.elapsed());
    while let Some(sender) = senders.join_next().await {
        sum.unaccepted += sender.unwrap();
    }

    let told = |told| ledger.count(|fate| fate.was_told(told));
    let (success, refused) = (told(Told::Success), told(Told::NotSent));
    let was_sent = |told| ledger.count(|fate| fate.was_told(told) && fate.act.is_some());
    sum.answered += success;
    sum.refused += refused;
    sum.unread += told(Told::Silence) - was_sent(Told::Silence);
    sum.lost += was_sent(Told::Silence) + was_sent(Told::NotSent) + told(Told::Unknown);
    sum.half += told(Told::HalfAnAnswer);
    sum.doubled += ledger.count(|fate| fate.is_doubled());
    sum.unlogged += log.requests.saturating_sub(success + refused);
    sum.unclean += usize::from(!status.success());
}

/// Sends message after message, until nobody listens any more. Returns how many new
/// connections ended before their first answer.
async fn send(address: SocketAddr, first: usize, ledger: Arc<Ledger>) -> usize {
    let mut template = Template::new();
    let mut unaccepted = 0;
    let mut numbers = first..first + MESSAGES;
    while let Ok(mut client) = Client::connect(address).await {
        let mut is_new = true;
        for number in &mut numbers {
            let exchange = client.exchange(template.message(number));
            let result = timeout(PATIENCE, exchange)
                .await
                .unwrap_or(Err(Ended::Silently));
            ledger.note_told(number, &result);
            unaccepted += usize::from(is_new && result == Err(Ended::Silently));
            is_new = false;
            if result.map_or(true, |answer| answer.is_last) {
                break;
            }
        }
    }
    unaccepted
}
