//! What did it cost?

use std::{sync::Arc, time::SystemTime};

use crate::{http::Response, metrics::Metrics, problem::Problem, trail::Trail};

/// Counts a request that has been answered.
pub fn count(metrics: &Arc<Metrics>, trail: &Trail, response: &mut Response) {
    let reason = response
        .extensions()
        .get::<Arc<Problem>>()
        .map(|problem| problem.reason());
    trail.note_use(SystemTime::now());
    metrics.answered(trail, response.status(), reason);
}
