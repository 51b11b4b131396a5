//! How is the log written?
//!
//! To standard output, by a thread of its own: a reader that has stopped reading must
//! never stop a request. Lines that do not fit any more are dropped.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::LogFormat;

/// How many lines may wait to be written.
const WAITING_LINES: usize = 16 * 1024;

/// Reads tracing directives. Unlike `EnvFilter::new`, a bad one is an error.
///
/// # Errors
/// Which one is bad.
pub fn parse_level(directives: &str) -> Result<EnvFilter, ParseError> {
    directives.parse()
}

/// Starts the log. Lines that still wait are written when the guard is dropped.
pub fn start(format: LogFormat, level: EnvFilter) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .finish(std::io::stdout());
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stdout().is_terminal());
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
    guard
}
