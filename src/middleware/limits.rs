//! Does the upstream want one more?
//!
//! Asked last, so that only a message that would really go out counts: a cool-down
//! that the upstream asked for, then the chat, then all keys together. The chat comes
//! first because one application that hammers one chat must not use up what belongs
//! to all. (A message that the last of the three refuses has still cost its chat one:
//! a bucket can neither be looked into nor be given something back.)

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tower::Layer;
use uuid::Uuid;

use crate::{
    config::Limit,
    http::{Request, Response},
    limiter::{Buckets, Empty, Refused, SharedBucket, SharedLimits},
    plan::RoutePlan,
    problem::{LimitName, Problem},
    redis::Away,
    stage::{Below, Either, Next, gate, stage},
    trail::{Step, Trail},
};

/// Messages to one chat, through one route.
pub type PerChat = Buckets<Uuid>;

/// A pause that the upstream asked for.
#[derive(Debug)]
pub struct CoolDown {
    /// The longest that it may be.
    cap: Duration,
    until: Mutex<Option<Instant>>,
}

impl CoolDown {
    /// None yet.
    pub fn new(cap: Duration) -> Self {
        Self {
            cap,
            until: Mutex::new(None),
        }
    }

    /// Starts one, or makes it longer.
    pub fn start(&self, pause: Duration) {
        let until = Instant::now() + pause.min(self.cap);
        let mut current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (*current).max(Some(until));
    }

    /// How long it still takes.
    pub fn remaining(&self) -> Option<Duration> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let remaining = (*until)?.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            *until = None;
            return None;
        }
        Some(remaining)
    }
}

/// The step: a gate where this gateway counts alone.
pub fn layer<I: Below>(
    plan: &RoutePlan,
    shared: Option<Arc<SharedLimits>>,
) -> impl Layer<I, Service: Below> + use<I> {
    let per_chat = plan.per_chat.clone();
    match shared {
        None => Either::Gate(gate(Step::Limits, per_chat, check)),
        Some(limits) => {
            let together = Together {
                limits,
                route: plan.route.name.clone(),
                chat: plan.chat_limit,
                per_chat,
            };
            Either::Stage(stage(Step::Limits, Arc::new(together), ask))
        }
    }
}

/// The gate.
pub fn check(per_chat: &Option<Arc<PerChat>>, req: &mut Request) -> Result<(), Problem> {
    let trail = Trail::of(req)?;
    let credential = &trail.client()?.credential;
    if let Some(retry_after) = credential.cool_down.remaining() {
        return Err(Problem::CoolingDown { retry_after });
    }
    if let (Some(per_chat), Some(chat)) = (per_chat, trail.chat.get()) {
        per_chat
            .take(chat)
            .map_err(|empty| refuse(trail, LimitName::Chat, empty))?;
    }
    credential
        .bucket
        .take()
        .map_err(|empty| refuse(trail, LimitName::Upstream, empty))?;
    Ok(())
}

/// What the stage needs.
struct Together {
    limits: Arc<SharedLimits>,
    /// The name of the route.
    route: Arc<str>,
    /// Messages to one chat, all gateways together.
    chat: Option<Limit>,
    /// For when this gateway counts alone.
    per_chat: Option<Arc<PerChat>>,
}

/// The stage, for limits that gateways share. All three are one question, so here a
/// message that the last refuses has cost its chat nothing.
async fn ask(together: Arc<Together>, mut req: Request, next: Next) -> Result<Response, Problem> {
    let trail = Trail::of(&req)?.clone();
    let credential = &trail.client()?.credential;
    // One that this gateway knows of needs no question.
    if let Some(retry_after) = credential.cool_down.remaining() {
        return Err(Problem::CoolingDown { retry_after });
    }
    let chat = together.chat.zip(trail.chat.get()).map(|(limit, chat)| {
        let bucket = SharedBucket::of_chat(&credential.name, &together.route, chat, limit);
        (LimitName::Chat, bucket)
    });
    let upstream = SharedBucket::of_credential(&credential.name, credential.limit);
    let (names, buckets): (Vec<_>, Vec<_>) = chat
        .into_iter()
        .chain([(LimitName::Upstream, upstream)])
        .unzip();
    let limits = &together.limits;
    match limits.take_all(&buckets, &credential.name).await {
        Ok(Ok(())) => {}
        Ok(Err(Refused::Empty(index, empty))) => return Err(refuse(&trail, names[index], empty)),
        Ok(Err(Refused::Paused(retry_after))) => {
            credential.cool_down.start(retry_after);
            return Err(Problem::CoolingDown { retry_after });
        }
        Err(Away) => limits.alone(|| check(&together.per_chat, &mut req))?,
    }

    let answer = next.run(req).await;

    // There was none before, so what the upstream asked for is news to the others.
    if let Some(pause) = credential.cool_down.remaining() {
        limits.pause(&credential.name, pause).await;
    }
    answer
}

fn refuse(trail: &Trail, limit: LimitName, empty: Empty) -> Problem {
    let _ = trail.refusing_limit.set(empty.standing);
    Problem::RateLimited {
        limit,
        retry_after: empty.retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cool_down_is_as_long_as_asked_for_but_never_longer_than_its_cap() {
        let cool_down = CoolDown::new(Duration::from_secs(60));
        assert_eq!(cool_down.remaining(), None);

        cool_down.start(Duration::from_secs(5));
        assert_eq!(cool_down.remaining(), Some(Duration::from_secs(5)));
        cool_down.start(Duration::from_secs(1));
        assert_eq!(cool_down.remaining(), Some(Duration::from_secs(5)));
        cool_down.start(Duration::from_secs(3600));
        assert_eq!(cool_down.remaining(), Some(Duration::from_secs(60)));

        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(cool_down.remaining(), None);
    }
}
