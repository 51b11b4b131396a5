//! How often?
//!
//! One bucket per key. It is asked before the body is read, so that a caller over its
//! limit costs next to nothing; what is refused before this step costs it no quota.

use crate::{
    http::Request,
    problem::{LimitName, Problem},
    trail::Trail,
};

/// The gate.
pub fn check((): &(), req: &mut Request) -> Result<(), Problem> {
    let trail = Trail::of(req)?;
    let Some(bucket) = &trail.client()?.bucket else {
        return Ok(());
    };
    match bucket.take() {
        Ok(standing) => {
            let _ = trail.key_limit.set(standing);
            Ok(())
        }
        Err(empty) => {
            let _ = trail.key_limit.set(empty.standing);
            Err(Problem::RateLimited {
                limit: LimitName::Key,
                retry_after: empty.retry_after,
            })
        }
    }
}
