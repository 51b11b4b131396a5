//! Is what passes as strict JSON the same message to everybody?

use portaria::json;
use serde_json::Value;

/// Panics if a text passes that another parser reads otherwise.
pub fn hunt(bytes: &[u8]) {
    let Ok(value) = json::parse(bytes) else {
        return;
    };
    let read: Value = serde_json::from_slice(bytes).expect("what passes is JSON to everybody");
    assert_eq!(value, read, "and the same");
    assert!(depth(&value) <= json::DEEPEST, "nested too deeply");
    assert!(!has_nul(&value), "a string holds NUL");
    assert_eq!(members(&value), names(bytes), "a name was lost on the way");
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// How many members its objects have, all together.
fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The same, counted in the text: a colon outside a string follows each name. If a name
/// stood twice, there would be more of them than members.
fn names(text: &[u8]) -> usize {
    let (mut colons, mut is_inside, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_inside = !is_inside,
            b':' if !is_inside => colons += 1,
            _ => {}
        }
    }
    colons
}
