//! Do the bytes that fuzzing began with, and those that it found, still break nothing?
//!
//! Replays every file of `fuzz/corpus/`. `make fuzz` looks for new ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "what is public here is public to the tests")]
#![allow(dead_code, reason = "the properties use a part of this")]

use std::{fs, path::Path};

#[path = "../fuzz/src/config.rs"]
mod config;
#[path = "../fuzz/src/connection.rs"]
mod connection;
#[path = "../fuzz/src/json.rs"]
mod json;
#[path = "../fuzz/src/origin.rs"]
mod origin;
#[path = "../fuzz/src/wire.rs"]
mod wire;

#[test]
fn no_config_shows_a_secret_or_breaks_its_reader() {
    replay("config", config::hunt);
}

#[test]
fn no_connection_gets_more_through_than_it_may() {
    replay("connection", connection::hunt);
}

#[test]
fn what_is_called_good_passes_and_what_is_called_bad_does_not() {
    for (name, bytes) in files("connection") {
        let is_good = name.starts_with("good");
        let (_, sent) = connection::exchange(&bytes);
        assert!(!is_good || !sent.is_empty(), "{name}");
    }
    for (name, bytes) in files("json") {
        let is_json = portaria::json::parse(&bytes).is_ok();
        assert!(!name.starts_with("good") || is_json, "{name}");
        assert!(!name.starts_with("bad") || !is_json, "{name}");
    }
}

#[test]
fn no_json_passes_that_reads_otherwise_elsewhere() {
    replay("json", json::hunt);
}

#[test]
fn no_page_passes_that_no_entry_means() {
    replay("origin", origin::hunt);
}

fn replay(target: &str, hunt: fn(&[u8])) {
    let files = files(target);
    assert!(30 <= files.len(), "files of {target} are missing");
    for (name, bytes) in files {
        assert!(bytes.len() <= 64 << 10, "{name} is too large");
        let hunted = std::panic::catch_unwind(|| hunt(&bytes));
        assert!(
            hunted.is_ok(),
            "{target}/{name} breaks a promise; see above"
        );
    }
}

/// The name and the bytes of each file.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = fs::read_dir(folder).unwrap().map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, fs::read(file.path()).unwrap())
    });
    files.collect()
}
