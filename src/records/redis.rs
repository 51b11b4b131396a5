//! Records in Redis, for several gateways together.
//!
//! A record is a text with a time to live, and what is asked of it is one script: whoever
//! claims a name first has it, whichever gateway asks. What is late is judged by the clock of
//! Redis alone. A claim whose gateway died is nobody's, but it stays in the way of all others
//! until its record expires: it lapses, and then nobody knows.
//!
//! `max_entries` and `max_bytes` mean nothing here. Redis has a `maxmemory`; when that is
//! reached it must refuse (`noeviction`), because whatever it drops may be sent again.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::{Claim, Digest, Fate, Outcome, Record, Store, Terms, Unavailable};
use crate::redis::{Away, Redis, Script, ScriptInvocation};

/// See the [module](self).
#[derive(Debug)]
pub struct Shared {
    redis: Redis,
    claim: Script,
    settle: Script,
}

/// By whom, of which body, its fate, and the answer.
type Found = (Vec<u8>, Vec<u8>, String, Vec<u8>);

impl Shared {
    /// In this Redis.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            claim: Script::new(include_str!("claim.lua")),
            settle: Script::new(include_str!("settle.lua")),
        }
    }
}

impl Store for Shared {
    fn claim(
        &self,
        claim: Claim,
        terms: Terms,
    ) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        let mut question = asked_of(&self.claim, &claim);
        question
            .arg(&claim.body.0[..])
            .arg(milliseconds(terms.lease))
            .arg(milliseconds(terms.ttl));
        Box::pin(async move {
            let found: Option<Found> = self.redis.ask(&question).await.map_err(away)?;
            found.map(record).transpose()
        })
    }

    fn settle(&self, claim: Claim, outcome: Outcome) -> BoxFuture<'_, Result<(), Unavailable>> {
        let mut question = asked_of(&self.settle, &claim);
        match &outcome {
            Outcome::Released => question.arg("").arg(""),
            Outcome::Unknown => question.arg("u").arg(""),
            Outcome::Answered(answer) => question.arg("a").arg(&answer[..]),
        };
        Box::pin(async move { self.redis.ask(&question).await.map_err(away) })
    }
}

/// Every question is about one key, so any node of a cluster can answer it.
fn asked_of<'s>(script: &'s Script, claim: &Claim) -> ScriptInvocation<'s> {
    let mut question = script.prepare_invoke();
    question
        .key([&b"portaria:sent:"[..], &claim.name.0].concat())
        .arg(&claim.by.as_bytes()[..]);
    question
}

fn record((by, body, fate, answer): Found) -> Result<Record, Unavailable> {
    let (Ok(by), Ok(body)) = (Uuid::from_slice(&by), body.try_into()) else {
        return Err(Unavailable::Broken("it holds something else".to_owned()));
    };
    Ok(Record {
        by,
        body: Digest(body),
        fate: match &*fate {
            "r" => Fate::Running,
            "a" => Fate::Answered(Bytes::from(answer)),
            _ => Fate::Unknown,
        },
    })
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn away(away: Away) -> Unavailable {
    Unavailable::Broken(away.to_string())
}
