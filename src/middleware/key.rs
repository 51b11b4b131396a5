//! Who is calling?
//!
//! Reads the gateway key from `Authorization: Bearer` or `X-Portaria-Key`, finds its
//! owner and notes the [`Client`] in the trail for the steps below.
//!
//! Only hashes of keys are known here. Unknown, expired, not yet valid and disabled
//! look the same from outside; the log and the metrics tell them apart.

pub mod failures;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderName, header};

use self::failures::{Failures, Peer};

use crate::{
    config::{Browser, Limit},
    gateway_key::{self, KeyHash},
    http::Request,
    limiter::Bucket,
    middleware::{credential::Credential, domain::Rule},
    problem::{KeyFault, Problem, RequestFault},
    shared::Seen,
    trail::Trail,
};

/// For clients that cannot set `Authorization`.
pub const X_PORTARIA_KEY: HeaderName = HeaderName::from_static("x-portaria-key");

/// A clock may be this much behind the one by which `not_before` was chosen.
const SKEW: Duration = Duration::from_secs(60);

/// The owner of a key: an application.
#[derive(Debug)]
pub struct Client {
    /// Its name from the config; safe to log.
    pub name: Arc<str>,
    /// From when on the key is valid.
    pub not_before: Option<SystemTime>,
    /// Until when.
    pub expires_at: Option<SystemTime>,
    /// Whether it is switched off.
    pub is_disabled: bool,
    /// The routes that it may call.
    pub routes: Vec<Arc<str>>,
    /// From which pages.
    pub domains: Option<Rule>,
    /// What happens to a server's key in a browser.
    pub browser: Browser,
    /// How often it may call this gateway.
    pub bucket: Option<Arc<Bucket>>,
    /// How often, all gateways together.
    pub limit: Option<Limit>,
    /// Its keys: several, while one takes over from another. By their hashes, each with
    /// the time when it was last used.
    pub hashes: Vec<(KeyHash, Arc<Seen>)>,
    /// With whose token its messages go out.
    pub credential: Arc<Credential>,
}

/// All keys.
#[derive(Debug)]
pub struct Keys {
    by_hash: HashMap<KeyHash, Arc<Client>>,
    /// The wall clock; a test has its own.
    now: fn() -> SystemTime,
    failures: Arc<Failures>,
}

impl Keys {
    /// Keys by the hash of each.
    pub fn new(
        by_hash: HashMap<KeyHash, Arc<Client>>,
        now: fn() -> SystemTime,
        failures: Arc<Failures>,
    ) -> Self {
        Self {
            by_hash,
            now,
            failures,
        }
    }

    /// Their owners, each once, in no order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        let mut seen = std::collections::HashSet::new();
        self.by_hash
            .values()
            .filter(move |client| seen.insert(client.name.clone()))
    }

    /// Where wrong keys came from.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Whose it is, and which of the owner's keys.
    fn owner_of(&self, key: &str) -> Option<(&Arc<Client>, usize)> {
        // Most mistakes are mistyped keys, and those are known without a look-up.
        if !gateway_key::is_well_formed(key) {
            return None;
        }
        let hash = KeyHash::of(key);
        let client = self.by_hash.get(&hash)?;
        let mut hashes = client.hashes.iter();
        Some((client, hashes.position(|(other, _)| *other == hash)?))
    }
}

/// The gate.
pub fn check(keys: &Arc<Keys>, req: &mut Request) -> Result<(), Problem> {
    let key = presented(req.headers())?;
    let trail = Trail::of(req)?;
    // Whatever is wrong with a key, it takes as long to find out.
    let now = (keys.now)();
    let owner = keys.owner_of(key);
    if let Some((client, which)) = owner {
        // Noted even if the key is refused now: an operator wants to know whose expired.
        let _ = trail.client.set(client.clone());
        let _ = trail.which_key.set(which);
    }
    let valid = owner
        .ok_or(KeyFault::Unknown)
        .and_then(|(client, _)| is_valid(client, now).map(|()| client));
    let client = valid.map_err(|fault| {
        let peer = req.extensions().get().copied().unwrap_or(Peer(None));
        match keys.failures.count(peer) {
            Ok(()) => Problem::InvalidKey(fault),
            Err(empty) => Problem::TooManyFailures {
                retry_after: empty.retry_after,
            },
        }
    })?;
    let may_call = trail
        .route
        .get()
        .is_some_and(|route| client.routes.contains(route));
    if may_call {
        Ok(())
    } else {
        Err(Problem::RouteNotAllowed)
    }
}

/// The key that was sent.
fn presented(headers: &HeaderMap) -> Result<&str, Problem> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let value = value.as_bytes();
        let (scheme, token) = match value.iter().position(|byte| *byte == b' ') {
            Some(space) => (&value[..space], &value[space + 1..]),
            None => (value, &[][..]),
        };
        scheme.eq_ignore_ascii_case(b"bearer").then_some(token)
    });
    let other = headers.get(X_PORTARIA_KEY).map(|value| value.as_bytes());
    match (bearer, other) {
        (Some(_), Some(_)) => Err(Problem::MalformedRequest(RequestFault::TwoKeys)),
        (None, None) => Err(Problem::MissingKey),
        // What is no text is nobody's key, and is refused where all such are.
        (Some(key), None) | (None, Some(key)) => Ok(std::str::from_utf8(key).unwrap_or_default()),
    }
}

/// Whether the key opens anything at this time.
///
/// # Errors
/// Why not.
pub fn is_valid(client: &Client, now: SystemTime) -> Result<(), KeyFault> {
    if client.is_disabled {
        return Err(KeyFault::Disabled);
    }
    if client.not_before.is_some_and(|start| now + SKEW < start) {
        return Err(KeyFault::NotYetValid);
    }
    if client.expires_at.is_some_and(|end| end <= now) {
        return Err(KeyFault::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_in_one_field_and_in_one_form() {
        for (authorization, other, expected) in [
            (Some("Bearer k"), None, Ok("k")),
            (Some("bearer k"), None, Ok("k")),
            (Some("BEARER k"), None, Ok("k")),
            (None, Some("k"), Ok("k")),
            (Some("Basic k"), Some("k"), Ok("k")),
            // Garbled, so nobody's: refused as such by the look-up.
            (Some("Bearer"), None, Ok("")),
            (Some("Bearer "), None, Ok("")),
            (Some("Bearer  k"), None, Ok(" k")),
            (None, None, Err("missing-key")),
            (Some("Basic k"), None, Err("missing-key")),
            (Some("Bearerk"), None, Err("missing-key")),
            (Some("Bearer k"), Some("k"), Err("malformed-request")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            if let Some(value) = other {
                headers.insert(X_PORTARIA_KEY, value.parse().unwrap());
            }

            let found = presented(&headers).map_err(|problem| problem.code().name());

            assert_eq!(found, expected, "{authorization:?} {other:?}");
        }
    }
}
