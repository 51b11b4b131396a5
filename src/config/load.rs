//! From where is the config read?
//!
//! From a file, then from the environment; later wins. The `config` crate lays one
//! over the other. It forgets where a value came from, so we remember that
//! ourselves: a mistake is shown in its line of the file, or with its variable.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use config::FileFormat;
use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, Error},
};

use super::{
    Config, Mistakes, Path, Source,
    environment::{self, Override},
    mistakes::{Span, Text},
    shape::{Shape, field},
};

/// A config as it was read, with what is needed to point at a place in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was written.
    pub config: Config,
    text: Arc<Text>,
    directory: PathBuf,
}

/// Reads the file, then the environment.
pub fn load(
    file: &std::path::Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Mistakes> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Loaded::parse(&name, &text, environment),
        Err(error) => {
            let mut mistakes = Mistakes::within(Arc::new(Text::new(&name, "", BTreeMap::new())));
            mistakes.add(Path::root(), format!("the config cannot be read: {error}"));
            Err(mistakes)
        }
    }
}

impl Loaded {
    /// Reads a text as if it were the file of that name, then the environment.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let shape = Shape::new();
        let (document, faults) = DeTable::parse_recoverable(text);
        let mut mistakes = Mistakes::within(Arc::new(Text::new(name, text, spans(&document))));

        let overrides = environment::read(environment, &shape, &mut mistakes);
        let Some(mut table) = table(text, document, faults, &mut mistakes) else {
            return Err(mistakes);
        };
        // What is unknown at the root is told from the spans. `config` would take a quoted
        // `"server.listen"` for a path.
        table.retain(|name, _| shape.at(&Path::new(name)).is_some());
        let Ok(written) = merge(&table, overrides) else {
            mistakes.add(Path::root(), "cannot be laid over by the environment");
            return Err(mistakes);
        };
        shape.judge(&written, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        match serde_path_to_error::deserialize(written) {
            Ok(config) => Ok(Self {
                config,
                text: mistakes.text(),
                directory: directory(name),
            }),
            Err(error) => {
                mistakes.add(path_of(error.path()), "cannot be read");
                Err(mistakes)
            }
        }
    }

    /// An empty list of mistakes that knows this config's text.
    pub fn mistakes(&self) -> Mistakes {
        Mistakes::within(self.text.clone())
    }

    /// The files that it is made of: its own, and those that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let tls = config.server.tls.iter().flat_map(|tls| {
            let client_ca = tls.client_ca.as_ref();
            [Some(&tls.cert), Some(&tls.key), client_ca]
        });
        let tokens = config.credentials.values().flat_map(|credential| {
            let next_token = credential.next_token.as_ref();
            [Some(&credential.token), next_token]
        });
        let sources = tls.chain(tokens).chain([config.upstream.ca.as_ref()]);
        let files = sources.flatten().filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Env(_) => None,
        });
        // A schema that is built in is no file, which is as good as one that is not there.
        let schemas = config.routes.iter().map(|route| route.schema.as_ref());
        files
            .chain(schemas)
            .map(|path: &std::path::Path| self.directory.join(path))
            .chain([self.text.file()])
            .collect()
    }

    /// The folder of the file, from which relative paths in it start.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }
}

