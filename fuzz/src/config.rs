//! Is every config either sound, or refused in words that hold no secret?
//!
//! The text may end in a line `---`; the lines after it are environment variables.

use std::time::{Duration, UNIX_EPOCH};

use portaria::{
    config::{Loaded, Mistakes},
    plan::{Plan, Surroundings},
};

/// The secret that every variable holds.
const SECRET: &str = "Canary/of/the/environment";

/// Panics if reading it does, or if a secret shows.
pub fn hunt(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Some files never end.
    if ["dev/", "proc/", "\\"]
        .iter()
        .any(|part| text.contains(part))
        || text.contains(SECRET)
    {
        return;
    }
    let (text, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let environment = variables.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let loaded = match Loaded::parse("/nowhere/portaria.toml", text, environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => return check(&mistakes),
    };
    let surroundings = Surroundings {
        environment: &|_| Some(SECRET.to_owned()),
        now: || UNIX_EPOCH + Duration::from_secs(1_795_435_200),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let _inside = runtime.as_ref().expect("a runtime needs little").enter();
    match Plan::compile(&loaded, surroundings) {
        Ok(plan) => assert_hidden(&format!("{plan:?}")),
        Err(mistakes) => check(&mistakes),
    }
}

fn check(mistakes: &Mistakes) {
    assert!(!mistakes.is_empty(), "refused without a reason");
    let plain = mistakes.render(false);
    for mistake in mistakes.iter() {
        assert!(!mistake.message.is_empty(), "a mistake without words");
    }
    let lines: Vec<String> = mistakes.lines().collect();
    assert_eq!(lines.len(), mistakes.len());
    for shown in lines.iter().chain([&plain, &mistakes.render(true)]) {
        assert_hidden(shown);
    }
}

fn assert_hidden(shown: &str) {
    assert!(!shown.contains(SECRET), "a secret shows: {shown}");
}
