//! Portaria: an authenticating reverse proxy that stands between a company's
//! applications and the Wegly API.
//!
//! Read [`pipeline`] first: it shows every step of a request, in order. Then one
//! stage ([`middleware::rate_limit`] is the shortest), [`problem`], [`stage`] and
//! [`app`]. That is an hour.

pub mod http;
pub mod json;
pub mod language;
pub mod schema;

pub mod config;
pub mod secret;

pub mod gateway_key;
pub mod mock;
