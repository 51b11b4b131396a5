//! How is "sent once" judged?
//!
//! By the bytes. An [`Upstream`] plays the Wegly API on a plain socket, well or
//! badly as its [`Script`] says, and its [`Ledger`] keeps every byte that
//! arrived, cut into requests by a parser stricter than any server's. A
//! [`Client`] speaks from the other side, as raw. Neither uses hyper: what judges
//! the gateway must not share its mistakes.
//!
//! ```text
//! Client ──▶ the gateway: in this process, or the binary (Portaria) ──▶ Upstream
//!   Answer ◀──                                                          Ledger
//! ```
//!
//! Nothing here sleeps. Whatever waits, waits for something that happens, and no
//! longer than [`PATIENCE`]; so use these with a running clock, not with
//! `start_paused`.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(unused_imports, reason = "each test binary uses a part of this")]
#![allow(unreachable_pub, reason = "what is public here is public to the tests")]

use std::time::Duration;

mod absent;
mod answer;
mod authority;
mod binary;
mod client;
mod home;
mod ledger;
mod redis;
mod request;
mod running;
mod strict;
mod upstream;

pub use absent::{Refusing, Silent};
pub use answer::Answer;
pub use authority::{Authority, Certificate};
pub use binary::{Exit, Portaria};
pub use client::Client;
pub use home::{Home, TOKEN, key};
pub use ledger::Ledger;
pub use redis::Redis;
pub use request::{CHAT, Request, list_message, message, message_saying, post};
pub use running::{Running, Setting, assert_refused, plan};
pub use strict::Received;
pub use upstream::{Gate, Script, Step, Upstream};

/// How long a test waits for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `what`, or panics saying that it did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
