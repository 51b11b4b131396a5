//! What does an application read of a refusal?
//!
//! A document of RFC 9457, with members of ours; and the fields that go with it.

use std::{borrow::Cow, sync::Arc};

use ::http::{HeaderValue, header};
use serde::Serialize;

use super::{Problem, whole_seconds};
use crate::{
    http::{Body, Response},
    language::Language,
    schema::Violation,
    trail::Trail,
};

#[derive(Debug, Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    instance: &'a str,
    code: &'static str,
    request_id: String,
    delivery: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<Rule>>,
}

/// A rule that a message breaks, as a member of `errors`.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Where: a JSON pointer.
    pub pointer: String,
    /// The keyword of the schema.
    pub keyword: &'static str,
    /// What is wrong there.
    pub detail: String,
    /// The least or most that is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What the message has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
}

impl Rule {
    /// Puts a violation into words.
    pub fn new(violation: &Violation, language: Language) -> Self {
        Self {
            pointer: violation.pointer.clone(),
            keyword: violation.keyword,
            detail: violation.detail(language),
            limit: violation.limit,
            actual: violation.actual,
        }
    }
}

impl Problem {
    /// The answer that the client gets. The problem itself rides along as an
    /// extension, for what logs and counts.
    pub fn into_response(self, trail: &Trail, path: &str) -> Response {
        let language = trail.language();
        let document = self.document(trail, language, path);
        // Strings and numbers can always be written.
        let text = serde_json::to_string(&document).unwrap_or_default();
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = self.code().status();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, DOCUMENT);
        fields.insert(header::CACHE_CONTROL, NO_STORE);
        fields.insert(
            header::CONTENT_LANGUAGE,
            HeaderValue::from_static(language.tag()),
        );
        if let Some(seconds) = self.retry_after() {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.closes() {
            fields.insert(header::CONNECTION, CLOSE);
        }
        if let Self::MissingKey = self {
            fields.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        } else if let Self::InvalidKey(_) = self {
            fields.insert(header::WWW_AUTHENTICATE, CHALLENGE_INVALID);
        } else if let Self::MethodNotAllowed { allow } = &self {
            fields.insert(header::ALLOW, allow.clone());
        } else if let Self::UnsupportedMediaType(_) = self {
            fields.insert(header::ACCEPT, JSON);
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }

    fn document<'a>(&self, trail: &Trail, language: Language, path: &'a str) -> Document<'a> {
        let code = self.code();
        let (mut upstream_status, mut errors) = (None, None);
        if let Self::UpstreamAnswerRefused { status, .. } = self {
            upstream_status = Some(status.as_u16());
        } else if let Self::InvalidMessage(violations) = self {
            let rules = violations.list.iter();
            errors = Some(rules.map(|rule| Rule::new(rule, language)).collect());
        }
        Document {
            r#type: format!("urn:problem-type:portaria:{}", code.name()),
            title: code.title(language),
            status: code.status().as_u16(),
            detail: self.detail(language),
            instance: path,
            code: code.name(),
            request_id: trail.id.to_string(),
            delivery: self.delivery().name(),
            retry_after: self.retry_after(),
            limit: self.limit().map(|limit| limit.name()),
            upstream_status,
            errors,
        }
    }

    /// When a repeat makes sense, in seconds.
    fn retry_after(&self) -> Option<u64> {
        if let Self::RateLimited { retry_after, .. }
        | Self::TooManyFailures { retry_after }
        | Self::IdempotencyInProgress { retry_after }
        | Self::CoolingDown { retry_after } = self
        {
            Some(whole_seconds(*retry_after))
        } else {
            matches!(
                self,
                Self::Overloaded | Self::Draining | Self::StoreUnavailable { .. }
            )
            .then_some(1)
        }
    }

    /// Whether the connection must close, because what follows on it cannot be
    /// trusted to be the next request.
    fn closes(&self) -> bool {
        matches!(
            self,
            Self::MalformedRequest(_)
                | Self::BodyTimeout
                | Self::BodyTooLarge { .. }
                | Self::HeadersTooLarge
                | Self::UriTooLong
                | Self::Draining
        )
    }
}

const DOCUMENT: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// RFC 6750 §3: no `error` where no key was sent.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="portaria""#);
const CHALLENGE_INVALID: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="portaria", error="invalid_token""#);
