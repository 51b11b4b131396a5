//! In what do two configs differ, and what of it needs a restart?

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Config;

/// What is done once, when the process starts. In `tls` that is whether there is one.
const ONCE: [&str; 13] = [
    "server.listen",
    "server.tls",
    "server.unix",
    "server.workers",
    "server.max_connections",
    "server.max_in_flight",
    "admin",
    "log",
    "idempotency.store",
    "limits.store",
    "redis",
    "audit",
    "traces",
];

/// The settings in which they differ, by their paths: `keys.billing.expires_at`. What stands
/// there is not told. (The order of what has a name means nothing.)
pub(super) fn between(old: &Config, new: &Config) -> Vec<String> {
    let mut paths = Vec::new();
    if let (Ok(old), Ok(new)) = (serde_json::to_value(old), serde_json::to_value(new)) {
        compare(String::new(), Some(&old), Some(&new), &mut paths);
    }
    paths
}

/// Those of the settings that wait for a restart.
pub(super) fn waiting(paths: &[String]) -> Vec<String> {
    let is_done_once = |path: &&String| {
        ONCE.iter().any(|once| {
            let rest = path.strip_prefix(once);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let is_in_tls = |path: &&String| path.starts_with("server.tls.");
    let paths = paths.iter().filter(is_done_once);
    paths.filter(|path| !is_in_tls(path)).cloned().collect()
}

fn compare(at: String, old: Option<&Value>, new: Option<&Value>, paths: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Some(old), Some(new)) = (old.and_then(fields), new.and_then(fields)) else {
        paths.push(at);
        return;
    };
    let mut names: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let below = match &*at {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        };
        let (old, new) = (old.get(name).copied(), new.get(name).copied());
        compare(below, old, new, paths);
    }
}

/// What is below, by name: the fields of a table, or the elements of a list that have names.
fn fields(value: &Value) -> Option<BTreeMap<&str, &Value>> {
    match value {
        Value::Object(fields) => Some(
            fields
                .iter()
                .map(|(name, value)| (&**name, value))
                .collect(),
        ),
        Value::Array(elements) if !elements.is_empty() => elements
            .iter()
            .map(|element| Some((element.get("name")?.as_str()?, element)))
            .collect(),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
        server = { listen = ["127.0.0.1:1"], tls = { cert = "file:/a", key = "file:/b" } }
        admin = { listen = "127.0.0.1:2" }
        keys = [
            { name = "billing", hash = "a" },
            { name = "shop", hash = "b", allowed_domains = ["shop.example.com"] },
        ]
    "#;

    #[test]
    fn a_difference_is_told_by_the_path_of_the_setting() {
        for (from, to, changed, waits) in [
            ("", "", &[][..], &[][..]),
            (
                "127.0.0.1:1",
                "[::1]:1",
                &["server.listen"],
                &["server.listen"],
            ),
            (
                "127.0.0.1:2",
                "[::1]:2",
                &["admin.listen"],
                &["admin.listen"],
            ),
            ("file:/a", "file:/c", &["server.tls.cert"], &[]),
            (
                r#", tls = { cert = "file:/a", key = "file:/b" }"#,
                "",
                &["server.tls"],
                &["server.tls"],
            ),
            (
                r#"hash = "a""#,
                r#"hash = "c""#,
                &["keys.billing.hash"],
                &[],
            ),
            (
                r#"hash = "a""#,
                r#"hash = "a", disabled = true"#,
                &["keys.billing.disabled"],
                &[],
            ),
            (
                "shop.example",
                "pages.example",
                &["keys.shop.allowed_domains"],
                &[],
            ),
            (
                r#""billing""#,
                r#""bills""#,
                &["keys.billing", "keys.bills"],
                &[],
            ),
        ] {
            let after = BEFORE.replace(from, to);

            let paths = between(&config(BEFORE), &config(&after));

            assert_eq!(paths, changed, "{from} -> {to}");
            assert_eq!(waiting(&paths), waits, "{from} -> {to}");
        }
    }

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }
}
