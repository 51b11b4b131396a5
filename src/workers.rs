//! On which threads does the work run?
//!
//! On one for each processor, and each has a runtime, connections, and a pool of upstream
//! connections of its own. So a request stays where it came in from its first byte to its
//! last, and no thread waits for another. (One runtime that spreads work over all threads
//! wakes one of them for half of what happens, and that costs more than the checks.)
//!
//! All of them accept from the same sockets: who has nothing to do is the first to take
//! what arrives. `SO_REUSEPORT` would give each thread a queue of its own, and lose those
//! who wait in it when the thread ends.

use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads.
#[derive(Debug)]
pub struct Workers {
    runtimes: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped, it ends them.
    end: Option<DropGuard>,
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// There are no more threads or descriptors to be had.
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let mut workers = Self {
            runtimes: Vec::new(),
            threads: Vec::new(),
            end: Some(end.clone().drop_guard()),
        };
        for _ in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.runtimes.push(runtime.handle().clone());
            let end = end.clone();
            let thread = thread::Builder::new().name("portaria-worker".to_owned());
            workers.threads.push(thread.spawn(move || {
                runtime.block_on(end.cancelled());
                runtime.shutdown_background();
            })?);
        }
        Ok(workers)
    }

    /// The caller's own runtime, and no other.
    pub fn here() -> Self {
        Self {
            runtimes: vec![Handle::current()],
            threads: Vec::new(),
            end: None,
        }
    }

    /// The runtime of each.
    pub fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.end.take());
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
    }
}
