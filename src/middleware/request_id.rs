//! What is this request called?
//!
//! A new UUIDv7, which sorts by time. The client's own `X-Request-Id` is only
//! logged: two clients may use the same, and one of them may do so on purpose. Where
//! traces are made, it gets its place in one here, too.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderName, HeaderValue, header};
use tower::{Layer, Service, layer::layer_fn};
use uuid::Uuid;

use crate::{http::Request, traces::Tracer, trail::Trail};

/// The field that names a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the layer.
pub fn layer<I>(
    request_timeout: Duration,
    tracer: Option<Tracer>,
) -> impl Layer<I, Service = Named<I>> {
    layer_fn(move |below| Named {
        request_timeout,
        tracer: tracer.clone(),
        below,
    })
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Named<I> {
    request_timeout: Duration,
    tracer: Option<Tracer>,
    below: I,
}

impl<I: Service<Request>> Service<Request> for Named<I> {
    type Response = I::Response;
    type Error = I::Error;
    type Future = I::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.below.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let id = Uuid::now_v7();
        let mut trail = Trail::begin(id, self.request_timeout);
        // Looked into when something is refused.
        let languages = req.headers().get_all(header::ACCEPT_LANGUAGE);
        trail.accepted_languages = languages.iter().cloned().collect();
        let tracer = self.tracer.as_ref();
        trail.trace = tracer.map(|tracer| Box::new(tracer.begin(&req, id)));
        trail.client_request_id = req
            .headers()
            .get(X_REQUEST_ID)
            .filter(|value| may_be_logged(value))
            .cloned();
        req.extensions_mut().insert(Arc::new(trail));
        self.below.call(req)
    }
}

fn may_be_logged(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len())
        && value
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_is_logged() {
        for (value, expected) in [
            ("a", true),
            ("Order-7_b.2", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a{b", false),
        ] {
            assert_eq!(
                may_be_logged(&value.parse().unwrap()),
                expected,
                "{value:?}"
            );
        }
        let long = |length| "x".repeat(length).parse().unwrap();
        assert!(may_be_logged(&long(128)));
        assert!(!may_be_logged(&long(129)));
    }
}
