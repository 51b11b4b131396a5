//! What has become of a message with this name?
//!
//! A record is made when somebody claims a message, and settled when it is known what
//! became of it. Whoever claims it next is told. A claim that nobody settles, because a
//! process died on the way, is not given to anybody else: after its time nobody knows
//! whether the message went out, and that is what the record says from then on.
//!
//! Records are kept by a [`Store`]. None of them knows more of a message than digests and
//! the answer to it.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{config::RecordStore, redis::Redis};

mod answer;
#[cfg_attr(not(feature = "file"), path = "records/no_file.rs")]
mod file;
mod local;
mod redis;

pub use self::redis::Shared;
pub use answer::Kept;
pub use file::File;
pub use local::Local;

/// Keeps records. All that a store does is done at once or not at all, whoever else asks.
pub trait Store: fmt::Debug + Send + Sync {
    /// Makes a record, unless there is one. None: the claim holds.
    fn claim(
        &self,
        claim: Claim,
        terms: Terms,
    ) -> BoxFuture<'_, Result<Option<Record>, Unavailable>>;

    /// Writes down what became of a message, if the claim is still this one's.
    fn settle(&self, claim: Claim, outcome: Outcome) -> BoxFuture<'_, Result<(), Unavailable>>;
}

/// The store that the config names.
///
/// # Errors
/// A file cannot be had, or another process has it. (That there is a Redis where one is
/// needed, the plan has seen to.)
pub fn open(store: &RecordStore, redis: Option<&Redis>) -> io::Result<Arc<dyn Store>> {
    Ok(match store {
        RecordStore::Local => Arc::new(Local::default()),
        RecordStore::File(path) => Arc::new(File::open(path, SystemTime::now)?),
        RecordStore::Redis => {
            let redis = redis.ok_or(io::Error::other("there is no Redis to remember in"))?;
            Arc::new(Shared::new(redis.clone()))
        }
    })
}

/// What somebody wants to do once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name of the message.
    pub name: Digest,
    /// Its body.
    pub body: Digest,
    /// The request that wants to send it.
    pub by: Uuid,
}

/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of several texts. Each is preceded by its length: `a`, `bc` is not `ab`, `c`.
    pub fn of_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

/// For how long records are kept, and how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Counted from the claim.
    pub ttl: Duration,
    /// A claim that is not settled by then never will be.
    pub lease: Duration,
    /// How many there may be.
    pub max_entries: usize,
    /// How many bytes they may take, before a new one is made.
    pub max_bytes: usize,
}

/// What is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The request that claimed it.
    pub by: Uuid,
    /// Its body.
    pub body: Digest,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way.
    Running,
    /// Nobody knows.
    Unknown,
    /// This was the answer, as [`Kept`] writes it.
    Answered(Bytes),
}

/// How a claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message was not sent: its name is free again.
    Released,
    /// Nobody knows whether it was.
    Unknown,
    /// It was answered.
    Answered(Bytes),
}

/// Why a store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There are as many records as there may be, and none has expired.
    #[error("the store of sent messages is full")]
    Full,
    /// It did not answer in time.
    #[error("the store of sent messages did not answer in time")]
    Late,
    /// It failed.
    #[error("the store of sent messages cannot be used: {0}")]
    Broken(String),
}
