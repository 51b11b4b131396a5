//! What can be asked for on the command line?
//!
//! One file per command: its arguments, its help and what it does. A new one is a
//! file, a variant of [`Command`] and a line in [`Cli::run`].
//!
//! What a command says to people goes to standard output, what went wrong to standard
//! error; both know whether they are a terminal and whether `NO_COLOR` is set.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand, builder::StyledStr};

mod completions;
mod key;
mod mock;
mod schema;
mod validate;

/// The front desk between your applications and the Wegly API
///
/// Applications hold a gateway key; only Portaria holds the Wegly token.
///
/// Every command ends with 0 if all went well, with 64 if the command line or a file that
/// it names is wrong, and with 70 if Portaria itself failed. Those that judge end with 1
/// if the answer is no.
#[derive(Debug, Parser)]
#[command(name = "portaria", version, after_help = example("portaria validate message.json"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Validate(validate::Validate),
    #[command(subcommand)]
    Key(key::Key),
    Mock(mock::Mock),
    #[command(subcommand)]
    Schema(schema::Schema),
    Completions(completions::Completions),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Failure> {
        let mut out = Output(anstream::stdout());
        let done = match self.command {
            Command::Validate(validate) => validate.run(&mut out),
            Command::Key(key) => key.run(&mut out),
            Command::Mock(mock) => mock.run(&mut out),
            Command::Schema(schema) => schema.run(&mut out),
            Command::Completions(completions) => completions.run(&mut out),
        };
        out.flush()?;
        done
    }
}

/// Why a command did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line cannot be parsed. Or it asks for help, which is no failure.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The answer is no, and it has been given.
    #[error("refused")]
    Refused,
    /// What the command line names cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The surroundings failed: no random numbers, no room for the output.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    fn usage<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Usage(format!("{what}: {error}"))
    }

    fn internal<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Internal(format!("{what}: {error}"))
    }

    /// Tells people.
    pub fn report(&self) {
        // Where standard error is closed too, nobody can be told.
        let _ = match self {
            Self::CommandLine(error) => error.print(),
            Self::Refused => Ok(()),
            Self::Usage(_) | Self::Internal(_) => {
                writeln!(anstream::stderr(), "{BAD}error:{BAD:#} {self}")
            }
        };
    }

    /// Tells machines, with the numbers of BSD's `sysexits.h`.
    pub fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::CommandLine(error) if !error.use_stderr() => 0,
            Self::Refused => 1,
            Self::CommandLine(_) | Self::Usage(_) => 64,
            Self::Internal(_) => 70,
        };
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    /// For what cannot be written. What else fails is named where it fails.
    fn from(error: io::Error) -> Self {
        Self::internal("cannot write to standard output")(error)
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The end of a command's help.
fn example(command: &str) -> StyledStr {
    let heading = Style::new().bold().underline();
    format!("{heading}Example:{heading:#}\n  {command}").into()
}

/// Standard output. A reader who has seen enough (`| head`) is no failure: the rest
/// goes nowhere, and the exit code still says how the command went.
struct Output<W>(W);

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_gone(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_gone(self.0.flush(), ())
    }
}

fn unless_gone<T>(written: io::Result<T>, otherwise: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(otherwise),
        written => written,
    }
}
