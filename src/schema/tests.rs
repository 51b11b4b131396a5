//! What a schema of an operator's own may rely on.

use serde_json::{Value, json};

use super::*;

#[test]
fn the_built_in_schemas_compile() {
    for name in ["wegly", "whatsapp"] {
        let text = Schema::built_in(name).unwrap();

        assert_eq!(Schema::compile(text).map(drop), Ok(()), "{name}");
    }
    assert_eq!(Schema::built_in("WhatsApp"), None);
}

#[test]
#[rustfmt::skip] // a table reads best as a table
fn what_would_check_less_than_it_seems_to_is_a_mistake() {
    for (schema, pointer, sentence) in [
        // Misspelt, or of another dialect.
        (json!({"maxLenght": 1}), "/maxLenght", "did you mean `maxLength`?"),
        (json!({"require": ["a"]}), "/require", "did you mean `required`?"),
        (json!({"x-uniqeBy": ["*/id"]}), "/x-uniqeBy", "did you mean `x-uniqueBy`?"),
        (json!({"x-Trimmed": true}), "/x-Trimmed", "did you mean `x-trimmed`?"),
        (json!({"nullable": true}), "/nullable", "is no keyword of JSON Schema 2020-12, nor one of ours"),
        (json!({"definitions": {}}), "/definitions", "today that is `$defs`"),
        (json!({"dependencies": {}}), "/dependencies", "today that is `dependentRequired`"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "/$schema", "must be \"https://json-schema.org/draft/2020-12/schema\""),
        // Wherever a schema may stand.
        (json!({"properties": {"a": {"oops": 1}}}), "/properties/a/oops", "is no keyword"),
        (json!({"patternProperties": {"^a/b~": {"oops": 1}}}), "/patternProperties/^a~1b~0/oops", "is no keyword"),
        (json!({"dependentSchemas": {"a": {"oops": 1}}}), "/dependentSchemas/a/oops", "is no keyword"),
        (json!({"$defs": {"a": {"oops": 1}}}), "/$defs/a/oops", "is no keyword"),
        (json!({"items": {"oops": 1}}), "/items/oops", "is no keyword"),
        (json!({"prefixItems": [true, {"oops": 1}]}), "/prefixItems/1/oops", "is no keyword"),
        (json!({"anyOf": [{"not": {"oops": 1}}]}), "/anyOf/0/not/oops", "is no keyword"),
        (json!({"if": {"oops": 1}}), "/if/oops", "is no keyword"),
        (json!({"then": {"else": {"oops": 1}}}), "/then/else/oops", "is no keyword"),
        (json!({"contains": {"oops": 1}}), "/contains/oops", "is no keyword"),
        (json!({"propertyNames": {"oops": 1}}), "/propertyNames/oops", "is no keyword"),
        (json!({"additionalProperties": {"oops": 1}}), "/additionalProperties/oops", "is no keyword"),
        (json!({"unevaluatedProperties": {"oops": 1}}), "/unevaluatedProperties/oops", "is no keyword"),
        // References.
        (json!({"$ref": "https://example.com/a.json"}), "/$ref", "leads out of this file"),
        (json!({"$ref": "file:///etc/passwd"}), "/$ref", "leads out of this file"),
        (json!({"$ref": "other.json#/a"}), "/$ref", "leads out of this file"),
        (json!({"$dynamicRef": "other.json"}), "/$dynamicRef", "leads out of this file"),
        (json!({"$ref": "#/$defs/a"}), "/$ref", "leads to nothing"),
        (json!({"$ref": "#a"}), "", "does not compile"),
        // Formats and patterns.
        (json!({"format": "emial"}), "/format", "is no format that is known here"),
        (json!({"pattern": "^(?=.*a)b"}), "/pattern", "the linear-time engine cannot run"),
        (json!({"pattern": r"(a)\1"}), "/pattern", "the linear-time engine cannot run"),
        (json!({"pattern": "("}), "/pattern", "the linear-time engine cannot run"),
        (json!({"pattern": "((a{1,100}){1,100}){1,10}b"}), "/pattern", "is too large"),
        (json!({"patternProperties": {"(?!a)": true}}), "/patternProperties/(?!a)", "the linear-time engine cannot run"),
        // Values that a keyword does not take.
        (json!({"maxLength": "20"}), "/maxLength", "must be an integer, not a string"),
        (json!({"maxLength": -1}), "/maxLength", "must be at least 0"),
        (json!({"type": "sting"}), "/type", "fits none of the allowed forms"),
        (json!({"required": "a"}), "/required", "must be an array, not a string"),
        (json!({"required": ["a", "a"]}), "/required", "has the same item more than once"),
        (json!({"properties": []}), "/properties", "must be an object, not an array"),
        (json!({"properties": {"a": 1}}), "/properties/a", "must be a boolean or an object, not a number"),
        (json!({"allOf": []}), "/allOf", "must not be empty"),
        (json!({"pattern": 1}), "/pattern", "must be a string, not a number"),
        (json!({"x-trimmed": "yes"}), "/x-trimmed", "must be true or false"),
        (json!({"x-uniqueBy": "id"}), "/x-uniqueBy", "must be an array of paths"),
        (json!({"x-maxTotalItems": 10}), "/x-maxTotalItems", "must be { \"path\""),
        (json!([]), "", "must be a boolean or an object, not an array"),
    ] {
        let Err(mistakes) = Schema::compile(&schema.to_string()) else { panic!("{schema} compiles") };
        let [mistake] = &mistakes[..] else { panic!("{schema}: {mistakes:?}") };

        assert_eq!(mistake.pointer, pointer, "{schema}");
        assert!(mistake.sentence.contains(sentence), "{schema}: {mistake}");
    }
}

