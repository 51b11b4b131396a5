//! How is the log written?
//!
//! One line for each event, to standard output: for machines ([`Json`]) or for people
//! ([`Text`]).

mod json;
mod text;

use std::{fs::File, io, os::fd::AsFd as _, sync::LazyLock};

use anstream::{AutoStream, ColorChoice};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
#[cfg(test)]
use {
    std::sync::{Arc, Mutex},
    tracing_subscriber::{
        Registry,
        fmt::{FormatEvent, format::DefaultFields},
    },
};

pub use self::{json::Json, text::Text};
use crate::{
    config::LogFormat,
    lines::{Guard, Lines},
};

/// Lines that were dropped. A process has one log, so this is there once.
pub static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
/// Panics, wherever they happened: a process has one hook for them.
pub static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Reads tracing directives. Unlike `EnvFilter::new`, a bad one is an error.
///
/// # Errors
/// Which one is bad.
pub fn parse_level(directives: &str) -> Result<EnvFilter, ParseError> {
    directives.parse()
}

/// Starts the log. Lines that still wait are written when the guard is dropped.
///
/// # Errors
/// Standard output is closed, or there is no thread to be had.
pub fn start(format: LogFormat, level: EnvFilter) -> io::Result<Guard> {
    // Not `io::stdout()` itself, which would write every line on its own.
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (lines, guard) = Lines::write_to(stdout, "log", DROPPED.clone())?;
    // On a terminal, and only where nobody has asked for none.
    let has_colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let layer = fmt::layer().with_writer(lines).with_ansi(has_colour);
    let layer = match format {
        LogFormat::Json => layer.event_format(Json).boxed(),
        LogFormat::Text => layer.event_format(Text).boxed(),
    };
    // A second start, in a test, is no harm: the first one stays.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(level))
        .try_init();
    Ok(guard)
}

/// What is written of what `log` logs, in this form, with or without colour.
#[cfg(test)]
fn written<F>(form: F, has_colour: bool, log: impl FnOnce()) -> String
where
    F: FormatEvent<Registry, DefaultFields> + Send + Sync + 'static,
{
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(has_colour)
        .event_format(form)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}
