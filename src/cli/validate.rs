//! Would the gateway let these messages through?

use std::{
    fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
};

use anstyle::Style;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{BAD, Failure, GOOD, example};
use crate::{json::Document, language::Language, problem::Rule, schema::Schema};

/// Check messages against a schema, offline
///
/// For an application's own tests: the same strict JSON and the same schema as in the
/// gateway. Ends with 0 if all messages are valid, with 1 if one is not.
#[derive(Debug, Args)]
#[command(after_help = example("portaria validate --schema whatsapp message.json"))]
pub(super) struct Validate {
    /// A built-in schema, wegly or whatsapp, or a file with a JSON Schema
    #[arg(long, value_name = "NAME|FILE", default_value = "whatsapp")]
    schema: PathBuf,
    /// Whether the reader is a person or a program
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Messages; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One line for each mistake
    Text,
    /// One array with an object for each file
    Json,
}

/// What is to be said of one file.
#[derive(Serialize)]
struct Report {
    file: String,
    valid: bool,
    errors: Vec<Mistake>,
    /// Whether there are more errors than these.
    truncated: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Mistake {
    /// The text is not strict JSON.
    Text {
        detail: String,
        line: usize,
        column: usize,
    },
    /// The message breaks a rule; as in the gateway's own refusals.
    Rule(Rule),
}

impl Validate {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        let schema = compile(&self.schema)?;
        // All are read before the first is judged: a wrong name is no verdict.
        let messages: Vec<_> = self
            .files
            .iter()
            .map(|file| read(file))
            .collect::<Result<_, _>>()?;
        let reports: Vec<_> = self
            .files
            .iter()
            .zip(messages)
            .map(|(file, message)| judge(&schema, file, message))
            .collect();
        match self.format {
            Format::Text => reports.iter().try_for_each(|report| report.print(out))?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &reports).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        if reports.iter().all(|report| report.valid) {
            Ok(())
        } else {
            Err(Failure::Refused)
        }
    }
}

fn compile(schema: &Path) -> Result<Schema, Failure> {
    let text = match schema.to_str().and_then(Schema::built_in) {
        Some(text) => text.to_owned(),
        None => fs::read_to_string(schema).map_err(cannot_read(schema))?,
    };
    Schema::compile(&text).map_err(|mistakes| {
        let lines: String = mistakes
            .iter()
            .map(|mistake| format!("\n  {mistake}"))
            .collect();
        Failure::Usage(format!("cannot use {}:{lines}", schema.display()))
    })
}

/// `-` is standard input.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    if file == Path::new("-") {
        let mut message = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut message);
        read.map(|_| message).map_err(cannot_read(file))
    } else {
        fs::read(file).map_err(cannot_read(file))
    }
}

fn cannot_read(file: &Path) -> impl FnOnce(io::Error) -> Failure {
    Failure::usage(format!("cannot read {}", file.display()))
}

fn judge(schema: &Schema, file: &Path, message: Vec<u8>) -> Report {
    let (errors, truncated) = match Document::parse(message.into()) {
        Ok(message) => {
            let violations = schema.violations(&message);
            let rules = violations.list.iter();
            let rules = rules.map(|rule| Mistake::Rule(Rule::new(rule, Language::English)));
            (rules.collect(), violations.truncated)
        }
        Err(malformed) => {
            let mistake = Mistake::Text {
                detail: malformed.detail(Language::English),
                line: malformed.line,
                column: malformed.column,
            };
            (vec![mistake], false)
        }
    };
    Report {
        file: file.display().to_string(),
        valid: errors.is_empty(),
        errors,
        truncated,
    }
}

impl Report {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        const PLACE: Style = Style::new().bold();
        let file = &self.file;
        for mistake in &self.errors {
            match mistake {
                Mistake::Text { detail, .. } => writeln!(out, "{file}: {BAD}{detail}{BAD:#}")?,
                Mistake::Rule(Rule {
                    pointer, detail, ..
                }) => {
                    // The empty pointer leads to the whole message.
                    let place = if pointer.is_empty() {
                        "the message"
                    } else {
                        pointer
                    };
                    writeln!(out, "{file}: {PLACE}{place}{PLACE:#}: {BAD}{detail}{BAD:#}")?;
                }
            }
        }
        if self.truncated {
            writeln!(out, "{file}: there is more")?;
        }
        if self.valid {
            writeln!(out, "{file}: {GOOD}valid{GOOD:#}")?;
        }
        Ok(())
    }
}
