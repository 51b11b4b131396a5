//! Records in a file. They outlive this process, however it ends.
//!
//! One thread owns the file. It takes all that waits, does it in one transaction, and
//! answers once that is on the disk: many messages at once cost one flush. Before a claim is
//! on the disk nothing of its message leaves, so a process that dies may leave a claim
//! without a message, but never a message without a claim.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use redb::{
    Builder, Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Claim, Digest, Fate, Outcome, Record, Store, Terms, Unavailable};

/// By the name of the message.
const RECORDS: TableDefinition<'_, Name, Row<'_>> = TableDefinition::new("records");
/// The same names, those first that expire first.
const ENDS: TableDefinition<'_, (u64, Name), ()> = TableDefinition::new("ends");

type Name = &'static [u8; 32];

/// Who claimed it, its body, when the claim lapses and when the record expires, in
/// milliseconds since 1970; its fate, and the answer.
type Row<'a> = (u128, &'a [u8; 32], u64, u64, u8, &'a [u8]);

const RUNNING: u8 = 0;
const UNKNOWN: u8 = 1;
const ANSWERED: u8 = 2;

/// About what a record takes, without its answer.
const OVERHEAD: usize = 256;
/// How many expired records are forgotten for one that is made.
const FORGET: usize = 16;
/// How much is done in one transaction.
const BATCH: usize = 256;
/// How much of the file may be kept in memory.
const CACHE: usize = 8 * 1024 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub struct File {
    /// There until it is dropped.
    jobs: Option<Sender<Job>>,
    owner: Option<JoinHandle<()>>,
    now: fn() -> SystemTime,
}

#[derive(Debug)]
struct Job {
    what: What,
    reply: oneshot::Sender<Result<Option<Record>, Unavailable>>,
}

#[derive(Debug)]
enum What {
    Claim(Claim, Terms, u64),
    Settle(Claim, Outcome),
}

impl File {
    /// Opens the file, or makes it. Claims that are found in it are nobody's any more.
    ///
    /// # Errors
    /// It cannot be had, or another process has it.
    pub fn open(path: &Path, now: fn() -> SystemTime) -> io::Result<Self> {
        let mut owner = Owner {
            path: path.to_owned(),
            database: None,
            bytes: 0,
        };
        let of_nobody = owner.take_over().map_err(|error| {
            let is_taken = matches!(error, redb::Error::DatabaseAlreadyOpen);
            let why = if is_taken {
                "another process has it".to_owned()
            } else {
                error.to_string()
            };
            let path = path.display();
            io::Error::other(format!(
                "the store of sent messages, {path}, cannot be used: {why}"
            ))
        })?;
        if 0 < of_nobody {
            tracing::warn!(
                messages = of_nobody,
                "the last process ended while messages were on their way: nobody knows whether they were sent"
            );
        }
        let (jobs, waiting) = channel();
        let owner = thread::Builder::new()
            .name("portaria-records".to_owned())
            .spawn(move || owner.serve(&waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            owner: Some(owner),
            now,
        })
    }

    fn ask(&self, what: What) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        let (reply, answer) = oneshot::channel();
        let job = Job { what, reply };
        if let Some(jobs) = &self.jobs {
            // Without a thread the reply is dropped, and so there is no answer.
            let _ = jobs.send(job);
        }
        Box::pin(async {
            let gone = |_| Unavailable::Broken("its thread has ended".to_owned());
            answer.await.map_err(gone)?
        })
    }
}

impl Store for File {
    fn claim(
        &self,
        claim: Claim,
        terms: Terms,
    ) -> BoxFuture<'_, Result<Option<Record>, Unavailable>> {
        self.ask(What::Claim(claim, terms, milliseconds((self.now)())))
    }

    fn settle(&self, claim: Claim, outcome: Outcome) -> BoxFuture<'_, Result<(), Unavailable>> {
        let settled = self.ask(What::Settle(claim, outcome));
        Box::pin(async { settled.await.map(drop) })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // What waits is still done.
        self.jobs = None;
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// Whoever may touch the file.
struct Owner {
    path: PathBuf,
    /// Closed after a failure, to be opened anew.
    database: Option<Database>,
    /// What the records take, about.
    bytes: usize,
}

impl Owner {
    fn serve(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let more = waiting.try_iter().take(BATCH - 1);
            let batch: Vec<Job> = std::iter::once(first).chain(more).collect();
            match self.work(&batch) {
                Ok(answers) => {
                    for (job, answer) in batch.into_iter().zip(answers) {
                        let _ = job.reply.send(answer);
                    }
                }
                Err(error) => {
                    self.database = None;
                    for job in batch {
                        let broken = Unavailable::Broken(error.to_string());
                        let _ = job.reply.send(Err(broken));
                    }
                }
            }
        }
    }

    /// Does it all, or nothing of it.
    fn work(
        &mut self,
        batch: &[Job],
    ) -> Result<Vec<Result<Option<Record>, Unavailable>>, redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        let database = self.database.insert(database);
        let writing = database.begin_write()?;
        let mut tables = Tables {
            records: writing.open_table(RECORDS)?,
            ends: writing.open_table(ENDS)?,
            bytes: self.bytes,
            is_changed: false,
        };
        let mut answers = Vec::with_capacity(batch.len());
        for job in batch {
            answers.push(match &job.what {
                What::Claim(claim, terms, now) => tables.claim(claim, terms, *now)?,
                What::Settle(claim, outcome) => tables.settle(claim, outcome).map(|()| Ok(None))?,
            });
        }
        let (bytes, is_changed) = (tables.bytes, tables.is_changed);
        drop(tables);
        if is_changed {
            writing.commit()?;
            self.bytes = bytes;
        } else {
            writing.abort()?;
        }
        Ok(answers)
    }

    /// Opens the file and gives up the claims in it; returns how many there were.
    fn take_over(&mut self) -> Result<usize, redb::Error> {
        let database = self.database.insert(open(&self.path)?);
        let writing = database.begin_write()?;
        let mut of_nobody = Vec::new();
        {
            let records = writing.open_table(RECORDS)?;
            writing.open_table(ENDS)?;
            for entry in records.iter()? {
                let (name, row) = entry?;
                let (.., fate, answer) = row.value();
                self.bytes += OVERHEAD + answer.len();
                if fate == RUNNING {
                    of_nobody.push(*name.value());
                }
            }
        }
        {
            let mut records = writing.open_table(RECORDS)?;
            for name in &of_nobody {
                let row = records.get(name)?.map(|row| {
                    let (by, body, lapses, expires, ..) = row.value();
                    (by, *body, lapses, expires)
                });
                if let Some((by, body, lapses, expires)) = row {
                    records.insert(name, (by, &body, lapses, expires, UNKNOWN, &[][..]))?;
                }
            }
        }
        writing.commit()?;
        Ok(of_nobody.len())
    }
}

