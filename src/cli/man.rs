//! What does `man portaria` show?

use std::{fs, io, path::PathBuf};

use clap::{Args, CommandFactory as _};

use super::{Cli, Failure, example};

/// Write the manual pages into a directory, for those who make packages
#[derive(Debug, Args)]
#[command(hide = true, after_help = example("portaria man /usr/local/share/man/man1"))]
pub(super) struct Man {
    /// The directory; it is made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut portaria = Cli::command().disable_help_subcommand(true);
        portaria.build();
        let write = || {
            fs::create_dir_all(&self.directory)?;
            self.write(&portaria)
        };
        let what = format_args!("cannot write into {}", self.directory.display());
        write().map_err(Failure::usage(what))
    }

    /// A page for this command, and one for each below it that is not hidden.
    fn write(&self, command: &clap::Command) -> io::Result<()> {
        clap_mangen::Man::new(command.clone())
            // Not empty, or the next word would be taken for it.
            .date(" ")
            .source(concat!("Portaria ", env!("CARGO_PKG_VERSION")))
            .manual("Portaria")
            .generate_to(&self.directory)?;
        let mut below = command.get_subcommands();
        below.try_for_each(|below| match below.is_hide_set() {
            true => Ok(()),
            false => self.write(below),
        })
    }
}
