//! What outlives a reload?
//!
//! All of it is here. A [`Plan`] is made anew by each reload, and with it the pipeline; what
//! must not start afresh it takes from [`Kept`]: nobody gets a fresh quota because somebody
//! edited a file.
//!
//! What is kept is known by what it is for *and* by how it was set. So a bucket goes on while
//! its limit stays the same, and a changed limit begins with a full one.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::Hash,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    app::Tasks,
    config::{self, Config, Limit, OnStoreFailure},
    gateway_key::KeyHash,
    limiter::{Bucket, SharedLimits},
    metrics::Metrics,
    middleware::{
        audit::Audit,
        key::failures::Failures,
        limits::{CoolDown, PerChat},
        room::Room,
    },
    plan::Plan,
    records::{Local, Store},
    redis::Redis,
    server::{Places, tls::Tls},
    traces::Tracer,
    upstream::Settings,
};

/// What there is once in a process, whatever its config says.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The places for requests in flight.
    pub room: Room,
    /// What has become of messages that have a name.
    pub records: Arc<dyn Store>,
    /// The places for connections.
    pub connections: Places,
    /// Background work that the stop waits for.
    pub tasks: Tasks,
    /// What gateways share, if they share anything.
    pub redis: Option<Redis>,
    /// Where decisions are written down, if they are.
    pub audit: Option<Audit>,
    /// Who makes traces, if they are made.
    pub tracer: Option<Tracer>,
}

impl Shared {
    /// Made anew.
    pub fn new(plan: &Plan) -> Self {
        let metrics: Arc<Metrics> = Arc::default();
        // Until Redis has answered for the first time, it is away.
        metrics.limit_store_up.set(plan.redis.is_none().into());
        let traces = plan.traces.as_ref();
        Self {
            tracer: traces
                .map(|settings| Tracer::new(settings, plan.tls.is_some(), metrics.clone())),
            metrics,
            room: Room::new(plan.max_in_flight),
            records: Arc::new(Local::default()),
            connections: Places::new(plan.max_connections),
            tasks: Tasks::default(),
            redis: plan.redis.clone().map(Redis::new),
            audit: None,
        }
    }

    /// The limits that gateways share, if they do.
    pub fn limits(&self, on_failure: Option<OnStoreFailure>) -> Option<Arc<SharedLimits>> {
        let redis = self.redis.clone();
        redis
            .zip(on_failure)
            .map(|(redis, on_failure)| Arc::new(SharedLimits::new(redis, on_failure)))
    }
}

/// What a plan takes over from the one before it.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<All>);

#[derive(Debug, Default)]
struct All {
    of_keys: Known<(Arc<str>, Limit), Bucket>,
    of_chats: Known<(Arc<str>, Limit), PerChat>,
    of_credentials: Known<(Arc<str>, Limit), Bucket>,
    cool_downs: Known<(Arc<str>, Duration), CoolDown>,
    accepted: Known<Arc<str>, AtomicU32>,
    generations: Known<(Arc<str>, Digest), u32>,
    last_generation: AtomicU32,
    seen: Known<(Arc<str>, KeyHash), Seen>,
    failures: Arc<Failures>,
    upstreams: Known<Digest, Settings>,
    certificates: Known<Digest, Tls>,
    started: OnceLock<Started>,
}

/// What a process starts with, and a reload changes in nothing: Redis, and the audit trail.
#[derive(Debug)]
pub struct Started {
    /// The limits of that config.
    pub limits: config::Limits,
    /// Whether it writes an audit trail.
    pub is_audited: bool,
}

/// A SHA-256 of something that is not kept itself.
pub type Digest = [u8; 32];

impl Kept {
    /// What the process started with: this, if it starts now.
    pub fn started(&self, config: &Config) -> &Started {
        self.0.started.get_or_init(|| Started {
            limits: config.limits.clone(),
            is_audited: config.audit.file.is_some(),
        })
    }

    /// The bucket of a key.
    pub fn bucket_of_key(&self, name: &Arc<str>, limit: Limit) -> Arc<Bucket> {
        let of_keys = &self.0.of_keys;
        of_keys.get((name.clone(), limit), || Bucket::new(limit))
    }

    /// The buckets of a route's chats.
    pub fn buckets_of_chats(&self, route: &Arc<str>, limit: Limit) -> Arc<PerChat> {
        let of_chats = &self.0.of_chats;
        of_chats.get((route.clone(), limit), || PerChat::new(limit))
    }

    /// The bucket of a credential.
    pub fn bucket_of_credential(&self, name: &Arc<str>, limit: Limit) -> Arc<Bucket> {
        let of_credentials = &self.0.of_credentials;
        of_credentials.get((name.clone(), limit), || Bucket::new(limit))
    }

