//! In which ways can a request be refused?
//!
//! A refusal is a value, [`Problem`], until [`respond`](crate::middleware::respond)
//! turns it into an `application/problem+json` answer (RFC 9457). No other code
//! builds one. [`table`](Code) lists them all; a test compares it with the README.

use std::{borrow::Cow, time::Duration};

use ::http::{HeaderValue, StatusCode};
use tower::BoxError;

use crate::{json::Malformed, schema::Violations};

mod document;
mod table;
mod text;

pub use document::Rule;
pub use table::Code;

/// Whether the message may have gone out. On every answer as `Portaria-Delivery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Certainly not: a repeat is safe.
    NotSent,
    /// It was written and no answer came: a repeat may send it twice.
    Unknown,
    /// The upstream answered.
    Sent,
}

impl Delivery {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Sent => "sent",
        }
    }
}

/// A refusal, with what is needed to explain it.
#[derive(Debug)]
pub enum Problem {
    /// Framing, target, `Host` or a repeated field that cannot be trusted.
    MalformedRequest(RequestFault),
    /// `{id}` of the path is no hyphenated UUID.
    InvalidPathParameter,
    /// The body is not strict JSON.
    MalformedJson(Malformed),
    /// No gateway key was sent.
    MissingKey,
    /// The key opens nothing. The client is not told why; the log is.
    InvalidKey(KeyFault),
    /// The page is none of the key's domains.
    OriginNotAllowed {
        /// The host of the `Origin`, in ASCII, for our log alone.
        host: Option<String>,
    },
    /// A server's key was used from a web page.
    KeyUsedInBrowser,
    /// The key may not call this route.
    RouteNotAllowed,
    /// No route has this path.
    NoSuchRoute,
    /// The path is right, the method is not.
    MethodNotAllowed {
        /// The methods that are right.
        allow: HeaderValue,
    },
    /// The route wants an `Idempotency-Key`, and there is none.
    IdempotencyKeyRequired,
    /// The `Idempotency-Key` is none.
    IdempotencyKeyMalformed,
    /// The message is on its way: an earlier request sends it.
    IdempotencyInProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// An earlier request may have sent the message, and nobody knows.
    IdempotencyOutcomeUnknown,
    /// Another message has this `Idempotency-Key`.
    IdempotencyKeyReused,
    /// The body did not arrive in time.
    BodyTimeout,
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// `Host` is none of `hosts`.
    MisdirectedRequest,
    /// The body is larger than the route allows.
    BodyTooLarge {
        /// How many bytes it allows.
        limit: usize,
    },
    /// The target is longer than 2 KiB.
    UriTooLong,
    /// More than 64 fields, or a head larger than `max_head`.
    HeadersTooLarge,
    /// The body is of another kind than JSON in UTF-8.
    UnsupportedMediaType(MediaFault),
    /// The message breaks rules of the schema.
    InvalidMessage(Violations),
    /// A limit is reached.
    RateLimited {
        /// Which.
        limit: LimitName,
        /// When the next message would pass.
        retry_after: Duration,
    },
    /// Many wrong keys came from this address. A right one still passes.
    TooManyFailures {
        /// When the next wrong one is answered as usual.
        retry_after: Duration,
    },
    /// A mistake of ours.
    Internal {
        /// For our log only.
        what: &'static str,
        /// What is certain about the message.
        delivery: Delivery,
    },
    /// No connection to the upstream.
    UpstreamUnreachable {
        /// For our log only.
        source: BoxError,
    },
    /// The upstream answered 401: the token is at fault, not the application's key.
    UpstreamRejectedCredential,
    /// The connection was lost, or what came was no HTTP.
    UpstreamBrokeOff {
        /// For our log only.
        source: BoxError,
    },
    /// The upstream answered, but its answer cannot be passed on.
    UpstreamAnswerRefused {
        /// Its status.
        status: StatusCode,
        /// Why not.
        fault: AnswerFault,
    },
    /// No answer in time.
    UpstreamTimeout,
    /// As many requests in flight as there may be.
    Overloaded,
    /// The upstream asked for a pause.
    CoolingDown {
        /// When it ends.
        retry_after: Duration,
    },
    /// What is kept outside a request cannot be had.
    StoreUnavailable {
        /// For our log only.
        source: BoxError,
    },
    /// The gateway is about to stop.
    Draining,
}

/// What cannot be trusted about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// No `Host`.
    HostMissing,
    /// Several `Host`, or one that is no authority.
    HostInvalid,
    /// A target that is not a plain path.
    TargetForm,
    /// A target with a query.
    Query,
    /// A path with percent-encoding, or empty or dot segments.
    PathForm,
    /// A field that must stand alone is repeated.
    Repeated(&'static str),
    /// A field with bytes outside visible ASCII.
    FieldBytes,
    /// A field name with an underscore.
    FieldName,
    /// Both `Authorization: Bearer` and `X-Portaria-Key`.
    TwoKeys,
    /// The body ended before its announced length.
    BodyCutOff,
    /// A line of the head does not end in CR LF.
    LineEnd,
    /// A head so large that it is not waited for.
    HeadTooLarge,
    /// A `Content-Length` that is no plain number.
    ContentLength,
    /// A `Transfer-Encoding` other than `chunked`.
    TransferEncoding,
    /// Both of them.
    TwoLengths,
    /// A chunk with an extension, a wrong length, or a trailer after the last.
    Chunk,
    /// CONNECT and TRACE are never for us.
    Method,
}

/// Why a key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It is nobody's, or no key at all.
    Unknown,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is switched off.
    Disabled,
}

