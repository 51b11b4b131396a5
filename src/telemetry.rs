//! How is the log written?
//!
//! One line for each event, to standard output.

mod json;
mod lines;

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
};

use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::lines::Lines;
pub use self::{json::Json, lines::Guard};
use crate::config::LogFormat;

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
    let (lines, guard) = Lines::write_to(stdout)?;
    let layer = fmt::layer()
        .with_writer(lines)
        .with_ansi(io::stdout().is_terminal());
    let layer = match format {
        LogFormat::Json => layer.event_format(Json).boxed(),
        LogFormat::Text => layer.boxed(),
    };
    // A second start, in a test, is no harm: the first one stays.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(level))
        .try_init();
    Ok(guard)
}
