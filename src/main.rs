//! Parses the command line, runs one command, ends with its exit code.

use std::{env, ffi::OsString, process::ExitCode};

use clap::Parser as _;
use mimalloc::MiMalloc;
use portaria::cli::{Cli, Environment, Failure};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let done = Cli::try_parse().map_err(Failure::from);
    match done.and_then(|cli| cli.run(&environment())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

/// The only place where the environment is read. What is no text keeps its name, and is
/// refused where it is used.
fn environment() -> Environment {
    env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .collect()
}

fn lossy(text: OsString) -> String {
    text.to_string_lossy().into_owned()
}
