//! Which rules does a message break?
//!
//! jsonschema's own sentences quote the message, so none of them is used: a violation is
//! made from the kind of the error and from the schema. Of the message it has counts and
//! lengths, the types of values, and in its pointer the names of members. Its words are
//! in `words.rs`.

use std::{borrow::Cow, cell::LazyCell, cmp::Ordering};

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::{Location, LocationSegment},
};
use serde_json::Value;

use super::{
    MOST,
    hint::Hint,
    keywords::{self, Finding},
};

/// A client's own text is cut at so many characters, where it is a member name.
const LONGEST_NAME: usize = 64;

/// The rules that a message breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// The first [`MOST`] of them.
    pub list: Vec<Violation>,
    /// Whether there are more.
    pub truncated: bool,
}

/// One rule that a message breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where: a JSON pointer (RFC 6901). Long member names are cut, and control
    /// characters in them replaced.
    pub pointer: String,
    /// The keyword of the schema that says so.
    pub keyword: &'static str,
    /// The least or most that is allowed, where the rule is about a length or a count.
    pub limit: Option<u64>,
    /// The length or count that the message has.
    pub actual: Option<u64>,
    pub(super) fault: Fault,
}

impl Violation {
    /// The member that the schema asks for and that is not there.
    pub fn missing(&self) -> Option<&str> {
        if let Fault::Missing(name) = &self.fault {
            Some(name)
        } else {
            None
        }
    }
}

/// What is wrong, with all that a sentence about it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Missing(String),
    Unexpected {
        hint: Option<Hint>,
        near: Option<String>,
    },
    /// The types that would do, and the one that is there.
    Type(Vec<&'static str>, &'static str),
    /// The values that would do; none if they are too many or too long to list.
    Options(Vec<String>),
    /// Too long, too many.
    Over(Unit),
    /// Too short, too few.
    Under(Unit),
    /// The total over all arrays of this name.
    Total(String),
    /// The pointer to an equal value before it.
    SameAs(String),
    NotUnique,
    Blanks,
    Bound(Bound, String),
    Pattern(String),
    Format(String),
    Name,
    Contains,
    /// None of the alternatives. If they only ask for one member each, its names.
    NoAlternative(Vec<String>),
    /// More than one of the alternatives; likewise.
    ManyAlternatives(Vec<String>),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Characters,
    Items,
    Members,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    AtMost,
    AtLeast,
    Below,
    Above,
    MultipleOf,
}

/// Turns errors into violations: sorted, each once, at most [`MOST`].
///
/// They are errors of `message`, which is asked for only where it is needed; `schema` is the
/// schema they are from, if the report may look up names in it.
pub(super) fn report<'e>(
    errors: impl Iterator<Item = ValidationError<'e>>,
    message: impl FnOnce() -> Value,
    schema: Option<&Value>,
) -> Violations {
    let mut report = Report {
        message: LazyCell::new(Box::new(message)),
        schema,
        has_hints: schema
            .is_some_and(|schema| schema.pointer("/properties/interactive_type").is_some()),
        list: Vec::new(),
    };
    errors.for_each(|error| report.add(&error));

    let mut list = report.list;
    list.sort_unstable_by(|a, b| by_place(&a.pointer, &b.pointer).then_with(|| a.cmp(b)));
    list.dedup();
    let truncated = MOST < list.len();
    list.truncate(MOST);
    Violations { list, truncated }
}

struct Report<'r> {
    message: LazyCell<Value, Box<dyn FnOnce() -> Value + 'r>>,
    schema: Option<&'r Value>,
    /// Whether the schema is about Wegly's interactive messages, as the hints are.
    has_hints: bool,
    list: Vec<Violation>,
}

