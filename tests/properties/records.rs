//! Does a store ever give one name to two requests, or forget what it was told?
//!
//! Each store is held against the same naive one, which is written anew here.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use portaria::records::{
    Claim, Digest, Fate, File, Local, Outcome, Record, Store, Terms, Unavailable,
};
use proptest::{collection::vec, prelude::*, sample::select};
use uuid::Uuid;

use crate::{cases, run, run_in_the_world, support::Redis};

const TERMS: Terms = Terms {
    ttl: Duration::from_secs(100),
    lease: Duration::from_secs(30),
    max_entries: 3,
    max_bytes: usize::MAX,
};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Act {
    /// Somebody wants to send this body under this name.
    Claim { name: u8, body: u8 },
    /// The request with this number, counted back from the last, says what became of it.
    Settle { back: usize, outcome: Outcome },
    /// Time goes by.
    Pass(Duration),
    /// The process ends, and another one begins.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let outcome = prop_oneof![
        Just(Outcome::Released),
        Just(Outcome::Unknown),
        vec(any::<u8>(), 0..40).prop_map(|answer| Outcome::Answered(Bytes::from(answer))),
    ];
    let act = prop_oneof![
        6 => (0_u8..5, 0_u8..2).prop_map(|(name, body)| Act::Claim { name, body }),
        5 => (0_usize..6, outcome).prop_map(|(back, outcome)| Act::Settle { back, outcome }),
        2 => select(vec![1, 10, 30, 71, 100]).prop_map(|s| Act::Pass(Duration::from_secs(s))),
        1 => Just(Act::Restart),
    ];
    vec(act, 1..60)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn memory_does_what_a_naive_store_does(acts in acts()) {
        let acts = acts.into_iter().filter(|act| !matches!(act, Act::Restart));

        run(agree(|| Arc::new(Local::default()), TERMS, acts));
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn a_file_does_what_a_naive_store_does(acts in acts()) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("sent.redb");

        run(agree(|| Arc::new(File::open(&file, wall_clock).unwrap()), TERMS, acts));
    }
}

proptest! {
    #![proptest_config(cases(10))]

    /// Its clock is its own, and what it holds is bounded by itself.
    #[test]
    fn redis_does_what_a_naive_store_does(acts in acts()) {
        let acts = acts
            .into_iter()
            .filter(|act| !matches!(act, Act::Pass(_) | Act::Restart));
        let terms = Terms { max_entries: usize::MAX, ..TERMS };

        run_in_the_world(async {
            let redis = Redis::start().await;
            let (store, _keeper) = redis.store().await;
            agree(|| store.clone(), terms, acts).await;
        });
    }
}

/// Does all this to a store and to the naive one.
async fn agree(
    open: impl Fn() -> Arc<dyn Store>,
    terms: Terms,
    acts: impl IntoIterator<Item = Act>,
) {
    let (mut store, mut naive) = (open(), Naive::default());
    let mut claims = Vec::new();
    for act in acts {
        match act {
            Act::Claim { name, body } => {
                let claim = Claim {
                    name: Digest([name; 32]),
                    body: Digest([body; 32]),
                    by: Uuid::from_u128(claims.len() as u128),
                };
                claims.push(claim);
                let found = store.claim(claim, terms).await;
                assert_eq!(found.map_err(drop), naive.claim(claim, terms));
            }
            Act::Settle { back, outcome } => {
                let Some(claim) = claims.iter().rev().nth(back) else {
                    continue;
                };
                store.settle(*claim, outcome.clone()).await.unwrap();
                naive.settle(*claim, outcome);
            }
            Act::Pass(time) => {
                WALL.set(WALL.get() + time);
                tokio::time::advance(time).await;
            }
            Act::Restart => {
                drop(store);
                store = open();
                naive.restart();
            }
        }
    }
}

thread_local! {
    /// How late it is. Tests that run beside each other have a clock each.
    static WALL: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn wall_clock() -> SystemTime {
    UNIX_EPOCH + WALL.get()
}

/// A list of all that is known.
#[derive(Default)]
struct Naive(HashMap<Digest, (Record, Duration)>);

impl Naive {
    fn claim(&mut self, claim: Claim, terms: Terms) -> Result<Option<Record>, ()> {
        let now = WALL.get();
        self.0.retain(|_, (_, since)| now < *since + terms.ttl);
        if let Some((record, since)) = self.0.get(&claim.name) {
            let mut record = record.clone();
            if record.fate == Fate::Running && *since + terms.lease <= now {
                record.fate = Fate::Unknown;
            }
            return Ok(Some(record));
        }
        if self.0.len() == terms.max_entries {
            return Err(());
        }
        let record = Record {
            by: claim.by,
            body: claim.body,
            fate: Fate::Running,
        };
        self.0.insert(claim.name, (record, now));
        Ok(None)
    }

    fn settle(&mut self, claim: Claim, outcome: Outcome) {
        let Some((record, _)) = self.0.get_mut(&claim.name) else {
            return;
        };
        if record.by != claim.by || record.fate != Fate::Running {
            return;
        }
        record.fate = match outcome {
            Outcome::Released => return drop(self.0.remove(&claim.name)),
            Outcome::Unknown => Fate::Unknown,
            Outcome::Answered(answer) => Fate::Answered(answer),
        };
    }

    /// What was on its way is nobody's any more.
    fn restart(&mut self) {
        for (record, _) in self.0.values_mut() {
            if record.fate == Fate::Running {
                record.fate = Fate::Unknown;
            }
        }
    }
}

#[test]
fn when_it_is_full_of_bytes_nothing_is_forgotten_and_what_is_forgotten_makes_room() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sent.redb");
    let terms = Terms {
        max_entries: 100,
        max_bytes: 2000,
        ..TERMS
    };
    run(async {
        let stores: [Arc<dyn Store>; 2] = [
            Arc::new(Local::default()),
            Arc::new(File::open(&file, wall_clock).unwrap()),
        ];
        for store in stores {
            let claim = |name| Claim {
                name: Digest([name; 32]),
                body: Digest([0; 32]),
                by: Uuid::from_u128(name.into()),
            };
            let large = Bytes::from(vec![b'x'; 1500]);
            for name in 0..2 {
                assert_eq!(store.claim(claim(name), terms).await.unwrap(), None);
                let answered = Outcome::Answered(large.clone());
                store.settle(claim(name), answered).await.unwrap();
            }

            let full = store.claim(claim(2), terms).await;
            assert!(matches!(full, Err(Unavailable::Full)));
            for name in 0..2 {
                let kept = store.claim(claim(name), terms).await.unwrap().unwrap();
                assert_eq!(kept.fate, Fate::Answered(large.clone()));
            }

            WALL.set(WALL.get() + terms.ttl);
            tokio::time::advance(terms.ttl).await;
            for name in 2..10 {
                assert_eq!(store.claim(claim(name), terms).await.unwrap(), None);
            }
            let full = store.claim(claim(10), terms).await;
            assert!(matches!(full, Err(Unavailable::Full)));
        }
    });
}

#[test]
fn two_processes_cannot_have_one_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sent.redb");
    let _first = File::open(&path, wall_clock).unwrap();

    let second = File::open(&path, wall_clock).unwrap_err();

    assert_eq!(
        second.to_string(),
        format!(
            "the store of sent messages, {}, cannot be used: another process has it",
            path.display()
        )
    );
}

#[test]
fn a_file_of_something_else_is_not_taken_for_a_store() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sent.redb");
    for content in [&b"[server]\n"[..], &[0; 8192]] {
        std::fs::write(&path, content).unwrap();

        assert!(File::open(&path, wall_clock).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}
