//! Is the message right?
//!
//! Asked twice: first only whether, which is cheap and mostly the end of it; then, if
//! not, which rules it breaks.

use std::sync::Arc;

use crate::{config::Mode, http::Request, problem::Problem, schema::Schema, trail::Trail};

/// The rules of a route, and what a message that breaks them meets.
#[derive(Debug)]
pub struct Rules {
    /// The rules.
    pub schema: Schema,
    /// Whether it is refused, or only reported.
    pub mode: Mode,
}

/// The gate.
pub fn check(rules: &Arc<Rules>, req: &mut Request) -> Result<(), Problem> {
    let trail = Trail::of(req)?;
    let message = trail.message()?;
    if rules.schema.is_valid(message) {
        return Ok(());
    }
    let problem = Problem::InvalidMessage(rules.schema.violations(message));
    match rules.mode {
        Mode::Enforce => Err(problem),
        Mode::Report => {
            trail.report(&problem);
            Ok(())
        }
    }
}
