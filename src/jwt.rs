//! Until when is a token valid?
//!
//! Wegly's tokens are JSON Web Tokens (its page on authentication says so, and nothing
//! about their claims). Where one has an `exp` (RFC 7519 §4.1.4), an operator can be told
//! before it runs out. The signature is not verified: that is the upstream's business,
//! and nobody is let in because of what is read here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// The token's `exp`. None if it is no JWT, or has none.
pub fn expires_at(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    // A number of seconds, with a fraction if its maker likes; a moment before 1970 is none.
    let seconds = claims.get("exp")?.as_f64()?;
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jwt_with_a_number_as_exp_has_an_end() {
        for (claims, expected) in [
            (r#"{"exp":1800000000}"#, Some(1_800_000_000)),
            (r#"{"sub":"a","exp":1800000000.0}"#, Some(1_800_000_000)),
            (r#"{"exp":"1800000000"}"#, None),
            (r#"{"exp":-1}"#, None),
            (r#"{"exp":1e300}"#, None),
            (r#"{"sub":"a"}"#, None),
            ("[]", None),
            ("no json", None),
        ] {
            let token = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));

            let end = expires_at(&token);

            let expected = expected.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(end, expected, "{claims}");
        }
    }

    #[test]
    fn what_is_no_jwt_has_no_end() {
        for token in [
            "",
            "opaque",
            "a.b",
            "a.b.c",
            "e30.eyJleHAiOjF9.c.d",
            "e30.!.c",
        ] {
            assert_eq!(expires_at(token), None, "{token}");
        }
    }
}
