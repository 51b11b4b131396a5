//! What does each thing take that it remembers?
//!
//! How much larger the process is with many of them than with few. What is freed again
//! counts too, where the allocator keeps it: that is what an operator sees.

use std::fmt::Write as _;

use tokio::task::JoinSet;

use crate::{
    client::{Client, Template},
    gateway::{Gateway, raise_descriptors},
    ledger::Ledger,
    report::{Report, mebibytes},
    support::Home,
    upstream::{Manners, Upstream},
};

const KEYS: usize = 10_000;
const CHATS: usize = 500_000;
const CONNECTIONS: usize = 10_000;
const RECORDS: usize = 100_000;
/// How many applications send at once.
const APPLICATIONS: usize = 32;
/// A chat is forgotten when its bucket is full again: not in this hour.
const SLOWLY: &str = r#"[limits]
upstream = { rate = "1000000/s", burst = 1000000 }
[[routes]]
name = "interactive"
path = "/integrations/external/chats/{id}/messages/interactive"
per_chat = { rate = "1/h", burst = 45 }"#;

pub(crate) async fn run(report: &mut Report) {
    let limit = raise_descriptors();
    assert!(
        limit > CONNECTIONS + 1000,
        "too few descriptors: ulimit -n is {limit}"
    );
    let upstream = Upstream::start(Manners::Prompt, Ledger::new(CHATS).into()).await;
    report.title("Memory");
    let bare = Gateway::start(&upstream, &[]);
    let empty = bare.memory();
    report.figure("a gateway that has just started", mebibytes(empty));

    keys(&upstream, empty, report);
    chats(&upstream, report).await;
    connections(&upstream, report).await;
    records(&upstream, report).await;
}

fn keys(upstream: &Upstream, empty: usize, report: &mut Report) {
    let mut blocks = String::new();
    for number in 0..KEYS {
        let block = format!(
            "\n[[keys]]\nname = \"app{number}\"\nhash = \"sha256:{number:064x}\"\n\
             allowed_domains = [\"app{number}.example.com\"]\n\
             rate_limit = {{ rate = \"20/s\", burst = 40 }}"
        );
        blocks.write_str(&block).unwrap();
    }
    let home = Gateway::home(upstream);
    home.append(&blocks);
    let gateway = Gateway::start_at(home, &[]);
    report.figure("a key", bytes(gateway.memory() - empty, KEYS));
}

async fn chats(upstream: &Upstream, report: &mut Report) {
    let home = Home::new(&upstream.url());
    home.append(SLOWLY);
    let gateway = Gateway::start_at(home, &[]);
    // The first few open what is opened once.
    send(&gateway, Template::new, 0..CHATS / 100).await;
    let before = gateway.memory();
    send(&gateway, Template::new, CHATS / 100..CHATS).await;
    let grown = gateway.memory() - before;
    let each = grown / (CHATS - CHATS / 100);
    report.promise("a chat", format!("{each} bytes"), each <= 200, "200 bytes");
}

/// One message to each of these chats.
async fn send(gateway: &Gateway, template: fn() -> Template, chats: std::ops::Range<usize>) {
    let address = gateway.address();
    let mut senders = JoinSet::new();
    for first in 0..APPLICATIONS {
        let chats = chats.clone().skip(first).step_by(APPLICATIONS);
        senders.spawn(async move {
            let mut template = template();
            let mut client = Client::connect(address).await.unwrap();
            for chat in chats {
                let answer = client.exchange(template.message_to(chat, chat)).await;
                assert_eq!(answer.unwrap().status, 200);
            }
        });
    }
    senders.join_all().await;
}

async fn connections(upstream: &Upstream, report: &mut Report) {
    let settings = [
        ("SERVER__MAX_CONNECTIONS", "15000"),
        // Or they would be gone too soon.
        ("SERVER__HEAD_TIMEOUT", "5min"),
    ];
    let gateway = Gateway::start(upstream, &settings);
    send(&gateway, Template::new, 0..CHATS / 100).await;
    let before = gateway.memory();
    let mut crowd = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = Client::connect(gateway.address()).await.unwrap();
        // Each has been used, as those that wait for their next message have.
        let mut template = Template::new();
        client.exchange(template.message(number)).await.unwrap();
        crowd.push(client);
    }
    let grown = gateway.memory() - before;
    report.figure("a connection that waits", bytes(grown, CONNECTIONS));
}

async fn records(upstream: &Upstream, report: &mut Report) {
    let home = Gateway::home(upstream);
    home.append("[idempotency]\nmax_entries = 10000000\nmax_bytes = '8 GiB'");
    let gateway = Gateway::start_at(home, &[]);
    send(&gateway, Template::named, 0..RECORDS / 100).await;
    let before = gateway.memory();
    send(&gateway, Template::named, RECORDS / 100..RECORDS).await;
    let grown = gateway.memory() - before;
    let name = "a record, with an answer of 100 bytes";
    report.figure(name, bytes(grown, RECORDS - RECORDS / 100));
}

fn bytes(grown: usize, count: usize) -> String {
    format!("{} bytes", grown / count)
}