impl Report<'_> {
    #[rustfmt::skip] // a table reads best as a table
    fn add(&mut self, error: &ValidationError<'_>) {
        let value: &Value = error.instance();
        let at = pointer(error.instance_path());
        let characters = || value.as_str().map(|text| text.chars().count());
        let items = || value.as_array().map(Vec::len);
        let members = || value.as_object().map(serde_json::Map::len);

        match error.kind() {
            Kind::MaxLength { limit } => self.count(at, "maxLength", Fault::Over(Unit::Characters), *limit, characters()),
            Kind::MinLength { limit } => self.count(at, "minLength", Fault::Under(Unit::Characters), *limit, characters()),
            Kind::MaxItems { limit } => self.count(at, "maxItems", Fault::Over(Unit::Items), *limit, items()),
            Kind::MinItems { limit } => self.count(at, "minItems", Fault::Under(Unit::Items), *limit, items()),
            Kind::AdditionalItems { limit } => self.count(at, "items", Fault::Over(Unit::Items), *limit as u64, items()),
            Kind::MaxProperties { limit } => self.count(at, "maxProperties", Fault::Over(Unit::Members), *limit, members()),
            Kind::MinProperties { limit } => self.count(at, "minProperties", Fault::Under(Unit::Members), *limit, members()),

            Kind::Maximum { limit } => self.one(at, "maximum", Fault::Bound(Bound::AtMost, limit.to_string())),
            Kind::Minimum { limit } => self.one(at, "minimum", Fault::Bound(Bound::AtLeast, limit.to_string())),
            Kind::ExclusiveMaximum { limit } => self.one(at, "exclusiveMaximum", Fault::Bound(Bound::Below, limit.to_string())),
            Kind::ExclusiveMinimum { limit } => self.one(at, "exclusiveMinimum", Fault::Bound(Bound::Above, limit.to_string())),
            Kind::MultipleOf { multiple_of } => self.one(at, "multipleOf", Fault::Bound(Bound::MultipleOf, multiple_of.to_string())),

            Kind::Type { kind } => {
                let expected = match kind {
                    TypeKind::Single(kind) => vec![kind.as_str()],
                    TypeKind::Multiple(kinds) => kinds.iter().map(JsonType::as_str).collect(),
                };
                self.one(at, "type", Fault::Type(expected, type_of(value)));
            }
            Kind::Required { property } => self.one(at, "required", Fault::Missing(plain(property))),
            Kind::Constant { expected_value } => self.one(at, "const", Fault::Options(options(std::slice::from_ref(expected_value)))),
            Kind::Enum { options: allowed } => self.one(at, "enum", Fault::Options(options(allowed.as_array().map_or(&[], Vec::as_slice)))),
            Kind::Pattern { pattern } => self.one(at, "pattern", Fault::Pattern(pattern.clone())),
            Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => self.one(at, "pattern", Fault::Other),
            Kind::Format { format } => self.one(at, "format", Fault::Format(format.clone())),
            Kind::UniqueItems => self.one(at, "uniqueItems", Fault::NotUnique),
            Kind::Contains => self.one(at, "contains", Fault::Contains),
            Kind::Not { .. } => self.one(at, "not", Fault::Other),
            Kind::ContentEncoding { .. } | Kind::FromUtf8 { .. } => self.one(at, "contentEncoding", Fault::Other),
            Kind::ContentMediaType { .. } => self.one(at, "contentMediaType", Fault::Other),
            Kind::Referencing(_) => self.one(at, "$ref", Fault::Other),

            Kind::AdditionalProperties { unexpected } => self.unexpected(error, "additionalProperties", unexpected),
            Kind::UnevaluatedProperties { unexpected } => self.unexpected(error, "unevaluatedProperties", unexpected),
            // Its list holds the items themselves, not their places.
            Kind::UnevaluatedItems { .. } => self.one(at, "unevaluatedItems", Fault::Other),
            Kind::FalseSchema => self.forbidden(error, at),
            Kind::PropertyNames { error } => {
                let at = at + "/" + &segment(error.instance().as_str().unwrap_or_default());
                self.one(at, "propertyNames", Fault::Name);
            }

            Kind::AnyOf { context } => self.alternatives(error, "anyOf", context),
            Kind::OneOfNotValid { context } => self.alternatives(error, "oneOf", context),
            Kind::OneOfMultipleValid { .. } => self.one(at, "oneOf", Fault::ManyAlternatives(self.names_asked(error))),

            Kind::Custom { message, .. } => {
                keywords::findings(message).into_iter().for_each(|finding| self.own(&at, finding));
            }
        }
    }

    fn one(&mut self, pointer: String, keyword: &'static str, fault: Fault) {
        self.list.push(Violation {
            pointer,
            keyword,
            limit: None,
            actual: None,
            fault,
        });
    }

    fn count(
        &mut self,
        pointer: String,
        keyword: &'static str,
        fault: Fault,
        limit: u64,
        actual: Option<usize>,
    ) {
        self.list.push(Violation {
            pointer,
            keyword,
            limit: Some(limit),
            actual: actual.map(|actual| actual as u64),
            fault,
        });
    }

    fn own(&mut self, at: &str, finding: Finding) {
        match finding {
            Finding::Blanks => self.one(at.to_owned(), keywords::TRIMMED, Fault::Blanks),
            Finding::TooMany { limit, actual, of } => self.count(
                at.to_owned(),
                keywords::MAX_TOTAL_ITEMS,
                Fault::Total(of),
                limit,
                usize::try_from(actual).ok(),
            ),
            Finding::Repeated { at: below, first } => self.one(
                format!("{at}{below}"),
                keywords::UNIQUE_BY,
                Fault::SameAs(format!("{at}{first}")),
            ),
        }
    }

    fn unexpected(&mut self, error: &ValidationError<'_>, keyword: &'static str, names: &[String]) {
        let parent = pointer(error.instance_path());
        let root = self.schema;
        let known = || {
            let (schema, _) = error.schema_path().as_str().rsplit_once('/')?;
            let schema = root?.pointer(schema)?;
            Some(schema.get("properties")?.as_object()?.keys())
        };
        for name in names {
            let hint = self.hint(&parent, name);
            let near = match hint {
                // Nobody misspells more than fit into a report.
                None if names.len() <= MOST => known()
                    .and_then(|known| nearest(name, known.map(String::as_str)))
                    .map(str::to_owned),
                None | Some(_) => None,
            };
            let at = format!("{parent}/{}", segment(name));
            self.one(at, keyword, Fault::Unexpected { hint, near });
        }
    }

    /// What the schema `false` forbids.
    fn forbidden(&mut self, error: &ValidationError<'_>, at: String) {
        let schema_path = error.schema_path().as_str();
        let is_property = schema_path.ends_with("/properties/additionalProperties");
        let object = self.message.pointer(error.instance_path().as_str());
        match object.and_then(Value::as_object) {
            // Without `properties` beside it, this keyword reports the object.
            Some(members) if schema_path.ends_with("/additionalProperties") && !is_property => {
                let names: Vec<_> = members.keys().cloned().collect();
                self.unexpected(error, "additionalProperties", &names);
            }
            Some(_) | None => {
                let (parent, name) = at.rsplit_once('/').unwrap_or_default();
                let hint = self.hint(parent, name);
                self.one(at, "falseSchema", Fault::Unexpected { hint, near: None });
            }
        }
    }

    fn hint(&self, parent: &str, name: &str) -> Option<Hint> {
        self.has_hints.then(|| Hint::find(parent, name)).flatten()
    }

    /// If exactly one alternative was meant, what is wrong with the value as that one;
    /// otherwise a single violation, for the errors of all the others would only mislead.
    fn alternatives(
        &mut self,
        error: &ValidationError<'_>,
        keyword: &'static str,
        branches: &[Vec<ValidationError<'static>>],
    ) {
        let here = error.instance_path();
        let mut meant = branches.iter().filter(|errors| is_meant(errors, here));
        match (meant.next(), meant.next()) {
            (Some(errors), None) => errors.iter().for_each(|error| self.add(error)),
            (Some(_) | None, _) => {
                let fault = Fault::NoAlternative(self.names_asked(error));
                self.one(pointer(here), keyword, fault);
            }
        }
    }

    /// The members that alternatives ask for, if that is all that each of them does.
    fn names_asked(&self, error: &ValidationError<'_>) -> Vec<String> {
        let branches = self
            .schema
            .and_then(|schema| schema.pointer(error.schema_path().as_str()))
            .and_then(Value::as_array);
        let names: Option<Vec<_>> = branches
            .into_iter()
            .flatten()
            .map(|branch| {
                let branch = branch.as_object().filter(|branch| branch.len() == 1)?;
                match branch.get("required")?.as_array()?.as_slice() {
                    [Value::String(name)] => Some(name.clone()),
                    _ => None,
                }
            })
            .collect();
        names.unwrap_or_default()
    }
}

