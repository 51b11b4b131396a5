//! From which page?
//!
//! A key with domains may be used only from pages of those: the `Origin` says which
//! page it is or, where there is none, the `Referer`. Browsers set both and let no
//! page forge them. Any other program can send what it likes, so this says where a
//! key that a page shows can be used; it does not say who is calling.
//!
//! A key without domains is a server's key. A `Sec-Fetch-Site` shows that a browser
//! sent it, so it has leaked into a page.
//!
//! A field is compared as bytes with what a browser would send. It is not parsed as a
//! URL first: URL parsers are lenient, and what they forgive is what an attacker needs
//! (`https://app.example.com\.evil.test` is `https://app.example.com` to some).

use ::http::{HeaderMap, HeaderName, header};
use url::{Host, Url};

use crate::{
    config::{Browser, Mode},
    http::Request,
    middleware::key::Client,
    problem::Problem,
    trail::Trail,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The domains of a key, and what a page of another domain meets.
#[derive(Debug)]
pub struct Rule {
    /// Its domains.
    pub domains: Vec<Domain>,
    /// Whether another page is refused, or only reported.
    pub mode: Mode,
}

/// One entry of `allowed_domains`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Only this scheme and port; without it, http and https and any port.
    exactly: Option<(&'static str, Option<u16>)>,
    /// The host, as browsers write it: ASCII, lower case.
    host: String,
    /// Whether it stands for all that is below it, instead of itself.
    is_wildcard: bool,
}

impl Domain {
    /// Reads an entry as an operator writes it.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow the entry.
    pub fn parse(entry: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = match entry.split_once("://") {
            None => (None, entry),
            Some(("http", rest)) => (Some("http"), rest),
            Some(("https", rest)) => (Some("https"), rest),
            Some(_) => return Err("has a scheme other than http and https"),
        };
        let (is_wildcard, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.contains('*') {
            return Err("has a `*` that does not stand for whole labels at the beginning");
        }
        if rest.contains(['/', '?', '#', '@', '\\'])
            || !rest
                .chars()
                .all(|c| c.is_alphanumeric() || "-._:[]".contains(c))
        {
            return Err("is more than a host with an optional scheme and port");
        }
        let url = format!("{}://{rest}", scheme.unwrap_or("http"));
        let url = Url::parse(&url).map_err(|_| "is no host name")?;
        let host = match url.host() {
            None => return Err("is no host name"),
            Some(Host::Domain(name)) if name.ends_with('.') => {
                return Err("ends in a dot, which browsers treat as another host");
            }
            Some(Host::Domain(name)) if is_wildcard && !name.contains('.') => {
                return Err("would allow every site below a top-level domain");
            }
            Some(Host::Ipv4(_) | Host::Ipv6(_)) if is_wildcard => {
                return Err("has a wildcard before an address");
            }
            Some(host) => host.to_string(),
        };
        let has_port = rest
            .rsplit_once(']')
            .map_or(rest, |(_, port)| port)
            .contains(':');
        if scheme.is_none() && has_port {
            return Err("has a port but no scheme; write `https://host:port`");
        }
        Ok(Self {
            exactly: scheme.map(|scheme| (scheme, url.port())),
            host,
            is_wildcard,
        })
    }

    fn matches(&self, origin: &Origin<'_>) -> bool {
        let host_matches = match origin.host.strip_suffix(&*self.host) {
            Some("") => !self.is_wildcard,
            // What stands before must be whole labels.
            Some(below) => self.is_wildcard && below.len() > 1 && below.ends_with('.'),
            None => false,
        };
        let exactly_matches = self
            .exactly
            .is_none_or(|exactly| exactly == (origin.scheme, origin.port));
        host_matches && exactly_matches
    }
}

/// An origin as a browser writes it (RFC 6454 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'static str,
    host: &'a str,
    /// None where it is the scheme's own, which browsers leave out.
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// Reads an `Origin`. `null`, a list, and whatever no browser would write is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, default_port, rest) = match text.split_once("://")? {
            ("http", rest) => ("http", 80, rest),
            ("https", rest) => ("https", 443, rest),
            _ => return None,
        };
        // The colons of an IPv6 address stand inside brackets.
        let after_host = rest.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match rest[after_host..].find(':') {
            None => (rest, None),
            Some(colon) => {
                let (host, port) = rest.split_at(after_host + colon);
                (host, Some(parse_port(&port[1..])?))
            }
        };
        let is_host = match host.strip_prefix('[') {
            Some(address) => {
                let address = address.strip_suffix(']')?;
                address.parse::<std::net::Ipv6Addr>().is_ok()
            }
            None => host.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            }),
        };
        (is_host && port != Some(default_port)).then_some(Self { scheme, host, port })
    }

    /// The origin of a `Referer`: its part before the path.
    fn of_referer(text: &'a str) -> Option<Self> {
        let authority = text.find("://")? + 3;
        let end = text[authority..]
            .find(['/', '?', '#'])
            .map_or(text.len(), |length| authority + length);
        Self::parse(&text[..end])
    }

    /// Whether one of the domains covers it.
    pub fn is_one_of(&self, domains: &[Domain]) -> bool {
        domains.iter().any(|domain| domain.matches(self))
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let is_canonical = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    is_canonical.then(|| text.parse().ok()).flatten()
}

/// The gate.
pub fn check((): &(), req: &mut Request) -> Result<(), Problem> {
    let trail = Trail::of(req)?;
    match judge(trail.client()?, req.headers()) {
        Verdict::Passes => Ok(()),
        Verdict::Reported(problem) => {
            trail.report(&problem);
            Ok(())
        }
        Verdict::Refused(problem) => Err(problem),
    }
}

