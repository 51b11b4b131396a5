//! How is the log written?
//!
//! To standard output, by a thread of its own: a reader that has stopped reading must
//! never stop a request. Lines that do not fit any more are dropped.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _},
    os::fd::AsFd as _,
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::LogFormat;

/// How many lines may wait to be written.
const WAITING_LINES: usize = 16 * 1024;
/// How many bytes are written at once.
const BATCH: usize = 64 * 1024;

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
/// Standard output is closed.
pub fn start(format: LogFormat, level: EnvFilter) -> io::Result<WorkerGuard> {
    // Not `io::stdout()` itself, which writes every line on its own; here all that wait
    // go out together.
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .finish(BufWriter::with_capacity(BATCH, stdout));
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stdout().is_terminal());
    let lines = match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        LogFormat::Text => lines.boxed(),
    };
    // A second start, in a test, is no harm: the first one stays.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(level))
        .try_init();
    Ok(guard)
}
