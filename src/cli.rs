//! What can be asked for on the command line?
//!
//! One file per command: its arguments, its help and what it does. A new one is a
//! file, a variant of [`Command`] and a line in [`Cli::run`].
//!
//! What a command says to people goes to standard output, what went wrong to standard
//! error; both know whether they are a terminal and whether `NO_COLOR` is set.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anstyle::{AnsiColor, Style};
use clap::{Args, Parser, Subcommand, builder::StyledStr};

use crate::{
    config::{self, Limit, Loaded, Mistakes},
    plan::{Plan, Surroundings},
};

mod check;
mod completions;
mod demo;
mod explain;
mod key;
mod man;
mod mock;
mod schema;
mod serve;
mod validate;

/// The environment variables of the process.
pub type Environment = BTreeMap<String, String>;

/// The front desk between your applications and the Wegly API
///
/// Applications hold a gateway key; only Portaria holds the Wegly token.
///
/// Every command ends with 0 if all went well, with 64 if the command line or a file that
/// it names is wrong, and with 70 if Portaria itself failed. Those that judge end with 1
/// if the answer is no.
#[derive(Debug, Parser)]
#[command(name = "portaria", version, after_help = example("portaria serve"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Check(check::Check),
    Explain(explain::Explain),
    Validate(validate::Validate),
    #[command(subcommand)]
    Key(key::Key),
    Mock(mock::Mock),
    #[command(subcommand)]
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self, environment: &Environment) -> Result<(), Failure> {
        let mut out = Output(anstream::stdout());
        let done = match self.command {
            Command::Demo(demo) => demo.run(&mut out),
            Command::Serve(serve) => serve.run(environment),
            Command::Check(check) => check.run(environment, &mut out),
            Command::Explain(explain) => explain.run(environment, &mut out),
            Command::Validate(validate) => validate.run(&mut out),
            Command::Key(key) => key.run(&mut out),
            Command::Mock(mock) => mock.run(&mut out),
            Command::Schema(schema) => schema.run(&mut out),
            Command::Completions(completions) => completions.run(&mut out),
            Command::Man(man) => man.run(),
        };
        out.flush()?;
        done
    }
}

/// Which config is meant.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The config [default: config/portaria.toml, then /etc/portaria/portaria.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    const PLACES: [&str; 2] = ["config/portaria.toml", "/etc/portaria/portaria.toml"];

    /// Reads it.
    fn load(&self, environment: &Environment) -> Result<Loaded, Failure> {
        let variables = environment
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        Ok(config::load(self.find()?, variables)?)
    }

    fn find(&self) -> Result<&Path, Failure> {
        let places = Self::PLACES.map(Path::new);
        match &self.config {
            Some(file) => Ok(file),
            None => places.into_iter().find(|place| place.exists()).ok_or_else(|| {
                let [here, system] = Self::PLACES;
                Failure::Usage(format!(
                    "there is no config: neither {here} nor {system} exists; name one with --config"
                ))
            }),
        }
    }
}

/// Judges a config as it was written. Its secrets may be in the environment.
fn compile(loaded: &Loaded, environment: &Environment) -> Result<Plan, Failure> {
    let surroundings = Surroundings {
        environment: &|name| environment.get(name).cloned(),
        now: SystemTime::now,
    };
    Ok(Plan::compile(loaded, surroundings)?)
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
    /// Requests had to be cut. The log says so.
    #[error("stopped with requests cut")]
    RequestsCut,
    /// What the command line names cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The config cannot be used.
    #[error("{}", count(.0))]
    Config(#[from] Mistakes),
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
            Self::Refused | Self::RequestsCut => Ok(()),
            Self::Config(mistakes) => {
                let shown = mistakes.render(true);
                writeln!(anstream::stderr(), "{shown}\n\n{BAD}error:{BAD:#} {self}")
            }
            Self::Usage(_) | Self::Internal(_) => {
                writeln!(anstream::stderr(), "{BAD}error:{BAD:#} {self}")
            }
        };
    }

    /// Tells machines, with the numbers of BSD's `sysexits.h`.
    pub fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::CommandLine(error) if !error.use_stderr() => 0,
            Self::Refused | Self::RequestsCut => 1,
            Self::CommandLine(_) | Self::Usage(_) | Self::Config(_) => 64,
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

fn count(mistakes: &Mistakes) -> String {
    match mistakes.len() {
        1 => "the config has a mistake".to_owned(),
        number => format!("the config has {number} mistakes"),
    }
}

/// A limit, in words.
fn limit(Limit { rate, burst }: Limit) -> String {
    format!("{rate} ({burst} at once)")
}

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
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
