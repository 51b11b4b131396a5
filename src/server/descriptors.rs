//! Are there enough file descriptors?
//!
//! Each connection of an application takes one, and each message on its way to Wegly one
//! more. Where they run out, connections wait to be accepted, and messages that are let in
//! cannot go out. So the limit is raised to what the system allows, and where that is not
//! enough, an operator is told.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Listeners, operators, the log, the runtime.
const BESIDE: usize = 128;

/// A limit that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    /// How many there may be.
    pub limit: u64,
    /// How many could be needed.
    pub needed: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, needed } = self;
        write!(f, "may need {needed} open files, and the limit is {limit}")
    }
}

/// Takes as many as the system allows.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // It may always be raised to the maximum; otherwise it stays, and `check` says so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// Whether they suffice, once the limit is raised.
///
/// # Errors
/// They do not.
pub fn check(max_connections: usize, max_in_flight: usize) -> Result<(), TooFew> {
    let needed = max_connections.saturating_add(max_in_flight);
    let needed = u64::try_from(needed.saturating_add(BESIDE)).unwrap_or(u64::MAX);
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < needed => Err(TooFew { limit, needed }),
        Some(_) | None => Ok(()),
    }
}
