//! When does the config change, and how is it exchanged?
//!
//! When an operator says so (SIGHUP, `POST /reload`), and when the content of a file changes
//! of which it is made: the config itself, a schema, a secret, a certificate.
//!
//! Then all of it is read and judged anew, a pipeline is built for each worker, and only if
//! nothing is wrong with any of it they are exchanged. With any mistake the old config goes
//! on, and log, metrics and `/status` say why. A request keeps the pipeline with which it
//! began, and no connection ends. What must not start afresh is in [`shared`](crate::shared).

mod changes;
mod files;

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::SystemTime};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use self::files::Watch;
use crate::{
    config::{self, Config, Mistakes},
    pipeline::pipeline,
    plan::{Plan, Surroundings},
    secret,
    server::{Limits, Serving},
    shared::{Kept, Shared},
    stage::Next,
    supervisor,
    upstream::Upstream,
};

pub use self::files::Contents;

/// So many operators may ask at once.
const MAX_QUESTIONS: usize = 8;

/// How a config is read, the first time and each time after that.
#[derive(Clone)]
pub struct Reading {
    /// The file.
    pub file: PathBuf,
    /// The environment: settings, and secrets.
    pub environment: BTreeMap<String, String>,
    /// The wall clock.
    pub now: fn() -> SystemTime,
}

impl Reading {
    /// Reads and judges it. Says also what was in its files, or in a moment before: so
    /// whoever looks again misses no change.
    pub fn read(&self, kept: Kept) -> (Contents, Result<Plan, Mistakes>) {
        let contents = Contents::of([self.file.clone()]);
        let loaded = match config::load(&self.file, self.environment.clone()) {
            Ok(loaded) => loaded,
            Err(mistakes) => return (contents, Err(mistakes)),
        };
        let contents = contents.and_of(loaded.files());
        let surroundings = Surroundings {
            environment: &|name| self.environment.get(name).cloned(),
            now: self.now,
        };
        let plan = Plan::compile_again(&loaded, surroundings, kept);
        (contents, plan)
    }
}

impl fmt::Debug for Reading {
    /// Without the environment, where secrets may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What an operator can know of the config that serves.
#[derive(Clone, Debug)]
pub struct Now {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Since when the process serves.
    pub started: SystemTime,
    /// Since when the plan does.
    pub since: SystemTime,
    /// Settings that are others than those that the process started with, and wait for a
    /// restart.
    pub waiting: Vec<String>,
    /// The last reload.
    pub last: Option<Report>,
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was.
    pub at: SystemTime,
    /// What led to it.
    pub trigger: &'static str,
    /// The settings and the files that are others than before; or all mistakes.
    pub result: Result<Vec<String>, Vec<String>>,
}

/// What serves, and how something else takes its place.
#[derive(Debug)]
pub struct Exchange {
    desks: Vec<Desk>,
    now: watch::Sender<Now>,
    /// What the process started with.
    first: Arc<Plan>,
    shared: Shared,
}

/// What a worker serves with. Its connections to the upstream are its own.
#[derive(Debug)]
struct Desk {
    upstream: Upstream,
    serving: watch::Sender<Serving>,
}

impl Exchange {
    /// For so many workers.
    ///
    /// # Errors
    /// The plan is sound, so nothing can fail for reasons of the config.
    pub fn new(plan: Plan, shared: Shared, workers: usize, now: SystemTime) -> io::Result<Self> {
        let plan = Arc::new(plan);
        shared.metrics.knows(&plan);
        let desk = |_| {
            let upstream = Upstream::new(&plan.upstream).map_err(io::Error::other)?;
            let serving = serving(&plan, &shared, upstream.clone()).map_err(io::Error::other)?;
            io::Result::Ok(Desk {
                upstream,
                serving: watch::Sender::new(serving),
            })
        };
        Ok(Self {
            desks: (0..workers).map(desk).collect::<Result<_, _>>()?,
            now: watch::Sender::new(Now {
                plan: plan.clone(),
                started: now,
                since: now,
                waiting: Vec::new(),
                last: None,
            }),
            first: plan,
            shared,
        })
    }

    /// What each worker serves with.
    pub fn serving(&self) -> impl Iterator<Item = watch::Receiver<Serving>> {
        self.desks.iter().map(|desk| desk.serving.subscribe())
    }

