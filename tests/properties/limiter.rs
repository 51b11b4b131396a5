//! Does a bucket ever give more than was promised, or less than it announced?

use std::time::Duration;

use portaria::{config::Limit, limiter::Bucket};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::time::{Instant, advance};

use crate::{cases, run};

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_bucket_gives_no_more_than_its_burst_and_its_rate(
        (rate, per) in rate(),
        burst in 1_u32..50,
        pauses in vec(0_u64..5_000_000_000, 1..200),
    ) {
        let limit = limit(rate, per, burst);
        let mut given = Vec::new();
        run(async {
            let bucket = Bucket::new(limit);
            for pause in &pauses {
                if bucket.take().is_ok() {
                    given.push(Instant::now());
                }
                // Mostly short pauses, so that it runs empty.
                let pause = if pause % 4 == 0 { *pause } else { pause % 1000 };
                advance(Duration::from_nanos(pause)).await;
            }
        });

        let interval = limit.rate.per / rate;
        for (first, from) in given.iter().enumerate() {
            for (last, until) in given.iter().enumerate().skip(first) {
                let filled = (*until - *from).as_nanos() / interval.as_nanos();
                prop_assert!((last - first + 1) as u128 <= u128::from(burst) + filled);
            }
        }
    }

    #[test]
    fn after_the_announced_wait_one_passes_and_not_before(
        (rate, per) in rate(),
        burst in 1_u32..50,
        pauses in vec(0_u64..5_000_000_000, 1..200),
    ) {
        let limit = limit(rate, per, burst);
        run(async {
            let bucket = Bucket::new(limit);
            for pause in pauses {
                advance(Duration::from_nanos(pause % 1_000_000)).await;
                let Err(empty) = bucket.take() else { continue };
                advance(empty.retry_after - Duration::from_nanos(1)).await;
                assert!(bucket.take().is_err(), "too early");
                advance(Duration::from_nanos(1)).await;
                assert!(bucket.take().is_ok(), "as announced");
            }
        });
    }

    #[test]
    fn what_is_told_of_a_bucket_is_never_more_than_is_there(
        (rate, per) in rate(),
        burst in 1_u32..50,
        takes in 0_usize..60,
    ) {
        run(async {
            let bucket = Bucket::new(limit(rate, per, burst));
            for _ in 0..takes {
                let _ = bucket.take();
            }
            if let Ok(standing) = bucket.take() {
                assert_eq!(standing.quota, burst);
                for _ in 0..standing.remaining {
                    assert!(bucket.take().is_ok(), "{standing:?}");
                }
                assert!(bucket.take().is_err(), "{standing:?}");
            }
        });
    }
}

fn rate() -> impl Strategy<Value = (u32, &'static str)> {
    (1_u32..2000, select(vec!["s", "min", "h"]))
}

fn limit(rate: u32, per: &str, burst: u32) -> Limit {
    let text = format!("{{ \"rate\": \"{rate}/{per}\", \"burst\": {burst} }}");
    serde_json::from_str(&text).unwrap()
}
