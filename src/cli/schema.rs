//! What may stand in a config file?

use std::io::Write;

use clap::Subcommand;

use super::{Failure, example};
use crate::config;

/// Print JSON Schemas, for editors and other tools
#[derive(Debug, Subcommand)]
#[command(after_help = example("portaria schema config > portaria.schema.json"))]
pub(super) enum Schema {
    /// Print the JSON Schema of the config file
    #[command(after_help = example("portaria schema config > portaria.schema.json"))]
    Config,
}

impl Schema {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Config => Ok(writeln!(out, "{:#}", config::json_schema())?),
        }
    }
}
