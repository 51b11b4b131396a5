//! What do people, scripts and CI get from the command line?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
};

use clap::CommandFactory as _;
use portaria::cli::Cli;
use serde_json::{Value, json};

use support::{CHAT, Client, Home, Portaria, Script, TOKEN, Upstream, key, post};

mod support;

/// The codes that a command ends with.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const USAGE: i32 = 64;
const INTERNAL: i32 = 70;

#[test]
fn every_command_has_an_example_that_it_understands() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let path = path.trim();
        let help = command.clone().render_long_help().to_string();
        let (_, example) = help
            .split_once("Example:\n")
            .unwrap_or_else(|| panic!("`{path} --help` has no example"));
        let example = example.trim();
        assert!(example.starts_with(path), "{path}: {example}");
        // Without what the shell makes of it.
        let words = example.split(['<', '>', '|']).next().unwrap();
        Cli::command()
            .try_get_matches_from(words.split_whitespace())
            .unwrap_or_else(|error| panic!("{example}: {error}"));
        for below in command.get_subcommands() {
            walk(below, path);
        }
    }

    walk(&Cli::command(), "");
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [
        &["--help"][..],
        &["help", "key"],
        &["mock", "-h"],
        &["--version"],
    ] {
        let ended = portaria(arguments).output().unwrap();

        assert_eq!(ended.status.code(), Some(DONE), "{arguments:?}");
        assert!(!ended.stdout.is_empty(), "{arguments:?}");
        assert!(ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_bad_command_line_ends_with_64_and_says_why_on_standard_error() {
    for arguments in [
        &[][..],
        &["key"],
        &["sevre"],
        &["key", "new", "--nmae", "x"],
        &["key", "new", "--name", "Not A Name"],
        &["key", "new", "--name", ""],
        &["key", "new", "--name", &"a".repeat(65)],
        &["validate"],
        &["validate", "--format", "yaml", "-"],
        &["mock", "--listen", "nowhere"],
        &["mock", "--latency", "1"],
        &["mock", "--fail-rate", "1.1"],
        &["mock", "--fail-rate", "NaN"],
        &["mock", "--status", "100"],
        &["completions", "cmd.exe"],
    ] {
        let ended = portaria(arguments).output().unwrap();

        assert_eq!(ended.status.code(), Some(USAGE), "{arguments:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn colour_is_for_terminals_and_no_color_wins() {
    let is_coloured = |variables: &[(&str, &str)]| {
        let ended = portaria(&["key", "hash"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        ended.stderr.contains(&b'\x1b')
    };

    assert!(!is_coloured(&[]));
    assert!(is_coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!is_coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn a_reader_who_has_gone_is_no_failure() {
    let mut child = portaria(&["key", "hash"]).spawn().unwrap();

    drop(child.stdout.take());
    // Only now is there something to write.
    drop(child.stdin.take().unwrap().write_all(KEY.as_bytes()));
    let ended = child.wait_with_output().unwrap();

    assert_eq!(ended.status.code(), Some(DONE));
    assert_eq!(text(&ended.stderr), "");
}

#[tokio::test]
async fn a_gateway_says_where_it_listens_and_ends_with_0_after_a_clean_drain() {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    let gateway = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(gateway.address().await).await;
    gateway.admin_address().await;

    let answer = client
        .exchange(post(CHAT, &key("billing")).to_bytes())
        .await;
    gateway.signal("TERM");
    let ended = gateway.exit().await;

    assert_eq!(answer.status, 200);
    assert_eq!(ended.status.code(), Some(DONE), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    for line in ended.stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test]
async fn a_gateway_that_cuts_requests_ends_with_1() {
    let upstream = Upstream::start(Script::hangs()).await;
    let home = Home::new(&upstream.url());
    let gateway = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(gateway.address().await).await;
    client.send(post(CHAT, &key("billing")).to_bytes()).await;
    upstream.ledger().await_requests(1).await;

    gateway.signal("TERM");
    gateway.await_line("stopping").await;
    gateway.signal("TERM");
    let ended = gateway.exit().await;

    assert_eq!(ended.status.code(), Some(REFUSED));
}

#[test]
fn a_gateway_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let home = Home::new("http://127.0.0.1:9");
    let serve = |changes: &[(&str, &str)]| {
        let changes = changes.iter().copied();
        let ended = Portaria::serve(&home).envs(changes).output().unwrap();
        assert_eq!(text(&ended.stdout), "");
        (ended.status.code(), text(&ended.stderr).to_owned())
    };

    let variable = serve(&[("PORTARIA__SERVER__LISTEN", "x")]);
    let address = serve(&[("PORTARIA__ADMIN__LISTEN", &taken)]);
    home.edit(|text| text.replace("/wegly-token", "/nowhere"));
    let token = serve(&[]);

    assert_eq!(variable.0, Some(USAGE));
    assert_eq!(address.0, Some(INTERNAL));
    let sentence = format!("error: cannot listen on {taken}: ");
    assert!(address.1.starts_with(&sentence), "{}", address.1);
    assert_eq!(token.0, Some(USAGE));
    assert!(token.1.contains("/nowhere"), "{}", token.1);
}

#[test]
fn a_config_is_looked_for_in_two_places() {
    let home = Home::new("http://127.0.0.1:9");
    let check = || {
        let mut command = portaria(&["check"]);
        command.current_dir(home.path("")).output().unwrap()
    };

    let nowhere = check();
    std::fs::create_dir(home.path("config")).unwrap();
    std::fs::rename(home.config(), home.path("config/portaria.toml")).unwrap();
    let here = check();

    assert_eq!(nowhere.status.code(), Some(USAGE));
    let said = text(&nowhere.stderr);
    assert!(
        said.contains("config/portaria.toml nor /etc/portaria/portaria.toml"),
        "{said}"
    );
    assert_eq!(here.status.code(), Some(DONE), "{}", text(&here.stderr));
    assert!(text(&here.stdout).starts_with("config/portaria.toml: no mistakes\n"));
}

#[test]
fn a_good_config_is_shown_as_what_would_run() {
    let home = Home::new("http://127.0.0.1:9");
    home.edit(|text| {
        let text = text.replace(
            "name = \"billing\"\n",
            "name = \"billing\"\ndisabled = true\n",
        );
        text.replace(
            "[\"shop.example.com\"]",
            "[\"shop.example.com\"]\nexpires_at = 2026-01-01T00:00:00Z",
        )
    });

    let ended = check(&home);

    assert_eq!(ended.status.code(), Some(DONE), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stderr), "");
    let said = text(&ended.stdout);
    for part in [
        "  server       127.0.0.1:0\n",
        "  admin        127.0.0.1:0\n",
        "  interactive  POST /integrations/external/chats/{id}/messages/interactive\n",
        "schema whatsapp, body up to 64 KiB\n",
        "Idempotency-Key optional, remembered for 1d (local)\n",
        "  api          http://127.0.0.1:9\n",
        "  main         token from file:/",
        "  billing      disabled, no rate limit, credential main\n",
        "  shop         expired at 2026-01-01T00:00:00Z, ",
        "for pages of shop.example.com\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains(TOKEN));
}

#[test]
fn every_mistake_of_a_config_is_shown_at_once() {
    let home = Home::new("http://api.example.com");
    home.edit(|text| text.replace("[\"shop.example.com\"]", "[\"shop.*\"]"));
    home.append("[log]\nlevel = \"lots=of\"");

    let ended = check(&home);

    assert_eq!(ended.status.code(), Some(USAGE));
    assert_eq!(text(&ended.stdout), "");
    let said = text(&ended.stderr);
    for part in [
        "portaria.toml:",
        "url = \"http://api.example.com\"",
        "allowed_domains = [\"shop.*\"]",
        "level = \"lots=of\"",
        "error: the config has 3 mistakes\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains(TOKEN));
}

#[test]
fn the_demo_shows_six_messages_and_what_became_of_each() {
    let ended = portaria(&["demo", "--once", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();

    let said = text(&ended.stdout);
    assert_eq!(ended.status.code(), Some(DONE), "{said}");
    assert_eq!(text(&ended.stderr), "");
    let answers: Vec<_> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("app gets "))
        .map(str::trim)
        .collect();
    assert_eq!(
        answers,
        [
            "200 OK, delivery sent",
            "200 OK, delivery sent",
            "422 Unprocessable Entity, invalid-message, delivery not_sent",
            "403 Forbidden, origin-not-allowed, delivery not_sent",
            "401 Unauthorized, invalid-key, delivery not_sent",
            "429 Too Many Requests, rate-limited, delivery not_sent",
        ]
    );
    assert!(said.contains("/action/buttons/0/title is 26 characters long; the limit is 20"));
    assert_eq!(said.matches("Bearer fake-token-of-the-demo").count(), 2);
    assert_eq!(said.matches("Wegly sees  nothing").count(), 4);
    let keys = said.matches("ptr_").count();
    assert_eq!(said.matches("ptr_…").count(), keys, "{said}");
}

#[test]
fn the_line_that_the_demo_prints_sends_a_message_to_the_running_demo() {
    // A taken address is no hindrance.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut child = portaria(&["demo", "--listen", &taken]).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut until = |end: &str| {
        let mut lines = String::new();
        while !lines.ends_with(end) {
            assert_ne!(said.read_line(&mut lines).unwrap(), 0, "{lines}");
        }
        lines
    };
    let shown = until("Ctrl-C ends the demo.\n");
    let line = &shown[shown.find("curl ").unwrap()..shown.find("Ctrl-C").unwrap()];

    let answer = send(&as_shell_words(line));
    let sight = until("\n");
    let told = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();

    assert!(shown.starts_with(&format!("{taken} is taken")), "{shown}");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(sight.contains("Bearer fake-token-of-the-demo"), "{sight}");
    assert!(told.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(DONE));
}

#[test]
fn a_message_that_passes_is_explained_without_key_token_and_certificates() {
    let home = Home::new("https://api.example.com");
    let message = home.write("message.json", GOOD_MESSAGE);
    home.edit(|text| {
        let text = text.replace("/wegly-token", "/nowhere");
        text.replace("[credentials", "ca = \"file:/nowhere\"\n[credentials")
    });

    let ended = explain(&home, &["--key", "billing"], &message);

    let said = text(&ended.stdout);
    assert_eq!(ended.status.code(), Some(DONE), "{}", text(&ended.stderr));
    assert_eq!(verdicts(said), [("passed", 12)]);
    for part in [
        "\nrate        passed    no limit\n",
        &format!("strict JSON, {} bytes of 64 KiB\n", GOOD_MESSAGE.len()),
        "\n  POST https://api.example.com/integrations/external/chats/3c90c3cc-0d44-4b50-8888-8dd25736052a/messages/interactive\n",
        "\n  host: api.example.com\n",
        "\n  authorization: Bearer … (the token of main)\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn a_refusal_is_explained_by_the_stage_that_refuses() {
    let home = Home::new("http://127.0.0.1:9");
    home.edit(|text| {
        let old = "name = \"old\"\nexpires_at = 2026-01-01T00:00:00Z\n";
        let hash = portaria::gateway_key::KeyHash::of(&key("old"));
        format!("{text}\n[[keys]]\n{old}hash = \"{hash}\"\n")
    });
    let good = home.write("good.json", GOOD_MESSAGE);
    let bad = home.write("bad.json", BAD_MESSAGE);
    let broken = home.write("broken.json", "{");
    let large = home.write("large.json", &" ".repeat(64 * 1024 + 1));

    for (arguments, message, passed, line, code) in [
        (
            "billing --id ../7",
            &good,
            1,
            "front: malformed-request",
            "malformed-request",
        ),
        (
            "billing --id 7",
            &good,
            2,
            "route: invalid-path-parameter",
            "invalid-path-parameter",
        ),
        ("old", &good, 3, "key: expired-key", "invalid-key"),
        (
            "shop",
            &good,
            4,
            "domain: origin-not-allowed",
            "origin-not-allowed",
        ),
        (
            "shop --origin https://evil.test",
            &good,
            4,
            "domain: origin-not-allowed: evil.test",
            "origin-not-allowed",
        ),
        (
            "billing",
            &broken,
            6,
            "body: malformed-json",
            "malformed-json",
        ),
        (
            "billing",
            &large,
            6,
            "body: body-too-large",
            "body-too-large",
        ),
        (
            "shop --origin https://shop.example.com",
            &bad,
            7,
            "schema: invalid-message",
            "invalid-message",
        ),
    ] {
        let arguments: Vec<_> = ["--key"].into_iter().chain(arguments.split(' ')).collect();
        let ended = explain(&home, &arguments, message);

        let said = text(&ended.stdout);
        assert_eq!(
            ended.status.code(),
            Some(REFUSED),
            "{}",
            text(&ended.stderr)
        );
        let (stage, reason) = line.split_once(": ").unwrap();
        let line = format!("{stage:<12}refused   {reason}\n");
        assert!(said.contains(&line), "{line:?} is not in\n{said}");
        let expected = [
            ("passed", passed),
            ("refused", 1),
            ("not reached", 11 - passed),
        ];
        assert_eq!(verdicts(said), expected, "{said}");
        let (_, document) = said.split_once("\n\n  {").unwrap();
        let document: Value = serde_json::from_str(&format!("{{{document}")).unwrap();
        assert_eq!(document["code"], code);
        assert!(!said.contains(TOKEN));
    }
}

#[test]
fn what_is_only_reported_is_explained_as_such_and_passes() {
    let home = Home::new("http://127.0.0.1:9");
    home.edit(|text| {
        text.replace(
            "allowed_domains",
            "domain_mode = \"report\"\nallowed_domains",
        )
    });
    let path = "/integrations/external/chats/{id}/messages/interactive";
    home.append(&format!(
        "[[routes]]\nname = \"all\"\npath = \"{path}\"\nschema_mode = \"report\""
    ));
    let bad = home.write("bad.json", BAD_MESSAGE);

    let ended = explain(&home, &["--key", "shop", "--route", "all"], &bad);

    let said = text(&ended.stdout);
    assert_eq!(ended.status.code(), Some(DONE), "{}", text(&ended.stderr));
    assert_eq!(verdicts(said), [("passed", 10), ("reported", 2)]);
    for part in [
        "\ndomain      reported  origin-not-allowed\n",
        "\nschema      reported  invalid-message\n",
        " /action/buttons/0/title is 21 characters long; the limit is 20\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn what_cannot_be_explained_is_no_verdict() {
    let home = Home::new("http://127.0.0.1:9");
    let message = home.write("message.json", GOOD_MESSAGE);
    let nowhere = home.path("nowhere.json");

    for (arguments, message, said) in [
        (
            &["--key", "biling"][..],
            &message,
            "there is no key `biling`; there are: `billing`, `shop`",
        ),
        (
            &["--key", "shop", "--route", "x"],
            &message,
            "there is no route `x`; there are: `interactive`",
        ),
        (
            &["--key", "shop", "--id", "a b"],
            &message,
            "no client could send that",
        ),
        (
            &["--key", "shop", "--origin", "a\nb"],
            &message,
            "no client could send that",
        ),
        (&["--key", "shop"], &nowhere, "cannot read "),
    ] {
        let ended = explain(&home, arguments, message);

        assert_eq!(ended.status.code(), Some(USAGE), "{arguments:?}");
        assert_eq!(text(&ended.stdout), "");
        assert!(
            text(&ended.stderr).contains(said),
            "{}",
            text(&ended.stderr)
        );
    }
}

#[test]
fn a_new_key_has_the_hash_of_its_entry() {
    let made = portaria(&["key", "new", "--name", "billing"])
        .output()
        .unwrap();
    let made = text(&made.stdout);
    let key = made.lines().find(|line| line.starts_with("ptr_")).unwrap();
    let entry: toml::Table = made[made.find("[[keys]]").unwrap()..].parse().unwrap();

    let hashed = with_input(&["key", "hash"], &format!("{key}\n"));

    assert_eq!(hashed.status.code(), Some(DONE));
    let entry = &entry["keys"][0];
    assert_eq!(entry["name"].as_str(), Some("billing"));
    assert_eq!(entry["hash"].as_str(), Some(text(&hashed.stdout).trim()));
    assert_eq!(made.matches(key).count(), 1);
}

#[test]
fn a_mistyped_key_is_not_hashed_and_not_shown() {
    for input in ["", "\n", "my-password", &KEY.replace('4', "5"), "\u{fffd}"] {
        let ended = with_input(&["key", "hash"], input);

        assert_eq!(ended.status.code(), Some(USAGE), "{input:?}");
        assert_eq!(text(&ended.stdout), "");
        let said = text(&ended.stderr);
        assert!(said.starts_with("error: this is no gateway key"), "{said}");
        assert!(input.trim().is_empty() || !said.contains(input), "{said}");
    }
}

#[test]
fn valid_messages_end_with_0_and_one_invalid_message_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.json", GOOD_MESSAGE);
    let bad = file(&folder, "bad.json", BAD_MESSAGE);
    let broken = file(&folder, "broken.json", "{\n  \"a\": }");

    let all_good = portaria(&["validate", &good, &good]).output().unwrap();
    let mixed = portaria(&["validate", &good, &bad, &broken])
        .output()
        .unwrap();

    assert_eq!(all_good.status.code(), Some(DONE));
    assert_eq!(text(&all_good.stdout), format!("{good}: valid\n").repeat(2));
    assert_eq!(mixed.status.code(), Some(REFUSED));
    assert_eq!(text(&mixed.stderr), "");
    let lines: Vec<_> = text(&mixed.stdout).lines().collect();
    assert_eq!(lines[0], format!("{good}: valid"));
    assert!(
        lines[1].starts_with(&format!("{bad}: /action/buttons/0/title: is 21 ")),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with(&format!("{bad}: /body: ")),
        "{}",
        lines[2]
    );
    assert!(lines[3].starts_with(&format!("{broken}: ")), "{}", lines[3]);
    assert!(lines[3].ends_with("(line 2, column 8)"), "{}", lines[3]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_program_gets_the_verdicts_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.json", GOOD_MESSAGE);
    let broken = file(&folder, "broken.json", "{\n  \"a\": }");

    let arguments = ["validate", "--format", "json", &good, "-", &broken];
    let ended = with_input(&arguments, BAD_MESSAGE);

    assert_eq!(ended.status.code(), Some(REFUSED));
    let reports: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let [first, second, third] = &reports.as_array().unwrap()[..] else {
        panic!("{reports}");
    };
    assert_eq!(
        *first,
        json!({ "file": good, "valid": true, "errors": [], "truncated": false })
    );
    assert_eq!(second["file"], "-");
    assert_eq!(second["valid"], false);
    assert_eq!(second["errors"][0]["pointer"], "/action/buttons/0/title");
    assert_eq!(second["errors"][0]["keyword"], "maxLength");
    assert_eq!(second["errors"][0]["limit"], 20);
    assert_eq!(second["errors"][0]["actual"], 21);
    assert_eq!(second["errors"][1]["keyword"], "required");
    assert_eq!(second["errors"][1].get("limit"), None);
    assert_eq!(third["errors"][0]["line"], 2);
    assert_eq!(third["errors"][0]["column"], 8);
}

#[test]
fn a_schema_is_built_in_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let own = file(&folder, "own.json", r#"{"type":"array"}"#);

    for (schema, message, expected) in [
        ("wegly", BAD_MESSAGE.replace("{}", r#"{"text":"Oi"}"#), DONE),
        (
            "whatsapp",
            BAD_MESSAGE.replace("{}", r#"{"text":"Oi"}"#),
            REFUSED,
        ),
        (&own, "[]".to_owned(), DONE),
        (&own, GOOD_MESSAGE.to_owned(), REFUSED),
    ] {
        let ended = with_input(&["validate", "--schema", schema, "-"], &message);

        assert_eq!(ended.status.code(), Some(expected), "{schema}: {message}");
    }
}

#[test]
fn what_cannot_be_read_or_compiled_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.json", GOOD_MESSAGE);
    let misspelt = file(&folder, "misspelt.json", r#"{"tpye":"object","x":1}"#);

    for (arguments, said) in [
        (
            ["validate", "--schema", "wegli", &good],
            "cannot read wegli: ",
        ),
        (["validate", "--schema", &misspelt, &good], "/tpye"),
        (["validate", "--schema", &misspelt, &good], "/x"),
        (
            ["validate", &good, "--", "nowhere.json"],
            "cannot read nowhere.json: ",
        ),
    ] {
        let ended = portaria(&arguments).output().unwrap();

        assert_eq!(ended.status.code(), Some(USAGE), "{arguments:?}");
        assert_eq!(text(&ended.stdout), "", "{arguments:?}");
        assert!(
            text(&ended.stderr).contains(said),
            "{}",
            text(&ended.stderr)
        );
    }
}

#[test]
fn the_schema_of_the_config_accepts_a_new_key_and_notices_a_typo() {
    let printed = portaria(&["schema", "config"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let made = portaria(&["key", "new"]).output().unwrap();
    let made = text(&made.stdout);
    let entry: toml::Table = made[made.find("[[keys]]").unwrap()..].parse().unwrap();
    let mut config = serde_json::to_value(entry).unwrap();

    assert_eq!(printed.status.code(), Some(DONE));
    assert!(schema.is_valid(&config), "{config}");
    config["keys"][0]["nmae"] = json!("x");
    assert!(!schema.is_valid(&config));
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = portaria(&["completions", shell]).output().unwrap();

        assert_eq!(ended.status.code(), Some(DONE), "{shell}");
        assert!(text(&ended.stdout).contains("require-origin"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page_that_man_understands() {
    fn names(command: &clap::Command, above: &str) -> Vec<String> {
        let name = format!("{above}{}", command.get_name());
        let below = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set());
        let below = below.flat_map(|below| names(below, &format!("{name}-")));
        std::iter::once(format!("{name}.1")).chain(below).collect()
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");

    let ended = portaria(&["man", pages.to_str().unwrap()])
        .output()
        .unwrap();

    assert_eq!(ended.status.code(), Some(DONE), "{}", text(&ended.stderr));
    for name in names(&Cli::command(), "") {
        let page = std::fs::read_to_string(pages.join(&name)).unwrap();
        assert!(page.contains("\n.SH NAME\n"), "{name}");
        assert!(page.contains("Example:"), "{name}");
        assert!(!page.contains('\x1b'), "{name}");
    }
}

#[test]
fn the_stand_in_answers_says_what_it_saw_and_ends_when_told() {
    let mut child = portaria(&["mock", "--listen", "127.0.0.1:0", "--status", "201"])
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("http://").unwrap();

    let mut stream = TcpStream::connect(address).unwrap();
    let path =
        "/integrations/external/chats/3c90c3cc-0d44-4b50-8888-8dd25736052a/messages/interactive";
    let body = r#"{"interactive_type":"list","body":{"text":"Oi"},"action":{}}"#;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: wegly\r\nConnection: close\r\n\
         Authorization: Bearer stand-in-token\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    line.clear();
    said.read_line(&mut line).unwrap();
    let told = Command::new("kill").arg(child.id().to_string()).status();

    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert_eq!(line, format!("POST {path} ({length} bytes)\n"));
    assert!(told.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(DONE));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let ended = portaria(&["mock", "--listen", &address]).output().unwrap();

    assert_eq!(ended.status.code(), Some(USAGE));
    let said = text(&ended.stderr);
    assert!(
        said.starts_with(&format!("error: cannot listen on {address}: ")),
        "{said}"
    );
}

/// A well-formed key that opens nothing.
const KEY: &str = "ptr_0123456789ABCDEFGHIJKLMNOPQRSTUV0FoORv";

const GOOD_MESSAGE: &str = r#"{"interactive_type":"button","body":{"text":"Oi"},
    "action":{"buttons":[{"id":"1","title":"Sim"}]}}"#;
/// Without a text, and with a title one character too long for WhatsApp.
const BAD_MESSAGE: &str = r#"{"interactive_type":"button","body":{},
    "action":{"buttons":[{"id":"1","title":"123456789012345678901"}]}}"#;

/// The program, in an environment of its own.
fn portaria(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portaria"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn explain(home: &Home, arguments: &[&str], message: &Path) -> Output {
    let mut command = portaria(&["explain", "--config"]);
    command.arg(home.config()).args(arguments).arg(message);
    command.output().unwrap()
}

/// How many stages said what, in the order of the first of each.
fn verdicts(said: &str) -> Vec<(&str, usize)> {
    let mut verdicts: Vec<(&str, usize)> = Vec::new();
    let stages = said.lines().take_while(|line| !line.is_empty());
    for line in stages.filter(|line| !line.starts_with(' ')) {
        let verdict = line[12..].split("  ").next().unwrap();
        match verdicts.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += 1,
            None => verdicts.push((verdict, 1)),
        }
    }
    verdicts
}

/// What a shell makes of a command line, without its first word.
fn as_shell_words(line: &str) -> Vec<String> {
    let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{line}");
    let ended = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let words = text(&ended.stdout).split_terminator('\0');
    words.map(str::to_owned).collect()
}

/// Sends what `curl` would send with these arguments; returns the answer.
fn send(arguments: &[String]) -> String {
    let (mut target, mut fields, mut body) = ("", String::new(), "");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-i" => {}
            "-H" => fields += &format!("{}\r\n", arguments.next().unwrap()),
            "-d" => body = arguments.next().unwrap(),
            url => target = url.strip_prefix("http://").unwrap(),
        }
    }
    let (address, path) = target.split_at(target.find('/').unwrap());
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn check(home: &Home) -> Output {
    let config = home.config();
    portaria(&["check", "--config", config.to_str().unwrap()])
        .output()
        .unwrap()
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = portaria(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
