//! What do several gateways share, and what if they cannot?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "shared/limits.rs"]
mod limits;
#[path = "shared/outages.rs"]
mod outages;
#[path = "shared/records.rs"]
mod records;
#[path = "shared/script.rs"]
mod script;
mod support;

use support::{CHAT, Redis, Running, Setting, Upstream, key, message, post};

/// More than a question to Redis takes, however busy the machine is.
const PATIENT: Setting<'static> = ("REDIS__TIMEOUT", "5s");

/// Runs one of three gateways before this upstream. It has found its Redis.
async fn one_of_three(upstream: &Upstream, redis: &Redis, settings: &[Setting<'_>]) -> Running {
    let all = [&redis.settings("3"), settings].concat();
    let gateway = Running::with(upstream, all).await;
    gateway.await_metric("portaria_limit_store_up 1").await;
    gateway
}

/// Runs three.
async fn three(upstream: &Upstream, redis: &Redis, settings: &[Setting<'_>]) -> Vec<Running> {
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(one_of_three(upstream, redis, settings).await);
    }
    gateways
}

/// A message to a chat of this number.
fn to_chat(number: usize) -> Vec<u8> {
    let chat = format!("{}{number:04}", &CHAT[..CHAT.len() - 4]);
    post(&chat, &key("billing")).body(message()).to_bytes()
}
