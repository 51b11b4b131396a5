//! May a page read the answer?
//!
//! A preflight carries no key, so it is answered from the domains of all keys
//! together; the request that follows is judged by its own key. Refusals carry the
//! fields too, or a page could not read why it was refused.

use std::time::Duration;

use ::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    middleware::{
        answer::{PORTARIA_DELIVERY, RATELIMIT, RATELIMIT_POLICY},
        domain::{Domain, Origin},
        idempotency::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED},
        key::X_PORTARIA_KEY,
        request_id::X_REQUEST_ID,
    },
    traces::TRACEPARENT,
};

/// How long a browser may remember a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What the preflights of all keys together allow.
#[derive(Clone, Debug)]
pub struct Cors {
    /// The domains of all keys. None: there is a key for any page.
    pub domains: Option<Vec<Domain>>,
    /// The methods of all routes.
    pub methods: Vec<Method>,
}

impl Cors {
    /// Makes the layer.
    pub fn layer(self) -> CorsLayer {
        let is_known = move |origin: &HeaderValue, _: &::http::request::Parts| {
            let origin = origin.to_str().ok().and_then(Origin::parse);
            match &self.domains {
                None => origin.is_some(),
                Some(domains) => origin.is_some_and(|origin| origin.is_one_of(domains)),
            }
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(is_known))
            .allow_methods(self.methods)
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::ACCEPT,
                header::ACCEPT_LANGUAGE,
                X_PORTARIA_KEY,
                X_REQUEST_ID,
                IDEMPOTENCY_KEY,
                TRACEPARENT,
            ])
            .expose_headers([
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                X_REQUEST_ID,
                PORTARIA_DELIVERY,
                IDEMPOTENT_REPLAYED,
                RATELIMIT,
                RATELIMIT_POLICY,
            ])
            .max_age(MAX_AGE)
    }
}
