//! Portaria: an authenticating reverse proxy that stands between a company's
//! applications and the Wegly API.
//!
//! Read [`pipeline`] first: it shows every step of a request, in order. Then one step
//! ([`middleware::rate_limit`] is the shortest), [`problem`], [`stage`] and [`app`].
//! That is an hour.

pub mod app;
pub mod expiry;
pub mod framing;
pub mod reload;
pub mod server;
pub mod shared;
pub mod supervisor;
pub mod workers;

pub mod pipeline;
pub mod stage;
pub mod trail;

pub mod middleware;
pub mod route;
pub mod upstream;

pub mod http;
pub mod language;
pub mod problem;

pub mod gateway_key;
pub mod json;
pub mod jwt;
pub mod limiter;
pub mod records;
#[cfg_attr(not(feature = "redis"), path = "redis/none.rs")]
pub mod redis;
pub mod schema;

pub mod config;
pub mod plan;
pub mod secret;

pub mod admin;
pub mod lines;
pub mod metrics;
pub mod telemetry;
pub mod traces;

pub mod mock;

pub mod cli;
