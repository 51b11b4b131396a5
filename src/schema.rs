//! Does a message keep the rules?
//!
//! The rules are a JSON Schema (2020-12), built in or an operator's own. It is compiled
//! when the config is loaded, and whatever in it would check less than it seems to stops
//! the start (`lint`). A message is first asked only whether it is valid; the report,
//! which costs more, is made for those that are not (`violation`). A report repeats no
//! value of the message.
//!
//! `schemas/README.md` tells writers of schemas what they may rely on.

mod hint;
mod keywords;
mod lint;
#[cfg(test)]
mod tests;
mod violation;
mod words;

use std::{fmt, sync::Arc};

use jsonschema::{Draft, PatternOptions, Retrieve, ValidationOptions, Validator};
use serde_json::Value;

use crate::{
    json::{self, Document, Flat},
    language::Language,
};

pub(crate) use violation::type_of;
pub use violation::{Violation, Violations};

/// How many violations a report lists.
pub const MOST: usize = 32;

/// A compiled schema.
pub struct Schema {
    validator: Validator<Flat>,
    /// As it was written; a report takes member names from it.
    source: Value,
}

/// What is wrong with a schema, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaMistake {
    /// A JSON pointer into the schema.
    pub pointer: String,
    /// What is wrong there, as a clause without a subject.
    pub sentence: String,
}

impl Schema {
    /// Compiles a schema, or reports all its mistakes.
    pub fn compile(text: &str) -> Result<Self, Vec<SchemaMistake>> {
        let top = |sentence| {
            vec![SchemaMistake {
                pointer: String::new(),
                sentence,
            }]
        };
        // Each level of a message takes two or three in its schema.
        let source = json::parse_within(text.as_bytes(), 3 * json::DEEPEST).map_err(|error| {
            let detail = error.detail(Language::English);
            top(format!("is not strict JSON: {detail}"))
        })?;
        let mistakes = lint::mistakes(&source);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        match options().build(&source) {
            Ok(validator) => Ok(Self { validator, source }),
            // What lint left to the compiler: anchors, and bases that `$id` moves.
            Err(error) => Err(top(format!("does not compile: {error}"))),
        }
    }

    /// The text of a built-in schema.
    pub fn built_in(name: &str) -> Option<&'static str> {
        match name {
            "wegly" => Some(include_str!("../schemas/wegly.schema.json")),
            "whatsapp" => Some(include_str!("../schemas/whatsapp.schema.json")),
            _ => None,
        }
    }

    /// Whether the message keeps all rules.
    pub fn is_valid(&self, message: &Document) -> bool {
        self.validator.is_valid(message.root())
    }

    /// The rules that the message breaks: the first [`MOST`], from the beginning of the
    /// message to its end, the members of an object by name.
    pub fn violations(&self, message: &Document) -> Violations {
        let errors = self.validator.iter_errors(message.root());
        violation::report(errors, || message.root().to_value(), Some(&self.source))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl fmt::Display for SchemaMistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, sentence } = self;
        match pointer.as_str() {
            "" => write!(formatter, "the schema {sentence}"),
            pointer => write!(formatter, "{pointer} {sentence}"),
        }
    }
}

/// How every schema is compiled.
fn options() -> ValidationOptions<'static, Arc<dyn Retrieve>, Flat> {
    let mut options = jsonschema::options_for()
        .with_draft(Draft::Draft202012)
        // Both are off by default: then a format, or a typo in its name, checks nothing.
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        // The default engine backtracks, and a message could keep it busy for seconds. So
        // could nested repetitions that expand to 100,000 states, in any engine; within
        // this limit, some thousand states are left.
        .with_pattern_options(PatternOptions::regex().size_limit(128 << 10));
    for name in [
        keywords::MAX_TOTAL_ITEMS,
        keywords::UNIQUE_BY,
        keywords::TRIMMED,
    ] {
        options = options.with_keyword(name, keywords::factory(name));
    }
    options
}
