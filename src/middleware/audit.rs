//! What was decided, for those who must be able to show it?
//!
//! One line of JSON per request, into a file of its own: who asked, for which chat, with
//! which body (by its hash), and which step decided what by which rule. Nothing of what a
//! client wrote is in it: no text, no telephone number, no name that it chose. Every line
//! has every member; what is not known is null.
//!
//! A request never waits for it. While the file cannot be written requests go on, loudly:
//! the log says so, each try in vain is counted, and so is each line that finds no room.

use std::{fmt::Write as _, io, path::Path, sync::Arc, time::SystemTime};

use humantime::format_rfc3339_micros;
use serde::Serialize;

use crate::{
    http::Response,
    lines::{Guard, Lines, LogFile},
    metrics::Metrics,
    problem::Problem,
    trail::Trail,
};

/// Where the lines go.
#[derive(Clone, Debug)]
pub struct Audit(Lines);

impl Audit {
    /// Opens the file. What waits is written before the guard is gone.
    ///
    /// # Errors
    /// It cannot be written, or there is no thread to be had.
    pub fn open(file: &Path, metrics: &Metrics) -> io::Result<(Self, Guard)> {
        let file = LogFile::open(file, metrics.audit_write_failures.clone())?;
        let dropped = metrics.audit_lines_dropped.clone();
        let (lines, guard) = Lines::write_to(file, "audit", dropped)?;
        Ok((Self(lines), guard))
    }
}

/// A line, member by member.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: String,
    route: Option<&'a str>,
    key: Option<&'a str>,
    credential: Option<&'a str>,
    /// Which of its tokens was sent.
    generation: Option<u32>,
    chat: Option<String>,
    body_bytes: Option<usize>,
    body_sha256: Option<String>,
    outcome: &'static str,
    /// The step that decided.
    step: &'static str,
    /// The rule by which it refused: the reason of the log, and which limit.
    rule: Option<&'static str>,
    limit: Option<&'static str>,
    /// Rules in `report` mode that would have refused it.
    reported: Vec<&'static str>,
    status: u16,
    delivery: &'static str,
}

/// Writes the line.
pub fn write(audit: &Audit, trail: &Trail, response: &mut Response) {
    let problem = response.extensions().get::<Arc<Problem>>();
    let problem = problem.map(|problem| &**problem);
    let client = trail.client.get();
    let line = Line {
        time: format_rfc3339_micros(SystemTime::now()).to_string(),
        request_id: trail.id.to_string(),
        route: trail.route.get().map(|route| &**route),
        key: client.map(|client| &*client.name),
        credential: client.map(|client| &*client.credential.name),
        generation: trail.generation(),
        chat: trail.chat.get().map(ToString::to_string),
        body_bytes: trail.body_size.get().copied(),
        body_sha256: trail.body_sha256.get().map(hexadecimal),
        outcome: Problem::outcome(problem, response.status()),
        step: trail.step().name(),
        rule: problem.map(Problem::reason),
        limit: problem.and_then(Problem::limit).map(|limit| limit.name()),
        reported: trail.reported(),
        status: response.status().as_u16(),
        delivery: trail.delivery(problem).name(),
    };
    // There is nothing in it that JSON cannot say.
    if let Ok(mut line) = serde_json::to_vec(&line) {
        line.push(b'\n');
        audit.0.leave(&line);
    }
}

fn hexadecimal(digest: &[u8; 32]) -> String {
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