    /// What an operator can know.
    pub fn now(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    fn plan(&self) -> Arc<Plan> {
        self.now.borrow().plan.clone()
    }

    /// Lets this plan serve, or, if that fails, lets everything be as it is.
    fn put(&mut self, mut plan: Plan, at: SystemTime) -> io::Result<()> {
        let before = self.plan();
        // What the listeners speak is decided once.
        if plan.tls.is_some() != before.tls.is_some() {
            plan.tls = before.tls.clone();
        }
        let is_same_upstream = Arc::ptr_eq(&plan.upstream, &before.upstream);
        let desk = |desk: &Desk| {
            let upstream = match is_same_upstream {
                true => desk.upstream.clone(),
                false => Upstream::new(&plan.upstream).map_err(io::Error::other)?,
            };
            let serving = serving(&plan, &self.shared, upstream.clone());
            io::Result::Ok((upstream, serving.map_err(io::Error::other)?))
        };
        let next: Vec<_> = self.desks.iter().map(desk).collect::<Result<_, _>>()?;

        // From here on, nothing fails.
        for (desk, (upstream, serving)) in self.desks.iter_mut().zip(next) {
            desk.upstream = upstream;
            desk.serving.send_replace(serving);
        }
        self.shared.metrics.knows(&plan);
        let waiting = changes::waiting(&changes::between(&self.first.config, &plan.config));
        self.now.send_modify(|now| {
            now.plan = Arc::new(plan);
            now.since = at;
            now.waiting = waiting;
        });
        Ok(())
    }
}

fn serving(
    plan: &Plan,
    shared: &Shared,
    upstream: Upstream,
) -> Result<Serving, matchit::InsertError> {
    Ok(Serving {
        pipeline: pipeline(plan, shared, Next::new(upstream))?,
        limits: Limits::from(plan),
        tls: plan.tls.clone(),
    })
}

/// Waits for reasons to reload, and reloads.
#[derive(Debug)]
pub struct Reloader {
    reading: Reading,
    contents: Arc<Contents>,
    hangups: Signal,
    asked: mpsc::Receiver<oneshot::Sender<Report>>,
    door: Door,
}

/// Where an operator asks for a reload.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<oneshot::Sender<Report>>);

impl Door {
    /// Reloads, and says what came of it. None: too many ask already.
    pub async fn ask(&self) -> Option<Report> {
        let (ours, report) = oneshot::channel();
        self.0.try_send(ours).ok()?;
        report.await.ok()
    }
}

impl Reloader {
    /// For a config that was read with these contents. From now on a SIGHUP does not end
    /// the process.
    ///
    /// # Errors
    /// The process cannot listen to signals.
    pub fn new(reading: Reading, contents: Contents) -> io::Result<Self> {
        let (door, asked) = mpsc::channel(MAX_QUESTIONS);
        Ok(Self {
            reading,
            contents: Arc::new(contents),
            hangups: signal(SignalKind::hangup())?,
            asked,
            door: Door(door),
        })
    }

    /// Where an operator asks.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Goes on for ever.
    pub async fn follow(mut self, mut exchange: Exchange) {
        let mut watch = Watch::new();
        loop {
            let (trigger, operator) = tokio::select! {
                Some(()) = self.hangups.recv() => ("SIGHUP", None),
                Some(operator) = self.asked.recv() => ("POST /reload", Some(operator)),
                () = watch.change(&self.contents) => ("a file changed", None),
            };
            supervisor::reloading();
            let report = self.reload(trigger, &mut exchange).await;
            supervisor::ready();
            exchange
                .now
                .send_modify(|now| now.last = Some(report.clone()));
            if let Some(operator) = operator {
                // Who has hung up finds it in `/status`.
                let _ = operator.send(report);
            }
        }
    }

    async fn reload(&mut self, trigger: &'static str, exchange: &mut Exchange) -> Report {
        let at = (self.reading.now)();
        let (reading, before) = (self.reading.clone(), exchange.plan());
        let kept = before.kept.clone();
        let read = tokio::task::spawn_blocking(move || reading.read(kept)).await;
        let result = match read {
            Ok((contents, plan)) => {
                let contents_before = std::mem::replace(&mut self.contents, Arc::new(contents));
                match plan {
                    Ok(plan) => {
                        let mut changed = changes::between(&before.config, &plan.config);
                        let files = self.contents.changed_since(&contents_before);
                        changed.extend(files.map(|file| file.display().to_string()));
                        let put = exchange.put(plan, at).map(|()| changed);
                        put.map_err(|error| vec![error.to_string()])
                    }
                    Err(mistakes) => Err(mistakes.lines().collect()),
                }
            }
            Err(_panicked) => Err(vec!["the config could not be judged; this is a bug".into()]),
        };
        let report = Report {
            at,
            trigger,
            result,
        };
        self.tell(&report, exchange);
        report
    }

    fn tell(&self, report: &Report, exchange: &Exchange) {
        let trigger = report.trigger;
        exchange.shared.metrics.reloaded(report.result.is_ok());
        match &report.result {
            Ok(changed) => {
                let now = exchange.now.borrow();
                tracing::info!(trigger, changed = changed.join(", "), "reloaded");
                if !now.waiting.is_empty() {
                    let waiting = now.waiting.join(", ");
                    tracing::warn!(waiting, "some settings wait for a restart");
                }
                warn_of_open_secrets(&now.plan.config);
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(trigger, mistake, "not reloaded; the old config goes on");
                }
            }
        }
    }
}

/// A token that everybody on the machine can read is hardly one.
pub fn warn_of_open_secrets(config: &Config) {
    if let Some(source) = config.server.tls.as_ref().map(|tls| &tls.key)
        && secret::is_world_readable(source)
    {
        tracing::warn!(%source, "everybody on this machine can read this private key");
    }
    for (name, credential) in &config.credentials {
        for source in [Some(&credential.token), credential.next_token.as_ref()] {
            if let Some(source) = source.filter(|source| secret::is_world_readable(source)) {
                tracing::warn!(
                    credential = name,
                    %source,
                    "everybody on this machine can read this token"
                );
            }
        }
    }
}
