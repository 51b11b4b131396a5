//! Is it plain, as nearly every message is?
//!
//! Reads in one pass what serde_json reads in many small steps, for a fifth of the cost. It
//! only ever says yes: what is not plain, because it is unusual or because it is wrong, is
//! left to the careful reader, which then also knows what is wrong and where. Plain is
//! objects of a few members, strings, whole numbers and the three words. That what this one
//! takes is what the other takes, and is read alike, is held by the tests.

use super::{
    FEW,
    document::{Builder, Found, Node},
};

/// What stands in a text, if it is plain and nested no deeper than that.
pub(super) fn read(text: &str, deepest: usize) -> Option<Found> {
    let mut reader = Reader {
        text,
        at: 0,
        into: Builder::new(text),
    };
    reader.value(deepest)?;
    reader.skip_space();
    (reader.at == text.len()).then(|| reader.into.finish())
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    into: Builder<'t>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this text, or says no.
    fn take(&mut self, expected: &str) -> Option<()> {
        let is_there = self.text.as_bytes()[self.at..].starts_with(expected.as_bytes());
        is_there.then(|| self.at += expected.len())
    }

    /// A value, in which so many levels may open.
    fn value(&mut self, room: usize) -> Option<()> {
        self.skip_space();
        let (word, node) = match self.peek()? {
            b'"' => return self.string(),
            b'{' => return self.object(room.checked_sub(1)?),
            b'[' => return self.array(room.checked_sub(1)?),
            b't' => ("true", Node::Bool(true)),
            b'f' => ("false", Node::Bool(false)),
            b'n' => ("null", Node::Null),
            b'0'..=b'9' => return self.whole_number(),
            _ => return None,
        };
        self.take(word)?;
        self.into.add(node);
        Some(())
    }

    fn object(&mut self, room: usize) -> Option<()> {
        self.at += 1;
        let object = self.into.open();
        let mut prints = [0; FEW];
        let mut count = 0;
        self.skip_space();
        if self.peek()? != b'}' {
            loop {
                self.skip_space();
                if self.peek()? != b'"' || count == FEW {
                    return None;
                }
                self.string()?;
                // Two names with one fingerprint are mostly one name; if they are not, there is
                // the careful reader.
                let print = fingerprint(self.into.last_name());
                if prints[..count].contains(&print) {
                    return None;
                }
                prints[count] = print;
                self.skip_space();
                self.take(":")?;
                self.value(room)?;
                count += 1;
                self.skip_space();
                if self.peek()? == b'}' {
                    break;
                }
                self.take(",")?;
            }
        }
        self.at += 1;
        self.into.close_object(object, count);
        Some(())
    }

    fn array(&mut self, room: usize) -> Option<()> {
        self.at += 1;
        let array = self.into.open();
        let mut count = 0;
        self.skip_space();
        if self.peek()? != b']' {
            loop {
                self.value(room)?;
                count += 1;
                self.skip_space();
                if self.peek()? == b']' {
                    break;
                }
                self.take(",")?;
            }
        }
        self.at += 1;
        self.into.close_array(array, count);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        let from = self.at;
        self.at += plain(&self.text.as_bytes()[from..]);
        if self.peek()? == b'"' {
            self.into.add(Node::Text { from, to: self.at });
            self.at += 1;
            return Some(());
        }
        // Escapes: what they stand for is put together beside the text.
        let string = self.into.begin_unescaped();
        let mut from = from;
        loop {
            self.into.unescaped().push_str(&self.text[from..self.at]);
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    let character = self.escape()?;
                    self.into.unescaped().push(character);
                }
                // A control character.
                _ => return None,
            }
            from = self.at;
            self.at += plain(&self.text.as_bytes()[from..]);
        }
        self.at += 1;
        self.into.end_unescaped(string);
        Some(())
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 2;
        Some(match self.text.as_bytes().get(self.at - 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut unit = u32::from(self.unit()?);
                if (0xD800..0xDC00).contains(&unit) {
                    self.take("\\u")?;
                    let low = u32::from(self.unit()?).checked_sub(0xDC00)?;
                    if 0x400 <= low {
                        return None;
                    }
                    unit = 0x10000 + ((unit - 0xD800) << 10) + low;
                }
                char::from_u32(unit).filter(|character| *character != '\0')?
            }
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some((unit << 4) | u16::try_from(digit).ok()?)
        })
    }

    /// A number without sign, fraction and exponent that surely fits.
    fn whole_number(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_odd = matches!(rest.get(digits), Some(b'.' | b'e' | b'E'));
        let has_leading_zero = rest[0] == b'0' && digits != 1;
        if is_odd || has_leading_zero || 18 < digits {
            return None;
        }
        let value: u64 = self.text[self.at..self.at + digits].parse().ok()?;
        self.at += digits;
        self.into.add(Node::Number(value.into()));
        Some(())
    }
}

/// Tells a name from nearly all others.
fn fingerprint(name: &[u8]) -> u64 {
    match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            let first = u64::from_le_bytes(*first).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            first ^ u64::from_le_bytes(*last) ^ (name.len() as u64)
        }
        // Shorter than eight bytes.
        _ => name
            .iter()
            .fold(0, |print, byte| (print << 8) | u64::from(*byte)),
    }
}

/// How many bytes come before a quotation mark, a backslash or a control character. It
/// looks at eight bytes at a time: text is most of a message.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The top bit of each byte that is less than this; right for the first of them.
    let less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than));
    for (index, chunk) in bytes.chunks_exact(8).enumerate() {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        let word = u64::from_le_bytes(eight);
        // With this bit turned, quotation marks follow the control characters.
        let marks = less(word ^ (ONES * 2), (b'"' ^ 2) + 1);
        let escapes = less(word ^ (ONES * u64::from(b'\\')), 1);
        let ends = (marks | escapes) & !word & TOPS;
        if ends != 0 {
            return index * 8 + ends.trailing_zeros() as usize / 8;
        }
    }
    let from = bytes.len() / 8 * 8;
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    bytes[from..]
        .iter()
        .position(is_end)
        .map_or(bytes.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;

    #[test]
    fn text_ends_at_the_first_byte_that_is_not_plain() {
        for length in 0..40 {
            for end in 0..=255_u8 {
                let mut bytes = vec![b'x'; length];
                bytes.extend([end, b'"', 0, b'\\', 0xFF]);
                let is_plain = b' ' <= end && end != b'"' && end != b'\\';

                let expected = length + usize::from(is_plain);
                assert_eq!(plain(&bytes), expected, "{length} {end}");
            }
        }
    }

    #[test]
    fn names_that_only_look_alike_are_left_to_the_careful_reader() {
        let text = r#"{"beginning_1_endings":1,"beginning_2_endings":2}"#;
        assert!(read(text, 1).is_none());

        let document = Document::parse(text.into()).unwrap();

        let second = document.root().get("beginning_2_endings").unwrap();
        assert_eq!(second.to_value(), 2);
    }

    #[test]
    fn a_message_is_plain() {
        for text in [
            "null",
            " { } ",
            "[ ]",
            r#"{"a":[true,false,0,17],"b":{"a":"\"\\\/\b\f\n\r\tç\u00e7\ud83d\udE00😀"}}"#,
        ] {
            assert!(read(text, 3).is_some(), "{text}");
        }
    }
}
