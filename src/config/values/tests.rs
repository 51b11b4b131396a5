use super::*;

#[test]
fn a_value_is_written_as_it_is_read() {
    fn same<T: FromStr<Err = Misread> + fmt::Display>(texts: &[&str]) {
        for text in texts {
            assert_eq!(text.parse::<T>().unwrap().to_string(), *text);
        }
    }
    same::<Period>(&["250ms", "30s", "5min", "36h", "2d", "1500ms", "366d"]);
    same::<Size>(&["512 B", "64 KiB", "1 MiB", "3 GiB", "1025 B"]);
    same::<Rate>(&["20/s", "600/min", "1000/h", "4294967295/s"]);
    same::<Source>(&[
        "file:/run/secrets/wegly-token",
        "env:WEGLY_TOKEN",
        "env:_a1",
    ]);
    same::<Address>(&[
        "127.0.0.1:0",
        "[::1]:8080",
        "unix:/run/portaria.sock",
        "systemd:portaria.socket",
    ]);
    same::<FileMode>(&["0660", "0000", "0777"]);
    same::<Timestamp>(&["2026-11-01T00:00:00Z", "1970-01-01T00:00:00Z"]);
}

#[test]
fn a_blank_before_the_unit_does_not_matter() {
    assert_eq!("30 s".parse::<Period>(), Ok(Period::seconds(30)));
    assert_eq!("64KiB".parse::<Size>(), Ok(Size::kib(64)));
}

#[test]
fn every_other_spelling_is_refused() {
    fn refused<T: FromStr<Err = Misread>>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text}");
        }
    }
    refused::<Period>(&[
        "",
        "30",
        "s",
        "0s",
        "-1s",
        "+1s",
        "1.5s",
        "1  s",
        "30S",
        "1h30min",
        " 1s",
        "1s ",
        "367d",
        "18446744073709551616ms",
        "18446744073709551615d",
        "١s",
    ]);
    refused::<Size>(&[
        "",
        "64",
        "0 B",
        "64 KB",
        "64k",
        "1.5 MiB",
        "-1 B",
        "18014398509481984 KiB",
        "99999999999 GiB",
    ]);
    refused::<Rate>(&[
        "",
        "20",
        "0/s",
        "20/",
        "20/m",
        "20 / s",
        "+20/s",
        "4294967296/s",
        "1/s/s",
    ]);
    refused::<Source>(&[
        "",
        "file:",
        "file:/",
        "file:token",
        "file:a\0b",
        "file:/a\0b",
        "env:",
        "env:A-B",
        "env:1A",
        "env:É",
        "FILE:/a",
        "Bearer abc",
    ]);
    refused::<Address>(&[
        "",
        "8080",
        ":8080",
        "localhost:8080",
        "::1:8080",
        "127.0.0.1",
        "127.0.0.1:65536",
        "unix:",
        "unix:a",
        "systemd:",
        "systemd:a:b",
        "systemd:a b",
    ]);
    refused::<Address>(&[&format!("unix:/{}", "a".repeat(107))]);
    refused::<FileMode>(&[
        "",
        "660",
        "0",
        "00660",
        "0680",
        "0o660",
        "+660",
        "rw-rw----",
        "1660",
    ]);
    refused::<Timestamp>(&[
        "",
        "2026-11-01",
        "00:00:00",
        "2026-11-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "1793491200",
        "1969-07-20T20:17:40Z",
        "1970-01-01T00:00:00+00:01",
    ]);
}

#[test]
fn an_offset_is_taken_into_account() {
    let utc: Timestamp = "2026-11-01T03:00:00Z".parse().unwrap();

    assert_eq!("2026-11-01T00:00:00-03:00".parse(), Ok(utc));
    assert_eq!("2026-11-01 05:30:00+02:30".parse(), Ok(utc));
}

#[test]
fn a_local_time_is_told_to_name_its_zone() {
    let misread = "2026-11-01T00:00:00".parse::<Timestamp>().unwrap_err();

    assert_eq!(misread.problem, "does not say in which time zone");
}

#[test]
fn what_the_patterns_refuse_the_parsers_refuse_too() {
    let schema = serde_json::to_value(schemars::schema_for!((
        Period,
        Size,
        Rate,
        Source,
        Address,
        RecordStore,
        FileMode,
        Timestamp
    )))
    .unwrap();
    let texts = [
        "30s",
        "30 s",
        "0s",
        "64 KiB",
        "64KiB",
        "20/s",
        "file:/a",
        "env:A",
        "env:_",
        "file:a",
        "127.0.0.1:1",
        "[::1]:1",
        "unix:/a",
        "systemd:a",
        "2026-11-01T00:00:00Z",
        "2026-11-01 00:00:00Z",
        "2026-11-01t00:00:00z",
        "",
        "x",
        "0660",
        "1/min",
        "3d",
        "local",
        "redis",
    ];
    let mut accepted = 0;
    for form in FORMS {
        let schema = schema["$defs"]
            .as_object()
            .unwrap()
            .values()
            .find(|schema| schema["format"] == form.name)
            .unwrap();
        let pattern = jsonschema::validator_for(schema).unwrap();
        for text in texts.into_iter().filter(|text| (form.check)(text).is_ok()) {
            assert!(pattern.is_valid(&text.into()), "{} {text}", form.name);
            accepted += 1;
        }
    }
    assert_eq!(accepted, 22);
}
