//! Which bytes break a promise?
//!
//! Each module takes bytes that nobody thought of, does with them what the gateway would
//! do, and panics where a promise is broken. cargo-fuzz makes up such bytes;
//! `tests/corpora.rs` replays those that are kept in `corpus/`.

pub mod config;
pub mod connection;
pub mod json;
pub mod origin;

mod wire;
