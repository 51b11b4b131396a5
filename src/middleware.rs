//! The steps, in the order of the [pipeline](crate::pipeline). Each file answers one
//! question about a request.

pub mod answer;
pub mod audit;
pub mod body;
pub mod cors;
pub mod credential;
pub mod domain;
pub mod front;
pub mod idempotency;
pub mod key;
pub mod limits;
pub mod measure;
pub mod rate_limit;
pub mod request_id;
pub mod respond;
pub mod room;
pub mod run_to_end;
pub mod schema;
pub mod surprise;
pub mod trace;
