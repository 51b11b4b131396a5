//! Is it strict JSON?
//!
//! What two parsers can read in two ways is refused here, so that Wegly cannot
//! understand another message than the one that was checked: JSON as RFC 8259 has it,
//! in the narrower form of I-JSON (RFC 7493). That is UTF-8 without a byte order mark,
//! no member name twice in an object (`"a"` and `"\u0061"` are one name), no lone
//! surrogate, no number beyond a double, nothing after the value. NUL is refused too,
//! since much software ends a string there, and so is nesting below [`DEEPEST`].
//!
//! A refusal says what is wrong and where, and never repeats what was sent.
//!
//! What is found is written down in a flat [`Document`]: a tree of `Value` would cost more
//! than the reading. Plain messages are read by [`quick`]; whatever that one does not know
//! is read, or refused, by serde_json.

mod document;
mod quick;

use std::{borrow::Cow, cell::Cell, collections::HashSet};

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value, error::Category};

use self::document::{Builder, Node};
pub use self::document::{Document, Flat, Item};
use crate::language::Language;

/// How deep arrays and objects may be nested; the outermost one is 1.
pub const DEEPEST: usize = 32;

/// Why a text is not strict JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It is not UTF-8.
    NotUtf8,
    /// It ends before the value does. So does an empty text.
    EndsTooEarly,
    /// The value is followed by more than white space.
    TrailingData,
    /// An object has two members of one name.
    DuplicateName,
    /// A `\u` escape names half of a surrogate pair.
    LoneSurrogate,
    /// A string or a name contains NUL.
    Nul,
    /// A string contains a control character that is not escaped.
    ControlCharacter,
    /// A number is too large for a double.
    NumberOutOfRange,
    /// It is nested too deeply.
    TooDeep,
    /// The grammar of JSON does not allow what stands there.
    Grammar,
}

/// What is wrong with a text that is not strict JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub reason: Reason,
    /// The line, from 1.
    pub line: usize,
    /// The character in that line at which it was noticed, from 1.
    pub column: usize,
}

/// Parses strict JSON into a tree.
///
/// # Errors
/// It is not strict.
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    parse_within(bytes, DEEPEST)
}

/// Parses strict JSON that may be nested as deeply as asked, up to 127, into a tree.
pub(crate) fn parse_within(bytes: &[u8], deepest: usize) -> Result<Value, Malformed> {
    let document = Document::parse_within(Bytes::copy_from_slice(bytes), deepest)?;
    Ok(document.root().to_value())
}

impl Document {
    /// Parses strict JSON.
    ///
    /// # Errors
    /// It is not strict.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        Self::parse_within(bytes, DEEPEST)
    }

    fn parse_within(bytes: Bytes, deepest: usize) -> Result<Self, Malformed> {
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(Malformed {
                reason: Reason::ByteOrderMark,
                line: 1,
                column: 1,
            });
        }
        let text = ByteString::try_from(bytes.clone()).map_err(|error| {
            // The character after the good ones.
            let good = &bytes[..error.valid_up_to()];
            let line = good.rsplit(|&byte| byte == b'\n').next();
            Malformed {
                reason: Reason::NotUtf8,
                line: 1 + good.iter().filter(|&&byte| byte == b'\n').count(),
                column: 1 + characters(line.unwrap_or_default()),
            }
        })?;

        match quick::read(&text, deepest) {
            Some(found) => Ok(found.of(text)),
            None => Self::parse_carefully(text, deepest),
        }
    }

    fn parse_carefully(text: ByteString, deepest: usize) -> Result<Self, Malformed> {
        let refusal = Cell::new(None);
        let mut builder = Builder::new(&text);
        let strict = Strict {
            into: &mut builder,
            room: deepest,
            refusal: &refusal,
        };
        let mut parser = serde_json::Deserializer::from_str(&text);
        let read = strict
            .deserialize(&mut parser)
            .and_then(|()| parser.end())
            .map_err(|error| Malformed {
                reason: refusal.get().unwrap_or_else(|| reason_of(&error)),
                line: error.line().max(1),
                column: column_of(&text, &error),
            });
        let found = builder.finish();
        read.map(|()| found.of(text))
    }
}

