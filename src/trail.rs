//! What is known about a request so far?
//!
//! Steps write down here what they found out; the log line, the metrics and the
//! headers of the answer are made from it. It travels in the request's extensions
//! and outlives the request itself.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{Extensions, HeaderValue};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use crate::{
    http::Request,
    json::Document,
    language::Language,
    limiter::Standing,
    middleware::{idempotency::Verdict, key::Client, surprise::Surprise},
    problem::{Delivery, Problem},
    traces::Trace,
};

/// The steps of the pipeline, in its order. The names are those of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Is there room for it?
    Room,
    /// Can its framing and target be trusted?
    Front,
    /// What is called?
    Route,
    /// Who is calling?
    Key,
    /// From which page?
    Domain,
    /// How often?
    Rate,
    /// How large, of which kind, and is it strict JSON?
    Body,
    /// Is the message right?
    Schema,
    /// Have we done this already?
    Idempotency,
    /// Does the upstream want one more?
    Limits,
    /// With whose token do we knock?
    Credential,
    /// The wire.
    Send,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Room,
        Self::Front,
        Self::Route,
        Self::Key,
        Self::Domain,
        Self::Rate,
        Self::Body,
        Self::Schema,
        Self::Idempotency,
        Self::Limits,
        Self::Credential,
        Self::Send,
    ];

    /// Its name in the log and in `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Front => "front",
            Self::Route => "route",
            Self::Key => "key",
            Self::Domain => "domain",
            Self::Rate => "rate",
            Self::Body => "body",
            Self::Schema => "schema",
            Self::Idempotency => "idempotency",
            Self::Limits => "limits",
            Self::Credential => "credential",
            Self::Send => "send",
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Trail {
    /// The request's name: a UUIDv7.
    pub id: Uuid,
    /// The client's own name for it, if it is one that may be logged.
    pub client_request_id: Option<HeaderValue>,
    /// When its head was complete.
    pub started: Instant,
    /// Its place in a trace, where traces are made.
    pub trace: Option<Box<Trace>>,
    /// By when it must be answered.
    pub deadline: Instant,
    /// Its `Accept-Language`.
    pub accepted_languages: Vec<HeaderValue>,
    /// The name of its route.
    pub route: OnceLock<Arc<str>>,
    /// The chat that its path names.
    pub chat: OnceLock<Uuid>,
    /// The owner of its key.
    pub client: OnceLock<Arc<Client>>,
    /// Which of the owner's keys it is.
    pub which_key: OnceLock<usize>,
    /// How its key stands with its limit.
    pub key_limit: OnceLock<Standing>,
    /// The other limit that refused it.
    pub refusing_limit: OnceLock<Standing>,
    /// Bytes of its body.
    pub body_size: OnceLock<usize>,
    /// Its body, once it is known to be strict JSON.
    pub message: OnceLock<Document>,
    /// What came of the name that its application gave it.
    pub idempotency: OnceLock<Verdict>,
    /// The request that had this name before.
    pub repeat_of: OnceLock<Uuid>,
    /// The SHA-256 of its body, where somebody wants it.
    pub body_sha256: OnceLock<[u8; 32]>,
    /// Where the upstream's answer departs from what is documented.
    pub surprises: OnceLock<Vec<Surprise>>,
    /// The generation of the token that it was sent with last; 0 before there was one.
    generation: AtomicU32,
    /// What rules in `report` mode would have refused it for.
    reported: Mutex<Vec<&'static str>>,
    /// The step it has reached.
    step: AtomicU8,
    /// What is known of the message's fate.
    fate: AtomicU8,
    /// Its place, given back when the trail ends.
    place: OnceLock<OwnedSemaphorePermit>,
    waited_for_client: AtomicU64,
    waited_for_upstream: AtomicU64,
}

impl Trail {
    /// The trail of a request that begins now.
    pub fn begin(id: Uuid, request_timeout: Duration) -> Self {
        let started = Instant::now();
        Self {
            id,
            client_request_id: None,
            started,
            trace: None,
            deadline: started + request_timeout,
            accepted_languages: Vec::new(),
            route: OnceLock::new(),
            chat: OnceLock::new(),
            client: OnceLock::new(),
            which_key: OnceLock::new(),
            key_limit: OnceLock::new(),
            refusing_limit: OnceLock::new(),
            body_size: OnceLock::new(),
            message: OnceLock::new(),
            idempotency: OnceLock::new(),
            repeat_of: OnceLock::new(),
            body_sha256: OnceLock::new(),
            surprises: OnceLock::new(),
            generation: AtomicU32::new(0),
            reported: Mutex::default(),
            step: AtomicU8::new(Step::Room as u8),
            fate: AtomicU8::new(NOT_SENT),
            place: OnceLock::new(),
            waited_for_client: AtomicU64::new(0),
            waited_for_upstream: AtomicU64::new(0),
        }
    }

    /// The trail of this request.
    ///
    /// # Errors
    /// Without one, the order of the steps is wrong.
    pub fn of(req: &Request) -> Result<&Arc<Self>, Problem> {
        Self::within(req.extensions())
    }

