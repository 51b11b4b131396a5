//! What did it cost?

use std::sync::Arc;

use crate::{http::Response, metrics::Metrics, problem::Problem, trail::Trail};

/// Counts a request that has been answered.
pub fn count(metrics: &Arc<Metrics>, trail: &Trail, response: &mut Response) {
    let reason = response
        .extensions()
        .get::<Arc<Problem>>()
        .map(|problem| problem.reason());
    metrics.answered(trail, response.status(), reason);
}
