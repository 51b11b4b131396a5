//! How often?
//!
//! One bucket per key. It is asked before the body is read, so that a caller over its
//! limit costs next to nothing; what is refused before this step costs it no quota.
//!
//! Where gateways share their limits, the bucket is in Redis, and has to be waited for.

use std::sync::Arc;

use tower::Layer;

use crate::{
    http::{Request, Response},
    limiter::{Empty, SharedBucket, SharedLimits, Standing},
    problem::{LimitName, Problem},
    redis::Away,
    stage::{Below, Either, Next, gate, stage},
    trail::{Step, Trail},
};

/// The step: a gate where this gateway counts alone.
pub fn layer<I: Below>(shared: Option<Arc<SharedLimits>>) -> impl Layer<I, Service: Below> {
    match shared {
        None => Either::Gate(gate(Step::Rate, (), check)),
        Some(shared) => Either::Stage(stage(Step::Rate, shared, ask)),
    }
}

/// The gate.
pub fn check((): &(), req: &mut Request) -> Result<(), Problem> {
    let trail = Trail::of(req)?;
    match &trail.client()?.bucket {
        Some(bucket) => note(trail, bucket.take()),
        None => Ok(()),
    }
}

/// The stage, for a limit that gateways share.
async fn ask(shared: Arc<SharedLimits>, mut req: Request, next: Next) -> Result<Response, Problem> {
    let trail = Trail::of(&req)?.clone();
    let client = trail.client()?;
    if let Some(limit) = client.limit {
        let bucket = SharedBucket::of_key(&client.name, limit);
        match shared.take(&bucket).await {
            Ok(verdict) => note(&trail, verdict)?,
            Err(Away) => shared.alone(|| check(&(), &mut req))?,
        }
    }
    next.run(req).await
}

fn note(trail: &Trail, verdict: Result<Standing, Empty>) -> Result<(), Problem> {
    let (standing, passes) = match verdict {
        Ok(standing) => (standing, Ok(())),
        Err(empty) => (
            empty.standing,
            Err(Problem::RateLimited {
                limit: LimitName::Key,
                retry_after: empty.retry_after,
            }),
        ),
    };
    let _ = trail.key_limit.set(standing);
    passes
}
