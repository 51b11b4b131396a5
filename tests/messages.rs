//! Which messages pass, and what is said about those that do not?
//!
//! `messages/bodies.rs` holds the messages, one a line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "messages/bodies.rs"]
mod bodies;

use portaria::{
    json::{self, Document},
    language::Language,
    schema::{MOST, Schema, Violations},
};
use serde_json::{Value, json};

#[test]
fn every_body_is_decided_right_under_both_schemas() {
    let schemas = [built_in("wegly"), built_in("whatsapp")];
    let bodies = bodies::all();
    assert!(150 <= bodies.len(), "only {} bodies", bodies.len());

    let mut wrong = Vec::new();
    for (name, body, wegly, whatsapp) in &bodies {
        let body = &document(body);
        for (schema, expected) in schemas.iter().zip([wegly, whatsapp]) {
            let found = summary(&schema.violations(body));
            if found != *expected {
                wrong.push(format!("{name}\n  expected {expected}\n  found    {found}"));
            }
            if schema.is_valid(body) != expected.is_empty() {
                wrong.push(format!("{name}: is_valid and violations disagree"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Otherwise a rule could be lost, or a limit be moved by one, and nobody would notice.
#[test]
fn every_rule_of_the_schemas_is_held_by_a_body() {
    let bodies: Vec<_> = bodies::all()
        .into_iter()
        .map(|(_, body, wegly, whatsapp)| (document(&body), wegly, whatsapp))
        .collect();
    let mut lost = Vec::new();
    for name in ["wegly", "whatsapp"] {
        let whole: Value = serde_json::from_str(Schema::built_in(name).unwrap()).unwrap();
        for (change, changed) in weakened(&whole) {
            // Some changes only break references.
            let Ok(schema) = Schema::compile(&changed.to_string()) else {
                continue;
            };
            let is_noticed = bodies.iter().any(|(body, wegly, whatsapp)| {
                let expected = if name == "wegly" { wegly } else { whatsapp };
                summary(&schema.violations(body)) != **expected
            });
            if !is_noticed {
                lost.push(format!("{name}: {change}"));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// The schema without one of its members, or with one of its numbers moved by one, in
/// every way.
fn weakened(whole: &Value) -> Vec<(String, Value)> {
    let mut changes = Vec::new();
    let mut pointers = vec![String::new()];
    while let Some(parent) = pointers.pop() {
        let below: Vec<_> = match whole.pointer(&parent).unwrap() {
            Value::Object(members) => members.keys().cloned().collect(),
            Value::Array(items) => (0..items.len()).map(|index| index.to_string()).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
        };
        for name in below {
            let pointer = format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"));
            if is_remark(&pointer) {
                continue;
            }
            let mut changed = whole.clone();
            match changed.pointer_mut(&parent).unwrap() {
                Value::Object(members) => drop(members.remove(&name)),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
            }
            changes.push((format!("without {pointer}"), changed));
            if let Some(number) = whole.pointer(&pointer).unwrap().as_u64() {
                for other in [number - 1, number + 1] {
                    let mut changed = whole.clone();
                    *changed.pointer_mut(&pointer).unwrap() = json!(other);
                    changes.push((format!("{other} at {pointer}"), changed));
                }
            }
            pointers.push(pointer);
        }
    }
    changes
}

/// Whether a member of a schema says nothing about messages.
fn is_remark(pointer: &str) -> bool {
    pointer.ends_with("/$comment") || ["/$schema", "/title"].contains(&pointer)
}

#[test]
fn no_two_bodies_have_one_name() {
    let mut names: Vec<_> = bodies::all().into_iter().map(|(name, ..)| name).collect();
    names.sort_unstable();

    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn the_example_on_weglys_page_passes_under_both() {
    let example = bodies::published();

    assert!(built_in("wegly").is_valid(&document(&example)));
    assert!(built_in("whatsapp").is_valid(&document(&example)));
}

#[test]
fn what_wegly_refuses_whatsapp_refuses_too() {
    for (name, _, wegly, whatsapp) in bodies::all() {
        assert!(wegly.is_empty() || !whatsapp.is_empty(), "{name}");
    }
}

#[test]
fn no_detail_repeats_what_was_sent() {
    let schema = built_in("whatsapp");
    for (name, mut body, ..) in bodies::all() {
        let kind = body.get("interactive_type").cloned();
        mark(&mut body);
        // The rest is asked of a message only if it is of a known kind.
        if let Some(kind) = kind {
            body["interactive_type"] = kind;
        }
        for violation in schema.violations(&document(&body)).list {
            for language in [Language::English, Language::Portuguese] {
                let detail = violation.detail(language);
                assert!(!detail.contains("canary"), "{name}: {detail}");
            }
        }
    }
}

/// Puts a canary into every string and every name that the schema does not know.
fn mark(value: &mut Value) {
    match value {
        Value::String(text) => text.insert_str(0, "canary"),
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(members) => {
            members.insert("canary".to_owned(), json!("canary"));
            members.values_mut().for_each(mark);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
#[rustfmt::skip] // a table reads best as a table
fn details_say_what_is_wrong_and_by_how_much() {
    for (at, value, limit, actual, english, portuguese) in [
        ("/action/buttons/0/title", json!("a".repeat(23)), Some(20), Some(23),
            "is 23 characters long; the limit is 20", "tem 23 caracteres; o limite é 20"),
        ("/action/buttons", json!([]), Some(1), Some(0),
            "must not be empty", "não pode ficar vazio"),
        ("/body/text", json!(42), None, None,
            "must be a string, not a number", "deve ser uma string, não um número"),
        ("/interactive_type", json!("carousel"), None, None,
            "must be one of `button`, `list`", "deve ser um destes: `button`, `list`"),
        ("/context", json!({"message_id": "x"}), None, None,
            "is not allowed here: to reply to a message, use `reference_wamid` at the top level",
            "não é permitido aqui: para responder a uma mensagem, use `reference_wamid` no nível de cima"),
        ("/reference_waimd", json!("x"), None, None,
            "is not allowed here; did you mean `reference_wamid`?",
            "não é permitido aqui; você quis dizer `reference_wamid`?"),
        ("/colour", json!("x"), None, None,
            "is not allowed here", "não é permitido aqui"),
        ("/action/buttons/0/id", json!(" x"), None, None,
            "begins or ends with white space", "começa ou termina com espaço em branco"),
    ] {
        let body = bodies::button().set(at, value).0;
        let found = built_in("whatsapp").violations(&document(&body));
        let [violation] = &found.list[..] else { panic!("{at}: {found:?}") };

        assert_eq!(violation.pointer, at);
        assert_eq!((violation.limit, violation.actual), (limit, actual), "{at}");
        assert_eq!(violation.detail(Language::English), english);
        assert_eq!(violation.detail(Language::Portuguese), portuguese);
    }
}

#[test]
fn a_repeated_id_names_the_first_and_a_total_names_what_was_counted() {
    let schema = built_in("whatsapp");
    let twice = bodies::list().set("/action/sections/1", bodies::section("Second", ["r1"]));
    let eleven = bodies::list().set("/action/sections", bodies::sections(&[6, 5]));
    let details = |body: &Value| {
        let found = schema.violations(&document(body)).list;
        let details = found
            .iter()
            .map(|one| (one.pointer.clone(), one.detail(Language::English)));
        details.collect::<Vec<_>>()
    };

    assert_eq!(
        details(&twice.0),
        [(
            "/action/sections/1/rows/0/id".to_owned(),
            "is the same as /action/sections/0/rows/0/id, but must be unique".to_owned()
        )]
    );
    assert_eq!(
        details(&eleven.0),
        [(
            "/action/sections".to_owned(),
            "has 11 `rows` in all; the limit is 10".to_owned()
        )]
    );
}

#[test]
fn a_report_lists_the_first_violations_and_says_that_there_are_more() {
    let schema = built_in("whatsapp");
    let unknown = |count: usize| {
        let names = (0..count).map(|index| (format!("x{index:03}"), json!(0)));
        let mut body = bodies::button().0;
        body.as_object_mut().unwrap().extend(names);
        body
    };

    let all = schema.violations(&document(&unknown(MOST)));
    assert_eq!((all.list.len(), all.truncated), (MOST, false));

    let first = schema.violations(&document(&unknown(5000)));
    assert_eq!((first.list.len(), first.truncated), (MOST, true));
    assert_eq!(first.list[31].pointer, "/x031");
}

#[test]
fn items_are_in_order_of_their_number_and_long_names_are_cut() {
    let rows: Vec<_> = (0..12).map(|_| json!({"id": "", "title": "t"})).collect();
    let body = bodies::list()
        .set("/action/sections", json!([{"rows": rows}]))
        .set(&format!("/~0~1{}", "é".repeat(100)), json!(0));
    let found = built_in("whatsapp").violations(&document(&body.0)).list;
    let ids: Vec<_> = found
        .iter()
        .filter(|violation| violation.keyword == "minLength")
        .map(|violation| violation.pointer.as_str())
        .collect();

    assert_eq!(ids[2], "/action/sections/0/rows/2/id");
    assert_eq!(ids[11], "/action/sections/0/rows/11/id");
    assert_eq!(
        found.last().unwrap().pointer,
        format!("/~0~1{}…", "é".repeat(62))
    );
}

fn built_in(name: &str) -> Schema {
    Schema::compile(Schema::built_in(name).unwrap()).unwrap()
}

/// `pointer keyword` of each violation, with commas between.
fn summary(violations: &Violations) -> String {
    let list: Vec<_> = violations
        .list
        .iter()
        .map(|violation| format!("{} {}", violation.pointer, violation.keyword))
        .collect();
    list.join(", ")
}

/// What a client sends is text: bodies are written as values, and read as strict JSON.
#[test]
fn every_body_is_strict_json() {
    for (name, body, ..) in bodies::all() {
        assert_eq!(json::parse(body.to_string().as_bytes()), Ok(body), "{name}");
    }
}

fn document(body: &Value) -> Document {
    Document::parse(body.to_string().into()).unwrap()
}
