//! In which order does Portaria start and stop?
//!
//! Start: bind the listeners, then serve. Stop, at the first SIGTERM or SIGINT: not
//! ready, stop accepting, let what runs come to its end until `drain_timeout`, end. At
//! the second signal: end at once.

use std::{
    io,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin},
    config::Address,
    expiry, lines,
    middleware::audit::Audit,
    plan::Plan,
    records,
    reload::{Exchange, Now, Reloader},
    server::{self, Access, Bound, Passed, Serving},
    shared::Shared,
    supervisor,
    workers::Workers,
};

/// Background work, all of it. The stop waits for it.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Starts some.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(self.0.track_future(work)));
    }

    /// Starts some on this runtime.
    fn start_on(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn_on(work, runtime));
    }

    /// Waits until none is left.
    pub async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }

    /// How many are left.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that ran came to its end.
    Cleanly,
    /// Requests had to be cut.
    WithRequestsCut,
}

/// A gateway that listens, ready to run.
#[derive(Debug)]
pub struct App {
    desks: Vec<Desk>,
    admin: Bound,
    exchange: Exchange,
    reloader: Option<Reloader>,
    shared: Shared,
    workers: Workers,
    /// Dropped last, so that every decision is written down.
    _audit: Option<lines::Guard>,
}

/// Where one worker serves, and with what.
#[derive(Debug)]
struct Desk {
    runtime: Handle,
    serving: watch::Receiver<Serving>,
    servers: Vec<Bound>,
}

impl App {
    /// Binds the listeners, to serve on the runtime of the caller alone.
    ///
    /// # Errors
    /// An address, or the store of sent messages, cannot be had. The plan is sound, so
    /// nothing else can fail for reasons of the config.
    pub async fn bind(plan: Plan) -> io::Result<Self> {
        Self::bind_with(plan, Passed::none(), Workers::here()).await
    }

