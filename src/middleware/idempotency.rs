//! Have we done this already?
//!
//! An application that gives its message a name, in `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-07), may send it again and again: it goes out
//! once. The name is claimed before anything is sent, and what became of the message is
//! written down before its answer goes back. A repeat gets the same answer, or is told why
//! there is none.
//!
//! What was certainly not sent may be sent again, so its name is free again; and so it is
//! after a 401, 429 or 503 of the upstream's, which did nothing. Where nobody knows, the
//! message is never sent again under that name: only the application can decide that, and
//! does so by a new name.
//!
//! Names are the application's own: nobody else's message can have the same.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, StatusCode};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use crate::{
    app::Tasks,
    http::{Request, Response},
    problem::{Delivery, Problem},
    records::{Claim, Digest, Fate, Kept, Outcome, Record, Store, Terms, Unavailable},
    stage::Next,
    trail::Trail,
};

/// The name that an application gives its message.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that was given before.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest name.
const LONGEST: usize = 255;
/// When a repeat is told to come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long an answer that comes late still waits until it is written down.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long a store that is away is waited for, again and again.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// What the stage works with.
#[derive(Debug)]
pub struct Once {
    /// The name of the route.
    pub route: Arc<str>,
    /// What the route asks for.
    pub rule: Rule,
    /// Where records are kept.
    pub store: Arc<dyn Store>,
    /// Who finishes what is cut off.
    pub tasks: Tasks,
}

/// What a route asks for.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whether a message must have a name.
    pub is_required: bool,
    /// How long records are kept.
    pub terms: Terms,
}

/// What came of the name of a message. The names are those of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The message was answered, and the answer is kept.
    Kept,
    /// It was not sent, and the name is free again.
    Released,
    /// Nobody knows whether it was sent.
    Unknown,
    /// It had been answered, and got the same answer again.
    Replayed,
    /// It was on its way already.
    InProgress,
    /// It may have been sent before, and nobody knows.
    StillUnknown,
    /// Another message has this name.
    Reused,
    /// The records could not be had.
    Unavailable,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Released => "released",
            Self::Unknown => "unknown",
            Self::Replayed => "replayed",
            Self::InProgress => "in_progress",
            Self::StillUnknown => "still_unknown",
            Self::Reused => "reused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The stage.
pub async fn once(once: Arc<Once>, req: Request, next: Next) -> Result<Response, Problem> {
    match name(req.headers())? {
        None if once.rule.is_required => Err(Problem::IdempotencyKeyRequired),
        None => next.run(req).await,
        // In a box of its own: most messages have no name, and none shall hold the room.
        Some(name) => Box::pin(named(once, req, next, name)).await,
    }
}

async fn named(
    once: Arc<Once>,
    req: Request,
    next: Next,
    name: String,
) -> Result<Response, Problem> {
    let trail = Trail::of(&req)?.clone();
    let chat = trail.chat.get().map(Uuid::to_string).unwrap_or_default();
    let claim = Claim {
        // The route and the chat stand for the path, which is made of them.
        name: Digest::of_all([&*trail.client()?.name, &*once.route, &*chat, &*name]),
        body: Digest::of(trail.message()?.bytes()),
        by: trail.id,
    };

    let held = Held {
        claim: Some(claim),
        once: once.clone(),
        trail: trail.clone(),
    };
    let claimed = timeout_at(trail.deadline, once.store.claim(claim, once.rule.terms)).await;
    match claimed.unwrap_or(Err(Unavailable::Late)) {
        Ok(None) => {
            let answer = next.run(req).await;
            held.settle(outcome(&answer)).await;
            answer
        }
        Ok(Some(record)) => {
            held.let_go();
            repeat(&trail, &claim, record)
        }
        Err(unavailable) => {
            let _ = trail.idempotency.set(Verdict::Unavailable);
            held.may_be_ours(&unavailable);
            Err(Problem::StoreUnavailable {
                source: unavailable.into(),
            })
        }
    }
}

/// What an application hears that sends a message again.
fn repeat(trail: &Trail, claim: &Claim, record: Record) -> Result<Response, Problem> {
    let _ = trail.repeat_of.set(record.by);
    let (verdict, answer) = if record.body != claim.body {
        (Verdict::Reused, Err(Problem::IdempotencyKeyReused))
    } else {
        match record.fate {
            Fate::Running => (
                Verdict::InProgress,
                Err(Problem::IdempotencyInProgress {
                    retry_after: RETRY_AFTER,
                }),
            ),
            Fate::Unknown => (
                Verdict::StillUnknown,
                Err(Problem::IdempotencyOutcomeUnknown),
            ),
            Fate::Answered(text) => match Kept::read(&text) {
                Some(Kept::Passed(answer)) => (Verdict::Replayed, Ok(answer)),
                Some(Kept::Refused { status, fault }) => (
                    Verdict::Replayed,
                    Err(Problem::UpstreamAnswerRefused { status, fault }),
                ),
                // Written by a later version: it was answered, and that is all we know.
                None => (
                    Verdict::StillUnknown,
                    Err(Problem::IdempotencyOutcomeUnknown),
                ),
            },
        }
    };
    if verdict == Verdict::Replayed {
        trail.answered();
    }
    let _ = trail.idempotency.set(verdict);
    answer
}

