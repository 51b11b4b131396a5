//! Records in a file, if this were built without them: a config that asks for such a file is
//! refused, and here is the type of `file.rs`, of which there can be no value.

use std::{io, path::Path, time::SystemTime};

use futures_util::future::BoxFuture;

use super::{Claim, Outcome, Record, Store, Terms, Unavailable};

/// There is none.
#[derive(Debug)]
pub enum File {}

impl File {
    /// Never.
    pub fn open(_path: &Path, _now: fn() -> SystemTime) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Store for File {
    fn claim(&self, _: Claim, _: Terms) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        match *self {}
    }

    fn settle(&self, _: Claim, _: Outcome) -> BoxFuture<'_, Result<(), Unavailable>> {
        match *self {}
    }
}