#[test]
fn data_and_names_are_not_taken_for_keywords() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "oops",
        "properties": {"maxLenght": {"const": {"oops": 1, "$ref": "https://example.com"}}},
        "patternProperties": {"^oops": {"enum": [{"oops": 1}]}},
        "$defs": {"oops": {"default": {"oops": 1}, "examples": [{"oops": 1}]}, "loop": {"$ref": "#"}},
        "dependentRequired": {"oops": ["oops"]},
        "required": ["oops"],
        "oneOf": [{"$ref": "#/$defs/oops"}, false],
    });

    assert!(Schema::compile(&schema.to_string()).is_ok());
    assert!(Schema::compile("true").is_ok());
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mistakes = Schema::compile(
        r#"{"maxLenght": 1, "properties": {"a": {"format": "x", "minLength": "1"}}, "type": 5}"#,
    )
    .unwrap_err();
    let mut pointers: Vec<_> = mistakes.iter().map(|one| one.pointer.as_str()).collect();
    pointers.sort_unstable();

    assert_eq!(
        pointers,
        [
            "/maxLenght",
            "/properties/a/format",
            "/properties/a/minLength",
            "/type"
        ]
    );
    assert_eq!(
        Schema::compile("{\"type\": \"object\",\n \"type\": \"array\"}").unwrap_err()[0]
            .to_string(),
        "the schema is not strict JSON: a member name appears twice (line 2, column 7)"
    );
}