/// Where every value stands.
fn spans(document: &Spanned<DeTable<'_>>) -> BTreeMap<Path, Span> {
    fn note_table(path: &Path, table: &DeTable<'_>, spans: &mut BTreeMap<Path, Span>) {
        for (key, value) in table {
            let path = path.clone().key(key.get_ref().as_ref());
            note_value(path, key.span(), value, spans);
        }
    }

    fn note_value(
        path: Path,
        key: std::ops::Range<usize>,
        value: &Spanned<DeValue<'_>>,
        spans: &mut BTreeMap<Path, Span>,
    ) {
        match value.get_ref() {
            DeValue::Table(table) => note_table(&path, table, spans),
            DeValue::Array(array) => {
                for (index, element) in array.iter().enumerate() {
                    note_value(path.clone().index(index), element.span(), element, spans);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        let kind = value.get_ref().type_str();
        spans.insert(
            path,
            Span {
                key,
                value: value.span(),
                kind,
            },
        );
    }

    let mut spans = BTreeMap::new();
    note_table(&Path::root(), document.get_ref(), &mut spans);
    spans
}

/// What the parser could make of the file, unless it had to guess.
fn table(
    text: &str,
    document: Spanned<DeTable<'_>>,
    faults: Vec<Error>,
    mistakes: &mut Mistakes,
) -> Option<toml::Table> {
    // A bracket or quote left open makes the parser stumble through all that follows.
    const SHOWN: usize = 3;

    let (duplicates, mut broken): (Vec<_>, Vec<_>) = faults
        .into_iter()
        .partition(|fault| fault.message() == "duplicate key");
    for duplicate in duplicates {
        let span = duplicate.span().unwrap_or_default();
        let name = &text[span.clone()];
        let first =
            first_of(name, &text[..span.start]).map(|line| format!("first written in line {line}"));
        mistakes
            .add(Path::root(), format!("duplicate key {}", field(name)))
            .at_bytes(span)
            .hint = first;
    }

    let line = |fault: &Error| {
        text[..fault.span().unwrap_or_default().start]
            .matches('\n')
            .count()
    };
    broken.sort_by_key(|fault| fault.span().unwrap_or_default().start);
    broken.dedup_by_key(|fault| line(fault));
    for fault in broken.iter().take(SHOWN) {
        let (message, expected) = match fault.message().split_once(", expected ") {
            Some((message, expected)) => (message, expected),
            None => (fault.message(), "nothing"),
        };
        let hint = match expected {
            "nothing" => None,
            "literal string" => Some("put it in quotes".to_owned()),
            expected => Some(format!("expected {expected}")),
        };
        mistakes
            .add(Path::root(), message)
            .at_bytes(fault.span().unwrap_or_default())
            .hint = hint;
    }
    if !broken.is_empty() {
        return None;
    }

    // An integer beyond 64 bits is still a text in the document.
    match toml::Table::deserialize(Deserializer::from(document)) {
        Ok(table) => Some(table),
        Err(error) => {
            mistakes
                .add(Path::root(), "the number is out of range")
                .at_bytes(error.span().unwrap_or_default());
            None
        }
    }
}

/// The line that has the same key before: in the section that is being written, or,
/// if the key is a section's, above it.
fn first_of(name: &str, before: &str) -> Option<usize> {
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let mut lines: Vec<_> = before.lines().collect();
    let first = if is_header(lines.last()?) {
        let header = format!("{}{name}]", lines.pop()?);
        lines.iter().position(|line| line.starts_with(&header))?
    } else {
        let section = lines.iter().rposition(|line| is_header(line)).unwrap_or(0);
        let is_field = |line: &&str| {
            let rest = line.trim_start().strip_prefix(name);
            rest.is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        section + lines[section..].iter().position(is_field)?
    };
    Some(first + 1)
}

/// The file with what the environment sets over it.
fn merge(table: &toml::Table, overrides: Vec<Override>) -> Result<Json, config::ConfigError> {
    // Not the text of the file: if it has a key twice, `config` refuses all of it.
    let file = config::File::from_str(&table.to_string(), FileFormat::Toml);
    let mut layers = config::Config::builder().add_source(file);
    for Override { path, value } in overrides {
        layers = layers.set_override(path.to_string(), value)?;
    }
    layers.build()?.try_deserialize()
}

/// The folder of a file; the working directory if it is named without one.
fn directory(name: &str) -> PathBuf {
    let parent = std::path::Path::new(name).parent();
    match parent.filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("."),
    }
}

fn path_of(path: &serde_path_to_error::Path) -> Path {
    use serde_path_to_error::Segment;

    path.iter()
        .fold(Path::root(), |path, segment| match segment {
            Segment::Map { key } | Segment::Enum { variant: key } => path.key(key),
            Segment::Seq { index } => path.index(*index),
            Segment::Unknown => path,
        })
}
