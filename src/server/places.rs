//! Who gives way when all places are taken?
//!
//! `max_connections` have a place. To one that comes when there is none left, the
//! connection that has waited longest for a request gives way: it is closed once what has
//! arrived is answered. One that is asked something never gives way, nor
//! one that has had less than a moment to ask. So nobody keeps others out by connections
//! on which nothing is asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// So long after it was opened, or answered, a connection may wait in any case.
const GRACE: Duration = Duration::from_secs(1);
/// Until the next one is asked to go: closing takes a while.
const PAUSE: Duration = Duration::from_millis(20);
/// After so long with places left, being full is worth a line in the log.
const QUIET: Duration = Duration::from_secs(10);

/// The places for connections, of all listeners together.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// In the order in which they came.
    guests: BTreeMap<u64, Arc<Guest>>,
    next: u64,
    /// When there was last no place left.
    full: Option<Instant>,
}

impl Places {
    /// So many.
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
        }))
    }

    /// Takes one for a connection that goes when it is told to stop, and perhaps before.
    pub(super) async fn take(&self, stop: &CancellationToken) -> Place {
        let permit = loop {
            if let Ok(permit) = self.0.free.clone().try_acquire_owned() {
                break permit;
            }
            self.0.send_one_away();
            let free = self.0.free.clone().acquire_owned();
            if let Ok(Ok(permit)) = timeout(PAUSE, free).await {
                break permit;
            }
        };
        let guest = Arc::new(Guest::new(stop));
        let mut taken = self.0.taken();
        let number = taken.next;
        taken.next += 1;
        taken.guests.insert(number, guest.clone());
        drop(taken);
        Place {
            guest,
            number,
            places: self.0.clone(),
            _permit: permit,
        }
    }
}

impl Inner {
    /// Asks the connection that has waited longest to go, if it has waited for a moment.
    fn send_one_away(&self) {
        let now = Instant::now();
        let mut taken = self.taken();
        if taken.full.is_none_or(|last| last + QUIET < now) {
            let connections = taken.guests.len();
            tracing::warn!(
                connections,
                "as many connections as there may be; those without a request give way"
            );
        }
        taken.full = Some(now);
        let longest = taken
            .guests
            .values()
            .filter(|guest| !guest.leave.is_cancelled())
            .filter_map(|guest| Some((guest.waits_since()?, guest)))
            .min_by_key(|(since, _)| *since);
        if let Some((since, guest)) = longest
            && since + GRACE <= now
        {
            guest.leave.cancel();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    guest: Arc<Guest>,
    number: u64,
    places: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whoever has it.
    pub(super) fn guest(&self) -> Arc<Guest> {
        self.guest.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().guests.remove(&self.number);
    }
}

/// A connection, as far as it matters whether it should go.
#[derive(Debug)]
pub(super) struct Guest {
    stop: CancellationToken,
    leave: CancellationToken,
    wait: Mutex<Wait>,
}

#[derive(Debug)]
struct Wait {
    /// Requests that are not answered yet.
    running: usize,
    /// Since when there is none, if there is none.
    since: Instant,
}

impl Guest {
    /// One that has just come, and goes at a stop.
    pub(super) fn new(stop: &CancellationToken) -> Self {
        let wait = Wait {
            running: 0,
            since: Instant::now(),
        };
        Self {
            stop: stop.clone(),
            leave: stop.child_token(),
            wait: Mutex::new(wait),
        }
    }

    /// Cancelled when it should go.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Waits until it should be closed as soon as nothing runs. If it gives way, then once
    /// more has been looked at what has arrived. At a stop, so much later: a client that
    /// sends just then is told to go elsewhere, and would else not know what became of it.
    pub(super) async fn should_go(&self, farewell: Duration) {
        self.leave.cancelled().await;
        if self.stop.is_cancelled() {
            sleep(farewell).await;
        } else {
            yield_now().await;
        }
    }

    /// Notes that a request runs, until what is returned is dropped.
    pub(super) fn is_asked(self: &Arc<Self>) -> Asked {
        self.wait().running += 1;
        Asked(self.clone())
    }

    fn waits_since(&self) -> Option<Instant> {
        let wait = self.wait();
        (wait.running == 0).then_some(wait.since)
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that runs.
#[derive(Debug)]
pub(super) struct Asked(Arc<Guest>);

impl Asked {
    /// Whether the connection should be closed after it.
    pub(super) fn is_last(&self) -> bool {
        self.0.leave.is_cancelled()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut wait = self.0.wait();
        wait.running -= 1;
        wait.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_waited_longest_gives_way() {
        let (places, stop) = (Places::new(3), CancellationToken::new());
        let [busy, early, late] = [(); 3].map(|()| places.take(&stop).now_or_never().unwrap());
        let running = busy.guest().is_asked();
        tokio::time::advance(GRACE / 2).await;
        drop(late.guest().is_asked());
        tokio::time::advance(GRACE / 2).await;

        let newcomer = places.take(&stop).now_or_never();

        assert!(newcomer.is_none());
        let gone = [&busy, &early, &late].map(|place| place.guest().leave().is_cancelled());
        assert_eq!(gone, [false, true, false]);
        drop(running);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_way_goes_at_once_and_at_a_stop_everybody_a_moment_later() {
        let (places, stop) = (Places::new(1), CancellationToken::new());
        let place = places.take(&stop).await;
        let early = place.guest().is_asked().is_last();
        tokio::time::advance(GRACE).await;
        assert!(places.take(&stop).now_or_never().is_none());
        let began = Instant::now();

        place.guest().should_go(GRACE).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        stop.cancel();
        place.guest().should_go(GRACE).await;

        assert!(GRACE <= began.elapsed());
        assert!(!early && place.guest().is_asked().is_last());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gives_way_before_there_was_time_to_ask() {
        let (places, stop) = (Places::new(1), CancellationToken::new());
        let first = places.take(&stop).await;
        let began = Instant::now();

        let newcomer = async {
            let _place = places.take(&stop).await;
            began.elapsed()
        };
        let leaves = async {
            first.guest().leave().cancelled().await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(newcomer, leaves);

        assert!((GRACE..GRACE + PAUSE).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_all_are_asked_something_a_newcomer_waits() {
        let (places, stop) = (Places::new(1), CancellationToken::new());
        let first = places.take(&stop).await;
        let running = first.guest().is_asked();

        let early = timeout(60 * GRACE, places.take(&stop)).await;
        drop(running);
        drop(first);

        assert!(early.is_err());
        assert!(places.take(&stop).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_go_keeps_no_other_from_going() {
        let (places, stop) = (Places::new(2), CancellationToken::new());
        let stuck = places.take(&stop).await;
        let other = places.take(&stop).await;

        let newcomer = places.take(&stop);
        let leaves = async {
            other.guest().leave().cancelled().await;
            drop(other);
        };
        let (_place, ()) = tokio::join!(newcomer, leaves);

        assert!(stuck.guest().leave().is_cancelled());
    }
}
