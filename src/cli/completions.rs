//! How does a shell complete our command line?

use std::io::Write;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Failure, example};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = example("portaria completions bash > /etc/bash_completion.d/portaria"))]
pub(super) struct Completions {
    /// The shell that will read it
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        // By way of a buffer: `generate` panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "portaria", &mut script);
        Ok(out.write_all(&script)?)
    }
}