impl Malformed {
    /// The refusal as a sentence.
    pub fn detail(&self, language: Language) -> String {
        let Self { line, column, .. } = self;
        let reason = self.reason.sentence(language);
        language.pick(
            format!("{reason} (line {line}, column {column})"),
            format!("{reason} (linha {line}, coluna {column})"),
        )
    }
}

impl Reason {
    #[rustfmt::skip] // a table reads best as a table
    fn sentence(self, language: Language) -> &'static str {
        match self {
            Self::ByteOrderMark => language.pick("the text begins with a byte order mark", "o texto começa com uma marca de ordem de bytes (BOM)"),
            Self::NotUtf8 => language.pick("the text is not UTF-8", "o texto não está em UTF-8"),
            Self::EndsTooEarly => language.pick("the text ends too early", "o texto termina antes da hora"),
            Self::TrailingData => language.pick("something follows the JSON value", "há algo depois do valor JSON"),
            Self::DuplicateName => language.pick("a member name appears twice", "um nome de membro aparece duas vezes"),
            Self::LoneSurrogate => language.pick("an escape names half of a surrogate pair", "um escape indica só metade de um par substituto"),
            Self::Nul => language.pick("a string contains the NUL character", "uma string contém o caractere NUL"),
            Self::ControlCharacter => language.pick("a string contains a control character that is not escaped", "uma string contém um caractere de controle sem escape"),
            Self::NumberOutOfRange => language.pick("a number is out of range", "um número está fora do intervalo"),
            Self::TooDeep => language.pick("it is nested too deeply", "há níveis demais de aninhamento"),
            Self::Grammar => language.pick("it is not JSON", "não é JSON"),
        }
    }
}

/// Above so many members, an object's names are looked up and not compared one by one.
const FEW: usize = 16;

/// Writes a value down and refuses what serde_json would let pass.
struct Strict<'a, 'de> {
    into: &'a mut Builder<'de>,
    /// How many levels may still open.
    room: usize,
    /// Why we refused, if it was us: an error of serde_json carries text alone.
    refusal: &'a Cell<Option<Reason>>,
}

