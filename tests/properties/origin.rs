//! Does exactly the page pass that an entry means?

use portaria::middleware::domain::{Domain, Origin};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    cases,
    origin_by_hand::{is_meant, parts, plain},
};

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn a_page_passes_if_somebody_who_compares_label_by_label_says_so(
        (entry, sent) in entry_and_sent(),
    ) {
        let expected = parts(&sent)
            .zip(plain(&entry))
            .is_some_and(|(sent, entry)| is_meant(&entry, &sent));

        let domain = Domain::parse(&entry);
        let origin = Origin::parse(&sent);

        prop_assert_eq!(origin.is_some(), parts(&sent).is_some());
        if let (Ok(domain), Some(_)) = (domain, plain(&entry)) {
            let passes = origin.is_some_and(|origin| origin.is_one_of(&[domain]));
            prop_assert_eq!(passes, expected);
        }
    }

    #[test]
    fn a_page_passes_by_the_entry_that_is_its_own_origin(sent in host().prop_flat_map(sent)) {
        if let (Some(origin), Ok(domain)) = (Origin::parse(&sent), Domain::parse(&sent)) {
            // Some hosts are no names to a browser: `http://1.2.3`, say, is an address.
            if plain(&sent).is_some() {
                prop_assert!(origin.is_one_of(&[domain]));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_text_breaks_its_reader(text: String, sent: String) {
        if let (Ok(domain), Some(origin)) = (Domain::parse(&text), Origin::parse(&sent)) {
            // What is made up without a plan has nothing in common.
            prop_assert!(!origin.is_one_of(&[domain]) || text.contains(&sent[sent.find("//").unwrap() + 2..]));
        }
    }
}

/// Few names, so that many of them meet.
fn host() -> impl Strategy<Value = String> {
    let label = select(vec![
        "a", "b", "app", "evilapp", "example", "com", "x-y", "a_b", "1",
    ]);
    vec(label, 1..4).prop_map(|labels| labels.join("."))
}

fn port() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", ":1", ":80", ":443", ":8443", ":65535"])
}

/// Both of hosts that are alike, as an attacker would choose one.
fn entry_and_sent() -> impl Strategy<Value = (String, String)> {
    host().prop_flat_map(|host| {
        let parent = host.split_once('.').map_or("com", |(_, parent)| parent);
        let near = select(vec![
            host.clone(),
            format!("evil{host}"),
            format!("a.{host}"),
            format!("a.b.{host}"),
            format!("{host}.evil"),
            format!("{host}evil"),
            parent.to_owned(),
        ]);
        (entry(host), near.prop_flat_map(sent))
    })
}

fn entry(host: String) -> impl Strategy<Value = String> {
    let scheme = select(vec!["", "", "http://", "https://"]);
    let star = select(vec!["", "", "*."]);
    (scheme, star, port())
        .prop_map(move |(scheme, star, port)| format!("{scheme}{star}{host}{port}"))
}

/// An origin, often with something that no browser would write.
fn sent(host: String) -> impl Strategy<Value = String> {
    let scheme = select(vec![
        "http://",
        "https://",
        "https://",
        "https://",
        "HTTPS://",
        "ws://",
        "https:",
        "",
        "https:///",
    ]);
    let spoilt = select(vec![
        "",
        "",
        "",
        "",
        "",
        "",
        ".",
        "..",
        "/",
        "?",
        "#",
        "@",
        "@b",
        "\\",
        "\\.b",
        ":",
        ":0",
        ":080",
        ":65536",
        ":+1",
        " ",
        ", https://a",
        "%2e",
        "é",
        "\u{3002}",
        "\t",
        "A",
        "]",
        "[",
        "*",
        ":1:2",
    ]);
    (scheme, port(), spoilt, any::<prop::sample::Index>()).prop_map(
        move |(scheme, port, spoilt, at)| {
            let mut sent = format!("{scheme}{host}{port}");
            let at = at.index(sent.len() + 1);
            // Half of the time at the end, where most tricks are played.
            let at = if at % 2 == 0 { sent.len() } else { at };
            sent.insert_str(at, spoilt);
            sent
        },
    )
}
