//! Records in the memory of this process. They end with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Claim, Digest, Fate, Outcome, Record, Store, Terms, Unavailable};

/// About what a record takes, without its answer.
const OVERHEAD: usize = 256;
/// How many expired records are forgotten for one that is made: more than one, so that they
/// become fewer, and not all, so that nobody waits for that.
const FORGET: usize = 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Local(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    by_name: HashMap<Digest, Entry>,
    /// The same, those first that expire first.
    by_end: BTreeSet<(Instant, Digest)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// When it is settled or never will be.
    lapses: Instant,
    expires: Instant,
}

impl Local {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Local {
    fn claim(
        &self,
        claim: Claim,
        terms: Terms,
    ) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        Box::pin(async move { self.lock().claim(claim, terms, Instant::now()) })
    }

    fn settle(&self, claim: Claim, outcome: Outcome) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            self.lock().settle(claim, outcome);
            Ok(())
        })
    }
}

impl Records {
    fn claim(
        &mut self,
        claim: Claim,
        terms: Terms,
        now: Instant,
    ) -> Result<Option<Record>, Unavailable> {
        if let Some(entry) = self.by_name.get(&claim.name) {
            if now < entry.expires {
                return Ok(Some(entry.record_at(now)));
            }
            self.forget(claim.name);
        }
        for _ in 0..FORGET {
            match self.by_end.first() {
                Some((end, name)) if *end <= now => self.forget(*name),
                Some(_) | None => break,
            }
        }
        if terms.max_entries <= self.by_name.len() || terms.max_bytes <= self.bytes {
            return Err(Unavailable::Full);
        }
        let record = Record {
            by: claim.by,
            body: claim.body,
            fate: Fate::Running,
        };
        let entry = Entry {
            record,
            lapses: now + terms.lease,
            expires: now + terms.ttl,
        };
        self.bytes += entry.bytes();
        self.by_end.insert((entry.expires, claim.name));
        self.by_name.insert(claim.name, entry);
        Ok(None)
    }

    fn settle(&mut self, claim: Claim, outcome: Outcome) {
        let entry = self.by_name.get_mut(&claim.name);
        let Some(entry) =
            entry.filter(|entry| entry.record.by == claim.by && entry.record.fate == Fate::Running)
        else {
            return;
        };
        let fate = match outcome {
            Outcome::Released => return self.forget(claim.name),
            Outcome::Unknown => Fate::Unknown,
            Outcome::Answered(answer) => Fate::Answered(answer),
        };
        self.bytes -= entry.bytes();
        entry.record.fate = fate;
        self.bytes += entry.bytes();
    }

    fn forget(&mut self, name: Digest) {
        if let Some(entry) = self.by_name.remove(&name) {
            self.by_end.remove(&(entry.expires, name));
            self.bytes -= entry.bytes();
        }
    }
}

impl Entry {
    fn record_at(&self, now: Instant) -> Record {
        let mut record = self.record.clone();
        if record.fate == Fate::Running && self.lapses <= now {
            record.fate = Fate::Unknown;
        }
        record
    }

    fn bytes(&self) -> usize {
        OVERHEAD
            + match &self.record.fate {
                Fate::Running | Fate::Unknown => 0,
                Fate::Answered(answer) => answer.len(),
            }
    }
}