impl<'de> Strict<'_, 'de> {
    fn refuse<E: serde::de::Error>(&self, reason: Reason) -> E {
        self.refusal.set(Some(reason));
        E::custom("refused")
    }

    /// The same, one level further down.
    fn below(&mut self) -> Strict<'_, 'de> {
        Strict {
            into: self.into,
            room: self.room,
            refusal: self.refusal,
        }
    }

    fn descend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.room = self
            .room
            .checked_sub(1)
            .ok_or_else(|| self.refuse(Reason::TooDeep))?;
        Ok(())
    }

    fn add<E>(self, node: Node) -> Result<(), E> {
        self.into.add(node);
        Ok(())
    }

    /// Only an escape can stand for NUL: the character itself is none of JSON's.
    fn check<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(self.refuse(Reason::Nul));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.add(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.add(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.add(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.add(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match Number::from_f64(value) {
            Some(number) => self.add(Node::Number(number)),
            None => Err(self.refuse(Reason::NumberOutOfRange)),
        }
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.into.add_borrowed(text);
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.check(text)?;
        self.into.add_unescaped(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.descend()?;
        let array = self.into.open();
        let mut count = 0;
        while items.next_element_seed(self.below())?.is_some() {
            count += 1;
        }
        self.into.close_array(array, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.descend()?;
        let object = self.into.open();
        let mut count = 0;
        let mut many: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(name) = members.next_key_seed(Name(self.below()))? {
            let is_new = if count < FEW {
                !self.into.has_member(object, count, &name)
            } else {
                if many.is_empty() {
                    many.extend(self.into.names(object, count));
                }
                many.insert(name.clone())
            };
            if !is_new {
                return Err(self.refuse(Reason::DuplicateName));
            }
            match name {
                Cow::Borrowed(name) => self.into.add_borrowed(name),
                Cow::Owned(name) => self.into.add_unescaped(&name),
            }
            members.next_value_seed(self.below())?;
            count += 1;
        }
        self.into.close_object(object, count);
        Ok(())
    }
}

/// Reads a member name, in which NUL is no more welcome than in a string.
struct Name<'a, 'de>(Strict<'a, 'de>);

impl<'de> DeserializeSeed<'de> for Name<'_, 'de> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, 'de> {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.0.check(name)?;
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Why serde_json refused. It tells its reasons apart in words only; the tests below
/// hold every one of them.
fn reason_of(error: &serde_json::Error) -> Reason {
    if error.classify() == Category::Eof {
        return Reason::EndsTooEarly;
    }
    let words = error.to_string();
    [
        ("trailing characters", Reason::TrailingData),
        ("lone leading surrogate", Reason::LoneSurrogate),
        ("unexpected end of hex escape", Reason::LoneSurrogate),
        ("control character", Reason::ControlCharacter),
        ("number out of range", Reason::NumberOutOfRange),
    ]
    .into_iter()
    .find(|(beginning, _)| words.starts_with(beginning))
    .map_or(Reason::Grammar, |(_, reason)| reason)
}

/// The column of an error in characters; serde_json counts bytes.
fn column_of(text: &str, error: &serde_json::Error) -> usize {
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let line = line.unwrap_or_default().as_bytes();
    characters(&line[..error.column().min(line.len())]).max(1)
}

/// How many characters begin in a piece of UTF-8.
fn characters(utf8: &[u8]) -> usize {
    utf8.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_strict_json_allows_is_read_as_it_is() {
        for (text, expected) in [
            ("{}", json!({})),
            (" \t\r\n[ ] ", json!([])),
            ("null", json!(null)),
            ("-0", json!(-0.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551616", json!(18446744073709551616.0)),
            ("1e308", json!(1e308)),
            ("1e-400", json!(0.0)),
            (r#""\ud83d\ude00""#, json!("😀")),
            (r#"{"a":{"a":1},"b":[{"a":1},{"a":2}],"A":3}"#, {
                json!({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "A": 3})
            }),
            // Names are compared by code points, not by looks.
            (r#"{"é":1,"e\u0301":2}"#, json!({"é": 1, "e\u{301}": 2})),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table reads best as a table
    fn what_it_forbids_is_refused_with_its_place() {
        use Reason::*;
        for (bytes, reason, line, column) in [
            (&b"\xEF\xBB\xBF{}"[..], ByteOrderMark, 1, 1),
            (b"\xFF\xFE{\0}\0", NotUtf8, 1, 1),
            (b"{\n\"\xC3\xA7\xFF\"}", NotUtf8, 2, 3),
            (b"\"\xC0\xAF\"", NotUtf8, 1, 2),
            (b"\"\xED\xA0\x80\"", NotUtf8, 1, 2),
            (b"", EndsTooEarly, 1, 1),
            (b" \n", EndsTooEarly, 2, 1),
            (b"[1,2", EndsTooEarly, 1, 4),
            (b"{\"a\":", EndsTooEarly, 1, 5),
            (b"\"abc", EndsTooEarly, 1, 4),
            (b"{} {}", TrailingData, 1, 4),
            (b"[1] x", TrailingData, 1, 5),
            (b"{}\0", TrailingData, 1, 3),
            (br#"{"a":1,"a":2}"#, DuplicateName, 1, 10),
            (br#"{"\u0061":1,"a":2}"#, DuplicateName, 1, 15),
            (br#"{"a":1,"\u0061":2}"#, DuplicateName, 1, 15),
            (br#"{"":1,"":2}"#, DuplicateName, 1, 8),
            (b"{\n \"x\": {\"a\":1,\n  \"a\":2}}", DuplicateName, 3, 5),
            ("{\"ç\":1,\"ç\":2}".as_bytes(), DuplicateName, 1, 10),
            (br#""\ud800""#, LoneSurrogate, 1, 8),
            (br#""\udc00""#, LoneSurrogate, 1, 7),
            (br#""\ud800\n""#, LoneSurrogate, 1, 9),
            (br#""\ud800\ud800""#, LoneSurrogate, 1, 13),
            (br#"{"\ud800":1}"#, LoneSurrogate, 1, 9),
            (br#"["\u0000"]"#, Nul, 1, 9),
            (br#"{"a\u0000b":1}"#, Nul, 1, 11),
            (b"\"\0\"", ControlCharacter, 1, 2),
            (b"\"a\tb\"", ControlCharacter, 1, 3),
            (b"[1e999]", NumberOutOfRange, 1, 6),
            (b"[-1e999]", NumberOutOfRange, 1, 7),
            (b"nul", EndsTooEarly, 1, 3),
            (b"NaN", Grammar, 1, 1),
            (b"[01]", Grammar, 1, 3),
            (b"[+1]", Grammar, 1, 2),
            (b"[1.]", Grammar, 1, 4),
            (b"[1,]", Grammar, 1, 4),
            (b"{a:1}", Grammar, 1, 2),
            (b"{'a':1}", Grammar, 1, 2),
            (b"{\"a\":1,}", Grammar, 1, 8),
            (b"{\"a\" 1}", Grammar, 1, 6),
            (b"[1 2]", Grammar, 1, 4),
            (br#""\x""#, Grammar, 1, 3),
            (b"// {}", Grammar, 1, 1),
        ] {
            let expected = Malformed { reason, line, column };
            assert_eq!(parse(bytes), Err(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_name_stands_once_among_however_many() {
        for count in [1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
            let members: Vec<_> = (0..count)
                .map(|name| format!(r#""{name}":[{{"0":0}}]"#))
                .collect();
            let members = members.join(",");
            let last = count - 1;
            assert!(parse(format!("{{{members}}}").as_bytes()).is_ok());
            for again in ["0", r"\u0030", &last.to_string()] {
                let refused = parse(format!(r#"{{{members},"{again}":0}}"#).as_bytes());

                assert_eq!(
                    refused.unwrap_err().reason,
                    Reason::DuplicateName,
                    "{count} {again}"
                );
            }
        }
    }

    #[test]
    fn thirty_two_levels_pass_and_one_more_does_not() {
        let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
        let objects = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);

        assert!(parse(nested(32).as_bytes()).is_ok());
        assert!(parse(objects(32).as_bytes()).is_ok());
        for (text, column) in [
            (nested(33), 33),
            (objects(33), 32 * 5 + 1),
            (nested(10_000), 33),
            ("[".repeat(1_000_000), 33),
        ] {
            let refused = parse(text.as_bytes()).unwrap_err();
            assert_eq!((refused.reason, refused.line), (Reason::TooDeep, 1));
            assert_eq!(refused.column, column);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_quickly_is_read_alike_with_care(
            changes in proptest::collection::vec((0_usize..200, 0_usize..9, 0..PIECES.len()), 0..6)
        ) {
            let mut text = r#"{"a" : [ {"id":"x\n1","t":"Não"} , [] , 12, true],"b":{"c":null},"d":"\u00e7\ud83d\ude00"}"#.to_owned();
            for (at, length, piece) in changes {
                let characters: Vec<char> = text.chars().collect();
                let at = at.min(characters.len());
                let rest = (at + length).min(characters.len());
                text = characters[..at].iter().collect::<String>() + PIECES[piece];
                text.extend(&characters[rest..]);
            }

            let quickly = quick::read(&text, 3).map(|found| found.of(text.as_str().into()));
            let carefully = Document::parse_carefully(text.as_str().into(), 3);

            if let Some(quickly) = quickly {
                assert!(carefully == Ok(quickly), "{text}");
            }
        }
    }

    const PIECES: [&str; 30] = [
        "",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "d83d",
        "de00",
        "0000",
        "a",
        "\"a\":",
        "0",
        "-1",
        "12",
        "1.5",
        "1e3",
        "012",
        "99999999999999999999",
        "true",
        "nul",
        " ",
        "\n",
        "ç",
        "\u{1}",
        "\0",
        "\u{7f}",
    ];

    #[test]
    fn a_refusal_says_where_in_both_languages_and_repeats_nothing() {
        let refused = parse(b"{\"canary\":1,\n\"canary\":2}").unwrap_err();

        assert_eq!(
            refused.detail(Language::English),
            "a member name appears twice (line 2, column 8)"
        );
        assert_eq!(
            refused.detail(Language::Portuguese),
            "um nome de membro aparece duas vezes (linha 2, coluna 8)"
        );
    }
}
