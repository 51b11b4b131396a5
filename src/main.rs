//! Parses the command line, runs one command, ends with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use portaria::cli::{Cli, Failure};

fn main() -> ExitCode {
    let done = Cli::try_parse().map_err(Failure::from).and_then(Cli::run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