    /// The pause of a credential.
    pub fn cool_down(&self, credential: &Arc<str>, cap: Duration) -> Arc<CoolDown> {
        let cool_downs = &self.0.cool_downs;
        cool_downs.get((credential.clone(), cap), || CoolDown::new(cap))
    }

    /// The generation of the token that the upstream accepted last; 0 before there was one.
    pub fn accepted(&self, credential: &Arc<str>) -> Arc<AtomicU32> {
        self.0.accepted.get(credential.clone(), AtomicU32::default)
    }

    /// The number of a token: 1, 2, 3 in the order in which this process came to know them.
    /// It tells tokens apart and says nothing of what they are.
    pub fn generation(&self, credential: &Arc<str>, token: Digest) -> Arc<u32> {
        let next = || 1 + self.0.last_generation.fetch_add(1, Ordering::Relaxed);
        self.0.generations.get((credential.clone(), token), next)
    }

    /// When a key was last used.
    pub fn seen(&self, name: &Arc<str>, hash: KeyHash) -> Arc<Seen> {
        self.0.seen.get((name.clone(), hash), Seen::default)
    }

    /// Where wrong keys came from.
    pub fn failures(&self) -> Arc<Failures> {
        self.0.failures.clone()
    }

    /// The upstream of these settings; its connections go on while it is the same.
    ///
    /// # Errors
    /// It is a new one, and cannot be made.
    pub fn upstream<E>(
        &self,
        settings: Digest,
        make: impl FnOnce() -> Result<Settings, E>,
    ) -> Result<Arc<Settings>, E> {
        self.0.upstreams.try_get(settings, make)
    }

    /// The certificate in files with this content; so sessions can be resumed.
    ///
    /// # Errors
    /// It is a new one, and cannot be used.
    pub fn tls<E>(
        &self,
        files: Digest,
        make: impl FnOnce() -> Result<Tls, E>,
    ) -> Result<Arc<Tls>, E> {
        self.0.certificates.try_get(files, make)
    }

    /// Forgets what no plan has any more.
    pub fn forget(&self) {
        let all = &self.0;
        all.of_keys.forget();
        all.of_chats.forget();
        all.of_credentials.forget();
        all.cool_downs.forget();
        all.accepted.forget();
        all.generations.forget();
        all.seen.forget();
        all.upstreams.forget();
        all.certificates.forget();
    }
}

/// Things by what they are for. Each lives as long as a plan has it.
#[derive(Debug)]
struct Known<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V> Known<K, V> {
    /// The one that there is, or a new one.
    fn get(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let Ok(value) = self.try_get(key, || Ok::<_, Infallible>(make()));
        value
    }

    fn try_get<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = store.get(&key).and_then(Weak::upgrade) {
            return Ok(there);
        }
        let new = Arc::new(make()?);
        store.insert(key, Arc::downgrade(&new));
        Ok(new)
    }

    fn forget(&self) {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.retain(|_, kept| 0 < kept.strong_count());
    }
}

/// When something was last used, to the second.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

impl Seen {
    /// Notes that it is used now.
    pub fn note(&self, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // What is only read stays in the cache of every processor.
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// When that was; none if it never was.
    pub fn last(&self) -> Option<SystemTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        (0 < seconds).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_goes_on_until_its_limit_is_another_or_nobody_has_it() {
        let (kept, name) = (Kept::default(), Arc::from("billing"));
        let [one, two] = ["1/h", "2/h"].map(limit);
        let bucket = kept.bucket_of_key(&name, one);
        bucket.take().unwrap();

        kept.bucket_of_key(&name, one).take().unwrap_err();
        kept.bucket_of_key(&Arc::from("shop"), one).take().unwrap();
        kept.bucket_of_key(&name, two).take().unwrap();

        drop(bucket);
        kept.forget();
        kept.bucket_of_key(&name, one).take().unwrap();
    }

    #[test]
    fn a_token_keeps_its_number_for_as_long_as_it_is_known() {
        let (kept, name) = (Kept::default(), Arc::from("main"));
        let old = kept.generation(&name, [1; 32]);
        let new = kept.generation(&name, [2; 32]);

        assert_eq!((*old, *new), (1, 2));
        assert_eq!(kept.generation(&name, [2; 32]), new);
        drop(old);
        assert_eq!(*kept.generation(&name, [1; 32]), 3);
    }

    #[test]
    fn what_was_never_used_has_no_last_time() {
        let (seen, now) = (Seen::default(), UNIX_EPOCH + Duration::from_secs(7));
        assert_eq!(seen.last(), None);

        seen.note(now);

        assert_eq!(seen.last(), Some(now));
    }

    fn limit(rate: &str) -> Limit {
        toml::from_str(&format!("rate = \"{rate}\"\nburst = 1")).unwrap()
    }
}
