//! Can its framing and target be trusted?
//!
//! What hyper has parsed may still mean one thing here and another thing elsewhere:
//! two `Host` fields, a field name with an underscore, a path with `%2e`. Nothing of
//! it reaches the upstream, but whoever sends it is mistaken or malicious, so it is
//! refused. RFC 9112 §3.2, RFC 9110 §5.3 and §7.2.
//!
//! HTTP/2 has no framing to doubt, and says in `:authority` what HTTP/1 says in `Host`
//! (RFC 9113 §8.3.1). All else is the same.

use std::sync::Arc;

use ::http::{HeaderMap, Method, Uri, Version, header, uri::Authority};

use crate::{
    framing::Fault,
    http::Request,
    problem::{Problem, RequestFault},
};

/// The longest target.
const MAX_TARGET: usize = 2048;
/// The largest number of fields.
const MAX_FIELDS: usize = 64;

/// Fields that mean nothing when they are repeated, or too much.
const SINGLE: [&str; 13] = [
    "host",
    "authorization",
    "x-portaria-key",
    "origin",
    "referer",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "expect",
    "idempotency-key",
    "sec-fetch-site",
    "x-request-id",
];

/// What the front needs to know.
#[derive(Debug)]
pub struct Front {
    /// Names that `Host` may have, lower case, without port. Empty: any.
    pub hosts: Vec<String>,
    /// The largest head, in bytes.
    pub max_head: usize,
}

/// The gate.
pub fn check(front: &Arc<Front>, req: &mut Request) -> Result<(), Problem> {
    if let Some(fault) = req.extensions().get().and_then(Fault::get) {
        return Err(if fault == RequestFault::HeadTooLarge {
            Problem::HeadersTooLarge
        } else {
            malformed(fault)
        });
    }
    check_size(front, req.uri(), req.headers())?;
    let authority = match req.version() {
        Version::HTTP_2 => req.uri().authority(),
        _ => None,
    };
    // In HTTP/1 a target with an authority is in absolute-form.
    if authority.is_none() && req.uri().authority().is_some() {
        return Err(malformed(RequestFault::TargetForm));
    }
    check_target(req.method(), req.uri())?;
    check_fields(req.headers())?;
    check_host(front, authority, req.headers())
}

fn check_size(front: &Front, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let target = uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if MAX_TARGET < target {
        return Err(Problem::UriTooLong);
    }
    // A field line is `name: value` with its line end.
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if MAX_FIELDS < headers.len() || front.max_head < target + fields {
        return Err(Problem::HeadersTooLarge);
    }
    Ok(())
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), Problem> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(malformed(RequestFault::Method));
    }
    // Asterisk-form has no slash.
    if !uri.path().starts_with('/') {
        return Err(malformed(RequestFault::TargetForm));
    }
    if uri.query().is_some() {
        return Err(malformed(RequestFault::Query));
    }
    for segment in uri.path().as_bytes()[1..].split(|byte| *byte == b'/') {
        // The root is the one path that may end in nothing.
        let is_empty = segment.is_empty() && uri.path() != "/";
        let is_plain = segment
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';'));
        if is_empty || segment == b"." || segment == b".." || !is_plain {
            return Err(malformed(RequestFault::PathForm));
        }
    }
    Ok(())
}

fn check_fields(headers: &HeaderMap) -> Result<(), Problem> {
    for (name, value) in headers {
        // Software behind us may read `_` as `-`; then it is another field.
        if memchr::memchr(b'_', name.as_str().as_bytes()).is_some() {
            return Err(malformed(RequestFault::FieldName));
        }
        // Without an early end, many bytes are looked at at once.
        let is_text = |byte: &u8| (b' '..=b'~').contains(byte) | (*byte == b'\t');
        let bytes = value.as_bytes().iter();
        if !bytes.fold(true, |is_all, byte| is_all & is_text(byte)) {
            return Err(malformed(RequestFault::FieldBytes));
        }
    }
    // Mostly nothing is repeated, and then there is nothing to look up.
    if headers.keys_len() < headers.len() {
        for name in SINGLE {
            if 1 < headers.get_all(name).iter().count() {
                return Err(malformed(RequestFault::Repeated(name)));
            }
        }
    }
    match headers.get(header::EXPECT) {
        Some(expectation) if !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Problem::ExpectationFailed)
        }
        _ => Ok(()),
    }
}

fn check_host(
    front: &Front,
    authority: Option<&Authority>,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let invalid = malformed(RequestFault::HostInvalid);
    let host = headers.get(header::HOST);
    let authority = match (authority, host) {
        (None, None) => return Err(malformed(RequestFault::HostMissing)),
        (Some(authority), Some(host)) if !is_same(authority, host.as_bytes()) => {
            return Err(invalid);
        }
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok(),
    };
    let authority = authority
        .filter(|authority| {
            !authority.as_str().contains(['@', ',']) && !authority.host().is_empty()
        })
        .ok_or(invalid)?;
    let is_ours = front.hosts.is_empty()
        || front
            .hosts
            .iter()
            .any(|name| name.eq_ignore_ascii_case(authority.host()));
    if is_ours {
        Ok(())
    } else {
        Err(Problem::MisdirectedRequest)
    }
}

fn is_same(authority: &Authority, host: &[u8]) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
}

