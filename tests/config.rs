//! What is an operator told of a config?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

/// Reading the file and the environment, and every mistake of spelling and shape. It
/// needs no plan.
mod reading {
    use std::{collections::BTreeSet, fs};

    use portaria::config::{
        Address, Config, Loaded, Mistakes, Path, Period, Size, Source, json_schema, load,
    };
    use serde_json::Value as Json;

    #[test]
    fn names_that_are_nearly_right_are_corrected() {
        assert_told(
            "typos.toml",
            &[
                "3:1: unknown field `max_in_fligth` (did you mean `max_in_flight`?)",
                "4:1: unknown field `max_body` (it belongs in `[[routes]]`)",
                "6:2: unknown section `sever` (did you mean `server`?)",
                "17:31: unknown field `burts` (did you mean `burst`?)",
            ],
        );
    }

    #[test]
    fn a_wrong_type_is_told_with_how_to_write_it() {
        assert_told(
            "types.toml",
            &[
                "2:10: expected an array, found a string (put it in brackets: `[…]`)",
                "3:19: expected an integer, found a string (write it without quotes)",
                "4:17: expected an integer, found a float",
                "5:8: expected true or false, found a string (write true or false, without quotes)",
                "6:27: expected a string, found an integer (put it in quotes)",
                r#"7:16: expected a string, found an integer (write "250ms", "30s" or "5min")"#,
                "10:9: expected a string, found a date-time (put it in quotes)",
                r#"13:10: expected a string, found an array (write "127.0.0.1:8080", "[::1]:8080" or "unix:/path"; a name will not do)"#,
                "17:14: expected a table, found a string (write { rate = …, burst = … })",
                "20:37: `burst` must be at least 1",
            ],
        );
    }

    #[test]
    fn a_value_that_cannot_be_read_is_quoted_beside_one_that_can() {
        assert_told(
            "values.toml",
            &[
                r#"2:29: "localhost:8080" is no address (write "127.0.0.1:8080", "[::1]:8080" or "unix:/path"; a name will not do)"#,
                r#"2:47: "unix:portaria.sock" is no path of a socket (write "unix:/path", beginning with a slash, of 107 bytes at most)"#,
                r#"3:16: "10 sekunden" is no duration (write "250ms", "30s" or "5min")"#,
                r#"4:16: "0s" is no time at all (the shortest duration is "1ms")"#,
                r#"5:17: "400d" is longer than a year (write "250ms", "30s" or "5min")"#,
                r#"6:12: "16 KB" is no size (write "512 B", "64 KiB" or "1 MiB")"#,
                r#"9:16: "0 B" is no room at all (the smallest size is "1 B")"#,
                r#"12:21: "80 per second" is no rate (write "20/s", "600/min" or "1000/h", from 1 up)"#,
                r#"16:14: "2026-11-01T00:00:00" does not say in which time zone (end it with `Z` for UTC, or with an offset: `-03:00`)"#,
                r#"17:14: "tomorrow" is no time (write 2026-11-01T00:00:00Z)"#,
                r#"18:23: "0/s" is no rate (write "20/s", "600/min" or "1000/h", from 1 up)"#,
                "18:38: `burst` must be at most 4294967295",
            ],
        );
    }

    #[test]
    fn a_wrong_choice_is_told_with_the_right_ones() {
        assert_told(
            "choices.toml",
            &[
                r#"2:10: "jsn" is not a choice here (did you mean "json"?)"#,
                r#"5:16: "3" is not a choice here (write "1.1", "2" or "auto")"#,
                r#"10:15: "off" is not a choice here (write "enforce" or "report")"#,
                r#"14:11: expected a string, found an integer (write "refuse" or "allow")"#,
                r#"15:15: "Report" is not a choice here (did you mean "report"?)"#,
                r#"18:9: "redsi" is not a choice here (did you mean "redis"?)"#,
            ],
        );
    }

    #[test]
    fn a_missing_field_is_told_with_its_meaning_where_it_should_be() {
        assert_told(
            "missing.toml",
            &[
                r#"1:1: missing field `token` (Where the token is: `"file:/path"` or `"env:NAME"`.)"#,
                "4:1: missing field `name` (Its name in `[[keys]]`, logs and metrics: `[a-z0-9_-]{1,64}`.)",
                "4:1: missing field `path` (The path, with `{id}` where the chat's UUID stands.)",
                "9:14: missing field `burst` (How many may come at once, after a pause.)",
                "11:1: missing field `name` (Its name in logs and metrics: `[a-z0-9_-]{1,64}`.)",
                r#"14:1: missing field `rate` (The sustained rate: `"20/s"`, `"600/min"` or `"1000/h"`.)"#,
            ],
        );
    }