#[test]
#[rustfmt::skip] // a table reads best as a table
fn every_rule_has_its_words_and_none_repeats_the_message() {
    // In every message, what is the client's own says canary or 424242.
    for (schema, message, pointer, keyword, detail) in [
        (json!({"minLength": 9}), json!("canary"), "", "minLength", "is 6 characters long; the least is 9"),
        (json!({"maxLength": 0}), json!("ç"), "", "maxLength", "is 1 character long; the limit is 0"),
        (json!({"minItems": 2}), json!(["canary"]), "", "minItems", "has 1 item; the least is 2"),
        (json!({"prefixItems": [true], "items": false}), json!([1, "canary"]), "/1", "falseSchema", "is not allowed here"),
        (json!({"prefixItems": [true], "unevaluatedItems": false}), json!([1, "canary"]), "", "unevaluatedItems", "breaks the rule `unevaluatedItems` of the schema"),
        (json!({"maxProperties": 1}), json!({"canary": 1, "b": 1}), "", "maxProperties", "has 2 members; the limit is 1"),
        (json!({"minProperties": 2}), json!({"canary": 1}), "", "minProperties", "has 1 member; the least is 2"),
        (json!({"maximum": 10}), json!(424242), "", "maximum", "must be at most 10"),
        (json!({"minimum": 1e9}), json!(424242), "", "minimum", "must be at least 1000000000.0"),
        (json!({"exclusiveMaximum": 10}), json!(424242), "", "exclusiveMaximum", "must be less than 10"),
        (json!({"exclusiveMinimum": 500000}), json!(424242), "", "exclusiveMinimum", "must be more than 500000"),
        (json!({"multipleOf": 5}), json!(424242), "", "multipleOf", "must be a multiple of 5"),
        (json!({"type": ["string", "null"]}), json!(424242), "", "type", "must be null or a string, not a number"),
        (json!({"const": {"a": 1}}), json!("canary"), "", "const", "must be `{\"a\":1}`"),
        (json!({"enum": [1, 2, 3, 4, 5, 6, 7, 8, 9]}), json!("canary"), "", "enum", "has a value that is not allowed"),
        (json!({"pattern": "^[a-z]{3}$"}), json!("canary"), "", "pattern", "does not match the pattern `^[a-z]{3}$`"),
        (json!({"format": "date-time"}), json!("canary"), "", "format", "is not in the format `date-time`"),
        (json!({"format": "uuid"}), json!("canary"), "", "format", "is not in the format `uuid`"),
        (json!({"uniqueItems": true}), json!(["canary", "canary"]), "", "uniqueItems", "has the same item more than once"),
        (json!({"contains": {"type": "null"}}), json!(["canary"]), "", "contains", "has too few or too many items of the kind that it must contain"),
        (json!({"contains": true, "maxContains": 1}), json!(["canary", 1]), "", "contains", "has too few or too many items of the kind that it must contain"),
        (json!({"not": {"type": "string"}}), json!("canary"), "", "not", "breaks the rule `not` of the schema"),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({"a": "canary"}), "", "required", "`b` is missing"),
        (json!({"propertyNames": {"maxLength": 3}}), json!({"long/name": "canary"}), "/long~1name", "propertyNames", "has a name that is not allowed"),
        (json!({"properties": {"a": false}}), json!({"a": "canary"}), "/a", "falseSchema", "is not allowed here"),
        (json!({"additionalProperties": false}), json!({"a/b~c\n": "canary"}), "/a~1b~0c\u{fffd}", "additionalProperties", "is not allowed here"),
        (json!({"unevaluatedProperties": false, "allOf": [{"properties": {"a": true}}]}), json!({"a": 1, "name": "canary"}), "/name", "unevaluatedProperties", "is not allowed here"),
        (json!({"x-maxTotalItems": {"path": "*/*", "limit": 1}}), json!([["canary", 1]]), "", "x-maxTotalItems", "has 2 items in all; the limit is 1"),
        // The hints are about Wegly's messages alone.
        (json!({"additionalProperties": false, "properties": {"kind": true}}), json!({"type": "canary"}), "/type", "additionalProperties", "is not allowed here"),
        // Behind a reference, too.
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"additionalProperties": false, "properties": {"colour": true}}}}), json!({"color": "canary"}), "/color", "additionalProperties", "is not allowed here; did you mean `colour`?"),
        // Alternatives: the one that was meant, or a single sentence.
        (json!({"oneOf": [{"type": "string", "maxLength": 3}, {"type": "array"}]}), json!("canary"), "", "maxLength", "is 6 characters long; the limit is 3"),
        (json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "array"}]}), json!(424242), "", "anyOf", "fits none of the allowed forms"),
        (json!({"oneOf": [
            {"properties": {"kind": {"const": "a"}, "text": {"minLength": 9}}},
            {"properties": {"kind": {"const": "b"}, "text": {"maxLength": 3}}},
        ]}), json!({"kind": "b", "text": "canary"}), "/text", "maxLength", "is 6 characters long; the limit is 3"),
        (json!({"anyOf": [{"maxLength": 3}, {"maxLength": 4}]}), json!("canary"), "", "anyOf", "fits none of the allowed forms"),
        (json!({"anyOf": [{"required": ["id"]}, {"required": ["link"]}]}), json!({"canary": 1}), "", "anyOf", "needs one of `id`, `link`"),
        (json!({"oneOf": [{"required": ["id"]}, {"required": ["link"]}]}), json!({"id": 1, "link": "canary"}), "", "oneOf", "must have only one of `id`, `link`"),
        (json!({"oneOf": [{"minLength": 1}, {"minLength": 2}]}), json!("canary"), "", "oneOf", "fits more than one of the allowed forms, but must fit one"),
    ] {
        let compiled = Schema::compile(&schema.to_string()).unwrap();
        let message = document(&message);
        let found = compiled.violations(&message).list;
        let [violation] = &found[..] else { panic!("{schema}: {found:?}") };

        assert!(!compiled.is_valid(&message), "{schema}");
        assert_eq!((violation.pointer.as_str(), violation.keyword), (pointer, keyword), "{schema}");
        assert_eq!(violation.detail(Language::English), detail, "{schema}");
        for language in [Language::English, Language::Portuguese] {
            let detail = violation.detail(language);
            assert!(!detail.contains("canary") && !detail.contains("424242"), "{detail}");
        }
    }
}

#[test]
fn patterns_of_a_common_size_compile() {
    for pattern in [
        r"^\p{L}{1,1000}$",
        r"^[^\s]{1,1000}$",
        r"^(?:[a-z0-9-]{1,63}\.){1,10}[a-z]{2,63}$",
    ] {
        let schema = json!({ "pattern": pattern }).to_string();

        assert!(Schema::compile(&schema).is_ok(), "{pattern}");
    }
}

#[test]
fn formats_are_asserted_and_lengths_are_code_points() {
    let is_valid = |schema: Value, message: Value| {
        Schema::compile(&schema.to_string())
            .unwrap()
            .is_valid(&document(&message))
    };

    assert!(!is_valid(json!({"format": "email"}), json!("nobody")));
    assert!(is_valid(json!({"format": "email"}), json!("a@example.com")));
    assert!(is_valid(json!({"maxLength": 5}), json!("👨‍👩‍👧")));
    assert!(!is_valid(json!({"maxLength": 4}), json!("👨‍👩‍👧")));
}

#[test]
fn a_rule_that_is_broken_in_two_ways_is_reported_once() {
    let schema = json!({"maxLength": 3, "allOf": [{"maxLength": 3}, {"maxLength": 4}]});
    let schema = Schema::compile(&schema.to_string()).unwrap();
    let limits: Vec<_> = schema
        .violations(&document(&json!("canary")))
        .list
        .iter()
        .map(|violation| violation.limit)
        .collect();

    assert_eq!(limits, [Some(3), Some(4)]);
}

#[test]
fn debug_of_a_schema_is_short() {
    let schema = Schema::compile("true").unwrap();

    assert_eq!(format!("{schema:?}"), "Schema { .. }");
}

fn document(message: &Value) -> Document {
    Document::parse(message.to_string().into()).unwrap()
}
