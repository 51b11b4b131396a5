//! How long does it take?
//!
//! criterion measures each scene, and says what has changed since it did so last. What a job
//! leaves is dropped when the clock stands still.

use std::time::Duration;

use criterion::{BatchSize, Criterion};

use crate::scenes;

/// Measures all scenes, or those whose names hold the word on the command line; with them what
/// could grow with how many applications there are, and how many chats were seen.
pub(crate) fn measure() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for scene in scenes::all().into_iter().chain(scenes::growth()) {
        criterion.bench_function(scene.name, |bencher| {
            let mut turns = 0..usize::MAX;
            bencher.iter_batched(
                || (scene.job)(turns.next().unwrap()),
                |mut job| {
                    job();
                    job
                },
                BatchSize::SmallInput,
            );
        });
    }
    criterion.final_summary();
}
