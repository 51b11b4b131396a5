//! What arrived, and what was the application told?
//!
//! A few bytes for each message, whatever became of it: a soak has millions.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::{
    client::{Answer, Delivery, Ended},
    upstream::Act,
};

/// Both sides of every message.
pub(crate) struct Ledger(Vec<Entry>);

#[derive(Default)]
struct Entry {
    /// How often the upstream had it whole.
    whole: AtomicU8,
    /// How often it had some of it.
    part: AtomicU8,
    /// What the upstream did then: an [`Act`], counted from 1.
    act: AtomicU8,
    /// A [`Told`], counted from 1.
    told: AtomicU8,
}

/// What the application was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Told {
    Success,
    OtherAnswer,
    NotSent,
    Unknown,
    /// The connection ended before a byte of an answer.
    Silence,
    /// The connection ended within the answer.
    HalfAnAnswer,
}

impl Told {
    pub(crate) const ALL: [Self; 6] = [
        Self::Success,
        Self::OtherAnswer,
        Self::NotSent,
        Self::Unknown,
        Self::Silence,
        Self::HalfAnAnswer,
    ];

    fn of(result: &Result<Answer, Ended>) -> Self {
        match result {
            Ok(answer) => match answer.delivery {
                Delivery::Sent if (200..300).contains(&answer.status) => Self::Success,
                Delivery::Sent => Self::OtherAnswer,
                Delivery::NotSent => Self::NotSent,
                Delivery::Unknown => Self::Unknown,
                Delivery::Untold => panic!("an answer that says nothing of its delivery"),
            },
            Err(Ended::Silently) => Self::Silence,
            Err(Ended::Midway) => Self::HalfAnAnswer,
        }
    }
}

/// One message, seen from both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) whole: u8,
    pub(crate) part: u8,
    /// None: the upstream has not seen it.
    pub(crate) act: Option<Act>,
    /// None: it was not sent to the gateway.
    pub(crate) told: Option<Told>,
}

impl Ledger {
    /// For messages with the numbers below `count`.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Entry::default()).collect())
    }

    /// The upstream has all of a message.
    pub(crate) fn note_whole(&self, number: usize, act: Act) {
        let entry = &self.0[number];
        entry.whole.fetch_add(1, Ordering::Relaxed);
        entry.act.store(act as u8 + 1, Ordering::Relaxed);
    }

    /// The upstream has some of a message, and will not read the rest.
    pub(crate) fn note_part(&self, number: usize, act: Act) {
        let entry = &self.0[number];
        entry.part.fetch_add(1, Ordering::Relaxed);
        entry.act.store(act as u8 + 1, Ordering::Relaxed);
    }

    /// The application has its answer, or knows that none will come.
    pub(crate) fn note_told(&self, number: usize, result: &Result<Answer, Ended>) {
        let told = Told::of(result) as u8 + 1;
        let before = self.0[number].told.swap(told, Ordering::Relaxed);
        assert_eq!(before, 0, "two messages with one number");
    }

    /// Every message.
    pub(crate) fn fates(&self) -> impl Iterator<Item = Fate> {
        self.0.iter().map(|entry| Fate {
            whole: entry.whole.load(Ordering::Relaxed),
            part: entry.part.load(Ordering::Relaxed),
            act: nth(&Act::ALL, &entry.act),
            told: nth(&Told::ALL, &entry.told),
        })
    }

    /// How many messages are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Fate) -> bool) -> usize {
        self.fates().filter(|fate| is_so(fate)).count()
    }
}

impl Fate {
    /// The upstream had it more than once.
    pub(crate) fn is_doubled(&self) -> bool {
        self.whole + self.part > 1
    }

    /// The application was told that the upstream answered, and it never had it whole.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.told, Some(Told::Success | Told::OtherAnswer)) && self.whole == 0
    }

    /// The application was told that it was not sent, and some of it arrived.
    pub(crate) fn is_denied(&self) -> bool {
        self.told == Some(Told::NotSent) && self.act.is_some()
    }

    pub(crate) fn was_told(&self, told: Told) -> bool {
        self.told == Some(told)
    }
}

fn nth<T: Copy>(all: &[T], number: &AtomicU8) -> Option<T> {
    let number = number.load(Ordering::Relaxed);
    all.get(usize::from(number.checked_sub(1)?)).copied()
}
