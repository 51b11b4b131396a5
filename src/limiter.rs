//! How often may something happen?
//!
//! GCRA, counted by governor, or in Redis for [several gateways](shared) together. What is allowed is a [`Limit`] of the config; what a
//! caller learns is a [`Standing`].

mod shared;

use std::{hash::Hash, time::Duration};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock,
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, keyed::DashMapStateStore},
};
use tokio::time::Instant;

pub use shared::{Refused, SharedBucket, SharedLimits};

use crate::{config::Limit, problem::whole_seconds};

/// One bucket.
#[derive(Debug)]
pub struct Bucket {
    clock: TokioClock,
    governor: RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>,
}

impl Bucket {
    /// A full one.
    pub fn new(limit: Limit) -> Self {
        let clock = TokioClock::start();
        Self {
            governor: RateLimiter::direct_with_clock(quota(limit), clock).with_middleware(),
            clock,
        }
    }

    /// Takes one out.
    ///
    /// # Errors
    /// It is empty.
    pub fn take(&self) -> Result<Standing, Empty> {
        judge(self.governor.check(), self.clock)
    }
}

/// One bucket for each `K`, made when it is first needed.
#[derive(Debug)]
pub struct Buckets<K: Hash + Eq + Clone> {
    clock: TokioClock,
    governor: RateLimiter<K, DashMapStateStore<K>, TokioClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Full ones.
    pub fn new(limit: Limit) -> Self {
        let clock = TokioClock::start();
        Self {
            governor: RateLimiter::dashmap_with_clock(quota(limit), clock).with_middleware(),
            clock,
        }
    }

    /// Takes one out of the bucket of `key`.
    ///
    /// # Errors
    /// It is empty.
    pub fn take(&self, key: &K) -> Result<Standing, Empty> {
        judge(self.governor.check_key(key), self.clock)
    }

    /// Forgets the buckets that are full again. Without it they only grow in number.
    pub fn forget_full(&self) {
        self.governor.retain_recent();
        self.governor.shrink_to_fit();
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.governor.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.governor.is_empty()
    }
}

/// How a caller stands with a limit: the values of `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `q`: how many may come at once.
    pub quota: u32,
    /// `w`: in how many seconds an empty bucket fills.
    pub window: u64,
    /// `r`: how many are left.
    pub remaining: u32,
    /// `t`: for how many seconds no more than `remaining` may come.
    pub effective: u64,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug)]
pub struct Empty {
    /// What to tell the caller.
    pub standing: Standing,
    /// When there is one again.
    pub retry_after: Duration,
}

fn judge(
    verdict: Result<StateSnapshot, NotUntil<Nanos>>,
    clock: TokioClock,
) -> Result<Standing, Empty> {
    match verdict {
        Ok(snapshot) => {
            let remaining = snapshot.remaining_burst_capacity();
            let interval = snapshot.quota().replenish_interval();
            // So much time holds the sustained rate: `remaining / effective` is at most that.
            Ok(standing(
                snapshot.quota(),
                remaining,
                interval * remaining.max(1),
            ))
        }
        Err(not_until) => {
            let retry_after = not_until.wait_time_from(clock.now());
            Err(Empty {
                standing: standing(not_until.quota(), 0, retry_after),
                retry_after,
            })
        }
    }
}

fn standing(quota: Quota, remaining: u32, effective: Duration) -> Standing {
    Standing {
        quota: quota.burst_size().get(),
        window: whole_seconds(quota.burst_size_replenished_in()),
        remaining,
        effective: whole_seconds(effective),
    }
}

fn quota(limit: Limit) -> Quota {
    let interval = limit.rate.per / limit.rate.count.get();
    // A rate is at most some 4 billion a second, so its interval is above zero... unless it
    // rounds to zero: then one nanosecond is as good as no limit.
    Quota::with_period(interval.max(Duration::from_nanos(1)))
        .unwrap_or_else(|| Quota::per_second(limit.rate.count))
        .allow_burst(limit.burst)
}

/// Tokio's clock, so that a test that stops time stops the limits too.
#[derive(Clone, Copy, Debug)]
struct TokioClock {
    origin: Instant,
}

impl TokioClock {
    fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        toml::from_str(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn after_exactly_the_announced_wait_one_more_passes() {
        let bucket = Bucket::new(limit("rate = \"20/s\"\nburst = 2"));
        bucket.take().unwrap();
        bucket.take().unwrap();

        let empty = bucket.take().unwrap_err();
        tokio::time::advance(empty.retry_after - Duration::from_nanos(1)).await;
        bucket.take().unwrap_err();
        tokio::time::advance(Duration::from_nanos(1)).await;

        bucket.take().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_standing_is_what_the_draft_asks_for() {
        let bucket = Bucket::new(limit("rate = \"20/s\"\nburst = 40"));

        let standing = bucket.take().unwrap();

        assert_eq!(
            standing,
            Standing {
                quota: 40,
                window: 2,
                remaining: 39,
                effective: 2
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_bucket_of_its_own_until_it_is_full_again() {
        let buckets = Buckets::new(limit("rate = \"60/min\"\nburst = 1"));
        buckets.take(&1).unwrap();
        buckets.take(&2).unwrap();
        buckets.take(&1).unwrap_err();
        assert_eq!(buckets.len(), 2);

        tokio::time::advance(Duration::from_secs(5)).await;
        buckets.forget_full();

        assert!(buckets.is_empty());
    }
}
