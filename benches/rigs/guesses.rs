//! What does a wrong key tell, and what does it leave behind?
//!
//! It is refused in the same time, whether it is like a right one or not: as dudect does, the
//! times of two kinds are compared by Welch's t. One that was right once takes a fraction of a
//! microsecond longer, for its owner's name is known; whoever has such a key knows that it was
//! one. And however many are tried, from however many addresses, nothing of them is kept.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use memchr::memmem;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    client::Client,
    gateway::Gateway,
    ledger::Ledger,
    report::{Report, mebibytes},
    support::{CHAT, Home, key},
    upstream::{Manners, Random, Upstream},
};

/// Of each kind.
const SAMPLES: usize = 100_000;
/// A difference below that is none, says dudect.
const MOST_T: f64 = 4.5;
/// For a key that was right once, in nanoseconds.
const MOST_APART: f64 = 1000.0;
/// The slowest, in per cent, are the system's doing.
const CROP: usize = 10;

/// Connections at once, and keys that are tried on each.
const CONNECTIONS: usize = 32;
const PER_CONNECTION: usize = 50;
/// For a million of keys.
const MOST_GROWTH: usize = 16 * 1024 * 1024;

pub(crate) async fn run(count: usize, report: &mut Report) {
    let upstream = Upstream::start(Manners::Prompt, Arc::new(Ledger::new(1))).await;
    let home = Home::new(&upstream.url());
    let socket = home.path("socket");
    home.edit(|text| {
        let listen = format!("\"127.0.0.1:0\", \"unix:{}\"", socket.display());
        let keys = ["off", "old"].map(|name| {
            let hash = portaria::gateway_key::KeyHash::of(&key(name));
            let fate = match name {
                "off" => "disabled = true",
                _ => "expires_at = 2026-01-01T00:00:00Z",
            };
            format!("\n[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{fate}\n")
        });
        text.replacen("\"127.0.0.1:0\"", &listen, 1) + &keys.concat()
    });
    let gateway = Gateway::start_at(home, &[]);

    report.title(format!(
        "{SAMPLES} wrong keys of each kind, one after the other"
    ));
    let timed = tokio::task::spawn_blocking(move || time(&socket));
    let [random, others @ ..] = timed.await.unwrap();
    let [like_a_right_one, once_right @ ..] = others;
    report.figure("unlike any", microseconds(mean(&random)));
    report.figure("like a right one", microseconds(mean(&like_a_right_one)));
    let t = welch(&random, &like_a_right_one);
    let holds = t.abs() < MOST_T;
    report.promise("  Welch's t", format!("{t:.2}"), holds, "below 4.5");
    for (kind, times) in ["disabled", "expired"].iter().zip(&once_right) {
        let apart = (mean(times) - mean(&random)).abs();
        let holds = apart < MOST_APART;
        let name = format!("{kind}: apart from unlike any");
        report.promise(&name, microseconds(apart), holds, "1 µs");
    }

    report.title(format!(
        "{count} wrong keys, {PER_CONNECTION} from each address"
    ));
    let first = count / 20;
    guess(0..first, gateway.address()).await;
    let before = gateway.memory();
    guess(first..count, gateway.address()).await;
    let after = gateway.memory();
    report.figure("memory after a twentieth", mebibytes(before));
    let growth = after.saturating_sub(before);
    report.promise(
        "grown by",
        mebibytes(growth),
        growth < MOST_GROWTH,
        "below 16 MiB",
    );
}

/// How long keys of each kind took to be refused, in nanoseconds, the slowest left out.
/// Over a unix socket nobody has an address, so nobody is told to stop.
fn time(socket: &Path) -> [Vec<f64>; 4] {
    let mut stream = UnixStream::connect(socket).unwrap();
    let (mut random, mut buffer) = (Random(1), Vec::new());
    let mut times = [const { Vec::new() }; 4];
    // Each kind has as many keys, so that all are equally far from any cache.
    let mut kinds: [Vec<Vec<u8>>; 4] = [const { Vec::new() }; 4];
    for number in 0..64 {
        let names = [
            format!("{number}unlike"),
            // It differs from the key of "billing" in its last character.
            format!(
                "{:0<31}{}",
                "billing",
                char::from(b'A' + (number % 26) as u8)
            ),
            "off".to_owned(),
            "old".to_owned(),
        ];
        for (kind, name) in kinds.iter_mut().zip(names) {
            kind.push(request(&name));
        }
    }
    while times.iter().any(|times| times.len() < SAMPLES) {
        let kind = random.below(kinds.len());
        if times[kind].len() == SAMPLES {
            continue;
        }
        let request = &kinds[kind][random.below(64)];
        let began = Instant::now();
        stream.write_all(request).unwrap();
        read_refusal(&mut stream, &mut buffer);
        times[kind].push(began.elapsed().as_nanos() as f64);
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let slow = all[all.len() * (100 - CROP) / 100];
    times.map(|times| times.into_iter().filter(|time| *time < slow).collect())
}

fn read_refusal(stream: &mut UnixStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection was closed");
        buffer.extend_from_slice(&piece[..count]);
        // A document ends with its brace, and has no other at the end of a piece.
        if buffer.ends_with(b"}") && memmem::find(buffer, b"\r\n\r\n").is_some() {
            assert!(buffer.starts_with(b"HTTP/1.1 401 "));
            return;
        }
    }
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / times.len() as f64
}

fn welch(one: &[f64], other: &[f64]) -> f64 {
    let error = |times: &[f64]| {
        let (mean, count) = (mean(times), times.len() as f64);
        let squares = times.iter().map(|time| (time - mean).powi(2));
        squares.sum::<f64>() / (count - 1.0) / count
    };
    (mean(one) - mean(other)) / (error(one) + error(other)).sqrt()
}

fn microseconds(nanoseconds: f64) -> String {
    format!("{:.2} µs", nanoseconds / 1000.0)
}

/// Tries keys with these numbers, each once.
async fn guess(numbers: std::ops::Range<usize>, address: SocketAddr) {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, end) = (next.clone(), numbers.end);
        connections.spawn(async move {
            loop {
                let first = next.fetch_add(PER_CONNECTION, Ordering::Relaxed);
                if end <= first {
                    return;
                }
                let [_, b, c, d] = u32::try_from(first / PER_CONNECTION + 1)
                    .unwrap()
                    .to_be_bytes();
                let mut client = Client::connect_from(Ipv4Addr::new(127, b, c, d), address).await;
                for number in first..end.min(first + PER_CONNECTION) {
                    let answer = client.exchange(&request(&format!("{number}guess"))).await;
                    assert!([401, 429].contains(&answer.unwrap().status));
                }
            }
        });
    }
    connections.join_all().await;
}

/// Without a body, so that the connection can be used again.
fn request(name: &str) -> Vec<u8> {
    format!(
        "POST /integrations/external/chats/{CHAT}/messages/interactive HTTP/1.1\r\n\
         Host: portaria.test\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        key(name)
    )
    .into_bytes()
}