    #[test]
    fn what_is_written_twice_hides_no_other_mistake() {
        assert_told(
            "twice.toml",
            &[
                "4:1: duplicate key `cors` (first written in line 2)",
                "8:1: unknown field `fromat` (did you mean `format`?)",
                "10:2: duplicate key `server` (first written in line 1)",
            ],
        );
    }

    #[test]
    fn of_broken_syntax_the_first_three_lines_are_told() {
        assert_told(
            "syntax.toml",
            &[
                "2:16: invalid float",
                "3:12: string values must be quoted (put it in quotes)",
                "4:16: invalid unquoted key (expected letters, numbers, `-`, `_`)",
            ],
        );
    }

    #[test]
    fn a_bracket_left_open_is_told_in_the_line_after_it() {
        assert_told(
            "unclosed.toml",
            &[
                "4:1: missing comma between array elements (expected `,`)",
                "5:1: missing comma between array elements (expected `,`)",
            ],
        );
    }

    #[test]
    fn a_secret_in_the_file_is_a_mistake() {
        let literal =
            r#"(write "file:/path" or "env:NAME"; a secret itself has no place in the config)"#;
        assert_told(
            "literal-secrets.toml",
            &[
                &format!("2:9: `token` does not say where it is {literal}"),
                &format!("3:14: `next_token` does not say where it is {literal}"),
                "4:1: unknown field `tokn` (did you mean `token`?)",
                &format!("7:9: expected a string, found an integer {literal}"),
                "8:1: unknown field `password`",
                r#"11:9: `token` is no absolute path (write "file:/path", beginning with a slash)"#,
                "12:1: unknown field `key`",
                &format!("16:6: `ca` does not say where it is {literal}"),
                r#"17:16: "*****************" is no size (write "512 B", "64 KiB" or "1 MiB")"#,
                "21:1: unknown field `hashs` (did you mean `hash`?)",
                "22:8: expected a string, found an integer (put it in quotes)",
                "26:19: expected an array, found a string (put it in brackets: `[…]`)",
                &format!("29:7: `url` does not say where it is {literal}"),
            ],
        );
    }

    #[test]
    fn a_secret_in_broken_syntax_changes_no_column() {
        assert_told(
            "literal-secrets-in-broken-syntax.toml",
            &[
                "2:46: missing comma between key-value pairs (expected `,`)",
                "5:9: string values must be quoted (put it in quotes)",
                "6:12: key with no value (expected `=`)",
            ],
        );
    }

    #[test]
    fn a_credential_that_is_a_secret_is_a_mistake() {
        assert_told(
            "credential-is-no-table.toml",
            &[
                "1:24: expected a table, found a string (write { token = … })",
                "5:10: expected an array, found a string (put it in brackets: `[…]`)",
            ],
        );
    }

