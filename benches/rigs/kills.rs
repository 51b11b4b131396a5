//! Does a kill make a message go out twice?
//!
//! Again and again a gateway under load, with its records in a file, is killed at a random
//! moment. The next one is asked for every message by its name: what had been answered must
//! be answered alike, what may have gone out must not go out again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Answer, Client, Ended, Template},
    gateway::Gateway,
    ledger::Ledger,
    report::{Report, milliseconds, percentile},
    support::Home,
    upstream::{Manners, Random, Upstream},
};

/// How many applications send at once.
const CONNECTIONS: usize = 32;
/// Messages that one of them sends before a kill, at most.
const MESSAGES: usize = 1000;
/// The longest that the upstream takes: answers are under way at every moment.
const UNHURRIED: Duration = Duration::from_millis(20);
/// The longest that a gateway runs before it is killed, in microseconds.
const RUN: usize = 150_000;
/// The longest that an application waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the messages of all kills.
#[derive(Default)]
struct Sum {
    messages: usize,
    answered: usize,
    replayed: usize,
    unknown: usize,
    first_sent: usize,
    forgotten: usize,
    unanswered: usize,
    starts: Vec<Duration>,
}

/// A message, and what was said of it before the kill.
type Told = (usize, Result<Answer, Ended>);

pub(crate) async fn run(count: usize, report: &mut Report) {
    report.title(format!(
        "{count} kills under the load of {CONNECTIONS} applications"
    ));
    let ledger = Arc::new(Ledger::new(count * CONNECTIONS * MESSAGES));
    let upstream = Upstream::start(Manners::Unhurried(UNHURRIED), ledger.clone()).await;
    let mut home = Gateway::home(&upstream);
    home.append(
        "[idempotency]\nstore = 'file:sent.redb'\nmax_entries = 10000000\nmax_bytes = '8 GiB'",
    );
    let (mut random, mut sum) = (Random(1), Sum::default());
    for round in 0..count {
        let first = round * CONNECTIONS * MESSAGES;
        let moment = Duration::from_micros(u64::try_from(random.below(RUN)).unwrap());
        let (left, told) = load(home, first, moment).await;
        home = ask_again(left, told, &mut sum).await;
    }
    report.figure("messages", sum.messages);
    report.figure("answered before the kill", sum.answered);
    report.figure("afterwards: answered again", sum.replayed);
    report.figure("afterwards: nobody knows", sum.unknown);
    report.figure("afterwards: sent for the first time", sum.first_sent);
    report.none("answered before, and not answered alike", sum.forgotten);
    report.none("answered in no way", sum.unanswered);
    let doubled = ledger.count(|fate| fate.is_doubled());
    report.none("sent more than once", doubled);
    let unsent = sum.replayed + sum.first_sent;
    let whole = ledger.count(|fate| 0 < fate.whole);
    report.promise(
        "messages at the upstream",
        whole,
        (unsent..=unsent + sum.unknown).contains(&whole),
        "answered, or unknown",
    );
    report.figure(
        "start to listening, median",
        milliseconds(percentile(&mut sum.starts, 50)),
    );
    report.figure(
        "start to listening, longest",
        milliseconds(percentile(&mut sum.starts, 100)),
    );
}

/// Runs a gateway under load and kills it at this moment.
async fn load(home: Home, first: usize, moment: Duration) -> (Home, Vec<Told>) {
    let gateway = Gateway::start_at(home, &[]);
    let mut senders = JoinSet::new();
    for number in 0..CONNECTIONS {
        senders.spawn(send(gateway.address(), first + number * MESSAGES));
    }
    sleep(moment).await;
    let home = gateway.kill();
    (
        home,
        senders.join_all().await.into_iter().flatten().collect(),
    )
}

/// Sends message after message, until nobody answers any more.
async fn send(address: SocketAddr, first: usize) -> Vec<Told> {
    let mut template = Template::named();
    let mut told = Vec::new();
    let Ok(mut client) = Client::connect(address).await else {
        return told;
    };
    for number in first..first + MESSAGES {
        let exchange = client.exchange(template.message(number));
        let result = timeout(PATIENCE, exchange)
            .await
            .unwrap_or(Err(Ended::Silently));
        told.push((number, result));
        if result.is_err() {
            break;
        }
    }
    told
}

/// Starts the next gateway, asks for every message, and adds up what it says.
async fn ask_again(home: Home, told: Vec<Told>, sum: &mut Sum) -> Home {
    let began = Instant::now();
    let gateway = Gateway::start_at(home, &[]);
    sum.starts.push(began.elapsed());
    let mut client = Client::connect(gateway.address()).await.unwrap();
    let mut template = Template::named();
    for (number, before) in told {
        sum.messages += 1;
        let was_answered = before.is_ok_and(|answer| answer.status == 200);
        sum.answered += usize::from(was_answered);
        let exchange = client.exchange(template.message(number));
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) if answer.status == 200 && answer.is_replay => sum.replayed += 1,
            Ok(Ok(answer)) if was_answered || ![200, 409].contains(&answer.status) => {
                sum.forgotten += 1;
            }
            Ok(Ok(answer)) if answer.status == 200 => sum.first_sent += 1,
            Ok(Ok(_)) => sum.unknown += 1,
            Ok(Err(_)) | Err(_) => sum.unanswered += 1,
        }
    }
    gateway.kill()
}