/// What is wrong with the kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFault {
    /// No `Content-Type`, or one that is not JSON.
    ContentType,
    /// A charset other than UTF-8.
    Charset,
    /// A `Content-Encoding`.
    ContentEncoding,
}

/// Why an answer of the upstream is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// It is cut off.
    CutOff,
    /// It is larger than `max_response`.
    TooLarge,
    /// It is a redirect, or wants another protocol.
    Redirect,
    /// It contains the token.
    ContainsToken,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitName {
    /// Of the key.
    Key,
    /// Of the chat.
    Chat,
    /// Of all keys together, toward the upstream.
    Upstream,
}

impl LimitName {
    /// Its name, also in `RateLimit` fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Chat => "chat",
            Self::Upstream => "upstream",
        }
    }
}

impl Problem {
    /// A mistake of ours, before anything was sent.
    pub const fn bug(what: &'static str) -> Self {
        Self::Internal {
            what,
            delivery: Delivery::NotSent,
        }
    }

    /// Its row in the table.
    pub fn code(&self) -> Code {
        match self {
            Self::MalformedRequest(_) => Code::MalformedRequest,
            Self::InvalidPathParameter => Code::InvalidPathParameter,
            Self::MalformedJson(_) => Code::MalformedJson,
            Self::MissingKey => Code::MissingKey,
            Self::InvalidKey(_) => Code::InvalidKey,
            Self::OriginNotAllowed { .. } => Code::OriginNotAllowed,
            Self::KeyUsedInBrowser => Code::KeyUsedInBrowser,
            Self::RouteNotAllowed => Code::RouteNotAllowed,
            Self::NoSuchRoute => Code::NoSuchRoute,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::IdempotencyKeyRequired => Code::IdempotencyKeyRequired,
            Self::IdempotencyKeyMalformed => Code::IdempotencyKeyMalformed,
            Self::IdempotencyInProgress { .. } => Code::IdempotencyInProgress,
            Self::IdempotencyOutcomeUnknown => Code::IdempotencyOutcomeUnknown,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::BodyTimeout => Code::BodyTimeout,
            Self::ExpectationFailed => Code::ExpectationFailed,
            Self::MisdirectedRequest => Code::MisdirectedRequest,
            Self::BodyTooLarge { .. } => Code::BodyTooLarge,
            Self::UriTooLong => Code::UriTooLong,
            Self::HeadersTooLarge => Code::HeadersTooLarge,
            Self::UnsupportedMediaType(_) => Code::UnsupportedMediaType,
            Self::InvalidMessage(_) => Code::InvalidMessage,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::TooManyFailures { .. } => Code::TooManyFailures,
            Self::Internal { .. } => Code::Internal,
            Self::UpstreamUnreachable { .. } => Code::UpstreamUnreachable,
            Self::UpstreamRejectedCredential => Code::UpstreamRejectedCredential,
            Self::UpstreamBrokeOff { .. } => Code::UpstreamBrokeOff,
            Self::UpstreamAnswerRefused { .. } => Code::UpstreamAnswerRefused,
            Self::UpstreamTimeout => Code::UpstreamTimeout,
            Self::Overloaded => Code::Overloaded,
            Self::CoolingDown { .. } => Code::CoolingDown,
            Self::StoreUnavailable { .. } => Code::StoreUnavailable,
            Self::Draining => Code::Draining,
        }
    }

    /// Whether the message may have gone out.
    pub fn delivery(&self) -> Delivery {
        if let Self::Internal { delivery, .. } = self {
            *delivery
        } else {
            self.code().delivery()
        }
    }

    /// The code, except that the ways in which a key is invalid are told apart: for
    /// our log and metrics, never for the client.
    pub fn reason(&self) -> &'static str {
        let Self::InvalidKey(fault) = self else {
            return self.code().name();
        };
        match fault {
            KeyFault::Unknown => "unknown-key",
            KeyFault::Expired => "expired-key",
            KeyFault::NotYetValid => "not-yet-valid-key",
            KeyFault::Disabled => "disabled-key",
        }
    }

    /// What became of a request, in one word: `answered` by the upstream, `refused`, which
    /// is the application's turn, or `failed`, which is the upstream's or ours.
    pub fn outcome(problem: Option<&Self>, status: StatusCode) -> &'static str {
        match problem {
            None => "answered",
            Some(_) if status.is_server_error() => "failed",
            Some(_) => "refused",
        }
    }

    /// What our log may say beyond the reason.
    pub fn cause(&self) -> Option<Cow<'_, str>> {
        if let Self::Internal { what, .. } = self {
            Some(Cow::Borrowed(what))
        } else if let Self::UpstreamUnreachable { source }
        | Self::UpstreamBrokeOff { source }
        | Self::StoreUnavailable { source } = self
        {
            Some(Cow::Owned(causes(&**source)))
        } else if let Self::OriginNotAllowed { host: Some(host) } = self {
            Some(Cow::Borrowed(host))
        } else {
            None
        }
    }

    /// What the upstream's answer was, where it cannot be passed on.
    pub fn upstream_status(&self) -> Option<StatusCode> {
        if let Self::UpstreamAnswerRefused { status, .. } = self {
            Some(*status)
        } else {
            None
        }
    }

    /// Which limit refused it.
    pub fn limit(&self) -> Option<LimitName> {
        if let Self::RateLimited { limit, .. } = self {
            Some(*limit)
        } else {
            None
        }
    }
}

/// Rounded up, so that a client that waits exactly this long passes.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(0 < wait.subsec_nanos())).max(1)
}

/// An error with all its causes, as our log shows it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
