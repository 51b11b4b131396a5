//! What happens when something breaks?
//!
//! Every row of the fault matrix, by name: what the [upstream] may do, and what the
//! [client] may do. First, though: can [the judge](the_judge) be trusted?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "faults/client.rs"]
mod client;
#[path = "faults/http2.rs"]
mod http2;
mod support;
#[path = "faults/the_judge.rs"]
mod the_judge;
#[path = "faults/upstream.rs"]
mod upstream;