/// What is written down of an answer, and what that comes to.
fn outcome(answer: &Result<Response, Problem>) -> (Verdict, Outcome) {
    let did_nothing = |status| {
        [
            StatusCode::UNAUTHORIZED,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .contains(&status)
    };
    let kept = |status, text| {
        if did_nothing(status) {
            (Verdict::Released, Outcome::Released)
        } else {
            (Verdict::Kept, Outcome::Answered(text))
        }
    };
    match answer {
        Ok(answer) => kept(answer.status(), Kept::passed(answer)),
        Err(Problem::UpstreamAnswerRefused { status, fault }) => {
            kept(*status, Kept::refused(*status, *fault))
        }
        Err(problem) => unanswered(problem.delivery()),
    }
}

fn unanswered(delivery: Delivery) -> (Verdict, Outcome) {
    match delivery {
        Delivery::NotSent => (Verdict::Released, Outcome::Released),
        Delivery::Unknown | Delivery::Sent => (Verdict::Unknown, Outcome::Unknown),
    }
}

/// A claim that has to be settled. Dropped before that, because a step below panicked or
/// the process is about to end, it is settled by what the trail knows.
#[derive(Debug)]
struct Held {
    /// There until it is settled.
    claim: Option<Claim>,
    once: Arc<Once>,
    trail: Arc<Trail>,
}

impl Held {
    /// Writes down what became of the message. Its application gets the answer even if
    /// that cannot be written down: the message went out.
    async fn settle(mut self, (verdict, outcome): (Verdict, Outcome)) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        let _ = self.trail.idempotency.set(verdict);
        let deadline = self.trail.deadline.max(Instant::now() + LAST_WAIT);
        let settled = self.once.store.settle(claim, outcome.clone());
        if !matches!(timeout_at(deadline, settled).await, Ok(Ok(()))) {
            self.insist(claim, outcome);
        }
    }

    /// Somebody else has the name.
    fn let_go(mut self) {
        self.claim = None;
    }

    /// The store may have made the claim, and was only late to say so. Then it is given
    /// back, if that can be had.
    fn may_be_ours(mut self, unavailable: &Unavailable) {
        let is_certain = matches!(unavailable, Unavailable::Full);
        if let Some(claim) = self.claim.take().filter(|_| !is_certain) {
            self.insist(claim, Outcome::Released);
        }
    }

    /// Writes it down whether or not anybody waits for that, and tries again if the store
    /// is away.
    fn insist(&self, claim: Claim, outcome: Outcome) {
        let store = self.once.store.clone();
        self.once.tasks.start(async move {
            for pause in PAUSES {
                if store.settle(claim, outcome.clone()).await.is_ok() {
                    return;
                }
                sleep(pause).await;
            }
            if let Err(error) = store.settle(claim, outcome).await {
                // The record stays as it was when the message was claimed, and lapses.
                tracing::warn!(
                    request_id = %claim.by,
                    cause = %error,
                    "what became of a message could not be written down: a repeat will hear that nobody knows"
                );
            }
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        let (verdict, outcome) = unanswered(self.trail.delivery(None));
        let _ = self.trail.idempotency.set(verdict);
        // Outside a runtime there is nobody to write it; in time, the claim lapses.
        if Handle::try_current().is_ok() {
            self.insist(claim, outcome);
        }
    }
}

/// The name that the application gave, without quotes. Both forms of one name are the same.
fn name(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let name = value.to_str().ok().and_then(unquoted);
    name.filter(|name| {
        (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    })
    .map(Some)
    .ok_or(Problem::IdempotencyKeyMalformed)
}

/// A String of RFC 9651 §3.3.3 is in quotes; many applications leave them out.
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.strip_suffix('"')?.chars();
    while let Some(next) = rest.next() {
        text.push(match next {
            '\\' => rest.next().filter(|escaped| "\"\\".contains(*escaped))?,
            '"' => return None,
            plain => plain,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn a_name_is_1_to_255_visible_characters_in_quotes_or_not() {
        let longest = "a".repeat(LONGEST);
        let too_long = "a".repeat(LONGEST + 1);
        for (value, expected) in [
            ("order-7", Some("order-7")),
            ("\"order-7\"", Some("order-7")),
            (
                "8e03978e-40d5-43dd-bc93-6894a57f9324",
                Some("8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ),
            (r#""a\"b\\c""#, Some(r#"a"b\c"#)),
            (r"a\b", Some(r"a\b")),
            (&longest, Some(&*longest)),
            (&format!("\"{longest}\""), Some(&*longest)),
            (&too_long, None),
            (&format!("\"{too_long}\""), None),
            ("", None),
            ("\"\"", None),
            ("\"", None),
            ("\"a", None),
            ("\"a\"b\"", None),
            (r#""a\""#, None),
            (r#""a\b""#, None),
            ("\"a\";v=1", None),
            ("a b", None),
            ("\"a b\"", None),
            ("a, b", None),
            ("a\tb", None),
            ("\u{e9}", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());

            let found = name(&headers).ok().flatten();

            assert_eq!(found.as_deref(), expected, "{value:?}");
        }
        assert!(matches!(name(&HeaderMap::new()), Ok(None)));
    }
}
