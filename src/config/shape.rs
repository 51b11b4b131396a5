//! Has the config the right shape?
//!
//! The tree of [`Config`] gives a JSON Schema; what was written is validated against
//! it, because a schema finds every mistake where a deserializer stops at the first.
//! What the validator says of JSON is then said again in words of TOML.

use jsonschema::error::ValidationErrorKind as Kind;
use schemars::{generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value as Json;

use super::{
    Config, Mistakes, Path, Segment,
    values::{FORMS, Form, SOURCE, TIMESTAMP},
};

/// The JSON Schema (2020-12) of the config file.
pub fn json_schema() -> Json {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(with_maximum))
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}

/// TOML has no null: what may be left out is left out.
fn without_null(schema: &mut schemars::Schema) {
    if schema.get("default") == Some(&Json::Null) {
        schema.remove("default");
    }
    if let Some(Json::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Json::Array(choices)) = schema.get("anyOf")
        && let [Json::Object(choice), null] = choices.as_slice()
        && null["type"] == "null"
    {
        let choice = choice.clone();
        schema.remove("anyOf");
        schema.ensure_object().extend(choice);
    }
}

/// Says where a `u32` ends. `schemars` leaves that to the name of the format.
fn with_maximum(schema: &mut schemars::Schema) {
    if schema.get("format") == Some(&"uint32".into()) {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
}

/// The schema, ready to be asked.
pub(super) struct Shape {
    schema: Json,
    validator: jsonschema::Validator,
}

impl Shape {
    #[expect(
        clippy::expect_used,
        reason = "the schema is ours, and tests compile it"
    )]
    pub(super) fn new() -> Self {
        let schema = json_schema();
        let options = jsonschema::options().should_validate_formats(true);
        let options = FORMS.iter().fold(options, |options, form| {
            options.with_format(form.name, |text: &str| (form.check)(text).is_ok())
        });
        let validator = options.build(&schema).expect("our own schema is valid");
        Self { schema, validator }
    }

    /// Notes everything that has not the shape of a config.
    pub(super) fn judge(&self, written: &Json, mistakes: &mut Mistakes) {
        self.judge_toml(mistakes);
        for error in self.validator.iter_errors(written) {
            let path = path_of(error.instance_path().as_str(), written);
            match (error.kind(), error.kind().keyword()) {
                (Kind::AdditionalProperties { unexpected }, _) => {
                    for name in unexpected {
                        self.unknown(&path, name, mistakes);
                    }
                }
                (Kind::Required { property }, _) => {
                    let name = property.as_str().unwrap_or_default();
                    if !self.is_misspelt(&path, name, error.instance()) {
                        self.missing(&path, name, mistakes);
                    }
                }
                (Kind::Minimum { limit }, _) => {
                    let message = format!("{} must be at least {limit}", subject(&path));
                    mistakes.add(path, message);
                }
                (Kind::Maximum { limit }, _) => {
                    let message = format!("{} must be at most {limit}", subject(&path));
                    mistakes.add(path, message);
                }
                (_, "type") => self.wrong_type(path, error.instance(), mistakes),
                (_, "oneOf" | "enum") => self.no_choice(path, error.instance(), mistakes),
                (_, "format") => self.misread(path, error.instance(), mistakes),
                // Patterns are for editors. The parser of the format says it better.
                (_, "pattern") => {}
                (_, keyword) => {
                    let message = format!("{} does not fit (`{keyword}`)", subject(&path));
                    mistakes.add(path, message);
                }
            }
        }
    }

    /// What TOML tells apart and JSON does not.
    fn judge_toml(&self, mistakes: &mut Mistakes) {
        let text = mistakes.text();
        for (path, span) in &text.spans {
            match (path.segments(), span.kind) {
                ([Segment::Key(name)], _) if self.at(path).is_none() => {
                    self.unknown(&Path::root(), name, mistakes);
                }
                (_, "datetime") if self.form(path).is_none_or(|form| form.name != TIMESTAMP) => {
                    self.wrong_type(path.clone(), &Json::Null, mistakes);
                }
                (_, "float") if self.type_of(path) != Some("number") => {
                    self.wrong_type(path.clone(), &Json::Null, mistakes)
                }
                (_, _) => {}
            }
        }
    }

    fn unknown(&self, table: &Path, name: &str, mistakes: &mut Mistakes) {
        let path = table.clone().key(name);
        if mistakes.know(&path) {
            return;
        }
        let is_section = table.segments().is_empty() && !mistakes.text().is_scalar(&path);
        let what = if is_section { "section" } else { "field" };
        let hint = match nearest(name, self.fields(table)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => self
                .home_of(name)
                .map(|home| format!("it belongs in {home}")),
        };
        let mistake = mistakes.add(path, format!("unknown {what} {}", field(name)));
        mistake.at_key().hint = hint;
    }

    fn missing(&self, table: &Path, name: &str, mistakes: &mut Mistakes) {
        let path = table.clone().key(name);
        let meaning = self
            .at(&path)
            .and_then(|schema| schema["description"].as_str());
        let meaning = meaning.map(|text| text.replace('\n', " "));
        mistakes.add(path, format!("missing field `{name}`")).hint = meaning;
    }

    /// Whether a field is only missing because its name has a slip in it.
    fn is_misspelt(&self, table: &Path, name: &str, found: &Json) -> bool {
        let mut names = found
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name);
        names.any(|found| {
            let is_unknown = self.fields(table).all(|field| field != found);
            is_unknown && nearest(found, self.fields(table)) == Some(name)
        })
    }

    fn wrong_type(&self, path: Path, found: &Json, mistakes: &mut Mistakes) {
        if mistakes.know(&path) {
            return;
        }
        let Some((schema, expected)) = self.at(&path).zip(self.type_of(&path)) else {
            return;
        };
        let schema = self.resolve(schema);
        let text = mistakes.text();
        let found_kind = text
            .spans
            .get(&path)
            .map_or_else(|| kind_of(found), |span| span.kind);
        let hint = self.form_hint(&path).or_else(|| match (expected, found) {
            ("string", _) if schema["oneOf"].is_array() => {
                Some(format!("write {}", one_of(&choices(schema))))
            }
            ("string", Json::Array(_) | Json::Object(_)) => None,
            ("string", _) => Some("put it in quotes".to_owned()),
            ("integer" | "number", Json::String(text)) if text.parse::<f64>().is_ok() => {
                Some("write it without quotes".to_owned())
            }
            ("boolean", _) => Some("write true or false, without quotes".to_owned()),
            ("array", Json::String(_) | Json::Number(_) | Json::Bool(_)) => {
                Some("put it in brackets: `[…]`".to_owned())
            }
            ("array", Json::Object(_)) => Some(format!("write `[[{path}]]`")),
            ("object", Json::Array(_)) => Some(format!("write `[{path}]`")),
            ("object", _) => {
                let fields: Vec<_> = strings(&schema["required"])
                    .map(|name| format!("{name} = …"))
                    .collect();
                (!fields.is_empty()).then(|| format!("write {{ {} }}", fields.join(", ")))
            }
            (_, _) => None,
        });
        let message = format!(
            "expected {}, found {}",
            type_name(expected),
            type_name(found_kind)
        );
        mistakes.add(path, message).hint = hint;
    }

    fn no_choice(&self, path: Path, found: &Json, mistakes: &mut Mistakes) {
        let Some(text) = found.as_str() else {
            return self.wrong_type(path, found, mistakes);
        };
        let choices = self
            .at(&path)
            .map(|schema| choices(self.resolve(schema)))
            .unwrap_or_default();
        let hint = match nearest(text, choices.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write {}", one_of(&choices)),
        };
        mistakes
            .add(path, format!("{} is not a choice here", quote(text)))
            .hint(hint);
    }

    fn misread(&self, path: Path, found: &Json, mistakes: &mut Mistakes) {
        let text = found.as_str().unwrap_or_default();
        let Some((form, misread)) = self
            .form(&path)
            .and_then(|form| Some((form, (form.check)(text).err()?)))
        else {
            return;
        };
        // What is no place of a secret may be the secret.
        let subject = if form.name == SOURCE {
            subject(&path)
        } else {
            quote(text)
        };
        mistakes
            .add(path, format!("{subject} {}", misread.problem))
            .hint(misread.hint);
    }

    /// The schema of a value, if the tree has such a value.
    pub(super) fn at(&self, path: &Path) -> Option<&Json> {
        path.segments()
            .iter()
            .try_fold(&self.schema, |schema, segment| {
                let schema = self.resolve(schema);
                match segment {
                    Segment::Index(_) => schema.get("items"),
                    Segment::Key(name) => schema["properties"].get(name).or_else(|| {
                        // A table of named things has one schema for all of them.
                        schema
                            .get("additionalProperties")
                            .filter(|schema| schema.is_object())
                    }),
                }
            })
    }

    /// Follows a reference. What stands beside it stays behind.
    fn resolve<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let reference = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix('#'));
        reference
            .and_then(|pointer| self.schema.pointer(pointer))
            .unwrap_or(schema)
    }

    fn form(&self, path: &Path) -> Option<&'static Form> {
        let format = self.resolve(self.at(path)?)["format"].as_str()?;
        FORMS.iter().find(|form| form.name == format)
    }

    /// The type of a value, as JSON Schema calls it. A choice is a string.
    pub(super) fn type_of(&self, path: &Path) -> Option<&str> {
        let schema = self.resolve(self.at(path)?);
        Some(schema["type"].as_str().unwrap_or("string"))
    }

    /// How a text of this kind is written.
    fn form_hint(&self, path: &Path) -> Option<String> {
        let misread = (self.form(path)?.check)("").err()?;
        Some(misread.hint.to_owned())
    }

    pub(super) fn fields(&self, table: &Path) -> impl Iterator<Item = &str> {
        let schema = self.at(table).map(|schema| self.resolve(schema));
        let fields = schema.and_then(|schema| schema["properties"].as_object());
        fields.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// The section that has a field of this name, as it is written.
    fn home_of(&self, field: &str) -> Option<String> {
        self.fields(&Path::root()).find_map(|section| {
            let path = Path::new(section);
            let kinds = [
                (path.clone(), format!("`[{section}]`")),
                (path.clone().index(0), format!("`[[{section}]]`")),
                (path.key("NAME"), format!("`[{section}.NAME]`")),
            ];
            kinds.into_iter().find_map(|(table, shown)| {
                self.fields(&table)
                    .any(|name| name == field)
                    .then_some(shown)
            })
        })
    }
}

