//! Does the pipeline, as a whole, keep what is promised?
//!
//! Without a socket, and with the clock stopped. Each file of `pipeline/` tests one
//! kind of promise; `pipeline/gateway.rs` builds what they test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "what is public here is public to the tests")]

mod support;

#[path = "pipeline/cors.rs"]
mod cors;
#[path = "pipeline/exchange.rs"]
mod exchange;
#[path = "pipeline/gateway.rs"]
mod gateway;
#[path = "pipeline/idempotency.rs"]
mod idempotency;
#[path = "pipeline/keys.rs"]
mod keys;
#[path = "pipeline/limits.rs"]
mod limits;
#[path = "pipeline/log.rs"]
mod log;
#[path = "pipeline/order.rs"]
mod order;
#[path = "pipeline/refusals.rs"]
mod refusals;
#[path = "pipeline/trouble.rs"]
mod trouble;