/// Whether a value was meant as the alternative that made these errors: it has the type,
/// the members and the constants which tell alternatives apart.
fn is_meant(errors: &[ValidationError<'_>], here: &Location) -> bool {
    let depth = here.segments().count();
    !errors.iter().any(|error| {
        let below = error.instance_path().segments().count() - depth;
        match error.kind().keyword() {
            "const" | "enum" => below <= 1,
            "type" | "required" | "not" | "falseSchema" => below == 0,
            _ => false,
        }
    })
}

/// The values that a schema allows, if they can be listed in a sentence.
fn options(allowed: &[Value]) -> Vec<String> {
    let options: Vec<_> = allowed.iter().take(9).map(plain).collect();
    let is_short = options.len() < 9 && options.iter().all(|option| option.len() <= 40);
    if is_short { options } else { Vec::new() }
}

/// A string as it is, another value as JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The name of its type in JSON Schema.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The one of `known` that a name seems to be a misspelling of.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if LONGEST_NAME < name.len() {
        return None;
    }
    known
        .filter(|known| 3 < known.len())
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, known)| known)
}

fn pointer(location: &Location) -> String {
    let mut pointer = String::new();
    for part in location.segments() {
        pointer.push('/');
        match part {
            LocationSegment::Index(index) => pointer += &index.to_string(),
            LocationSegment::Property(name) => pointer += &segment(&name),
        }
    }
    pointer
}

/// A member name as a segment of a JSON pointer, safe to show.
pub(super) fn segment(name: &str) -> Cow<'_, str> {
    let is_plain = |character: char| !character.is_control() && !"~/".contains(character);
    if name.len() <= LONGEST_NAME && name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut segment = String::new();
    for (index, character) in name.chars().enumerate() {
        match character {
            _ if index == LONGEST_NAME => {
                segment.push('…');
                break;
            }
            '~' => segment += "~0",
            '/' => segment += "~1",
            control if control.is_control() => segment.push(char::REPLACEMENT_CHARACTER),
            character => segment.push(character),
        }
    }
    Cow::Owned(segment)
}

/// Whether one pointer comes before another: `/a/2` before `/a/10`.
fn by_place(a: &str, b: &str) -> Ordering {
    let ranks = |pointer| {
        str::split(pointer, '/').map(|segment| segment.parse::<u64>().map_err(|_| segment))
    };
    ranks(a).cmp(ranks(b))
}
