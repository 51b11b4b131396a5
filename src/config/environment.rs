//! Which environment variables set what?
//!
//! `PORTARIA__SERVER__MAX_HEAD` is `server.max_head`: single values of named
//! sections. Lists, and with them `[[keys]]` and `[[routes]]`, stand in the file.

use super::{
    Mistakes, Path,
    shape::{Shape, nearest, quote},
};

const PREFIX: &str = "PORTARIA__";

/// A value that a variable sets, in the type that the setting has.
pub(super) struct Override {
    pub(super) path: Path,
    pub(super) value: config::Value,
}

/// The values that variables set. What is wrong with the other variables is noted.
pub(super) fn read(
    environment: impl IntoIterator<Item = (String, String)>,
    shape: &Shape,
    mistakes: &mut Mistakes,
) -> Vec<Override> {
    let mut overrides = Vec::new();
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let lower = rest.to_ascii_lowercase();
        let steps: Vec<_> = lower.split("__").collect();
        let path = path_of(&steps);
        match value(&path, &text, shape) {
            Ok(value) if is_plain(rest) => {
                mistakes.set_by_variable(path.clone(), name);
                overrides.push(Override { path, value });
            }
            Err(Wrong::Value(message)) if is_plain(rest) => {
                mistakes.add(path, message).at_variable(&name);
            }
            Ok(_) | Err(_) if is_in_list(&steps, shape) => {
                let mistake =
                    mistakes.add(path, "a variable cannot set a list, nor anything in it");
                mistake.at_variable(&name).hint("write it in the file");
            }
            Ok(_) | Err(_) => {
                let hint = match meant(&steps, shape) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("write {PREFIX}SECTION__FIELD, with two underscores each"),
                };
                mistakes
                    .add(path, "sets nothing that there is")
                    .at_variable(&name)
                    .hint(hint);
            }
        }
    }
    overrides
}

enum Wrong {
    Name,
    Value(String),
}

/// The text in the type that the setting has. Whether it is good, the shape tells.
fn value(path: &Path, text: &str, shape: &Shape) -> Result<config::Value, Wrong> {
    match shape.type_of(path) {
        Some("integer") => text
            .parse::<i64>()
            .map(config::Value::from)
            .map_err(|_| Wrong::Value(format!("{} is no integer", quote(text)))),
        Some("number") => text
            .parse::<f64>()
            .map(config::Value::from)
            .map_err(|_| Wrong::Value(format!("{} is no number", quote(text)))),
        Some("boolean") => text
            .parse::<bool>()
            .map(config::Value::from)
            .map_err(|_| Wrong::Value(format!("{} is neither true nor false", quote(text)))),
        Some("string") => Ok(text.into()),
        Some(_) | None => Err(Wrong::Name),
    }
}

/// Upper case, and nothing that has a meaning in a path of `config`.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    })
}

fn is_in_list(steps: &[&str], shape: &Shape) -> bool {
    (1..=steps.len()).any(|count| shape.type_of(&path_of(&steps[..count])) == Some("array"))
}

/// The variable that somebody who wrote these steps may have meant.
fn meant(steps: &[&str], shape: &Shape) -> Option<String> {
    let mut path = Path::root();
    let mut name = PREFIX.to_owned();
    for (position, step) in steps.iter().enumerate() {
        let is_known = shape.at(&path.clone().key(*step)).is_some();
        let step = if is_known {
            step
        } else {
            nearest(step, shape.fields(&path))?
        };
        path = path.key(step);
        name += if position == 0 { "" } else { "__" };
        name += &step.to_ascii_uppercase();
    }
    let is_value = !matches!(shape.type_of(&path), None | Some("object" | "array"));
    is_value.then_some(name)
}

fn path_of(steps: &[&str]) -> Path {
    steps
        .iter()
        .fold(Path::root(), |path, step| path.key(*step))
}
