//! How large is it, of which kind, and is it strict JSON?
//!
//! The body is read whole, and its bytes are kept as they came: what was validated is
//! what is sent. Nothing that two parsers could read differently gets through.
//!
//! `Expect: 100-continue` is answered by hyper when the body is first asked for, so a
//! caller that is refused before never uploads anything.
//!
//! A request has its place while its body comes. So a body must not only be there in time:
//! after a fifth of that time, it must come at [`PACE`]. One that has stopped gives its place
//! back long before `body_timeout`.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::{
    framing::Fault,
    http::{Body, Request, Response},
    json::Document,
    problem::{MediaFault, Problem, RequestFault},
    stage::Next,
    trail::Trail,
};

/// The slowest that a body may come, in bytes a second: 8 kbit/s.
const PACE: u32 = 1024;

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest, in bytes.
    pub max_body: usize,
    /// The longest that it may take to arrive.
    pub body_timeout: Duration,
    /// Whether its hash is wanted, for the audit.
    pub is_hashed: bool,
}

/// The stage.
pub async fn read(limits: Arc<Limits>, req: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = req.into_parts();
    check_kind(&parts.headers).map_err(Problem::UnsupportedMediaType)?;
    let announced: Option<usize> = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| limits.max_body < length) {
        return Err(too_large(&limits));
    }

    let trail = Trail::within(&parts.extensions)?.clone();
    let began = Instant::now();
    let collected = collect(body, &limits, began, trail.deadline).await;
    trail.waited_for_client(began.elapsed());
    let bytes = collected.map_err(|fault| match fault {
        Collecting::TooSlow => Problem::BodyTimeout,
        Collecting::TooLarge => too_large(&limits),
        Collecting::CutOff => {
            let fault = parts.extensions.get().and_then(Fault::get);
            Problem::MalformedRequest(fault.unwrap_or(RequestFault::BodyCutOff))
        }
    })?;
    let _ = trail.body_size.set(bytes.len());
    if limits.is_hashed {
        let _ = trail.body_sha256.set(Sha256::digest(&bytes).into());
    }

    let message = Document::parse(bytes).map_err(Problem::MalformedJson)?;
    // From here on the message stands for the body.
    let _ = trail.message.set(message);
    next.run(Request::from_parts(parts, Body::empty())).await
}

/// Why a body is not there.
enum Collecting {
    TooSlow,
    TooLarge,
    CutOff,
}

/// Reads a body whole. What comes at once stays where it is; many small pieces become one,
/// so that they take no more room than their bytes.
async fn collect(
    mut body: Body,
    limits: &Limits,
    began: Instant,
    deadline: Instant,
) -> Result<Bytes, Collecting> {
    // One of them is empty.
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while !body.is_end_stream() {
        let received = first.len() + whole.len();
        let due = deadline.min(began + limits.time_for(received));
        let frame = match timeout_at(due, body.frame()).await {
            Err(_elapsed) => return Err(Collecting::TooSlow),
            Ok(Some(Err(_cut_off))) => return Err(Collecting::CutOff),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
        };
        // Of what else may come, nothing is a part of the message.
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        if limits.max_body - received < bytes.len() {
            return Err(Collecting::TooLarge);
        }
        if received == 0 {
            first = bytes;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&bytes);
        }
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

impl Limits {
    /// When the next byte after so many must be there, counted from the head.
    fn time_for(&self, received: usize) -> Duration {
        let at_pace = Duration::from_secs(received as u64) / PACE;
        self.body_timeout.min(self.body_timeout / 5 + at_pace)
    }
}

fn too_large(limits: &Limits) -> Problem {
    Problem::BodyTooLarge {
        limit: limits.max_body,
    }
}

fn check_kind(headers: &HeaderMap) -> Result<(), MediaFault> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(MediaFault::ContentEncoding);
    }
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .ok_or(MediaFault::ContentType)?;
    if value == "application/json" {
        return Ok(());
    }
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = kind.strip_prefix("application/").is_some_and(|subtype| {
        let name = subtype.strip_suffix("+json");
        is_token(subtype) && (subtype == "json" || name.is_some_and(|name| !name.is_empty()))
    });
    if !is_json {
        return Err(MediaFault::ContentType);
    }
    for parameter in parts.filter(|part| !part.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = unquoted(value);
        // Nobody agrees on what `charset*` and `charset =` mean, but some read them.
        let says_charset = name.trim_end_matches(['*', ' ', '\t']);
        if says_charset.eq_ignore_ascii_case("charset") {
            let is_utf8 = value.is_some_and(|value| value.eq_ignore_ascii_case("utf-8"));
            if name.len() != "charset".len() || !is_utf8 {
                return Err(MediaFault::Charset);
            }
        }
        if !is_token(name) || value.is_none() {
            return Err(MediaFault::ContentType);
        }
    }
    Ok(())
}

/// A parameter's value without its quotes. None if it is neither a token nor a quoted
/// string that everybody reads alike: some end a value at a comma, whatever the quotes say.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        None => is_token(value).then_some(value),
        Some(quoted) => quoted
            .strip_suffix('"')
            .filter(|text| !text.contains(['"', '\\', ','])),
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_in_utf8_and_not_encoded() {
        for (content_type, encoding, expected) in [
            (Some("application/json"), None, Ok(())),
            (Some("Application/JSON"), None, Ok(())),
            (Some("application/json; charset=utf-8"), None, Ok(())),
            (Some("application/json;charset=\"UTF-8\""), None, Ok(())),
            (Some("application/json; odata=verbose"), None, Ok(())),
            (Some("application/vnd.wegly+json"), None, Ok(())),
            (Some("application/json;"), None, Ok(())),
            (
                Some("application/json; a=\"b c\" ; charset=utf-8"),
                None,
                Ok(()),
            ),
            (None, None, Err(MediaFault::ContentType)),
            (Some(""), None, Err(MediaFault::ContentType)),
            (Some("text/plain"), None, Err(MediaFault::ContentType)),
            (Some("text/json"), None, Err(MediaFault::ContentType)),
            (
                Some("application/jsonp"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/+json"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json, text/plain"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json; charset=latin1"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/json; charset"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/x, application/y+json"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json;a=b, text/html"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json;a=\"b, text/html\""),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json;a=\"b"),
                None,
                Err(MediaFault::ContentType),
            ),
            (
                Some("application/json; charset=utf-8; charset=latin1"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/json; charset = latin1"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/json; charset=\"utf-8"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/json; charset*=utf-16''"),
                None,
                Err(MediaFault::Charset),
            ),
            (
                Some("application/json"),
                Some("gzip"),
                Err(MediaFault::ContentEncoding),
            ),
            (
                Some("application/json"),
                Some("identity"),
                Err(MediaFault::ContentEncoding),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = content_type {
                headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            }
            if let Some(value) = encoding {
                headers.insert(header::CONTENT_ENCODING, value.parse().unwrap());
            }

            assert_eq!(
                check_kind(&headers),
                expected,
                "{content_type:?} {encoding:?}"
            );
        }
    }
}
