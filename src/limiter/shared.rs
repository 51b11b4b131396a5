//! How often may something happen, to several gateways together?
//!
//! The same buckets as those of one gateway, and the same arithmetic, in Redis: a script
//! there takes one out of every bucket that a step asks for, or out of none, by the clock of
//! Redis. So clocks of gateways do not matter, and what a step asks for is one question.
//!
//! All buckets of one question must be in one place where Redis is a cluster. That is why
//! the part of a name that decides on its place, the one in braces, is the credential for
//! chats too: every message asks for the bucket of its credential anyway, which is one.

use std::time::Duration;

use governor::Quota;
use uuid::Uuid;

use super::{Empty, Standing, quota, standing};
use crate::{
    config::{Limit, OnStoreFailure},
    problem::Problem,
    redis::{Away, Redis, Script},
};

/// Limits that gateways share.
#[derive(Debug)]
pub struct SharedLimits {
    redis: Redis,
    on_failure: OnStoreFailure,
    take: Script,
    pause: Script,
}

/// A bucket that gateways share.
#[derive(Clone, Debug)]
pub struct SharedBucket {
    name: String,
    quota: Quota,
}

/// Why a message may not go out.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// This one of the buckets is empty.
    Empty(usize, Empty),
    /// There is a pause.
    Paused(Duration),
}

impl SharedBucket {
    /// That of a key.
    pub fn of_key(key: &str, limit: Limit) -> Self {
        Self {
            name: format!("portaria:{{{key}}}:key"),
            quota: quota(limit),
        }
    }

    /// That of a chat.
    pub fn of_chat(credential: &str, route: &str, chat: &Uuid, limit: Limit) -> Self {
        Self {
            name: format!("portaria:{{{credential}}}:chat:{route}:{chat}"),
            quota: quota(limit),
        }
    }

    /// That of a credential.
    pub fn of_credential(credential: &str, limit: Limit) -> Self {
        Self {
            name: format!("portaria:{{{credential}}}:upstream"),
            quota: quota(limit),
        }
    }
}

/// The name of a credential's pause.
fn pause_of(credential: &str) -> String {
    format!("portaria:{{{credential}}}:pause")
}

impl SharedLimits {
    /// Kept in this Redis.
    pub fn new(redis: Redis, on_failure: OnStoreFailure) -> Self {
        Self {
            redis,
            on_failure,
            take: Script::new(include_str!("take.lua")),
            pause: Script::new(include_str!("pause.lua")),
        }
    }

    /// Takes one out of a bucket.
    ///
    /// # Errors
    /// Redis is away. Perhaps it has taken one all the same.
    pub async fn take(&self, bucket: &SharedBucket) -> Result<Result<Standing, Empty>, Away> {
        match *self.run(std::slice::from_ref(bucket), None).await? {
            [0, owed] => Ok(Ok(bucket.stands(owed))),
            [1, wait] => Ok(Err(bucket.is_empty(wait))),
            // That is none of our script's answers.
            _ => Err(Away),
        }
    }

    /// Takes one out of each bucket, or out of none; out of none, too, while this credential
    /// pauses.
    ///
    /// # Errors
    /// As with [`take`](Self::take).
    pub async fn take_all(
        &self,
        buckets: &[SharedBucket],
        credential: &str,
    ) -> Result<Result<(), Refused>, Away> {
        match *self.run(buckets, Some(credential)).await? {
            [0, ..] => Ok(Ok(())),
            [refusing, wait] => {
                let index = usize::try_from(refusing - 1).unwrap_or(usize::MAX);
                Ok(Err(match buckets.get(index) {
                    Some(bucket) => Refused::Empty(index, bucket.is_empty(wait)),
                    None => Refused::Paused(Duration::from_nanos(wait)),
                }))
            }
            _ => Err(Away),
        }
    }

    async fn run(
        &self,
        buckets: &[SharedBucket],
        credential: Option<&str>,
    ) -> Result<Vec<u64>, Away> {
        let mut question = self.take.prepare_invoke();
        for bucket in buckets {
            question
                .key(&bucket.name)
                .arg(nanos(bucket.quota.replenish_interval()))
                .arg(bucket.quota.burst_size().get());
        }
        if let Some(credential) = credential {
            question.key(pause_of(credential));
        }
        self.redis.ask(&question).await
    }

    /// Begins a pause of a credential, or makes it longer.
    pub async fn pause(&self, credential: &str, pause: Duration) {
        let mut question = self.pause.prepare_invoke();
        question.key(pause_of(credential));
        // Rounded down: told again and again, it must not grow.
        question.arg(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1));
        // Where Redis is away, each gateway learns it from the upstream.
        let _: Result<(), Away> = self.redis.ask(&question).await;
    }

    /// What happens while Redis is away: this gateway counts alone, or refuses.
    ///
    /// # Errors
    /// It refuses.
    pub fn alone(&self, count: impl FnOnce() -> Result<(), Problem>) -> Result<(), Problem> {
        match self.on_failure {
            OnStoreFailure::Local => count(),
            OnStoreFailure::Refuse => Err(Problem::StoreUnavailable {
                source: Away.into(),
            }),
        }
    }
}

impl SharedBucket {
    /// How a caller stands with it when it is full in `owed` nanoseconds.
    fn stands(&self, owed: u64) -> Standing {
        let interval = self.quota.replenish_interval();
        let most = nanos(self.quota.burst_size_replenished_in());
        let remaining = most.saturating_sub(owed) / nanos(interval);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        standing(self.quota, remaining, interval * remaining.max(1))
    }

    /// What a caller is told when it gives one in `wait` nanoseconds.
    fn is_empty(&self, wait: u64) -> Empty {
        let wait = Duration::from_nanos(wait);
        Empty {
            standing: standing(self.quota, 0, wait),
            retry_after: wait,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
