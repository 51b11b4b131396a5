//! What does every answer carry?
//!
//! The request's name, whether the message may have gone out, whether it is an answer
//! that was given before, and how the caller stands with its limits (draft-ietf-httpapi-ratelimit-headers-11, which is a draft
//! still).

use std::{fmt::Write as _, sync::Arc};

use ::http::{HeaderName, HeaderValue};

use crate::{
    http::Response,
    limiter::Standing,
    middleware::{
        idempotency::{IDEMPOTENT_REPLAYED, Verdict},
        request_id::X_REQUEST_ID,
    },
    problem::{LimitName, Problem},
    trail::Trail,
};

/// Whether the message may have gone out.
pub const PORTARIA_DELIVERY: HeaderName = HeaderName::from_static("portaria-delivery");
/// The limits, which stay the same from answer to answer.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How the caller stands with them now.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds the fields.
pub fn add_fields((): &(), trail: &Trail, response: &mut Response) {
    let problem = response.extensions().get::<Arc<Problem>>().cloned();
    let headers = response.headers_mut();
    let mut buffer = uuid::Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(trail.id.hyphenated().encode_lower(&mut buffer)) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(
        PORTARIA_DELIVERY,
        HeaderValue::from_static(trail.delivery(problem.as_deref()).name()),
    );

    if trail.idempotency.get() == Some(&Verdict::Replayed) {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }

    let refusing = problem.as_deref().and_then(Problem::limit);
    let limits = [
        (LimitName::Key, trail.key_limit.get()),
        (
            refusing.unwrap_or(LimitName::Upstream),
            trail.refusing_limit.get(),
        ),
    ];
    let (mut policy, mut state) = (String::with_capacity(48), String::with_capacity(48));
    for (name, standing) in limits {
        if let Some(standing) = standing {
            write_items(&mut policy, &mut state, name.name(), standing);
        }
    }
    for (field, value) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::try_from(value)
        {
            // Ours first; the upstream's own limits, where it tells them, hold as well.
            let theirs: Vec<HeaderValue> = headers.get_all(&field).iter().cloned().collect();
            headers.insert(&field, value);
            for value in theirs {
                headers.append(&field, value);
            }
        }
    }
}

fn write_items(policy: &mut String, state: &mut String, name: &str, standing: &Standing) {
    let comma = if policy.is_empty() { "" } else { ", " };
    let Standing {
        quota,
        window,
        remaining,
        effective,
    } = standing;
    // Writing to a string cannot fail.
    let _ = write!(policy, "{comma}\"{name}\";q={quota};w={window}");
    let _ = write!(state, "{comma}\"{name}\";r={remaining};t={effective}");
}
