//! Is there room for it?
//!
//! A request over `max_in_flight` is refused at once, before anything of it is
//! looked at. Nobody queues: whoever waits in a queue holds memory, and is mostly
//! answered when it has stopped listening.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;

use crate::{http::Request, problem::Problem, trail::Trail};

/// The places, and whether new requests are taken at all.
#[derive(Clone, Debug)]
pub struct Room {
    places: Arc<Semaphore>,
    max_in_flight: usize,
    is_draining: Arc<AtomicBool>,
}

impl Room {
    /// So many places.
    pub fn new(max_in_flight: usize) -> Self {
        let max_in_flight = max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            is_draining: Arc::default(),
        }
    }

    /// How many are taken.
    pub fn in_flight(&self) -> usize {
        self.max_in_flight - self.places.available_permits()
    }

    /// From now on, new requests are refused.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether they are.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

/// The gate.
pub fn check(room: &Room, req: &mut Request) -> Result<(), Problem> {
    if room.is_draining() {
        return Err(Problem::Draining);
    }
    let place = room
        .places
        .clone()
        .try_acquire_owned()
        .map_err(|_full| Problem::Overloaded)?;
    Trail::of(req)?.holds(place);
    Ok(())
}