    #[test]
    fn what_is_not_built_yet_is_a_mistake_and_not_ignored() {
        assert_told(
            "not-yet-built.toml",
            &[r#"7:9: "memory" is no store (write "local", "redis" or "file:/path")"#],
        );
    }

    #[test]
    fn a_quoted_name_is_no_path_and_moves_no_cursor() {
        assert_told(
            "quoted-names.toml",
            &[
                "1:1: unknown field `server.max_head`",
                "2:1: unknown field ``",
                r"4:2: unknown section `a\u{1b}[31m`",
                "7:1: expected a table, found an array (write `[server]`)",
            ],
        );
    }

    #[test]
    fn a_wrong_variable_is_told_by_its_name() {
        let mistakes = load(
            "tests/config/environment.toml".as_ref(),
            environment(&[
                ("PORTARIA__", "1"),
                ("PORTARIA__CREDENTIALS__MAIN__TOKEN", "canary-secret-1"),
                ("PORTARIA__CREDENTIALS__SPARE__ORIGIN", "forward"),
                ("PORTARIA__KEYS__0__HASH", "canary-secret-2"),
                ("PORTARIA__LIMITS__UPSTREAM__RATE", "10/s"),
                ("PORTARIA__LOG__FORMAT", "xml"),
                ("PORTARIA__SERVER", "ptr_canary3"),
                ("PORTARIA__SERVER_MAX_HEAD", "1 KiB"),
                ("PORTARIA__SERVER__CORS", "1"),
                ("PORTARIA__SERVER__HEAD_TIMEOUT", "10"),
                ("PORTARIA__SERVER__LISTEN", "127.0.0.1:80"),
                ("PORTARIA__SERVER__MAX_HED", "1 KiB"),
                ("PORTARIA__SERVER__MAX_IN_FLIGHT", "fast"),
                ("PORTARIA__server__cors", "true"),
            ]),
        )
        .unwrap_err();

        assert_lines(
            &mistakes,
            &[
                "PORTARIA__: sets nothing that there is (write PORTARIA__SECTION__FIELD, with two underscores each)",
                r#"PORTARIA__CREDENTIALS__MAIN__TOKEN: `token` does not say where it is (write "file:/path" or "env:NAME"; a secret itself has no place in the config)"#,
                r#"PORTARIA__CREDENTIALS__SPARE__ORIGIN: missing field `token` (Where the token is: `"file:/path"` or `"env:NAME"`.)"#,
                "PORTARIA__KEYS__0__HASH: a variable cannot set a list, nor anything in it (write it in the file)",
                "PORTARIA__LIMITS__UPSTREAM__RATE: missing field `burst` (How many may come at once, after a pause.)",
                r#"PORTARIA__LOG__FORMAT: "xml" is not a choice here (write "json" or "text")"#,
                "PORTARIA__SERVER: sets nothing that there is (write PORTARIA__SECTION__FIELD, with two underscores each)",
                "PORTARIA__SERVER_MAX_HEAD: sets nothing that there is (write PORTARIA__SECTION__FIELD, with two underscores each)",
                r#"PORTARIA__SERVER__CORS: "1" is neither true nor false"#,
                r#"PORTARIA__SERVER__HEAD_TIMEOUT: "10" is no duration (write "250ms", "30s" or "5min")"#,
                "PORTARIA__SERVER__LISTEN: a variable cannot set a list, nor anything in it (write it in the file)",
                "PORTARIA__SERVER__MAX_HED: sets nothing that there is (did you mean PORTARIA__SERVER__MAX_HEAD?)",
                r#"PORTARIA__SERVER__MAX_IN_FLIGHT: "fast" is no integer"#,
                "PORTARIA__server__cors: sets nothing that there is (did you mean PORTARIA__SERVER__CORS?)",
            ],
        );
        assert_no_canary(&mistakes);
    }

    #[test]
    fn a_mistake_is_shown_as_a_compiler_shows_it() {
        let mistakes = Loaded::parse(
            "portaria.toml",
            "[server]\nmax_in_fligth = 512\n\n[credentials.main]\ntoken = \"canary-secret-1\"\n",
            environment(&[("PORTARIA__SERVER__CORS", "yes")]),
        )
        .unwrap_err();

        assert_eq!(
            mistakes.to_string(),
            r#"
error: unknown field `max_in_fligth`
 --> portaria.toml:2:1
  |
2 | max_in_fligth = 512
  | ^^^^^^^^^^^^^
  |
  = help: did you mean `max_in_flight`?

error: `token` does not say where it is
 --> portaria.toml:5:9
  |
5 | token = "***************"
  |         ^^^^^^^^^^^^^^^^^
  |
  = help: write "file:/path" or "env:NAME"; a secret itself has no place in the config

error: "yes" is neither true nor false
--> environment variable PORTARIA__SERVER__CORS"#
                .trim_start()
        );
        assert!(!mistakes.render(false).contains('\u{1b}'));
        assert!(mistakes.render(true).contains('\u{1b}'));
    }

    #[test]
    fn no_form_of_a_mistake_shows_a_secret() {
        let mut canaries = 0;
        for entry in fs::read_dir("tests/config").unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                continue;
            }
            canaries += fs::read_to_string(&file).unwrap().matches("canary").count();
            if let Err(mistakes) = load(&file, []) {
                assert_no_canary(&mistakes);
            }
        }
        assert_eq!(canaries, 20);
    }

    #[test]
    fn no_slip_of_the_pen_lets_a_secret_through() {
        let mut broken = 0;
        for file in [
            "literal-secrets",
            "literal-secrets-in-broken-syntax",
            "credential-is-no-table",
        ] {
            let text = fs::read_to_string(format!("tests/config/{file}.toml")).unwrap();
            for (at, _) in text.match_indices(['"', '\'', '=', '[', ']', '{', '}', ',', '\n']) {
                let mut slip = text.clone();
                slip.remove(at);
                if let Err(mistakes) = Loaded::parse("x", &slip, []) {
                    assert_no_canary(&mistakes);
                    broken += 1;
                }
            }
        }
        assert!(broken > 100, "{broken}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let mistakes = load("nowhere/portaria.toml".as_ref(), []).unwrap_err();

        assert_eq!(
            mistakes.to_string(),
            "error: the config cannot be read: No such file or directory (os error 2)\n\
             --> nowhere/portaria.toml"
        );
    }

    #[test]
    fn a_number_beyond_64_bits_is_pointed_at() {
        let text = "[server]\nmax_connections = 99999999999999999999\n";
        let mistakes = Loaded::parse("x", text, []).unwrap_err();

        assert_lines(&mistakes, &["x:2:19: the number is out of range"]);
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(
            to_json(&parse("").config),
            serde_json::to_value(Config::default()).unwrap()
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "[server]\nmax_head = \"32 KiB\"\nmax_connections = 7\n[log]\nlevel = \"warn\"";
        let loaded = Loaded::parse(
            "x",
            file,
            environment(&[
                ("PORTARIA__SERVER__MAX_HEAD", "1 MiB"),
                ("PORTARIA__SERVER__MAX_IN_FLIGHT", "12"),
                ("PORTARIA__SERVER__CORS", "true"),
                ("PORTARIA__LOG__LEVEL", "123"),
                ("PORTARIA__ADMIN__LISTEN", "[::1]:1"),
                ("PORTARIA__CREDENTIALS__MAIN__TOKEN", "env:TOKEN"),
                ("PORTARIA_SERVICE_HOST", "10.0.0.1"),
                ("portaria__log__level", "error"),
                ("HOME", "/root"),
            ]),
        );
        let config = loaded.unwrap().config;

        assert_eq!(config.server.max_head, Size::mib(1));
        assert_eq!(config.server.max_connections, 7);
        assert_eq!(config.server.max_in_flight, 12);
        assert!(config.server.cors);
        assert_eq!(config.log.level, "123");
        assert_eq!(
            config.admin.listen,
            Address::Tcp("[::1]:1".parse().unwrap())
        );
        let token = &config.credentials["main"].token;
        assert_eq!(*token, Source::Env("TOKEN".to_owned()));
    }

    #[test]
    fn a_time_may_be_written_with_and_without_quotes() {
        let config = parse(
            "[[keys]]\nname = \"a\"\nexpires_at = 2026-11-01T00:00:00-03:00\n\
             [[keys]]\nname = \"b\"\nexpires_at = \"2026-11-01T03:00:00Z\"\n",
        )
        .config;

        assert!(config.keys[0].expires_at.is_some());
        assert_eq!(config.keys[0].expires_at, config.keys[1].expires_at);
    }

    #[test]
    fn a_later_mistake_is_shown_in_the_same_file() {
        let loaded = Loaded::parse(
            "etc/portaria.toml",
            "[[keys]]\nname = \"a\"\nroutes = [\"x\", \"y\"]\n",
            environment(&[("PORTARIA__UPSTREAM__URL", "http://example.com")]),
        )
        .unwrap();
        let key = Path::new("keys").index(0);
        let mut mistakes = loaded.mistakes();
        assert!(mistakes.is_empty());

        mistakes.add(Path::new("upstream").key("url"), "variable");
        mistakes.add(Path::new("credentials"), "nowhere");
        mistakes.add(key.clone().key("routes").index(1), "value");
        mistakes.add(key.clone().key("routes"), "name").at_key();
        mistakes.add(key.key("hash"), "missing").hint("hint");

        assert_eq!(mistakes.len(), 5);
        assert_lines(
            &mistakes,
            &[
                "etc/portaria.toml: nowhere",
                "etc/portaria.toml:1:1: missing (hint)",
                "etc/portaria.toml:3:1: name",
                "etc/portaria.toml:3:16: value",
                "PORTARIA__UPSTREAM__URL: variable",
            ],
        );
    }

    #[test]
    fn relative_paths_start_from_the_folder_of_the_file() {
        let directory = |name| Loaded::parse(name, "", []).unwrap().directory().to_owned();

        assert_eq!(directory("etc/portaria.toml").as_os_str(), "etc");
        assert_eq!(directory("portaria.toml").as_os_str(), ".");
    }

    #[test]
    fn the_minimal_config_is_read() {
        let config = load("config/minimal.toml".as_ref(), []).unwrap().config;

        assert_eq!(config.keys.len(), 1);
        assert_eq!(config.server.head_timeout, Period::seconds(10));
    }

    #[test]
    fn the_full_config_names_every_setting() {
        let text = uncommented("config/portaria.toml");
        let document: Json =
            serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        let mut missing = BTreeSet::new();
        let mut settings = 0;

        each_setting(&json_schema(), &mut |path, _| {
            settings += 1;
            if values_at(&document, path).is_empty() {
                missing.insert(path.join("."));
            }
        });

        assert_eq!(missing, BTreeSet::new());
        assert!(settings > 40, "{settings}");
    }

    #[test]
    fn what_the_full_config_comments_out_is_the_default() {
        let with = to_json(&parse(&uncommented("config/portaria.toml")).config);
        let without = to_json(&load("config/portaria.toml".as_ref(), []).unwrap().config);
        let mut defaults = 0;

        each_setting(&json_schema(), &mut |path, schema| {
            if let Some(default) = schema.get("default") {
                defaults += 1;
                let name = path.join(".");
                let mut expected = values_at(&without, path);
                // Its whole section is a choice.
                if without[path[0]].is_null() {
                    expected = vec![default];
                }
                assert_eq!(values_at(&with, path), expected, "{name}");
            }
        });

        assert!(defaults > 25, "{defaults}");
    }

    /// Reads a broken file and compares everything that is told of it.
    fn assert_told(file: &str, expected: &[&str]) {
        let file = format!("tests/config/{file}");
        let mistakes = load(file.as_ref(), []).unwrap_err();
        let expected: Vec<_> = expected
            .iter()
            .map(|line| format!("{file}:{line}"))
            .collect();

        assert_lines(&mistakes, &expected);
        // The columns of the log are those of the drawing.
        let shown = mistakes.to_string();
        for line in expected {
            let (place, _) = line.split_once(": ").unwrap();
            assert!(shown.contains(&format!("--> {place}\n")), "{place}");
        }
    }

    fn assert_lines(mistakes: &Mistakes, expected: &[impl AsRef<str>]) {
        let told: Vec<_> = mistakes.lines().collect();
        let expected: Vec<_> = expected.iter().map(AsRef::as_ref).collect();
        assert_eq!(told, expected);
    }

    fn assert_no_canary(mistakes: &Mistakes) {
        let lines: Vec<_> = mistakes.lines().collect();
        for shown in [
            mistakes.render(false),
            mistakes.render(true),
            lines.join("\n"),
            format!("{mistakes:?}"),
        ] {
            assert!(
                !shown.contains("canary-secret")
                    && !shown.contains("canarysecret")
                    && !shown.contains("ptr_canary"),
                "{shown}"
            );
        }
    }

    fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        variables.iter().map(owned).collect()
    }

    fn parse(text: &str) -> Loaded {
        Loaded::parse("x", text, []).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    fn to_json(config: &Config) -> Json {
        serde_json::to_value(config).unwrap()
    }

    /// A file with its commented-out settings.
    fn uncommented(file: &str) -> String {
        let is_setting = |line: &str| {
            let name = line.split_once(" = ").map(|(name, _)| name);
            line.starts_with('[')
                || name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let lines = fs::read_to_string(file).unwrap();
        let lines = lines.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Visits every setting of the tree: its path, with `*` for any element or name.
    fn each_setting(root: &Json, visit: &mut impl FnMut(&[&str], &Json)) {
        fn descend<'a>(
            root: &'a Json,
            schema: &'a Json,
            path: &mut Vec<&'a str>,
            visit: &mut impl FnMut(&[&str], &Json),
        ) {
            let target = schema["$ref"].as_str().map(|reference| &reference[1..]);
            let inner = target.map_or(schema, |pointer| root.pointer(pointer).unwrap());
            let mut is_leaf = true;
            let mut below = |name, schema, path: &mut Vec<&'a str>| {
                is_leaf = false;
                path.push(name);
                descend(root, schema, path, visit);
                path.pop();
            };
            for (name, schema) in inner["properties"].as_object().into_iter().flatten() {
                below(name, schema, path);
            }
            for any in ["items", "additionalProperties"] {
                let is_table = inner[any].get("$ref").is_some_and(|target| {
                    root.pointer(&target.as_str().unwrap()[1..])
                        .unwrap()
                        .get("properties")
                        .is_some()
                });
                if is_table {
                    below("*", &inner[any], path);
                }
            }
            if is_leaf {
                visit(path, schema);
            }
        }
        descend(root, root, &mut Vec::new(), visit);
    }

    fn values_at<'a>(value: &'a Json, path: &[&str]) -> Vec<&'a Json> {
        let Some((step, rest)) = path.split_first() else {
            return vec![value];
        };
        let below: Vec<&Json> = match (value, *step) {
            (Json::Array(list), "*") => list.iter().collect(),
            (Json::Object(table), "*") => table.values().collect(),
            (table, name) => table.get(name).into_iter().collect(),
        };
        below
            .into_iter()
            .flat_map(|value| values_at(value, rest))
            .collect()
    }
}

