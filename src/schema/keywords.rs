//! What can a schema say here that JSON Schema cannot?
//!
//! Three keywords of ours; `schemas/README.md` documents them for those who write
//! schemas. Each is parsed here once: for the list of mistakes, and for the validator.

use std::collections::{HashMap, HashSet};

use jsonschema::{Keyword, ValidationError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{Flat, Item};

/// At most so many values at a path, wherever in the array they are.
pub(super) const MAX_TOTAL_ITEMS: &str = "x-maxTotalItems";
/// No value twice at a path.
pub(super) const UNIQUE_BY: &str = "x-uniqueBy";
/// No white space at either end of a string.
pub(super) const TRIMMED: &str = "x-trimmed";

/// What a keyword of ours found. A validation error of jsonschema can carry text alone,
/// so findings travel in it as JSON.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Finding {
    Blanks,
    TooMany {
        limit: u64,
        actual: u64,
        of: String,
    },
    /// Pointers below the array that has the keyword.
    Repeated {
        at: String,
        first: String,
    },
}

/// Reads the findings out of an error.
pub(super) fn findings(message: &str) -> Vec<Finding> {
    serde_json::from_str(message).unwrap_or_default()
}

/// A keyword with its value, ready to check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    MaxTotalItems { path: Path, limit: u64 },
    UniqueBy(Vec<Path>),
    Trimmed(bool),
}

impl Own {
    /// The keyword of this name; `None` if we have no such keyword.
    pub(super) fn parse(name: &str, value: &Value) -> Option<Result<Self, &'static str>> {
        match name {
            MAX_TOTAL_ITEMS => Some(Self::max_total_items(value).ok_or(
                "must be { \"path\": \"*/name/*\", \"limit\": NUMBER }, without other members",
            )),
            UNIQUE_BY => {
                Some(Self::unique_by(value).ok_or("must be an array of paths such as \"*/name\""))
            }
            TRIMMED => Some(
                value
                    .as_bool()
                    .map(Self::Trimmed)
                    .ok_or("must be true or false"),
            ),
            _ => None,
        }
    }

    fn max_total_items(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 2)?;
        Some(Self::MaxTotalItems {
            path: Path::parse(members.get("path")?)?,
            limit: members.get("limit")?.as_u64()?,
        })
    }

    fn unique_by(value: &Value) -> Option<Self> {
        let paths = value.as_array().filter(|paths| !paths.is_empty())?;
        let paths: Option<_> = paths.iter().map(Path::parse).collect();
        paths.map(Self::UniqueBy)
    }

    /// What a value breaks of it that does not keep it.
    fn findings(&self, value: Item<'_>) -> Vec<Finding> {
        match self {
            Self::MaxTotalItems { path, limit } => vec![Finding::TooMany {
                limit: *limit,
                actual: path.count(value),
                of: path.last_name().to_owned(),
            }],
            Self::UniqueBy(paths) => paths.iter().flat_map(|path| path.repeated(value)).collect(),
            Self::Trimmed(_) => vec![Finding::Blanks],
        }
    }

    fn is_kept(&self, value: Item<'_>) -> bool {
        match self {
            Self::MaxTotalItems { path, limit } => path.count(value) <= *limit,
            Self::UniqueBy(paths) => paths.iter().all(|path| path.is_unique(value)),
            Self::Trimmed(wanted) => value
                .text()
                .is_none_or(|text| !wanted || text.trim().len() == text.len()),
        }
    }
}

impl<'i> Keyword<'i, Flat> for Own {
    fn validate(&self, value: Item<'i>) -> Result<(), ValidationError<'i>> {
        // A message that breaks one rule keeps most others.
        if self.is_kept(value) {
            return Ok(());
        }
        // Strings and numbers always become JSON.
        let message = serde_json::to_string(&self.findings(value)).unwrap_or_default();
        Err(ValidationError::custom(message))
    }

    fn is_valid(&self, value: Item<'i>) -> bool {
        self.is_kept(value)
    }
}

/// Makes the keyword `name` for a validator.
#[expect(
    clippy::type_complexity,
    reason = "the shape that jsonschema asks for, once"
)]
pub(super) fn factory(
    name: &'static str,
) -> impl for<'a> Fn(
    &'a Map<String, Value>,
    &'a Value,
    jsonschema::paths::Location,
) -> Result<Box<dyn for<'i> Keyword<'i, Flat>>, ValidationError<'a>>
+ Send
+ Sync
+ 'static {
    move |_, value, _| match Own::parse(name, value) {
        Some(Ok(keyword)) => Ok(Box::new(keyword)),
        Some(Err(mistake)) => Err(ValidationError::schema(mistake)),
        None => Err(ValidationError::schema("no such keyword")),
    }
}

/// Where to look below a value: `*` is every item of an array, another step the member
/// of that name. What is missing or of another kind is passed over; `type` and
/// `required` are there to complain about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Each,
    Member(String),
}

impl Path {
    fn parse(value: &Value) -> Option<Self> {
        let steps: Vec<_> = value.as_str()?.split('/').collect();
        // It begins at an array, or there would be nothing to compare.
        if steps.first() != Some(&"*") || steps.contains(&"") {
            return None;
        }
        let steps = steps.into_iter().map(|step| match step {
            "*" => Step::Each,
            name => Step::Member(name.to_owned()),
        });
        Some(Self(steps.collect()))
    }

    /// The last member that it names; the empty string if it names none.
    fn last_name(&self) -> &str {
        let names = self.0.iter().rev().filter_map(|step| match step {
            Step::Each => None,
            Step::Member(name) => Some(name.as_str()),
        });
        names.into_iter().next().unwrap_or_default()
    }

