//! Which header fields go out, and which may come back?
//!
//! Out go those of the contract, by an allow list (RFC 9110 §7.6). Back come the
//! end-to-end ones, without what is about the connection to the upstream or about the
//! upstream's own place on the web.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        ACCEPT, ACCEPT_LANGUAGE, ALT_SVC, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
    },
    request::Parts,
};
use bytes::Bytes;

use crate::{
    http::{Body, Request},
    middleware::request_id::X_REQUEST_ID,
    problem::Problem,
    trail::Trail,
};

const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("portaria/", env!("CARGO_PKG_VERSION")));
const OUR_HOP: HeaderValue = HeaderValue::from_static("1.1 portaria");

/// The request that goes out. Its `Host` is filled in by the upstream, which knows it;
/// `add_credential` has the last word.
pub fn outgoing(
    head: &Parts,
    trail: &std::sync::Arc<Trail>,
    target: &Uri,
    bytes: &Bytes,
    add_credential: impl FnOnce(&mut HeaderMap),
) -> Result<Request, Problem> {
    let mut outgoing = Request::new(Body::full(bytes.clone()));
    *outgoing.method_mut() = head.method.clone();
    *outgoing.uri_mut() = target.clone();
    outgoing.extensions_mut().insert(trail.clone());

    let fields = outgoing.headers_mut();
    fields.reserve(12);
    fields.insert(HOST, HeaderValue::from_static(""));
    for name in [ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE] {
        for value in head.headers.get_all(&name) {
            fields.append(&name, value.clone());
        }
    }
    fields.insert(CONTENT_LENGTH, bytes.len().into());
    fields.insert(USER_AGENT, OUR_NAME);
    fields.insert(VIA, OUR_HOP);
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = HeaderValue::from_str(trail.id.hyphenated().encode_lower(&mut buffer))
        .map_err(|_| Problem::bug("a UUID is no header value"))?;
    fields.insert(X_REQUEST_ID, id);
    add_credential(fields);
    Ok(outgoing)
}

/// Leaves of an answer's fields those that may be passed on.
pub fn strip_answer(fields: &mut HeaderMap) {
    let nominated = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok());
    let dropped: Vec<HeaderName> = fields
        .keys()
        .filter(|name| STAYS_HERE.contains(name) || name.as_str().starts_with("access-control-"))
        .cloned()
        .chain(nominated)
        .collect();
    for name in dropped {
        fields.remove(name);
    }
}

/// Of the connection, and of the upstream as an authority.
static STAYS_HERE: [HeaderName; 14] = [
    // The body is read whole, so its length is told anew.
    CONTENT_LENGTH,
    SERVER,
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_end_to_end_fields_come_back() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("retry-after", "3"),
            ("x-wegly-trace", "7"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("server", "x"),
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "9"),
        ] {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }

        strip_answer(&mut fields);

        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "retry-after", "x-wegly-trace"]);
    }
}