/// Judging what was read: whatever spelling and shape allow and that still could never
/// work.
mod judging {
    use std::{path::Path, time::SystemTime};

    use portaria::{
        config::{Mistakes, load},
        plan::{Plan, Surroundings},
    };

    #[test]
    fn addresses_secrets_and_limits_that_cannot_be_had_are_told_together() {
        assert_told(
            "places.toml",
            &[
                "2:29: `127.0.0.1:9090` is listened on twice",
                "2:47: `127.0.0.1:8080` is listened on twice",
                "3:19: nobody could call: it must be at least 1",
                "4:17: nobody could call: it must be at least 1",
                "5:12: `max_head` must be from `1 KiB` to `256 KiB`",
                "6:10: `https://gateway.example.com` is no host name (write it without scheme, port and path: `gateway.example.com`)",
                "7:8: no key may be used from a page, so no preflight would pass (give a key `allowed_domains`, or leave `cors` out)",
                "8:11: `workers` must be from 1 to 1024",
                r#"10:9: `level` cannot be read: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5 (write `error`, `warn`, `info`, `debug`, or a list like `warn,portaria=debug`)"#,
                "13:7: the token would cross the network unprotected (write `https://`, or set `plaintext = true` if the network is to be trusted with it)",
                "14:6: certificates are read from a file alone (write `file:/path/to/ca.pem`)",
                "17:7: a message would be forgotten while it is on its way (it must be longer than `request_timeout` by more than 10 s)",
                "18:15: nothing could be remembered: it must be at least 1",
                "19:9: there is no folder `/nowhere`",
                "22:9: `env:UNSET` is not set in the environment",
                "23:14: `file:/nowhere/token` cannot be read: No such file or directory (os error 2)",
                "24:10: `https://App.example.com` is no origin as browsers send it (write `https://app.example.com`, without a path, in lower case, or `forward`)",
                "26:1: `Other` is no name: 1 to 64 of `a`-`z`, `0`-`9`, `_` and `-`",
                "35:8: `/nowhere/audit.jsonl` cannot be made: there is no such folder (write `/var/log/portaria/audit.jsonl`, and make the folder first)",
                "38:12: the endpoint is no URL that spans can be posted to (write `http://127.0.0.1:4318/v1/traces`, without a user or a password)",
            ],
        );
    }