    /// The same, with sockets that were passed to this process, to serve on these threads.
    ///
    /// # Errors
    /// As with [`bind`](Self::bind); or a socket was not passed.
    pub async fn bind_with(plan: Plan, mut passed: Passed, workers: Workers) -> io::Result<Self> {
        let mut shared = Shared::new(&plan);
        shared.records = records::open(&plan.records, shared.redis.as_ref())?;
        let audit = match &plan.audit {
            None => None,
            Some(file) => {
                let (audit, guard) = Audit::open(file, &shared.metrics)
                    .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
                shared.audit = Some(audit);
                Some(guard)
            }
        };
        let mut servers = Vec::new();
        for address in &plan.listen {
            servers.extend(Bound::bind(address, plan.unix, &mut passed).await?);
        }
        let admin = Bound::bind(&plan.admin, Access::default(), &mut passed).await?;
        let [admin] = <[Bound; 1]>::try_from(admin).map_err(|several| {
            let (address, count) = (&plan.admin, several.len());
            let why = format!("{address} is {count} sockets, and operators have one listener");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        for name in passed.left() {
            tracing::warn!(name, "nobody listens on a socket that was passed");
        }
        let runtimes = workers.runtimes();
        let exchange = Exchange::new(plan, shared.clone(), runtimes.len(), SystemTime::now())?;
        let mut desks: Vec<Desk> = runtimes
            .iter()
            .zip(exchange.serving())
            .map(|(runtime, serving)| Desk {
                runtime: runtime.clone(),
                serving,
                servers: Vec::new(),
            })
            .collect();
        for server in servers {
            for (bound, desk) in server.share(runtimes)?.into_iter().zip(&mut desks) {
                desk.servers.push(bound);
            }
        }
        Ok(Self {
            desks,
            admin,
            exchange,
            reloader: None,
            shared,
            workers,
            _audit: audit,
        })
    }

    /// Lets it reload its config while it runs.
    #[must_use]
    pub fn reloading(mut self, reloader: Reloader) -> Self {
        self.reloader = Some(reloader);
        self
    }

    /// The addresses where applications connect; port 0 is a real one by now.
    pub fn addresses(&self) -> Vec<Address> {
        self.servers().map(Bound::address).collect()
    }

    fn servers(&self) -> impl Iterator<Item = &Bound> {
        // Every desk has all of them.
        self.desks
            .first()
            .into_iter()
            .flat_map(|desk| &desk.servers)
    }

    /// The address where operators look.
    pub fn admin_address(&self) -> Address {
        self.admin.address()
    }

    /// Serves until the first stop, then drains until all is done, the time is over, or
    /// the second stop.
    pub async fn run(self, mut stop: impl AsyncFnMut()) -> Ended {
        let now = self.exchange.now();
        let speaks_tls = now.borrow().plan.tls.is_some();
        for server in self.servers() {
            let tls = speaks_tls && server.is_tcp();
            tracing::info!(listener = "server", address = %server.address(), tls, "listening");
        }
        tracing::info!(listener = "admin", address = %self.admin.address(), "listening");

        let stopping = CancellationToken::new();
        let connections = Tasks::default();
        for desk in self.desks {
            for server in desk.servers {
                let serving = server::serve(
                    server,
                    desk.serving.clone(),
                    self.shared.clone(),
                    connections.clone(),
                    stopping.clone(),
                );
                connections.start_on(&desk.runtime, serving);
            }
        }
        // Keeps answering while the rest drains.
        let admin_stops = CancellationToken::new();
        let admin_tasks = Tasks::default();
        admin_tasks.start(admin::serve(
            self.admin,
            Admin {
                shared: self.shared.clone(),
                config: now.clone(),
                reload: self.reloader.as_ref().map(Reloader::door),
                clock: SystemTime::now,
            },
            admin_tasks.clone(),
            admin_stops.clone(),
        ));
        if let Some(redis) = self.shared.redis.clone() {
            // What drains may still need it.
            let stops = admin_stops.clone();
            let is_up = self.shared.metrics.limit_store_up.clone();
            admin_tasks.start(async move {
                stops.run_until_cancelled(redis.keep(is_up)).await;
            });
        }
        admin_tasks.start(until(admin_stops.clone(), supervisor::keep_alive()));
        let tasks = &self.shared.tasks;
        tasks.start(until(stopping.clone(), sweep(now.clone())));
        let ends = expiry::watch(now.clone(), SystemTime::now);
        tasks.start(until(stopping.clone(), ends));
        if let Some(reloader) = self.reloader {
            tasks.start(until(stopping.clone(), reloader.follow(self.exchange)));
        }
        supervisor::ready();

        let telling_stops = CancellationToken::new();
        let telling = Tasks::default();
        if let Some(tracer) = self.shared.tracer.clone() {
            telling.start(tracer.export(telling_stops.clone()));
        }

        stop().await;
        supervisor::stopping();
        let drain_timeout = now.borrow().plan.drain_timeout;
        tracing::info!(
            ?drain_timeout,
            "stopping: no new requests, waiting for those that run"
        );
        self.shared.room.drain();
        stopping.cancel();
        let drained = async {
            connections.finished().await;
            self.shared.tasks.finished().await;
        };
        let ended = tokio::select! {
            drained = timeout(drain_timeout, drained) => match drained {
                Ok(()) => Ended::Cleanly,
                Err(_elapsed) => Ended::WithRequestsCut,
            },
            () = stop() => Ended::WithRequestsCut,
        };
        // What is left to tell is told, unless there is no time.
        telling_stops.cancel();
        if ended == Ended::Cleanly && timeout(LAST_TRACES, telling.finished()).await.is_err() {
            tracing::warn!("the last traces were lost: the collector did not take them in time");
        }
        admin_stops.cancel();
        // It ends at once, and with it goes the file of a unix socket.
        admin_tasks.finished().await;
        match ended {
            Ended::Cleanly => tracing::info!("stopped"),
            Ended::WithRequestsCut => tracing::warn!(
                connections = connections.count(),
                "stopped with requests cut; what became of them is unknown"
            ),
        }
        // Whoever is still at work was given all the time there is.
        drop(self.workers);
        ended
    }
}

/// Works until it is told to stop.
async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The process cannot listen to signals.
pub fn signals() -> io::Result<impl AsyncFnMut()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Forgets, now and then, what needs not be remembered: chats whose buckets are full
/// again, addresses that have been quiet, and what only an old plan had.
async fn sweep(now: watch::Receiver<Now>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let plan = now.borrow().plan.clone();
        for buckets in plan.per_chat() {
            buckets.forget_full();
        }
        plan.keys.failures().forget_quiet();
        plan.kept.forget();
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the collector.
const LAST_TRACES: Duration = Duration::from_secs(1);
