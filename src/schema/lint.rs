//! Does a schema say what its author meant?
//!
//! JSON Schema passes over what it does not know, so a misspelt `maxLenght` checks
//! nothing and nobody notices. Here that is a mistake, and so is whatever else would
//! silently check less than it seems to: another dialect, a reference that leads out of
//! the file or nowhere, an unknown format, a pattern that our engine cannot run.

use std::fmt::Write as _;

use jsonschema::Draft;
use serde_json::{Value, json};

use super::{
    SchemaMistake,
    keywords::{MAX_TOTAL_ITEMS, Own, TRIMMED, UNIQUE_BY},
    options,
    violation::{self, segment},
};
use crate::language::Language;

/// The dialect that schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What stands behind a keyword.
#[derive(Clone, Copy)]
enum Operand {
    /// Data: to be taken as it is, not as a schema.
    Data,
    /// One schema.
    Schema,
    /// An array of schemas.
    Schemas,
    /// An object whose members are schemas; their names are not keywords.
    Named,
}

/// Every keyword of the dialect, and ours.
#[rustfmt::skip] // a table reads best as a table
const KEYWORDS: &[(Operand, &[&str])] = &[
    (Operand::Data, &[
        "$schema", "$id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$comment",
        "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
        "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
        "maxProperties", "minProperties", "required", "dependentRequired", "format",
        "contentEncoding", "contentMediaType",
        "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples",
        MAX_TOTAL_ITEMS, UNIQUE_BY, TRIMMED,
    ]),
    (Operand::Schema, &[
        "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames",
        "unevaluatedItems", "unevaluatedProperties", "contentSchema",
    ]),
    (Operand::Schemas, &["allOf", "anyOf", "oneOf", "prefixItems"]),
    (Operand::Named, &["$defs", "properties", "patternProperties", "dependentSchemas"]),
];

/// What older dialects called something else.
#[rustfmt::skip] // a table reads best as a table
const FORMER: &[(&str, &str)] = &[
    ("id", "`$id`"),
    ("definitions", "`$defs`"),
    ("dependencies", "`dependentRequired` or `dependentSchemas`"),
    ("additionalItems", "`items`, after `prefixItems`"),
    ("$recursiveRef", "`$dynamicRef`"),
    ("$recursiveAnchor", "`$dynamicAnchor`"),
];

/// All mistakes of a schema, in its order.
pub(super) fn mistakes(root: &Value) -> Vec<SchemaMistake> {
    let mut lint = Lint {
        root,
        mistakes: Vec::new(),
    };
    lint.schema(root, "");

    // The dialect's own schema knows the rest: which keyword takes what.
    let dialect = jsonschema::draft202012::meta::validator();
    let found = violation::report(dialect.as_ref().iter_errors(root), || root.clone(), None);
    for violation in found.list {
        // A mistake of ours at the same place says the same, and better.
        if lint.is_new(&violation.pointer) {
            lint.mistake(&violation.pointer, violation.detail(Language::English));
        }
    }
    lint.mistakes
}

struct Lint<'a> {
    root: &'a Value,
    mistakes: Vec<SchemaMistake>,
}

impl Lint<'_> {
    fn mistake(&mut self, pointer: &str, sentence: impl Into<String>) {
        self.mistakes.push(SchemaMistake {
            pointer: pointer.to_owned(),
            sentence: sentence.into(),
        });
    }

    fn is_new(&self, pointer: &str) -> bool {
        !self.mistakes.iter().any(|known| known.pointer == pointer)
    }

    fn schema(&mut self, schema: &Value, at: &str) {
        // `true` and `false` are schemas too; what is neither, the dialect refuses.
        for (name, operand) in schema.as_object().into_iter().flatten() {
            let at = &format!("{at}/{}", segment(name));
            let kind = KEYWORDS
                .iter()
                .find(|(_, names)| names.contains(&name.as_str()));
            match kind {
                None => self.mistake(at, unknown_keyword(name)),
                Some((Operand::Data, _)) => self.data(name, operand, at),
                Some((Operand::Schema, _)) => self.schema(operand, at),
                Some((Operand::Schemas, _)) => {
                    let schemas = operand.as_array().into_iter().flatten();
                    for (index, schema) in schemas.enumerate() {
                        self.schema(schema, &format!("{at}/{index}"));
                    }
                }
                Some((Operand::Named, _)) => {
                    for (member, schema) in operand.as_object().into_iter().flatten() {
                        let at = &format!("{at}/{}", segment(member));
                        if name == "patternProperties" {
                            self.pattern(member, at);
                        }
                        self.schema(schema, at);
                    }
                }
            }
        }
    }

    /// A keyword whose value is text or numbers, some of which mean something.
    fn data(&mut self, name: &str, operand: &Value, at: &str) {
        if let Some(Err(mistake)) = Own::parse(name, operand) {
            return self.mistake(at, mistake);
        }
        // What should be a string and is none, the dialect refuses.
        let Some(text) = operand.as_str() else { return };
        match name {
            "$schema" if text.trim_end_matches('#') != DIALECT => {
                self.mistake(at, format!("must be \"{DIALECT}\""));
            }
            "$ref" | "$dynamicRef" => self.reference(text, at),
            "pattern" => self.pattern(text, at),
            "format" if !options().is_known_format(Draft::Draft202012, text) => {
                self.mistake(
                    at,
                    "is no format that is known here, so it would check nothing",
                );
            }
            _ => {}
        }
    }

    fn reference(&mut self, reference: &str, at: &str) {
        let Some(fragment) = reference.strip_prefix('#') else {
            return self.mistake(
                at,
                "leads out of this file; only references that begin with `#` are followed",
            );
        };
        // Anchors are left to the compiler.
        let is_pointer = fragment.is_empty() || fragment.starts_with('/');
        if is_pointer && !fragment.contains('%') && self.root.pointer(fragment).is_none() {
            self.mistake(at, "leads to nothing in this file");
        }
    }

    fn pattern(&mut self, pattern: &str, at: &str) {
        if options().build(&json!({ "pattern": pattern })).is_err() {
            self.mistake(
                at,
                "is a pattern that the linear-time engine cannot run: it has look-around or a \
                 back-reference, is too large, or is no regular expression",
            );
        }
    }
}

fn unknown_keyword(name: &str) -> String {
    let mut sentence = "is no keyword of JSON Schema 2020-12, nor one of ours".to_owned();
    let known = KEYWORDS.iter().flat_map(|(_, names)| names.iter().copied());
    if let Some((_, today)) = FORMER.iter().find(|(former, _)| *former == name) {
        let _ = write!(sentence, "; today that is {today}");
    } else if let Some(near) = violation::nearest(name, known) {
        let _ = write!(sentence, "; did you mean `{near}`?");
    }
    sentence
}
