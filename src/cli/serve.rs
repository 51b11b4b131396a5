//! How does the gateway run as a process?

use std::{io, panic, time::SystemTime};

use clap::Args;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::runtime;

use super::{ConfigFile, Environment, Failure, example};
use crate::{
    app::{self, App, Ended},
    plan::Plan,
    reload::{self, Contents, Reading, Reloader},
    server::{Passed, descriptors, memory},
    shared::Kept,
    telemetry,
    workers::Workers,
};

/// Run the gateway
///
/// Ends at SIGTERM or SIGINT: with 0 after all requests came to their end, with 1 if some
/// had to be cut after `drain_timeout` or at a second signal.
#[derive(Debug, Args)]
#[command(after_help = example("portaria serve --config /etc/portaria/portaria.toml"))]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(self, environment: &Environment) -> Result<(), Failure> {
        let reading = Reading {
            file: self.config.find()?.to_owned(),
            environment: environment.clone(),
            now: SystemTime::now,
        };
        let (contents, plan) = reading.read(Kept::default());
        let plan = plan?;
        // Before there are threads.
        let names = environment.get("LISTEN_FDNAMES").map_or("", String::as_str);
        let passed = Passed::to_this_process(names);
        let (format, level) = &plan.log;
        let level = telemetry::parse_level(level)
            .map_err(Failure::internal("a level passed that cannot be read"))?;
        // Dropped last, so that every line is written.
        let _log =
            telemetry::start(*format, level).map_err(Failure::internal("cannot write a log"))?;
        log_panics();
        reload::warn_of_open_secrets(&plan.config);
        if let Err(error) = forbid_core_dumps() {
            tracing::warn!(%error, "a crash may leave the tokens on disk: core dumps cannot be forbidden");
        }

        descriptors::raise();
        if let Err(too_few) = descriptors::check(plan.max_connections, plan.max_in_flight) {
            tracing::warn!("connections may have to wait: Portaria {too_few}");
        }
        if let Err(too_little) = memory::check(&plan) {
            tracing::warn!("the system may end this process: Portaria {too_little}");
        }

        // For operators and signals; applications are served by the workers.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::internal("cannot start a runtime"))?;
        let ended = runtime.block_on(run(plan, passed, reading, contents));
        runtime.shutdown_background();
        match ended? {
            Ended::Cleanly => Ok(()),
            Ended::WithRequestsCut => Err(Failure::RequestsCut),
        }
    }
}

async fn run(
    plan: Plan,
    passed: Passed,
    reading: Reading,
    contents: Contents,
) -> Result<Ended, Failure> {
    // Before anybody can connect: a signal from now on is a clean stop, or a reload.
    let signals = Failure::internal("cannot wait for signals");
    let (stop, reloader) = app::signals()
        .and_then(|stop| Ok((stop, Reloader::new(reading, contents)?)))
        .map_err(signals)?;
    let workers =
        Workers::start(plan.workers).map_err(Failure::internal("cannot start threads"))?;
    let app = App::bind_with(plan, passed, workers).await;
    let app = app.map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(app.reloading(reloader).run(stop).await)
}

/// Counts panics and puts them into the log: where, and nothing else. The payload may hold anything.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        telemetry::PANICS.inc();
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "panicked");
    }));
}

/// A dump of this process would hold the tokens. Nor may another process of the same user
/// look into its memory.
fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
