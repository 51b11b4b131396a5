//! With whose token do we knock?
//!
//! Here, and nowhere else, the token meets a request: a new one, made of what the
//! contract lists, with the token last and once. Nothing that a client sends can add
//! to it, remove it or replace it.
//!
//! What comes back is looked at with the token in hand. A 401 means that this token
//! was not accepted and nothing was done, so it is safe to try the next one, once
//! (RFC 9110 §15.5.2); if that fails too it is a fault of ours, not the application's.
//! An answer that holds the token is not passed on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::Limit,
    http::{Request, Response},
    jwt,
    limiter::Bucket,
    middleware::limits::CoolDown,
    problem::{AnswerFault, Problem},
    route::Route,
    stage::Next,
    trail::Trail,
    upstream::headers,
};

/// How long to pause where the upstream says 429 but not for how long.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// In milliseconds.
const MAX_PAUSE_BEFORE_RETRY: u64 = 100;

/// A name of ours at the upstream.
#[derive(Debug)]
pub struct Credential {
    /// Its name from the config; safe to log.
    pub name: Arc<str>,
    /// The token, and during a rotation the next one.
    pub tokens: Vec<Token>,
    /// The `Origin` that goes with it.
    pub origin: SentOrigin,
    /// How often the upstream may be called with it by this gateway.
    pub bucket: Arc<Bucket>,
    /// How often, by all gateways together.
    pub limit: Limit,
    /// A pause that the upstream asked for.
    pub cool_down: Arc<CoolDown>,
    /// The generation of the token that was accepted last.
    pub accepted: Arc<AtomicU32>,
}

/// A token, as it is sent and as it is looked for in answers.
#[derive(Debug)]
pub struct Token {
    /// Its number in this process: tells it from those before and after it.
    pub generation: Arc<u32>,
    /// Until when it is valid. None: for all that is known, for ever.
    pub expires_at: Option<SystemTime>,
    field: HeaderValue,
    trap: Trap,
}

/// Finds a token in what comes back.
struct Trap(memmem::Finder<'static>);

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trap")
    }
}

impl Credential {
    /// Until when one of its tokens is valid. None: for all that is known, for ever.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let ends: Option<Vec<SystemTime>> =
            self.tokens.iter().map(|token| token.expires_at).collect();
        ends?.into_iter().max()
    }

    /// Which of its tokens was accepted last; the first, as long as none was.
    pub fn in_use(&self) -> usize {
        let accepted = self.accepted.load(Ordering::Relaxed);
        let mut tokens = self.tokens.iter();
        tokens
            .position(|token| *token.generation == accepted)
            .unwrap_or(0)
    }
}

impl Token {
    /// Makes it ready to be sent. None if it cannot stand in a header field.
    pub fn new(secret: SecretString, generation: Arc<u32>) -> Option<Self> {
        let mut field = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret())).ok()?;
        // Out of `Debug`, and out of the memory that HTTP/2 keeps of fields.
        field.set_sensitive(true);
        Some(Self {
            generation,
            expires_at: jwt::expires_at(secret.expose_secret()),
            field,
            trap: Trap(memmem::Finder::new(secret.expose_secret()).into_owned()),
        })
    }
}

/// The `Origin` that is sent upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentOrigin {
    /// None.
    None,
    /// Always this one.
    Fixed(HeaderValue),
    /// The client's own.
    Forward,
}

