//! What is printed, and did every promise hold?

use std::{fmt::Display, io::Write as _, process::ExitCode, time::Duration};

/// Rows of figures. Printed as they come, because a rig may take long.
pub(crate) struct Report {
    broken: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { broken: 0 }
    }

    /// A line above some rows.
    pub(crate) fn title(&mut self, title: impl Display) {
        self.line(format_args!("\n{title}"));
    }

    /// A line of its own form.
    pub(crate) fn line(&mut self, line: impl Display) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
    }

    /// A figure that promises nothing.
    pub(crate) fn figure(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("  {name:<44} {value:>14}"));
    }

    /// A figure with what it must be.
    pub(crate) fn promise(&mut self, name: &str, value: impl Display, holds: bool, wanted: &str) {
        let verdict = if holds { "ok" } else { "BROKEN" };
        self.broken += usize::from(!holds);
        self.line(format_args!(
            "  {name:<44} {value:>14}  {verdict} ({wanted})"
        ));
    }

    /// A count that must be nothing.
    pub(crate) fn none(&mut self, name: &str, count: usize) {
        self.promise(name, count, count == 0, "0");
    }

    /// The verdict.
    pub(crate) fn end(&mut self) -> ExitCode {
        match self.broken {
            0 => {
                self.title("Every promise held.");
                ExitCode::SUCCESS
            }
            broken => {
                self.title(format_args!("{broken} BROKEN."));
                ExitCode::FAILURE
            }
        }
    }
}

/// With one decimal.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// With one decimal.
pub(crate) fn mebibytes(bytes: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is enough")]
    let bytes = bytes as f64;
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

/// The value that so many per cent do not exceed. Sorts.
pub(crate) fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
    values.get(rank).copied().unwrap_or_default()
}