    /// The trail of the request that had these.
    ///
    /// # Errors
    /// As with [`of`](Self::of).
    pub fn within(extensions: &Extensions) -> Result<&Arc<Self>, Problem> {
        extensions
            .get()
            .ok_or_else(|| Problem::bug("a request without a trail"))
    }

    /// The language of its refusals.
    pub fn language(&self) -> Language {
        Language::preferred(&self.accepted_languages)
    }

    /// The owner of its key.
    ///
    /// # Errors
    /// Before the key is known, the order of the steps is wrong. Treating the caller
    /// as anonymous would hide it.
    pub fn client(&self) -> Result<&Arc<Client>, Problem> {
        self.client
            .get()
            .ok_or_else(|| Problem::bug("this step comes after the key"))
    }

    /// Its body.
    ///
    /// # Errors
    /// Before it is read, the order of the steps is wrong.
    pub fn message(&self) -> Result<&Document, Problem> {
        self.message
            .get()
            .ok_or_else(|| Problem::bug("this step comes after the body"))
    }

    /// Whether its key was accepted: everything from the rate limit on asks for that.
    pub fn key_was_accepted(&self) -> bool {
        self.client.get().is_some() && Step::Rate <= self.step()
    }

    /// Notes, for a key that was accepted, that it was used now.
    pub fn note_use(&self, now: SystemTime) {
        if let (Some(client), Some(which)) = (self.client.get(), self.which_key.get())
            && self.key_was_accepted()
        {
            client.hashes[*which].1.note(now);
        }
    }

    /// Notes that a step begins.
    pub fn enter(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
        if let Some(trace) = &self.trace {
            trace.reached(step, || self.started.elapsed());
        }
    }

    /// The last step that it reached.
    pub fn step(&self) -> Step {
        Step::ALL[usize::from(self.step.load(Ordering::Relaxed))]
    }

    /// Keeps its place until the trail ends.
    pub fn holds(&self, place: OwnedSemaphorePermit) {
        let _ = self.place.set(place);
    }

    /// Notes what a rule in `report` mode would have refused it for.
    pub fn report(&self, problem: &Problem) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.push(problem.reason());
    }

    /// What rules in `report` mode would have refused it for.
    pub fn reported(&self) -> Vec<&'static str> {
        let reported = self.reported.lock();
        reported.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes with which token it is sent.
    pub fn sent_with(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// The generation of the token that it was sent with last.
    pub fn generation(&self) -> Option<u32> {
        Some(self.generation.load(Ordering::Relaxed)).filter(|known| 0 < *known)
    }

    /// Notes that the first byte may be on its way to the upstream.
    pub fn sending(&self) {
        self.fate.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Notes that no byte left after all.
    pub fn never_left(&self) {
        self.fate.store(NOT_SENT, Ordering::Relaxed);
    }

    /// Notes that the upstream answered.
    pub fn answered(&self) {
        self.fate.store(SENT, Ordering::Relaxed);
    }

    /// Whether the message may have gone out. A problem knows it best; for an answer
    /// of the upstream's, or where nothing more is known, the trail does.
    pub fn delivery(&self, problem: Option<&Problem>) -> Delivery {
        match (problem, self.fate.load(Ordering::Relaxed)) {
            (Some(problem), _) => problem.delivery(),
            (None, NOT_SENT) => Delivery::NotSent,
            (None, SENT) => Delivery::Sent,
            (None, _) => Delivery::Unknown,
        }
    }

    /// Waits, and says whether there is time left after that.
    pub async fn sleeps(&self, pause: Duration) -> bool {
        let is_worth_it = Instant::now() + pause < self.deadline;
        if is_worth_it {
            tokio::time::sleep(pause).await;
        }
        is_worth_it
    }

    /// Notes how long the client was waited for.
    pub fn waited_for_client(&self, wait: Duration) {
        add(&self.waited_for_client, wait);
    }

    /// Notes how long the upstream was waited for.
    pub fn waited_for_upstream(&self, wait: Duration) {
        add(&self.waited_for_upstream, wait);
    }

    /// How long it took, and how much of that was spent on whom.
    pub fn durations(&self) -> Durations {
        let total = self.started.elapsed();
        let client = Duration::from_nanos(self.waited_for_client.load(Ordering::Relaxed));
        let upstream = Duration::from_nanos(self.waited_for_upstream.load(Ordering::Relaxed));
        Durations {
            total,
            upstream,
            own: total.saturating_sub(client).saturating_sub(upstream),
        }
    }
}

/// How long a request took.
#[derive(Clone, Copy, Debug)]
pub struct Durations {
    /// From its head to its answer.
    pub total: Duration,
    /// Waiting for the upstream.
    pub upstream: Duration,
    /// Neither waiting for the upstream nor for the client's body: ours.
    pub own: Duration,
}

fn add(to: &AtomicU64, wait: Duration) {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    to.fetch_add(nanos, Ordering::Relaxed);
}

const NOT_SENT: u8 = 0;
const UNKNOWN: u8 = 1;
const SENT: u8 = 2;
