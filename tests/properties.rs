//! What holds for every input, and not only for those that somebody thought of?
//!
//! Inputs are made up, and a failure is made small before it is shown. Each file of
//! `properties/` is about one promise. What judges the gateway is written anew here or
//! in `fuzz/src/`: it must not share the gateway's mistakes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "what is public here is public to the tests")]

use std::cell::LazyCell;

use proptest::test_runner::Config;

#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../fuzz/src/connection.rs"]
mod connection;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../fuzz/src/origin.rs"]
mod origin_by_hand;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../fuzz/src/wire.rs"]
mod wire;

#[path = "properties/config.rs"]
mod config;
#[path = "properties/framing.rs"]
mod framing;
#[path = "properties/json.rs"]
mod json;
#[path = "properties/limiter.rs"]
mod limiter;
#[path = "properties/origin.rs"]
mod origin;
#[path = "properties/records.rs"]
mod records;
#[path = "properties/requests.rs"]
mod requests;
mod support;

/// So many cases, and no file that remembers the failed ones: those become tests.
fn cases(count: u32) -> Config {
    Config {
        cases: count,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Runs a future with the clock stopped.
fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: LazyCell<tokio::runtime::Runtime> = LazyCell::new(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap()
        });
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Runs a future that needs the world outside, which no clock of ours stops.
fn run_in_the_world<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
