//! Does a page pass that no entry of `allowed_domains` means?

use portaria::middleware::domain::{Domain, Origin};

/// The last line is what a browser is said to have sent, the others are entries. Panics
/// if somebody who compares them by hand comes to another verdict.
pub fn hunt(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (entries, sent) = text.rsplit_once('\n').unwrap_or(("", text));
    let origin = Origin::parse(sent);
    assert_eq!(
        origin.is_some(),
        parts(sent).is_some(),
        "{sent:?} is an origin to one of us"
    );
    for entry in entries.lines().filter(|entry| !entry.is_empty()) {
        let Ok(domain) = Domain::parse(entry) else {
            continue;
        };
        let passes = origin.is_some_and(|origin| origin.is_one_of(&[domain]));
        if let Some(entry) = plain(entry) {
            let expected = parts(sent).is_some_and(|sent| is_meant(&entry, &sent));
            assert_eq!(passes, expected, "{entry:?} and {sent:?}");
        }
    }
}

/// What an origin, or an entry, consists of.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// `http` or `https`; none for an entry that does not say.
    pub scheme: Option<String>,
    /// The labels of the host, or one for an address.
    pub labels: Vec<String>,
    /// Whether `*` stands before them.
    pub is_wildcard: bool,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
}

/// Reads what a browser sent, and gives nothing if a browser would have written it
/// otherwise.
pub fn parts(sent: &str) -> Option<Parts> {
    let (scheme, rest) = match sent {
        _ if sent.starts_with("https://") => ("https", &sent[8..]),
        _ if sent.starts_with("http://") => ("http", &sent[7..]),
        _ => return None,
    };
    let (host, port) = match rest.rfind(':') {
        Some(colon) if !rest[colon..].contains(']') => {
            let port: u16 = rest[colon + 1..].parse().ok()?;
            (&rest[..colon], Some(port))
        }
        _ => (rest, None),
    };
    let own = if scheme == "http" { 80 } else { 443 };
    let labels: Vec<String> = if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        vec![host.to_owned()]
    } else {
        host.split('.').map(str::to_owned).collect()
    };
    let is_address = host.starts_with('[');
    let is_label = |label: &String| {
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        is_address || !label.is_empty() && label.chars().all(is_plain)
    };
    // Written again from its parts it must be what came.
    let again = match port {
        Some(port) => format!("{scheme}://{}:{port}", labels.join(".")),
        None => format!("{scheme}://{}", labels.join(".")),
    };
    // No server listens on port 0, so no page comes from there.
    let is_real = port != Some(own) && port != Some(0);
    let is_canonical = labels.iter().all(is_label) && is_real && again == sent;
    is_canonical.then_some(Parts {
        scheme: Some(scheme.to_owned()),
        labels,
        is_wildcard: false,
        port,
    })
}

/// Reads an entry, if it is of the kind that needs no normalising: names in lower case,
/// no address, no international name.
pub fn plain(entry: &str) -> Option<Parts> {
    let (scheme, rest) = match entry.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme.to_owned()), rest),
        Some(_) => return None,
        None => (None, entry),
    };
    let (rest, port) = match rest.split_once(':') {
        Some((rest, port)) => (rest, Some(port.parse::<u16>().ok()?)),
        None => (rest, None),
    };
    let mut labels: Vec<String> = rest.split('.').map(str::to_owned).collect();
    let is_wildcard = labels.len() > 1 && labels[0] == "*";
    if is_wildcard {
        labels.remove(0);
    }
    let is_label = |label: &String| {
        !label.is_empty()
            && !label.starts_with("xn--")
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    };
    let is_name = labels
        .last()
        .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
    let port = port.filter(|port| {
        (scheme.as_deref(), *port) != (Some("http"), 80)
            && (scheme.as_deref(), *port) != (Some("https"), 443)
    });
    (is_name && labels.iter().all(is_label)).then_some(Parts {
        scheme,
        labels,
        is_wildcard,
        port,
    })
}

/// Whether the entry means this page, label by label.
pub fn is_meant(entry: &Parts, sent: &Parts) -> bool {
    let says_scheme = entry.scheme.is_some();
    if says_scheme && (entry.scheme != sent.scheme || entry.port != sent.port) {
        return false;
    }
    if entry.is_wildcard {
        let below = sent.labels.len().checked_sub(entry.labels.len());
        below.is_some_and(|below| 0 < below && sent.labels[below..] == entry.labels[..])
    } else {
        sent.labels == entry.labels
    }
}