/// The stage.
pub async fn inject(route: Arc<Route>, req: Request, next: Next) -> Result<Response, Problem> {
    let (head, _empty) = req.into_parts();
    let trail = Trail::within(&head.extensions)?;
    let credential = &trail.client()?.credential;
    let message = trail.message()?;
    let target = route.upstream_target(trail, &head.uri)?;

    let first = credential.in_use();
    let count = credential.tokens.len();
    for index in (0..count).map(|offset| (first + offset) % count) {
        let token = &credential.tokens[index];
        trail.sent_with(*token.generation);
        let outgoing = || {
            headers::outgoing(&head, trail, &target, message.bytes(), |fields| {
                add_origin(fields, &credential.origin, &head.headers);
                fields.insert(header::AUTHORIZATION, token.field.clone());
            })
        };
        let sending = next.run(outgoing()?);
        let mut answer = sending.await;
        // Nothing of it left, so it may be tried again; once, and not at once.
        if let Err(Problem::UpstreamUnreachable { .. }) = answer
            && Box::pin(trail.sleeps(pause_before_retry(trail))).await
        {
            let sending = next.run(outgoing()?);
            answer = sending.await;
        }
        let answer = answer?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            continue;
        }
        let accepted = *token.generation;
        credential.accepted.store(accepted, Ordering::Relaxed);
        if let Some(pause) = asked_pause(&answer) {
            credential.cool_down.start(pause);
        }
        return without_token(answer, &credential.tokens);
    }
    Err(Problem::UpstreamRejectedCredential)
}

/// Different for each request: what failed together should not come back together.
fn pause_before_retry(trail: &Trail) -> Duration {
    let random = trail.id.as_u128() % u128::from(MAX_PAUSE_BEFORE_RETRY);
    Duration::from_millis(u64::try_from(random).unwrap_or_default())
}

fn add_origin(fields: &mut HeaderMap, origin: &SentOrigin, of_client: &HeaderMap) {
    let origin = match origin {
        SentOrigin::None => None,
        SentOrigin::Fixed(origin) => Some(origin),
        SentOrigin::Forward => of_client.get(header::ORIGIN),
    };
    if let Some(origin) = origin {
        fields.insert(header::ORIGIN, origin.clone());
    }
}

/// The pause that an answer asks for. `Retry-After` is seconds or a date (RFC 9110
/// §10.2.3); what is neither asks for nothing.
fn asked_pause(answer: &Response) -> Option<Duration> {
    let retry_after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, SystemTime::now()));
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => Some(retry_after.unwrap_or(SHORT_PAUSE)),
        StatusCode::SERVICE_UNAVAILABLE => retry_after,
        _ => None,
    }
}

fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time, which the cap makes shorter.
        return Some(Duration::from_secs(
            value.parse().unwrap_or(u64::from(u32::MAX)),
        ));
    }
    httpdate::parse_http_date(value)
        .ok()?
        .duration_since(now)
        .ok()
}

/// The answer, if no token is in it.
fn without_token(answer: Response, tokens: &[Token]) -> Result<Response, Problem> {
    let body = answer.body().bytes().unwrap_or_default();
    let is_in = |token: &Token, bytes: &[u8]| token.trap.0.find(bytes).is_some();
    let shows_one = tokens.iter().any(|token| {
        is_in(token, &body)
            || answer
                .headers()
                .values()
                .any(|value| is_in(token, value.as_bytes()))
    });
    if shows_one {
        return Err(Problem::UpstreamAnswerRefused {
            status: answer.status(),
            fault: AnswerFault::ContainsToken,
        });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_to_come() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 12:00:00 GMT").unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Mon, 23 Nov 2026 12:00:30 GMT", Some(30)),
            ("Mon, 23 Nov 2026 11:59:59 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let pause = parse_retry_after(value, now);

            assert_eq!(pause, expected.map(Duration::from_secs), "{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_retry_after_is_seconds_a_date_or_nothing(
            seconds: u64,
            ahead in 0_u64..200_000_000_000,
            text: String,
        ) {
            let now = httpdate::parse_http_date("Mon, 23 Nov 2026 12:00:00 GMT").unwrap();
            let date = httpdate::fmt_http_date(now + Duration::from_secs(ahead));

            assert_eq!(
                parse_retry_after(&seconds.to_string(), now),
                Some(Duration::from_secs(seconds))
            );
            assert_eq!(
                parse_retry_after(&date, now),
                Some(Duration::from_secs(ahead))
            );
            let _ = parse_retry_after(&text, now);
        }
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let token = Token::new("canary".into(), Arc::new(1)).unwrap();

        assert!(!format!("{token:?}").contains("canary"));
    }
}