    #[test]
    fn routes_that_could_never_be_called_are_told_together() {
        assert_told(
            "routes.toml",
            &[
                "8:8: `Inter active` is no name: 1 to 64 of `a`-`z`, `0`-`9`, `_` and `-`",
                "9:8: `/chats/{chat}` is no path of plain segments (write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment)",
                "13:10: `GET` is no method that carries a message (write `POST`, `PUT` or `PATCH`)",
                "14:8: `chats/{id}` is no path of plain segments (write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment)",
                "15:10: `whatsap` cannot be read: No such file or directory (os error 2) (did you mean `whatsapp`?)",
                "18:8: there are two routes `text`",
                "19:8: `/a//b` is no path of plain segments (write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment)",
                "20:12: the path names no chat to count by (put `{id}` into `path`, or leave `per_chat` out)",
                "21:10: `schema.json` is no schema that can be used: /properties/a/pattern is a pattern that the linear-time engine cannot run: it has look-around or a back-reference, is too large, or is no regular expression",
                "21:10: `schema.json` is no schema that can be used: /propertys is no keyword of JSON Schema 2020-12, nor one of ours; did you mean `properties`?",
                "24:8: `none` is taken: in metrics it stands for what is not known",
                "25:8: `/chats/{id}/{id}` is no path of plain segments (write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment)",
                "30:10: the key could call nothing (leave it out to allow all routes)",
                "35:19: there is no route `txt` (there are `Inter active`, `text`, `none`)",
            ],
        );
    }

