//! Is strict JSON read as everybody reads it, or not at all?

use portaria::json::{self, Reason};
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value};

use crate::cases;

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn every_value_is_read_as_it_was_written(value in value(), is_pretty: bool) {
        let text = if is_pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };

        prop_assert_eq!(json::parse(text.as_bytes()), Ok(value));
    }

    #[test]
    fn a_value_that_is_cut_off_is_none(value in value(), at: prop::sample::Index) {
        let text = Value::Array(vec![value]).to_string();

        let cut = &text.as_bytes()[..at.index(text.len())];

        prop_assert!(json::parse(cut).is_err());
    }

    #[test]
    fn a_name_that_stands_twice_is_noticed_however_it_is_spelt(
        name in text(),
        spellings: (u64, u64),
        between in value(),
        around in vec(any::<bool>(), 0..20),
    ) {
        let first = spell(&name, spellings.0);
        let second = spell(&name, spellings.1);
        let mut twice = format!("{{{first}:1,\"\\u0001\":{between},{second}:2}}");
        let mut once = format!("{{{first}:1,\"\\u0001\":{between}}}");
        for is_array in around {
            for text in [&mut twice, &mut once] {
                *text = if is_array {
                    format!("[{text}]")
                } else {
                    format!("{{{first}:{text}}}")
                };
            }
        }

        prop_assert!(json::parse(once.as_bytes()).is_ok());
        let refused = json::parse(twice.as_bytes()).unwrap_err();
        prop_assert_eq!(refused.reason, Reason::DuplicateName);
    }

    #[test]
    fn nothing_is_deeper_than_32_levels(is_array in vec(any::<bool>(), 1..40)) {
        let text = is_array.iter().fold("1".to_owned(), |text, is_array| {
            if *is_array { format!("[{text}]") } else { format!("{{\"a\":{text}}}") }
        });

        let is_accepted = json::parse(text.as_bytes()).is_ok();

        prop_assert_eq!(is_accepted, is_array.len() <= 32);
    }

    #[test]
    fn what_passes_is_the_same_value_to_serde_json(bytes in nearly_json()) {
        if let Ok(value) = json::parse(&bytes) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }
}

/// A value that strict JSON can hold. Its numbers print and read exactly.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|number| Value::from(f64::from(number) / 4.0)),
    ];
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        text().prop_map(Value::from),
    ];
    plain.prop_recursive(6, 40, 6, |value| {
        prop_oneof![
            vec(value.clone(), 0..6).prop_map(Value::from),
            vec((text(), value), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A text without NUL, in which JSON's own characters are frequent.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        prop::char::any(),
        prop::sample::select(vec![
            '"', '\\', '/', 'a', 'u', '0', '\n', '\u{1}', '😀', '\u{7f}', '{', ':', ','
        ]),
    ];
    let character = character.prop_filter("NUL is refused", |character| *character != '\0');
    // The one name that the tests use themselves.
    vec(character, 0..12)
        .prop_map(String::from_iter)
        .prop_filter("it is taken", |text| text != "\u{1}")
}

/// One of the ways to write a text in JSON, chosen by the bits.
fn spell(text: &str, mut bits: u64) -> String {
    let mut spelt = "\"".to_owned();
    for character in text.chars() {
        let is_escaped = bits & 1 == 1 || character < ' ' || character == '"' || character == '\\';
        let is_upper = bits & 2 == 2;
        bits = bits.rotate_right(2);
        if !is_escaped {
            spelt.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            spelt += &if is_upper {
                format!("\\u{unit:04X}")
            } else {
                format!("\\u{unit:04x}")
            };
        }
    }
    spelt + "\""
}

/// Bytes that begin like JSON, mostly.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\"a\"",
        b"\"a\":",
        b"\\u0061",
        b"\\",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"1e999",
        b"true",
        b"null",
        b" ",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b"\\ud83d",
        b"\\ude00",
        b"\xef\xbb\xbf",
        b"{\"a\":1}",
        b"[[]]",
    ]);
    let mutated =
        (value(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    prop_oneof![
        vec(pieces, 0..24).prop_map(|pieces| pieces.concat()),
        mutated,
        vec(any::<u8>(), 0..40),
    ]
}
