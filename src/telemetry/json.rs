//! What does a line look like to a machine?
//!
//! One JSON object: when, how grave, the fields of the event in their order, and where it
//! came from. tracing-subscriber's own JSON goes through a serializer that costs as much
//! as all checks of a request together. Only printable ASCII stands as it is, so nothing
//! in a line can move a terminal's cursor or turn its text around.

use std::{
    error::Error,
    fmt::{self, Write as _},
    time::SystemTime,
};

use humantime::format_rfc3339_micros;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Writes an event as a line of JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // In one piece: each call of the writer costs as much as some dozen bytes.
        let mut line = String::with_capacity(USUAL);
        line.push_str("{\"timestamp\":\"");
        write!(line, "{}", format_rfc3339_micros(SystemTime::now()))?;
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push('"');
        let mut members = Members {
            line,
            result: Ok(()),
        };
        event.record(&mut members);
        let Members { mut line, result } = members;
        result?;
        line.push_str(",\"target\":\"");
        Escaping(&mut line).write_str(metadata.target())?;
        line.push_str("\"}\n");
        writer.write_str(&line)
    }
}

/// Most lines have no more bytes.
const USUAL: usize = 1024;

/// Writes fields as members.
struct Members {
    line: String,
    result: fmt::Result,
}

impl Members {
    /// A number, or a word of JSON.
    fn plain(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.line.push_str(value);
    }

    fn string(
        &mut self,
        field: &Field,
        write: impl FnOnce(&mut Escaping<&mut String>) -> fmt::Result,
    ) {
        self.name(field);
        self.line.push('"');
        let written = write(&mut Escaping(&mut self.line));
        self.line.push('"');
        self.result = self.result.and(written);
    }

    /// Names stand in code, and need no escapes.
    fn name(&mut self, field: &Field) {
        self.line.push_str(",\"");
        self.line.push_str(field.name());
        self.line.push_str("\":");
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.string(field, |text| write!(text, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field, |text| text.write_str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.string(field, |text| write!(text, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Most are milliseconds with three decimals, which need no search for the shortest
        // number that means the same.
        let thousandths = (value * 1000.0).round();
        if (0.0..1e12).contains(&thousandths) && thousandths / 1000.0 == value {
            let thousandths = thousandths as u64;
            self.plain(field, itoa::Buffer::new().format(thousandths / 1000));
            // Their first digit is of use for nothing but the zeros behind it.
            let decimals = 1000 + thousandths % 1000;
            self.line.push('.');
            self.line
                .push_str(&itoa::Buffer::new().format(decimals)[1..]);
        } else if value.is_finite() {
            self.plain(field, &format!("{value:?}"));
        } else {
            self.plain(field, "null");
        }
    }
}

/// The inside of a JSON string.
pub(super) struct Escaping<W>(pub(super) W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
        // Mostly all is plain; without an early end, many bytes are looked at at once.
        if text
            .bytes()
            .fold(true, |is_all, byte| is_all & is_plain(byte))
        {
            return self.0.write_str(text);
        }
        let mut rest = text;
        // The first byte of a character beyond ASCII is not plain either.
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            self.0.write_str(&rest[..at])?;
            let Some(character) = rest[at..].chars().next() else {
                break;
            };
            match character {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                character => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.0, "\\u{unit:04x}")?;
                    }
                }
            }
            rest = &rest[at + character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::telemetry::written;

    #[test]
    fn a_line_holds_the_fields_in_their_order_and_as_what_they_are() {
        let line = written(Json, false, || {
            tracing::warn!(
                target: "here",
                count = 7_u64,
                least = -7,
                is_so = true,
                milliseconds = 1.5,
                endless = f64::INFINITY,
                name = "a name",
                missing = Option::<&str>::None,
                shown = %"shown",
                "a message"
            );
        });

        let (before, after) = line.split_once("\",\"level\"").unwrap();
        assert!(before.starts_with("{\"timestamp\":\"20"), "{line}");
        assert_eq!(
            after,
            ":\"WARN\",\"message\":\"a message\",\"count\":7,\"least\":-7,\"is_so\":true,\
             \"milliseconds\":1.500,\"endless\":null,\"name\":\"a name\",\"shown\":\"shown\",\
             \"target\":\"here\"}\n"
        );
    }

    #[test]
    fn whatever_a_value_holds_the_line_is_one_line_of_printable_ascii() {
        let text = "a\"b\\c\nd\r\u{1b}[31m\u{7f}\u{9b}é\u{2028}\u{202e}😀";

        let line = written(Json, false, || tracing::info!(text, debug = ?text));

        assert!(
            line.trim_end()
                .chars()
                .all(|character| matches!(character, ' '..='~'))
        );
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["text"], text);
        assert_eq!(read["debug"], format!("{text:?}"));
    }
}