    #[test]
    fn keys_that_could_never_open_anything_are_told_together() {
        assert_told(
            "keys.toml",
            &[
                "13:10: there is a `hash` as well (put all of them into `hashes`)",
                "14:14: there is no credential `mian` (there are `main`, `spare`)",
                "16:1: `billing` does not say with which credential its messages go out (add `credential = …`; there are `main`, `spare`)",
                "17:8: there are two keys `billing` (one application may have several `hashes`)",
                "18:8: this is no hash of a key (write `sha256:` and 64 hexadecimal digits, as `portaria key hash` prints them)",
                "20:14: the key would never be valid: it expires before `not_before`",
                "22:1: `shop` has no `hash`, so nobody could use it (`portaria key new` makes a key and prints its hash)",
                "25:20: `https://shop.example.com/` is more than a host with an optional scheme and port (write `app.example.com`, `https://app.example.com:8443` or `*.apps.example.com`)",
                "25:49: `*.com` would allow every site below a top-level domain (write `app.example.com`, `https://app.example.com:8443` or `*.apps.example.com`)",
                "25:58: `app.example.com:8443` has a port but no scheme; write `https://host:port` (write `app.example.com`, `https://app.example.com:8443` or `*.apps.example.com`)",
                "26:11: `browser` is never looked at: the key has `allowed_domains`",
                "32:15: `domain_mode` is never looked at: there are no `allowed_domains`",
                "36:11: `server` has this hash already",
            ],
        );
    }

