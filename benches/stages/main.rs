//! What does each step of a request cost?
//!
//! The [`scenes`] are whole requests through the pipeline, without a socket, and single
//! steps. They are measured in two ways: in nanoseconds, by criterion, which is what a
//! person wants to know; and in instructions, by callgrind, and allocations ([`counts`]),
//! which are the same on a busy machine, so that a check can compare them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

use std::{fmt::Display, io::Write as _, process::ExitCode};

#[path = "../../tests/support/mod.rs"]
mod support;

mod counts;
mod gateway;
mod scenes;
mod time;

fn main() -> ExitCode {
    // `cargo bench` adds a `--bench` of its own.
    let arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = arguments.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["counts", "check"] => return counts::check(),
        ["counts", "write"] => counts::write(),
        // What callgrind runs.
        ["counts", "run"] => counts::run(),
        _ => time::measure(),
    }
    ExitCode::SUCCESS
}

fn say(line: impl Display) {
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}