    fn count(&self, value: Item<'_>) -> u64 {
        let mut count = 0;
        visit(&self.0, value, &mut Vec::new(), &mut |_, _| count += 1);
        count
    }

    fn is_unique(&self, value: Item<'_>) -> bool {
        // Mostly they are strings, and few: then sorting is cheaper than hashing.
        let (mut texts, mut others) = (Vec::new(), HashSet::new());
        let mut unique = true;
        visit(
            &self.0,
            value,
            &mut Vec::new(),
            &mut |_, value| match value.text() {
                Some(text) => texts.push(text),
                None => unique &= others.insert(value.to_value()),
            },
        );
        texts.sort_unstable();
        unique && texts.windows(2).all(|pair| pair[0] != pair[1])
    }

    fn repeated(&self, value: Item<'_>) -> Vec<Finding> {
        let mut first = HashMap::new();
        let mut repeated = Vec::new();
        visit(&self.0, value, &mut Vec::new(), &mut |indices, value| {
            let at = self.pointer(indices);
            let value = value.to_value();
            match first.get(&value) {
                // More than can be reported need not be found.
                Some(_) if super::MOST < repeated.len() => {}
                Some(first) => repeated.push(Finding::Repeated {
                    at,
                    first: String::clone(first),
                }),
                None => {
                    first.insert(value, at);
                }
            }
        });
        repeated
    }

    /// The pointer to the value that these indices lead to.
    fn pointer(&self, indices: &[usize]) -> String {
        let mut indices = indices.iter();
        let mut pointer = String::new();
        for step in &self.0 {
            pointer.push('/');
            match step {
                Step::Each => pointer += &indices.next().copied().unwrap_or_default().to_string(),
                Step::Member(name) => pointer += &super::violation::segment(name),
            }
        }
        pointer
    }
}

/// Calls `found` for every value at the path, with the indices that led to it.
fn visit<'v>(
    path: &[Step],
    value: Item<'v>,
    indices: &mut Vec<usize>,
    found: &mut dyn FnMut(&[usize], Item<'v>),
) {
    match path {
        [] => found(indices, value),
        [Step::Member(name), path @ ..] => {
            if let Some(value) = value.get(name) {
                visit(path, value, indices, found);
            }
        }
        [Step::Each, path @ ..] => {
            for (index, value) in value.items().enumerate() {
                indices.push(index);
                visit(path, value, indices, found);
                indices.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::Document;

    #[test]
    fn a_keyword_with_a_wrong_value_is_refused() {
        for (name, value) in [
            (TRIMMED, json!("yes")),
            (UNIQUE_BY, json!("*/id")),
            (UNIQUE_BY, json!([])),
            (UNIQUE_BY, json!(["id"])),
            (UNIQUE_BY, json!(["*/"])),
            (UNIQUE_BY, json!(["/*/id"])),
            (UNIQUE_BY, json!(["*/id", 1])),
            (MAX_TOTAL_ITEMS, json!(10)),
            (MAX_TOTAL_ITEMS, json!({"path": "*/rows/*"})),
            (MAX_TOTAL_ITEMS, json!({"path": "*/rows/*", "limit": -1})),
            (MAX_TOTAL_ITEMS, json!({"path": "*/rows/*", "max": 10})),
            (MAX_TOTAL_ITEMS, {
                json!({"path": "*/rows/*", "limit": 10, "least": 1})
            }),
        ] {
            assert!(Own::parse(name, &value).unwrap().is_err(), "{name} {value}");
        }
        assert_eq!(Own::parse("x-unique", &json!(["*/id"])), None);
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_passed_over() {
        let own = Own::parse(UNIQUE_BY, &json!(["*/rows/*/id"]))
            .unwrap()
            .unwrap();

        for value in [
            json!(null),
            json!([]),
            json!([{}, {}, 1, {"rows": {}}, {"rows": [1, 1, {}]}]),
            json!([{"rows": [{"id": "1"}, {"id": 1}, {"id": null}]}, {"rows": [{"id": [1]}]}]),
        ] {
            let message = document(&value);
            assert!(own.is_kept(message.root()), "{value}");
            assert!(own.findings(message.root()).is_empty(), "{value}");
        }
        let value = json!([{"rows": [{"id": 1}]}, {}, {"rows": [{}, {"id": 1}]}]);
        let message = document(&value);
        assert!(!own.is_kept(message.root()));
        assert_eq!(own.findings(message.root()).len(), 1);
    }

    #[test]
    fn both_ways_to_ask_a_keyword_give_the_same_answer() {
        let message = document(&json!([{"a": [1, 2, " x"]}, {"a": [3, 1]}]));
        for (own, kept) in [
            (
                (MAX_TOTAL_ITEMS, json!({"path": "*/a/*", "limit": 5})),
                true,
            ),
            (
                (MAX_TOTAL_ITEMS, json!({"path": "*/a/*", "limit": 4})),
                false,
            ),
            ((MAX_TOTAL_ITEMS, json!({"path": "*", "limit": 1})), false),
            ((UNIQUE_BY, json!(["*/a"])), true),
            ((UNIQUE_BY, json!(["*/a", "*/a/*"])), false),
            ((TRIMMED, json!(true)), true),
        ] {
            let own = Own::parse(own.0, &own.1).unwrap().unwrap();

            let value = message.root();
            assert_eq!(own.is_kept(value), kept, "{own:?}");
            assert_eq!(own.validate(value).is_ok(), kept, "{own:?}");
            assert!(kept || !own.findings(value).is_empty(), "{own:?}");
        }
    }

    fn document(value: &Value) -> Document {
        Document::parse(value.to_string().into()).unwrap()
    }
}
