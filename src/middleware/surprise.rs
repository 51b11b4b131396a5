//! Is the answer what the upstream documents?
//!
//! Answers pass whatever they look like. But when the upstream changes, an operator should
//! know before an application breaks: what departs from `schemas/answer.schema.json` is
//! noted, for the log and the metrics. Noted are places and types and the names that the
//! schema knows; never a value, and never a name that it does not know.
//!
//! Only a success is looked at: errors are not documented. And at most a hundred of them a
//! second, which costs a busy gateway about as much as one message in a thousand would.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    http::Response,
    json::Document,
    problem::Problem,
    schema::{Schema, Violation, type_of},
    trail::{Step, Trail},
};

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(10);
/// How many surprises of one answer are noted.
const MOST: usize = 8;

/// What is documented of answers.
#[derive(Debug)]
pub struct Expected {
    /// The names of the routes whose answers are documented.
    routes: Vec<Arc<str>>,
    schema: Schema,
    began: Instant,
    /// When a look is due, in milliseconds from the beginning.
    due: AtomicU64,
}

impl Expected {
    /// Of these routes.
    #[expect(
        clippy::expect_used,
        reason = "the schema is ours, and every test compiles it"
    )]
    pub fn of(routes: Vec<Arc<str>>) -> Self {
        let schema = Schema::compile(include_str!("../../schemas/answer.schema.json"));
        Self {
            routes,
            schema: schema.expect("our own schema compiles"),
            began: Instant::now(),
            due: AtomicU64::new(0),
        }
    }

    /// Whether this answer came over the wire just now, and should be as it is documented.
    fn concerns(&self, trail: &Trail, answer: &Response) -> bool {
        let route = trail.route.get();
        let was_refused = answer.extensions().get::<Arc<Problem>>().is_some();
        trail.step() == Step::Send
            && answer.status().is_success()
            && !was_refused
            && route.is_some_and(|route| self.routes.contains(route))
    }

    fn is_due(&self) -> bool {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = milliseconds(self.began.elapsed());
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(milliseconds(PAUSE));
        due <= now
            && self
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn surprises(&self, answer: &Response) -> BTreeSet<Surprise> {
        let bytes = answer.body().bytes().unwrap_or_default();
        let Ok(document) = Document::parse(bytes) else {
            return BTreeSet::from([Surprise {
                kind: "no-json",
                place: String::new(),
                found: None,
            }]);
        };
        if self.schema.is_valid(&document) {
            return BTreeSet::new();
        }
        let value = document.root().to_value();
        let violations = self.schema.violations(&document).list;
        let surprises = violations
            .iter()
            .map(|violation| Surprise::new(violation, &value));
        surprises.collect()
    }
}

/// One way in which an answer departs from what is documented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Surprise {
    /// Of our own list, for the metrics.
    pub kind: &'static str,
    /// Where: a JSON pointer of names that are documented.
    place: String,
    /// The type that is there.
    found: Option<&'static str>,
}

impl Surprise {
    fn new(violation: &Violation, answer: &Value) -> Self {
        let pointer = violation.pointer.as_str();
        let (kind, place, found) = match violation.keyword {
            "type" => {
                let found = answer.pointer(pointer).map(type_of);
                ("wrong-type", pointer.to_owned(), found)
            }
            "required" => {
                let name = violation.missing().unwrap_or_default();
                ("missing-member", format!("{pointer}/{name}"), None)
            }
            // The last name is the unknown one.
            _ => {
                let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                ("unknown-member", parent.to_owned(), None)
            }
        };
        Self { kind, place, found }
    }
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if !self.place.is_empty() {
            write!(f, " {}", self.place)?;
        }
        match self.found {
            Some(found) => write!(f, " is {found}"),
            None => Ok(()),
        }
    }
}

/// Looks, if it is time to.
pub fn look(expected: &Arc<Expected>, trail: &Trail, answer: &mut Response) {
    if expected.concerns(trail, answer) && expected.is_due() {
        let surprises = expected.surprises(answer);
        if !surprises.is_empty() {
            let _ = trail
                .surprises
                .set(surprises.into_iter().take(MOST).collect());
        }
    }
}
