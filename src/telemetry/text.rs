//! What does a line look like to a person?
//!
//! When, how grave, from where, what, and then the fields with their names: all that the
//! JSON has. A value that is more than one plain word stands in quotes, escaped as JSON
//! escapes it. So here, too, nothing in a line can move a terminal's cursor, and nothing
//! in a value looks like another field.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use anstyle::{AnsiColor, Style};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use super::json::Escaping;

const DIM: Style = Style::new().dimmed();

/// Writes an event as a line of text.
#[derive(Clone, Copy, Debug)]
pub struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        styled(&mut line, DIM, |line| SystemTime.format_time(line))?;
        let level = *metadata.level();
        line.write_char(' ')?;
        styled(&mut line, colour(level), |line| write!(line, "{level:>5}"))?;
        line.write_char(' ')?;
        styled(&mut line, DIM, |line| {
            Escaping(line.by_ref()).write_str(metadata.target())?;
            line.write_char(':')
        })?;
        let mut fields = Fields {
            line: line.by_ref(),
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        line.write_char('\n')
    }
}

fn colour(level: Level) -> Style {
    let colour = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG => AnsiColor::Blue,
        Level::TRACE => AnsiColor::Magenta,
    };
    colour.on_default()
}

fn styled(
    line: &mut Writer<'_>,
    style: Style,
    write: impl FnOnce(&mut Writer<'_>) -> fmt::Result,
) -> fmt::Result {
    if !line.has_ansi_escapes() {
        return write(line);
    }
    write!(line, "{style}")?;
    write(line)?;
    write!(line, "{style:#}")
}

/// Writes fields after each other.
struct Fields<'w> {
    line: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    /// What is only known once it is written.
    fn shown(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match value.as_str() {
            Some(text) => self.text(field, text),
            None => self.text(field, &value.to_string()),
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.result = self.result.and_then(|()| {
            self.line.write_char(' ')?;
            if field.name() == "message" {
                return Escaping(self.line.by_ref()).write_str(text);
            }
            styled(&mut self.line, DIM, |line| {
                Escaping(line.by_ref()).write_str(field.name())?;
                line.write_char('=')
            })?;
            if is_plain(text) {
                return self.line.write_str(text);
            }
            self.line.write_char('"')?;
            Escaping(self.line.by_ref()).write_str(text)?;
            self.line.write_char('"')
        });
    }
}

fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+-[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.shown(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.shown(field, format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::written;

    #[test]
    fn a_line_holds_all_that_the_json_holds() {
        let line = written(Text, false, || {
            tracing::warn!(
                target: "here",
                count = 7_u64,
                least = -7,
                is_so = true,
                milliseconds = 1.5,
                name = "a name",
                missing = Option::<&str>::None,
                empty = "",
                shown = %"shown",
                "a message"
            );
        });

        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert_eq!(
            rest,
            " WARN here: a message count=7 least=-7 is_so=true milliseconds=1.5 \
             name=\"a name\" empty=\"\" shown=shown\n"
        );
    }

    #[test]
    fn whatever_a_value_holds_the_line_is_one_line_of_printable_ascii() {
        let text = "a\"b\\c\nd\r\u{1b}[31m\u{7f}\u{9b}é\u{2028}\u{202e}😀 status=200";

        let line = written(
            Text,
            false,
            || tracing::info!(text, debug = ?text, "{text}"),
        );

        assert!(
            line.trim_end()
                .chars()
                .all(|character| matches!(character, ' '..='~')),
            "{line}"
        );
        let escaped = r#"a\"b\\c\nd\u000d\u001b[31m\u007f\u009b\u00e9\u2028\u202e\ud83d\ude00"#;
        assert!(line.contains(&format!(" text=\"{escaped} status=200\"")));
    }

    #[test]
    fn there_is_colour_only_where_it_is_asked_for() {
        let [plain, coloured] =
            [false, true].map(|ansi| written(Text, ansi, || tracing::error!(name = "a", "failed")));

        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(
            coloured.contains("\u{1b}[31mERROR\u{1b}[0m"),
            "{coloured:?}"
        );
    }
}
