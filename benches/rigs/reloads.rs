//! Does a reload lose anything?
//!
//! While applications send as fast as they can, the config changes again and again: a token,
//! a setting, a key. Every message must be answered with success, and every reload must be
//! one. Nothing that a reload opens may stay open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    client::{Client, Template},
    gateway::Gateway,
    ledger::{Ledger, Told},
    report::{Report, mebibytes, milliseconds, percentile},
    support,
    upstream::{Manners, Upstream},
};

/// How many applications send at once.
const CONNECTIONS: usize = 16;
/// More messages than they can send in that time.
const MESSAGES: usize = 20_000_000;
/// Memory that may come and go.
const SLACK: usize = 16 * 1024 * 1024;

pub(crate) async fn run(count: usize, report: &mut Report) {
    report.title(format!(
        "{count} reloads under the load of {CONNECTIONS} applications"
    ));
    let ledger = Arc::new(Ledger::new(MESSAGES));
    let upstream = Upstream::start(Manners::Prompt, ledger.clone()).await;
    let gateway = Gateway::start(&upstream, &[]);
    let (next, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (ledger, next, is_over) = (ledger.clone(), next.clone(), is_over.clone());
        let address = gateway.address();
        senders.spawn(async move {
            let mut template = Template::new();
            let mut client = Client::connect(address).await.unwrap();
            let mut connections = 1;
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let result = client.exchange(template.message(number)).await;
                ledger.note_told(number, &result);
                if result.map_or(true, |answer| answer.is_last) {
                    client = Client::connect(address).await.unwrap();
                    connections += 1;
                }
            }
            connections
        });
    }

    // The first few open what is opened once.
    let warm_up = count / 10;
    let before = std::fs::read_to_string(gateway.files().config()).unwrap();
    let mut took = Vec::new();
    let mut failed = reload(&gateway, &before, 0..warm_up, &mut took).await;
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    let began = Instant::now();
    failed += reload(&gateway, &before, warm_up..count, &mut took).await;
    let (all, memory_after, descriptors_after) =
        (began.elapsed(), gateway.memory(), gateway.descriptors());
    is_over.store(true, Ordering::Relaxed);
    let mut connections = 0;
    while let Some(sender) = senders.join_next().await {
        connections += sender.unwrap();
    }

    let sent = next.load(Ordering::Relaxed);
    report.figure("messages", sent);
    report.figure("seconds, without the first tenth", all.as_secs());
    report.none(
        "not answered with success",
        sent - ledger.count(|fate| fate.was_told(Told::Success)),
    );
    report.none("doubled", ledger.count(|fate| fate.is_doubled()));
    report.none("connections that ended", connections - CONNECTIONS);
    report.none("reloads that failed", failed);
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
        // A few upstream connections come and go.
        descriptors_after <= descriptors.map(|count| count + CONNECTIONS),
        "no more, but for upstream connections",
    );
    gateway.terminate();
    let (status, log) = gateway.exit().await;
    report.none("errors in the log", log.errors);
    report.promise("exit", status, status.success(), "0");
}

/// Changes something, and reloads; returns how often that failed.
async fn reload(
    gateway: &Gateway,
    before: &str,
    numbers: std::ops::Range<usize>,
    took: &mut Vec<Duration>,
) -> usize {
    let mut failed = 0;
    let mut operator = support::Client::connect(gateway.admin_address()).await;
    for number in numbers {
        let (file, content) = match number % 3 {
            0 => ("wegly-token", format!("{}-{number}", support::TOKEN)),
            1 => {
                let hosts = format!("hosts = ['portaria.test', 'n{number}.test']\n[admin]");
                ("portaria.toml", before.replacen("[admin]", &hosts, 1))
            }
            _ => {
                let revoked = "name = \"shop\"\ndisabled = true";
                (
                    "portaria.toml",
                    before.replacen("name = \"shop\"", revoked, 1),
                )
            }
        };
        // The gateway looks by itself, too: nothing is ever half written.
        let new = gateway.files().write("new", &content);
        std::fs::rename(new, gateway.files().path(file)).unwrap();
        let began = Instant::now();
        let answer = operator
            .exchange("POST /reload HTTP/1.1\r\nHost: portaria.test\r\n\r\n")
            .await;
        took.push(began.elapsed());
        failed += usize::from(answer.status != 200);
    }
    failed
}
