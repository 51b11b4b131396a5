//! How does the gateway hold up?
//!
//! Rigs drive the real binary over the loopback interface, longer and harder than a
//! test should: [`soak`] (is every message delivered once?), [`overload`] (what is left
//! when ten times too much comes?), [`sigterms`] (does a stop lose an answer?), [`kills`]
//! (does a kill make a message go out twice?), [`reloads`] (does a reload lose
//! anything?), [`replicas`] (are three gateways one?), [`guesses`] (what does a wrong key
//! tell?), [`startup`] (how soon is it ready?) and [`memory`] (what does each thing take that it
//! remembers?). Each prints its figures, and fails when a promise is broken. [`names`] only
//! measures: what does an `Idempotency-Key` cost?
//!
//! What judges is not the gateway's own code: a client and an upstream on plain
//! sockets, and a ledger of what arrived.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a rig fails by panicking"
)]

use std::process::ExitCode;

use report::Report;

#[path = "../../tests/support/mod.rs"]
mod support;

mod client;
mod gateway;
mod guesses;
mod kills;
mod ledger;
mod memory;
mod names;
mod overload;
mod prompt;
mod reloads;
mod replicas;
mod report;
mod sigterms;
mod soak;
mod startup;
mod upstream;

#[tokio::main]
async fn main() -> ExitCode {
    // `cargo bench` adds a `--bench` of its own.
    let arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = arguments.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut report = Report::new();
    match words[..] {
        ["soak", messages] => soak::run(number(messages), &mut report).await,
        ["overload", seconds] => overload::run(number(seconds), &mut report).await,
        ["guesses", count] => guesses::run(number(count), &mut report).await,
        ["sigterms", count] => sigterms::run(number(count), &mut report).await,
        ["reloads", count] => reloads::run(number(count), &mut report).await,
        ["names", count] => names::run(number(count), &mut report).await,
        ["kills", count] => kills::run(number(count), &mut report).await,
        ["replicas"] => replicas::run(&mut report).await,
        ["startup", count] => startup::run(number(count), &mut report).await,
        ["memory"] => memory::run(&mut report).await,
        // For `benches/peers`: prints where it listens, and nothing else.
        ["upstream", directory] => {
            prompt::run(directory).await;
            return ExitCode::SUCCESS;
        }
        _ => {
            report.title("rigs: soak MESSAGES, overload SECONDS, sigterms COUNT, kills COUNT,");
            report.line(
                "reloads COUNT, replicas, guesses COUNT, names MESSAGES, startup COUNT or memory",
            );
            return ExitCode::SUCCESS;
        }
    }
    report.end()
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}