    #[test]
    fn a_gateway_that_nobody_could_call_is_a_mistake() {
        assert_told(
            "nobody.toml",
            &[
                r#" nobody could call: there is no credential (add `[credentials.main]` with `token = "file:/run/secrets/wegly-token"`)"#,
                " nobody could call: there is no key (`portaria key new --name NAME` makes one, with the lines to paste here)",
            ],
        );
    }

    #[test]
    fn what_gateways_could_never_share_is_a_mistake() {
        assert_told(
            "redis-without-a-url.toml",
            &[
                r#"2:9: nobody knows what a gateway allows while Redis is away: a limit divided by how many? (add `replicas = …`, the number of gateways, or `on_store_failure = "refuse"`)"#,
                r#"2:9: there is no Redis to count in (add `[redis]` with `url = "env:REDIS_URL"`)"#,
            ],
        );
        assert_told(
            "redis-unused.toml",
            &[
                "2:12: `replicas` is never looked at: the store is `local`",
                r#"4:1: Redis is never used: nothing is kept in it (write `store = "redis"` in `[limits]` or `[idempotency]`, or leave `[redis]` out)"#,
            ],
        );
        assert_told(
            "redis-elsewhere.toml",
            &[
                "6:7: what is in `env:TOKEN` is no URL of a Redis (it reads `redis://host:6379/0`, `rediss://…` with TLS, or `redis+unix:///path`; user and password stand before the host)",
            ],
        );
        assert_told(
            "redis-ca.toml",
            &["7:6: certificates are read from a file alone (write `file:/path/to/ca.pem`)"],
        );
    }

    /// Each line is `line:column: message (hint)`.
    fn assert_told(file: &str, expected: &[&str]) {
        let told: Vec<String> = judge(file).lines().collect();
        let told: Vec<&str> = told
            .iter()
            .map(|line| line.split_once(".toml:").map_or(&**line, |(_, rest)| rest))
            .collect();

        assert_eq!(told, expected);
    }

    fn judge(file: &str) -> Mistakes {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/config/judged")
            .join(file);
        let loaded = load(&file, []).unwrap();
        let surroundings = Surroundings {
            environment: &|name| match name {
                "TOKEN" => Some("a-token".to_owned()),
                "REDIS_URL" => Some("redis://127.0.0.1".to_owned()),
                _ => None,
            },
            now: SystemTime::now,
        };
        Plan::compile(&loaded, surroundings).unwrap_err()
    }
}
