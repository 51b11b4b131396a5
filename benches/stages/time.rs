//! How long does it take?
//!
//! The jobs are done in batches, so that a look at the clock costs nothing, and the median
//! of the batches is told, with the fastest: what lies far above it was disturbed.

use tokio::time::Instant;

use crate::{
    say,
    scenes::{self, Job, Scene},
};

/// Jobs before those that are measured.
const WARM_UP: usize = 1_000;
const BATCHES: usize = 200;
/// Jobs of a batch.
const JOBS: usize = 100;

/// Measures all scenes whose names hold this; with them what could grow with how many
/// applications there are, and how many chats were seen.
pub(crate) fn measure(part: &str) {
    say(format_args!(
        "{:<28} {:>10} {:>10}",
        "nanoseconds", "median", "fastest"
    ));
    for scene in scenes::all().into_iter().chain(scenes::growth()) {
        if scene.name.contains(part) {
            let mut batches = batches(&scene);
            batches.sort_unstable();
            let (median, fastest) = (batches[BATCHES / 2], batches[0]);
            say(format_args!(
                "{:<28} {median:>10} {fastest:>10}",
                scene.name
            ));
        }
    }
}

/// Nanoseconds for a job, in each batch.
fn batches(scene: &Scene) -> Vec<u128> {
    for turn in 0..WARM_UP {
        (scene.job)(turn)();
    }
    let batch = |number| {
        let turns = (number * JOBS)..((number + 1) * JOBS);
        let mut jobs: Vec<Job> = turns.map(&scene.job).collect();
        let began = Instant::now();
        for job in &mut jobs {
            job();
        }
        began.elapsed().as_nanos() / JOBS as u128
    };
    (0..BATCHES).map(batch).collect()
}