enum Verdict {
    Passes,
    Reported(Problem),
    Refused(Problem),
}

fn judge(client: &Client, headers: &HeaderMap) -> Verdict {
    let Some(rule) = &client.domains else {
        return match client.browser {
            Browser::Refuse if headers.contains_key(SEC_FETCH_SITE) => {
                Verdict::Refused(Problem::KeyUsedInBrowser)
            }
            Browser::Refuse | Browser::Allow => Verdict::Passes,
        };
    };
    let page = page(headers);
    if page.is_some_and(|page| page.is_one_of(&rule.domains)) {
        return Verdict::Passes;
    }
    let problem = Problem::OriginNotAllowed {
        // Of a `Referer` not even the host is logged.
        host: page
            .filter(|_| headers.contains_key(header::ORIGIN))
            .map(|page| page.host.to_owned()),
    };
    match rule.mode {
        Mode::Enforce => Verdict::Refused(problem),
        Mode::Report => Verdict::Reported(problem),
    }
}

/// The page that sent the request. With an `Origin`, whatever it is, the `Referer` is
/// not consulted: `Origin: null` is a page that hides, and that says enough.
fn page(headers: &HeaderMap) -> Option<Origin<'_>> {
    match headers.get(header::ORIGIN) {
        Some(origin) => Origin::parse(origin.to_str().ok()?),
        None => Origin::of_referer(headers.get(header::REFERER)?.to_str().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_domains_pass_and_no_others() {
        let domains = [
            "https://app.example.com",
            "https://*.shop.example.com",
            "http://localhost:3000",
            "https://münchen.example",
            "Any.example",
            "*.apps.example",
            "https://[::1]:8443",
        ]
        .map(|entry| Domain::parse(entry).unwrap());
        for (origin, expected) in [
            ("https://app.example.com", true),
            ("https://app.example.com:443", false),
            ("https://app.example.com:0443", false),
            ("HTTPS://APP.EXAMPLE.COM", false),
            ("https://App.example.com", false),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com.", false),
            ("https://app.example.com.evil.test", false),
            ("https://evilapp.example.com", false),
            ("https://app.example.com@evil.test", false),
            ("https://evil.test@app.example.com", false),
            ("https://app.example.com\\.evil.test", false),
            ("https:app.example.com", false),
            ("https:///app.example.com", false),
            ("https://app.exa\tmple.com", false),
            ("https://app.example.com/", false),
            ("https://app.example.com?x", false),
            ("https://app.example.com#x", false),
            ("https://app.example.com ", false),
            ("https://app%2eexample.com", false),
            ("https://a.shop.example.com", true),
            ("https://a.b.shop.example.com", true),
            ("https://shop.example.com", false),
            ("https://.shop.example.com", false),
            ("https://a..shop.example.com", false),
            ("https://xshop.example.com", false),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("http://127.0.0.1:3000", false),
            ("https://xn--mnchen-3ya.example", true),
            ("https://münchen.example", false),
            ("https://xn--mnchen-4ya.example", false),
            ("http://any.example", true),
            ("https://any.example:8443", true),
            ("https://x.any.example", false),
            ("http://a.apps.example:81", true),
            ("https://apps.example", false),
            ("https://[::1]:8443", true),
            ("https://[::1]", false),
            ("https://[::1", false),
            ("https://::1", false),
            ("https://app.example.com:", false),
            ("https://app.example.com:99999", false),
            ("null", false),
            ("NULL", false),
            ("", false),
            ("https://app.example.com, https://app.example.com", false),
            ("https://app.example.com https://app.example.com", false),
            ("blob:https://app.example.com/x", false),
            ("chrome-extension://abcd", false),
            ("file://", false),
        ] {
            let passes = Origin::parse(origin).is_some_and(|origin| origin.is_one_of(&domains));

            assert_eq!(passes, expected, "{origin:?}");
        }
    }

    #[test]
    fn the_referer_counts_only_where_there_is_no_origin() {
        let domains = [Domain::parse("https://app.example.com").unwrap()];
        for (origin, referer, expected) in [
            (None, Some("https://app.example.com/x?y#z"), true),
            (None, Some("https://app.example.com"), true),
            (None, Some("https://app.example.com?x"), true),
            (
                None,
                Some("https://evil.test/?https://app.example.com"),
                false,
            ),
            (None, Some("https://user@app.example.com/"), false),
            (None, Some("/relative"), false),
            (None, None, false),
            (Some("null"), Some("https://app.example.com/"), false),
            (
                Some("https://app.example.com"),
                Some("https://evil.test/"),
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = origin {
                headers.insert(header::ORIGIN, value.parse().unwrap());
            }
            if let Some(value) = referer {
                headers.insert(header::REFERER, value.parse().unwrap());
            }

            let passes = page(&headers).is_some_and(|page| page.is_one_of(&domains));

            assert_eq!(passes, expected, "{origin:?} {referer:?}");
        }
    }

    #[test]
    fn an_entry_that_could_never_match_or_matches_too_much_is_a_mistake() {
        for entry in [
            "",
            "*",
            "*.",
            "*.com",
            "a.*.example",
            "app*.example",
            "ftp://app.example",
            "https://app.example/",
            "https://app.example/x",
            "https://user@app.example",
            "app.example.",
            "app.example:8443",
            "*.127.0.0.1",
            "https://",
            "app example",
            "https://app.example:99999",
        ] {
            assert!(Domain::parse(entry).is_err(), "{entry:?}");
        }
    }
}