/// The path that a JSON Pointer means in this value.
fn path_of(pointer: &str, value: &Json) -> Path {
    let mut value = value;
    let mut path = Path::root();
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        path = match (value, name.parse()) {
            (Json::Array(_), Ok(index)) => {
                value = &value[index];
                path.index(index)
            }
            (_, _) => {
                value = &value[&name];
                path.key(name)
            }
        };
    }
    path
}

/// The candidate that somebody who wrote `name` may have meant, if it is near.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let far = name.chars().count().max(3) / 3;
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= far && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// A value in quotes.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// A name in backticks.
pub(super) fn field(name: &str) -> String {
    format!("`{}`", printable(name))
}

/// Without control characters, and short enough for a line.
fn printable(text: &str) -> String {
    const LONGEST: usize = 60;

    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// The name of a field in backticks.
fn subject(path: &Path) -> String {
    let name = path
        .segments()
        .iter()
        .rev()
        .find_map(|segment| match segment {
            Segment::Key(name) => Some(name.as_str()),
            Segment::Index(_) => None,
        });
    field(name.unwrap_or_default())
}

/// What may be written, where the schema leaves a choice.
fn choices(schema: &Json) -> Vec<&str> {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices
        .filter_map(|choice| choice["const"].as_str())
        .collect()
}

fn strings(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
}

fn one_of(choices: &[&str]) -> String {
    let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The name, in TOML's terms, of a type of JSON or of TOML.
fn type_name(kind: &str) -> &'static str {
    match kind {
        "integer" => "an integer",
        "number" => "a number",
        "float" => "a float",
        "boolean" => "true or false",
        "datetime" => "a date-time",
        "array" => "an array",
        "object" | "table" => "a table",
        _ => "a string",
    }
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::Bool(_) => "boolean",
        Json::Array(_) => "array",
        Json::Object(_) => "table",
        Json::String(_) | Json::Null => "string",
    }
}
