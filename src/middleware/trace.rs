//! What happened?
//!
//! One line per request, refused or not, so nothing below has to log a refusal. It
//! never holds a key, a token, a body, the value of a field or a query; the one
//! exception is the host of an `Origin` that the domain rule refused, which an
//! operator needs to see.

use std::{sync::Arc, time::Duration};

use http_body::Body as _;
use uuid::Uuid;

use crate::{http::Response, problem::Problem, trail::Trail};

/// Writes the line.
pub fn write((): &(), trail: &Trail, response: &mut Response) {
    let problem = response.extensions().get::<Arc<Problem>>();
    let status = response.status();
    let outcome = Problem::outcome(problem.map(|problem| &**problem), status);
    let durations = trail.durations();
    let mut buffers = [Uuid::encode_buffer(); 2];
    let [of_request, of_chat] = &mut buffers;
    let request_id = &*trail.id.hyphenated().encode_lower(of_request);
    let trace_id = trail.trace.as_ref();
    let trace_id = trace_id.map(|trace| tracing::field::display(trace.id));
    let client_request_id = trail
        .client_request_id
        .as_ref()
        .and_then(|id| id.to_str().ok());
    let route = trail.route.get().map(|route| &**route);
    let key = trail.client.get().map(|client| &*client.name);
    let chat = trail.chat.get();
    let chat = chat.map(|chat| &*chat.hyphenated().encode_lower(of_chat));
    let body_bytes = trail.body_size.get();
    let answer_bytes = response.body().size_hint().exact();
    let idempotency = trail.idempotency.get().map(|verdict| verdict.name());
    let repeat_of = trail.repeat_of.get().map(tracing::field::display);
    let reason = problem.map(|problem| problem.reason());
    let step = problem.map(|_| trail.step().name());
    let reported = trail.reported();
    let reported = (!reported.is_empty()).then(|| reported.join(", "));
    let surprises = trail.surprises.get().map(|surprises| {
        let shown: Vec<String> = surprises.iter().map(ToString::to_string).collect();
        shown.join(", ")
    });
    let cause = problem.and_then(|problem| problem.cause());

    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "portaria::request",
                request_id,
                client_request_id,
                trace_id,
                route,
                key,
                chat,
                outcome,
                status = status.as_u16(),
                delivery = trail.delivery(problem.map(|problem| &**problem)).name(),
                duration_ms = milliseconds(durations.total),
                upstream_ms = milliseconds(durations.upstream),
                own_ms = milliseconds(durations.own),
                generation = trail.generation(),
                body_bytes,
                answer_bytes,
                idempotency,
                repeat_of,
                reason,
                step,
                cause = cause.as_deref(),
                reported,
                surprises,
                "{outcome}"
            )
        };
    }
    // Somebody must look at what failed for reasons of ours or of the upstream's.
    if outcome == "failed" {
        line!(warn);
    } else {
        line!(info);
    }
}

/// With three decimals: a microsecond is the finest that means anything here.
fn milliseconds(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
