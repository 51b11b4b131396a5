//! What happens on the sockets, and to the process?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "serve/admin.rs"]
mod admin;
#[path = "serve/audit.rs"]
mod audit;
#[path = "serve/messages.rs"]
mod messages;
#[path = "serve/process.rs"]
mod process;
#[path = "serve/records.rs"]
mod records;
#[path = "serve/refusals.rs"]
mod refusals;
#[path = "serve/reload.rs"]
mod reload;
#[path = "serve/room.rs"]
mod room;
#[path = "serve/stop.rs"]
mod stop;
mod support;
#[path = "serve/traces.rs"]
mod traces;