/// Opens the file, or makes it, for us alone: there are answers in it.
fn open(path: &Path) -> Result<Database, redb::Error> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    drop(options.open(path)?);
    let database = Builder::new()
        .set_cache_size(CACHE)
        // What something else has written into it is told, and not believed.
        .set_check_integrity_on_open(true)
        .create(path)?;
    if is_new && let Some(folder) = path.parent() {
        // So that the file itself is still there after a loss of power.
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(database)
}

/// The tables within one transaction.
struct Tables<'t> {
    records: Table<'t, Name, Row<'static>>,
    ends: Table<'t, (u64, Name), ()>,
    bytes: usize,
    is_changed: bool,
}

impl Tables<'_> {
    fn claim(
        &mut self,
        claim: &Claim,
        terms: &Terms,
        now: u64,
    ) -> Result<Result<Option<Record>, Unavailable>, redb::Error> {
        if let Some((expires, record)) = self.find(&claim.name, now)? {
            if now < expires {
                return Ok(Ok(Some(record)));
            }
            self.forget(&claim.name)?;
        }
        for _ in 0..FORGET {
            let first = self.ends.first()?.map(|(end, _)| {
                let (end, name) = end.value();
                (end, Digest(*name))
            });
            match first {
                Some((end, name)) if end <= now => self.forget(&name)?,
                Some(_) | None => break,
            }
        }
        let count = usize::try_from(self.records.len()?).unwrap_or(usize::MAX);
        if terms.max_entries <= count || terms.max_bytes <= self.bytes {
            return Ok(Err(Unavailable::Full));
        }
        let (lapses, expires) = (after(now, terms.lease), after(now, terms.ttl));
        let (name, body) = (&claim.name.0, &claim.body.0);
        let row = (claim.by.as_u128(), body, lapses, expires, RUNNING, &[][..]);
        self.records.insert(name, row)?;
        self.ends.insert((expires, name), ())?;
        self.bytes += OVERHEAD;
        self.is_changed = true;
        Ok(Ok(None))
    }

    fn settle(&mut self, claim: &Claim, outcome: &Outcome) -> Result<(), redb::Error> {
        let Some((lapses, expires)) = self.of_claim(claim)? else {
            return Ok(());
        };
        let (fate, answer) = match outcome {
            Outcome::Released => return self.forget(&claim.name),
            Outcome::Unknown => (UNKNOWN, &[][..]),
            Outcome::Answered(answer) => (ANSWERED, &answer[..]),
        };
        let (name, body) = (&claim.name.0, &claim.body.0);
        let row = (claim.by.as_u128(), body, lapses, expires, fate, answer);
        self.records.insert(name, row)?;
        self.bytes += answer.len();
        self.is_changed = true;
        Ok(())
    }

    /// The record of this name, and when it expires.
    fn find(&self, name: &Digest, now: u64) -> Result<Option<(u64, Record)>, redb::Error> {
        let Some(row) = self.records.get(&name.0)? else {
            return Ok(None);
        };
        let (by, body, lapses, expires, fate, answer) = row.value();
        let record = Record {
            by: Uuid::from_u128(by),
            body: Digest(*body),
            fate: match fate {
                ANSWERED => Fate::Answered(Bytes::copy_from_slice(answer)),
                RUNNING if now < lapses => Fate::Running,
                _ => Fate::Unknown,
            },
        };
        Ok(Some((expires, record)))
    }

    /// When a claim lapses and expires, if it is still unsettled and this one's.
    fn of_claim(&self, claim: &Claim) -> Result<Option<(u64, u64)>, redb::Error> {
        let row = self.records.get(&claim.name.0)?;
        Ok(row.and_then(|row| {
            let (by, _, lapses, expires, fate, _) = row.value();
            let is_ours = by == claim.by.as_u128() && fate == RUNNING;
            is_ours.then_some((lapses, expires))
        }))
    }

    fn forget(&mut self, name: &Digest) -> Result<(), redb::Error> {
        let row = self.records.remove(&name.0)?.map(|row| {
            let (_, _, _, expires, _, answer) = row.value();
            (expires, answer.len())
        });
        if let Some((expires, length)) = row {
            self.ends.remove((expires, &name.0))?;
            self.bytes -= OVERHEAD + length;
            self.is_changed = true;
        }
        Ok(())
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn after(now: u64, wait: Duration) -> u64 {
    now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}
