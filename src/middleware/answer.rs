//! What does every answer carry?
//!
//! The request's name, whether the message may have gone out, whether it is an answer
//! that was given before, and how the caller stands with its limits (draft-ietf-httpapi-ratelimit-headers-11, which is a draft
//! still).

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, header::Entry};

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
            let Standing {
                quota,
                window,
                remaining,
                effective,
            } = *standing;
            write_item(&mut policy, name, ["q", "w"], [quota.into(), window]);
            write_item(&mut state, name, ["r", "t"], [remaining.into(), effective]);
        }
    }
    for (field, value) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            put_first(headers.entry(field), value);
        }
    }
}

/// Ours first; the upstream's own limits, where it tells them, hold as well.
fn put_first(field: Entry<'_, HeaderValue>, value: HeaderValue) {
    match field {
        Entry::Vacant(field) => {
            field.insert(value);
        }
        Entry::Occupied(mut field) => {
            let theirs: Vec<HeaderValue> = field.insert_mult(value).collect();
            for value in theirs {
                field.append(value);
            }
        }
    }
}

/// Writes an item with its parameters (RFC 9651 §3.1) behind those that are there.
fn write_item(items: &mut String, name: LimitName, parameters: [&str; 2], values: [u64; 2]) {
    items.push_str(if items.is_empty() { "\"" } else { ", \"" });
    items.push_str(name.name());
    items.push('"');
    for (parameter, value) in parameters.into_iter().zip(values) {
        items.push(';');
        items.push_str(parameter);
        items.push('=');
        items.push_str(itoa::Buffer::new().format(value));
    }
}
