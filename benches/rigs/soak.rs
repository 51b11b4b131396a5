//! Is every message delivered once?
//!
//! First through an upstream that never fails: then every message must be answered,
//! once. Then a tenth as many through one that fails in every way there is: then what
//! the application is told must be true.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    client::{Client, Template},
    gateway::Gateway,
    ledger::{Ledger, Told},
    report::{Report, mebibytes},
    upstream::{Act, Manners, RESPONSE_TIMEOUT, Upstream},
};

/// How many applications send at once.
const CONNECTIONS: usize = 256;

pub(crate) async fn run(messages: usize, report: &mut Report) {
    report.title(format!("{messages} messages, an upstream without faults"));
    let ledger = round(messages, Manners::Prompt, report).await;
    report.none(
        "not answered with success",
        ledger.count(|fate| !fate.was_told(Told::Success)),
    );
    judge(&ledger, report);

    let messages = messages / 10;
    report.title(format!(
        "{messages} messages, each fault in one of a hundred"
    ));
    let ledger = round(messages, Manners::Faulty, report).await;
    judge(&ledger, report);
    tell_of_faults(&ledger, report);
}

/// Sends so many messages.
async fn round(messages: usize, manners: Manners, report: &mut Report) -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::new(messages));
    let upstream = Upstream::start(manners, ledger.clone()).await;
    let timeout = format!("{}ms", RESPONSE_TIMEOUT.as_millis());
    let gateway = Gateway::start(&upstream, &[("UPSTREAM__RESPONSE_TIMEOUT", &timeout)]);
    let next = Arc::new(AtomicUsize::new(0));
    // The first few open what is opened once.
    let warm_up = messages / 20;
    send(&gateway, &ledger, &next, warm_up).await;
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    let (began, cpu) = (Instant::now(), gateway.cpu_time());
    send(&gateway, &ledger, &next, messages).await;
    let (took, cpu) = (began.elapsed(), gateway.cpu_time() - cpu);

    let sent = messages - warm_up;
    report.figure("messages a second", per_second(sent, took));
    report.figure("processor time for one", per_message(sent, cpu));
    report.figure("memory after a twentieth of them", mebibytes(memory));
    report.figure("memory after all", mebibytes(gateway.memory()));
    report.figure("memory at most", mebibytes(gateway.peak_memory()));
    let show = |count: Option<usize>| count.map_or("?".to_owned(), |count| count.to_string());
    report.figure("descriptors after a twentieth", show(descriptors));
    report.figure("descriptors after all", show(gateway.descriptors()));
    gateway.terminate();
    let (status, log) = gateway.exit().await;
    report.figure("log lines of requests", log.requests);
    report.none("errors in the log", log.errors);
    report.promise("exit", status, status.success(), "0");
    ledger
}

/// Sends the messages up to this number, over many connections.
async fn send(gateway: &Gateway, ledger: &Arc<Ledger>, next: &Arc<AtomicUsize>, end: usize) {
    let address = gateway.address();
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (ledger, next) = (ledger.clone(), next.clone());
        senders.spawn(async move {
            let mut template = Template::new();
            let mut client = Client::connect(address).await.unwrap();
            loop {
                let number = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                    (number < end).then_some(number + 1)
                });
                let Ok(number) = number else { return };
                let result = client.exchange(template.message(number)).await;
                ledger.note_told(number, &result);
                if result.map_or(true, |answer| answer.is_last) {
                    client = Client::connect(address).await.unwrap();
                }
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
}

/// What holds whatever the upstream does.
fn judge(ledger: &Ledger, report: &mut Report) {
    report.none(
        "lost: \"sent\", and never arrived",
        ledger.count(|fate| fate.is_lost()),
    );
    report.none(
        "doubled: arrived more than once",
        ledger.count(|fate| fate.is_doubled()),
    );
    report.none(
        "\"not_sent\", and arrived",
        ledger.count(|fate| fate.is_denied()),
    );
    report.none(
        "without an answer",
        ledger.count(|fate| fate.was_told(Told::Silence)),
    );
    report.none(
        "half an answer",
        ledger.count(|fate| fate.was_told(Told::HalfAnAnswer)),
    );
    let unknown = ledger.count(|fate| fate.was_told(Told::Unknown));
    let arrived = ledger.count(|fate| fate.was_told(Told::Unknown) && fate.whole == 1);
    report.figure("\"unknown\"", unknown);
    report.figure("  of these, arrived whole", arrived);
}

/// What the applications were told, fault by fault.
fn tell_of_faults(ledger: &Ledger, report: &mut Report) {
    report.title(format!(
        "{:<30} {:>9} {:>9} {:>9} {:>9}",
        "an upstream that", "2xx", "\"sent\"", "not_sent", "unknown"
    ));
    let acts = Act::ALL.into_iter().map(Some).chain([None]);
    // It does not refuse a token, and it knows no message that it has not read.
    let never = [Act::ResetsUnread, Act::Answers401].map(Some);
    for act in acts.filter(|act| !never.contains(act)) {
        let [success, other, not_sent, unknown, ..] =
            Told::ALL.map(|told| ledger.count(|fate| fate.act == act && fate.was_told(told)));
        // One that resets before it reads cannot tell which message it was.
        let name = act.map_or("is away, or resets unread", Act::name);
        report.line(format!(
            "  {name:<28} {success:>9} {other:>9} {not_sent:>9} {unknown:>9}"
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: usize, took: Duration) -> String {
    format!("{:.0}", count as f64 / took.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_message(count: usize, cpu: Duration) -> String {
    format!("{:.1} µs", cpu.as_secs_f64() * 1e6 / count as f64)
}
