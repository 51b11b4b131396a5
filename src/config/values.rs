//! How is a value written?
//!
//! Durations, sizes, rates, addresses and times of the config file, each with one
//! textual form, one parser and one JSON Schema.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A time span: `"250ms"`, `"30s"`, `"5min"`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub struct Period(pub Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

/// A number of bytes: `"64 KiB"`, `"1 MiB"`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub struct Size(pub usize);

impl Size {
    /// So many times 1,024 bytes.
    pub const fn kib(count: usize) -> Self {
        Self(count * 1024)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(count: usize) -> Self {
        Self(count * 1024 * 1024)
    }
}

/// A number per time: `"20/s"`, `"600/min"`, `"1000/h"`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

/// A rate, and how many may come at once after a pause.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub struct Limit {
    /// The sustained rate.
    pub rate: Rate,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// Where a secret is. Never the secret.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub enum Source {
    /// `"file:/path"`.
    File(PathBuf),
    /// `"env:NAME"`.
    Env(String),
}

/// Where to listen.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
pub enum Address {
    /// `"127.0.0.1:8080"`.
    Tcp(SocketAddr),
    /// `"unix:/path"`.
    Unix(PathBuf),
}

/// A moment, written as a TOML date-time in UTC: `2026-11-01T00:00:00Z`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
pub struct Timestamp(pub SystemTime);

impl Limit {
    pub(super) fn per_second(count: u32, burst: u32) -> Self {
        Self::per(Duration::from_secs(1), count, burst)
    }

    pub(super) fn per_minute(count: u32, burst: u32) -> Self {
        Self::per(Duration::from_secs(60), count, burst)
    }

    fn per(per: Duration, count: u32, burst: u32) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            rate: Rate {
                count: at_least_one(count),
                per,
            },
            burst: at_least_one(burst),
        }
    }
}