fn malformed(fault: RequestFault) -> Problem {
    Problem::MalformedRequest(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    #[test]
    fn a_target_is_a_plain_path_and_nothing_else() {
        for (target, expected) in [
            ("/a/b", Ok(())),
            ("/", Ok(())),
            ("/a?b", Err(RequestFault::Query)),
            ("/a?", Err(RequestFault::Query)),
            ("*", Err(RequestFault::TargetForm)),
            ("//a/b", Err(RequestFault::PathForm)),
            ("/a//b", Err(RequestFault::PathForm)),
            ("/a/", Err(RequestFault::PathForm)),
            ("/a/./b", Err(RequestFault::PathForm)),
            ("/a/../b", Err(RequestFault::PathForm)),
            ("/a/%2e%2e/b", Err(RequestFault::PathForm)),
            ("/a%00", Err(RequestFault::PathForm)),
            ("/a;b", Err(RequestFault::PathForm)),
        ] {
            let verdict = check_target(&Method::POST, &target.parse().unwrap());

            assert_eq!(fault(verdict), expected, "{target}");
        }
    }

    #[test]
    fn connect_and_trace_are_never_for_us() {
        for method in [Method::CONNECT, Method::TRACE] {
            let verdict = check_target(&method, &"/a".parse().unwrap());

            assert_eq!(fault(verdict), Err(RequestFault::Method));
        }
    }

    #[test]
    fn a_host_is_there_once_and_is_an_authority() {
        for (hosts, expected) in [
            (&["a"][..], Ok(())),
            (&["a:80"], Ok(())),
            (&["[::1]:80"], Ok(())),
            (&[], Err(RequestFault::HostMissing)),
            (&["a", "a"], Err(RequestFault::Repeated("host"))),
            (&[""], Err(RequestFault::HostInvalid)),
            (&["a@b"], Err(RequestFault::HostInvalid)),
            (&["a/b"], Err(RequestFault::HostInvalid)),
            (&["a, b"], Err(RequestFault::HostInvalid)),
            (&["a b"], Err(RequestFault::HostInvalid)),
            (&[":80"], Err(RequestFault::HostInvalid)),
        ] {
            let mut req = request();
            for host in hosts {
                req.headers_mut()
                    .append(header::HOST, host.parse().unwrap());
            }

            let verdict = check(&front(&[]), &mut req);

            assert_eq!(fault(verdict), expected, "{hosts:?}");
        }
    }

    #[test]
    fn a_target_with_an_authority_is_for_http_2_alone() {
        for (version, target, host, expected) in [
            (Version::HTTP_2, "https://a:81/b", None, Ok(())),
            (Version::HTTP_2, "https://a:81/b", Some("A:81"), Ok(())),
            (Version::HTTP_2, "/b", Some("a"), Ok(())),
            (Version::HTTP_2, "/b", None, Err(RequestFault::HostMissing)),
            (
                Version::HTTP_2,
                "https://a/b",
                Some("b"),
                Err(RequestFault::HostInvalid),
            ),
            (
                Version::HTTP_2,
                "https://a/b",
                Some("a:443"),
                Err(RequestFault::HostInvalid),
            ),
            (
                Version::HTTP_2,
                "https://u@a/b",
                None,
                Err(RequestFault::HostInvalid),
            ),
            (
                Version::HTTP_2,
                "https://u@a/b",
                Some("u@a"),
                Err(RequestFault::HostInvalid),
            ),
            (
                Version::HTTP_2,
                "https://a//b",
                None,
                Err(RequestFault::PathForm),
            ),
            (
                Version::HTTP_11,
                "http://a/b",
                Some("a"),
                Err(RequestFault::TargetForm),
            ),
            (
                Version::HTTP_10,
                "http://a/b",
                Some("a"),
                Err(RequestFault::TargetForm),
            ),
        ] {
            let mut req = request();
            *req.version_mut() = version;
            *req.uri_mut() = target.parse().unwrap();
            if let Some(host) = host {
                req.headers_mut()
                    .insert(header::HOST, host.parse().unwrap());
            }

            let verdict = check(&front(&[]), &mut req);

            assert_eq!(fault(verdict), expected, "{version:?} {target} {host:?}");
        }
    }

    #[test]
    fn an_authority_that_is_not_ours_is_misdirected() {
        let mut req = request();
        *req.version_mut() = Version::HTTP_2;
        *req.uri_mut() = "https://other.example/a".parse().unwrap();

        let verdict = check(&front(&["desk.example"]), &mut req);

        assert!(matches!(verdict, Err(Problem::MisdirectedRequest)));
    }

    #[test]
    fn a_host_that_is_not_ours_is_misdirected() {
        for (host, is_ours) in [("Desk.example:81", true), ("other.example", false)] {
            let mut req = request();
            req.headers_mut()
                .insert(header::HOST, host.parse().unwrap());

            let verdict = check(&front(&["desk.example"]), &mut req);

            assert_eq!(verdict.is_ok(), is_ours, "{host}");
        }
    }

    #[test]
    fn fields_that_others_may_read_differently_are_refused() {
        let with = |name: &'static str, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.append(name, value.try_into().unwrap());
            fault(check_fields(&headers))
        };

        assert_eq!(with("content_length", b"3"), Err(RequestFault::FieldName));
        assert_eq!(
            with("x-name", b"Jos\xc3\xa9"),
            Err(RequestFault::FieldBytes)
        );
        assert_eq!(with("x-name", b"Jose"), Ok(()));
    }

    fn front(hosts: &[&str]) -> Arc<Front> {
        Arc::new(Front {
            hosts: hosts.iter().map(ToString::to_string).collect(),
            max_head: 16 * 1024,
        })
    }

    fn request() -> Request {
        let mut req = Request::new(Body::empty());
        *req.uri_mut() = "/a".parse().unwrap();
        req
    }

    fn fault(verdict: Result<(), Problem>) -> Result<(), RequestFault> {
        match verdict {
            Ok(()) => Ok(()),
            Err(Problem::MalformedRequest(fault)) => Err(fault),
            Err(other) => unreachable!("{other:?}"),
        }
    }
}
