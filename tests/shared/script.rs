//! Does the script in Redis decide as a gateway alone would?
//!
//! Governor judges it. The clock of Redis is a pair of keys here, so that both have one.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, FakeRelativeClock},
    middleware::StateInformationMiddleware,
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use redis::{Commands as _, Connection, Script};

use crate::support::Redis;

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn buckets_in_redis_give_what_buckets_of_governor_give(
        (count, seconds) in (1_u32..5_000_000, select(vec![1_u64, 60, 3600])),
        burst in 1_u32..50,
        pauses in vec((any::<bool>(), 0_u64..5_000_000), 1..100),
    ) {
        let interval = Duration::from_secs(seconds) / count;
        let quota = Quota::with_period(interval).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
        let clock = FakeRelativeClock::default();
        let judge = RateLimiter::direct_with_clock(quota, clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        RIG.with(|rig| {
            let mut rig = rig.borrow_mut();
            rig.begin();
            for (is_short, pause) in pauses {
                // Mostly near the interval, so that much is decided by little.
                let near = u64::try_from(interval.as_micros()).unwrap() * 2 + 1;
                let micros = if is_short { pause % near } else { pause };
                clock.advance(Duration::from_micros(micros));
                rig.advance(micros);

                let expected = match judge.check() {
                    Ok(snapshot) => (0, u64::from(snapshot.remaining_burst_capacity())),
                    Err(until) => (1, nanos(until.wait_time_from(clock.now()))),
                };
                let (verdict, left) = rig.take(interval, burst);
                let found = match verdict {
                    0 => (0, (nanos(interval) * u64::from(burst) - left) / nanos(interval)),
                    refusing => (refusing, left),
                };

                prop_assert_eq!(found, expected);
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_clock_that_was_set_back_costs_no_more_than_one_wait() {
    RIG.with(|rig| {
        let mut rig = rig.borrow_mut();
        rig.begin();
        let second = Duration::from_secs(1);
        assert_eq!(rig.take(second, 2), (0, 1_000_000_000));

        rig.micros -= 3_600_000_000;
        rig.advance(0);

        assert_eq!(rig.take(second, 2), (1, 1_000_000_000));
        rig.advance(1_000_000);
        assert_eq!(rig.take(second, 2), (0, 2_000_000_000));
    });
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}

thread_local! {
    static RIG: std::cell::RefCell<Rig> = std::cell::RefCell::new(Rig::new());
}

/// A Redis with a clock of ours.
struct Rig {
    connection: Connection,
    script: Script,
    /// Since 1970.
    micros: u64,
    _redis: Redis,
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let redis = runtime.block_on(Redis::start());
        let url = format!("redis+unix://{}", redis.socket().display());
        let replace = |text: &str, from: &str, to: &str| {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text.replace(from, to)
        };
        let script = include_str!("../../src/limiter/take.lua");
        let script = replace(
            script,
            "redis.call('TIME')",
            "redis.call('MGET', 'seconds', 'micros')",
        );
        // The keys are forgotten by the real clock, so not before the end.
        let script = replace(&script, "'PX', ", "'PX', 100000 + ");
        Self {
            connection: redis::Client::open(url).unwrap().get_connection().unwrap(),
            script: Script::new(&script),
            micros: 0,
            _redis: redis,
        }
    }

    fn begin(&mut self) {
        let () = self.connection.del("bucket").unwrap();
        self.micros = 1_795_884_091_999_990;
        self.advance(0);
    }

    fn advance(&mut self, micros: u64) {
        self.micros += micros;
        let seconds = self.micros / 1_000_000;
        let rest = self.micros % 1_000_000;
        let times = [("seconds", seconds), ("micros", rest)];
        let () = self.connection.mset(&times).unwrap();
    }

    fn take(&mut self, interval: Duration, burst: u32) -> (u64, u64) {
        let mut question = self.script.key("bucket");
        question.arg(nanos(interval)).arg(burst);
        question.invoke(&mut self.connection).unwrap()
    }
}
