//! What must never be shown?
//!
//! A secret has no business in the config file. If one is there all the same, the
//! line that holds it is shown with asterisks, as many as the secret has bytes, so
//! that every column stays what it was. Rather too much is hidden than too little.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Source,
    mistakes::{Path, Segment, Span},
};

/// The text of a file. The spans are those of the values in it, as far as it could
/// be parsed.
pub(super) fn file(text: &str, spans: &BTreeMap<Path, Span>) -> String {
    let mut secrets = tell_tale(text);
    secrets.extend(assigned(text));
    secrets.extend(in_credentials(text));
    let secret_values = spans
        .iter()
        .filter(|(path, span)| span.is_scalar() && holds_secret(path));
    secrets.extend(secret_values.filter_map(|(_, span)| literal(text, span.value.clone())));
    mask(text, secrets)
}

/// A message or a hint, which may quote the file.
pub(super) fn words(text: &str) -> String {
    mask(text, tell_tale(text))
}

fn mask(text: &str, secrets: Vec<Range<usize>>) -> String {
    let mut masked = text.to_owned();
    for secret in secrets {
        let shown = masked.get(secret.clone()).unwrap_or_default();
        let stars: String = shown
            .chars()
            .flat_map(|c| std::iter::repeat_n(if c == '\n' { c } else { '*' }, c.len_utf8()))
            .collect();
        masked.replace_range(secret, &stars);
    }
    masked
}

/// Secrets that are known by their looks, wherever they stand.
fn tell_tale(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    for word in runs(text, |c| !c.is_whitespace() && !"\"'`,(){}[]".contains(c)) {
        let shown = &text[word.clone()];
        let from = |offset: usize| word.start + offset..word.end;
        // A gateway key, a JSON Web Token.
        for start in ["ptr_", "eyJ"] {
            secrets.extend(shown.find(start).map(from));
        }
        // The user and the password of a URL.
        if let (Some(scheme), Some(at)) = (shown.find("://"), shown.rfind('@')) {
            secrets.push(word.start + (scheme + 3).min(at)..word.start + at);
        }
        // For a unix socket they are its query.
        if let (Some(_), Some(query)) = (shown.find("+unix:"), shown.find('?')) {
            secrets.push(from(query + 1));
        }
        // Anything long in which letters and digits are mixed, except for hashes.
        if !is_hash(shown) {
            let mixed = runs(shown, |c| c.is_ascii_alphanumeric() || "_+=".contains(c));
            secrets.extend(
                mixed
                    .filter(|run| looks_random(&shown[run.clone()]))
                    .map(|run| word.start + run.start..word.start + run.end),
            );
        }
    }
    let lower = text.to_ascii_lowercase();
    for (at, bearer) in lower.match_indices("bearer ") {
        let start = at + bearer.len();
        let end = text[start..]
            .find(['"', '\'', '`', '\n'])
            .map_or(text.len(), |end| start + end);
        secrets.push(start..end);
    }
    secrets
}

/// What is assigned to a name that stands for a secret: `token = …`. It reads
/// broken TOML as well, where no parser can say which values there are.
fn assigned(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    for name in runs(text, is_word) {
        if !names_secret(&text[name.clone()]) {
            continue;
        }
        let line = text[..name.start].rfind('\n').map_or(0, |end| end + 1);
        let is_first = text[line..name.start]
            .chars()
            .all(|c| c.is_whitespace() || c == '"' || c == '\'');
        let after = &text[name.end..];
        let rest = after
            .trim_start_matches(['"', '\''])
            .trim_start_matches([' ', '\t']);
        let value = match rest.strip_prefix(['=', ':']) {
            Some(value) => value.trim_start(),
            // The sign is missing.
            None if is_first && rest.len() < after.len() => rest,
            None if rest.starts_with(['"', '\'', '[']) => rest,
            // So is the line end, which is one too many.
            None if rest.trim_start().starts_with(['"', '\'']) => rest.trim_start(),
            None => continue,
        };
        let start = text.len() - value.len();
        for value in values(value) {
            let value = start + value.start..start + value.end;
            secrets.extend(remainder(text, value.end));
            secrets.extend(literal(text, value));
        }
    }
    secrets
}

/// Whatever stands in a credential, of which broken TOML leaves only the lines.
fn in_credentials(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    let mut is_inside = false;
    for line in runs(text, |c| c != '\n') {
        let shown = text[line.clone()].trim_start();
        let first = first_word(shown.trim_start_matches(['[', '"', '\'']));
        let opens = is_near(first, "credentials", 2);
        if shown.starts_with('[') {
            is_inside = opens;
            continue;
        }
        // `credential = "main"` is a field of a key, and only a name.
        if !is_inside && (!opens || first == "credential") {
            continue;
        }
        if is_inside && !shown.contains('=') && !shown.starts_with('#') {
            // The rest of a value that was broken in two.
            secrets.extend(literal(text, line.clone()));
            continue;
        }
        let mut at = line.start;
        while let Some(next) = text[at..line.end].find(['=', '"', '\'']) {
            let name = last_word(&text[line.start..at + next]);
            let value = text[at + next..line.end].trim_start_matches(['=', ' ', '\t']);
            let start = line.end - value.len();
            let is_table = value.starts_with('{');
            at = if is_table {
                start
            } else {
                start + value_end(value)
            };
            if !is_origin(name) {
                secrets.extend(literal(text, start..at));
            }
            if !is_table {
                secrets.extend(remainder(text, at));
            }
        }
    }
    secrets
}

/// The values at the start of a text: one, or those of an array.
fn values(text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_array = text.starts_with('[');
    let end = if is_array {
        text.find(']').unwrap_or(text.len())
    } else {
        value_end(text)
    };
    let mut at = usize::from(is_array);
    std::iter::from_fn(move || {
        at += text
            .get(at..end)?
            .find(|c: char| !c.is_whitespace() && c != ',')?;
        let start = at;
        at = (start + value_end(&text[start..])).max(start + 1);
        Some(start..at)
    })
}

/// Where a string, or whatever stands instead, ends.
fn value_end(text: &str) -> usize {
    for quotes in [r#"""""#, "'''"] {
        if let Some(inner) = text.strip_prefix(quotes) {
            return inner
                .find(quotes)
                .map_or(text.len(), |end| end + 2 * quotes.len());
        }
    }
    let line = text.find('\n').unwrap_or(text.len());
    let Some(quote) = text.chars().next().filter(|c| *c == '"' || *c == '\'') else {
        return line;
    };
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        // Broken in two by mistake, it goes on in the next line, but not in the next section.
        let ends = |section| text[at..].starts_with(section);
        if c == '\n' && ["\n\n", "\n\r\n", "\n["].into_iter().any(ends) {
            return at;
        }
        is_escaped = c == '\\' && quote == '"' && !is_escaped;
    }
    text.len()
}

/// The part of a value that is to be hidden: what stands between its quotes, unless
/// that only says where the secret is, or is a hash.
fn literal(text: &str, value: Range<usize>) -> Option<Range<usize>> {
    let written = text.get(value.clone())?.trim_end();
    let inner = written.trim_matches(['"', '\'']);
    let start = value.start + (written.len() - written.trim_start_matches(['"', '\'']).len());
    let is_harmless = inner.is_empty() || inner.parse::<Source>().is_ok() || is_hash(inner);
    (!is_harmless).then(|| start..start + inner.len())
}

/// What follows a value in its line and should not: the value, if a quote too many cut it
/// short.
fn remainder(text: &str, end: usize) -> Option<Range<usize>> {
    let line = text.get(end..)?.lines().next()?;
    let is_well =
        line.trim_start().is_empty() || line.trim_start().starts_with(['#', ',', '}', ']']);
    (!is_well).then(|| end..end + line.len())
}

/// Whether a value at this path should have been kept elsewhere.
fn holds_secret(path: &Path) -> bool {
    let mut keys = path.segments().iter().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    });
    // In a credential nothing may be shown but the origin, however it is spelt.
    let is_in_credential = keys.clone().next() == Some("credentials");
    let is_origin = keys.clone().next_back().is_some_and(is_origin);
    let is_redis_url = keys.clone().eq(["redis", "url"]);
    is_redis_url || keys.any(names_secret) || is_in_credential && !is_origin
}

/// The one field of a credential that may be shown.
fn is_origin(name: &str) -> bool {
    is_near(name, "origin", 2)
}

/// Whether a field of that name holds a secret, be it misspelt or of our invention.
fn names_secret(name: &str) -> bool {
    const WORDS: [&str; 8] = [
        "token",
        "secret",
        "passw",
        "senha",
        "hash",
        "apikey",
        "api_key",
        "authorization",
    ];
    let name = name.to_ascii_lowercase();
    // `[[keys]]` is a list of applications; `key` would be a key.
    WORDS.iter().any(|word| name.contains(word))
        || name.ends_with("key")
        || [("token", 2), ("next_token", 3), ("hash", 1), ("hashes", 2)]
            .iter()
            .any(|(word, far)| is_near(word, &name, *far))
}

/// Whether so many typing mistakes make the one of the other.
fn is_near(one: &str, other: &str, far: usize) -> bool {
    // Each changes the length by one at most, and a file has many words.
    let length = |word: &str| word.chars().count();
    length(one).abs_diff(length(other)) <= far && strsim::damerau_levenshtein(one, other) <= far
}

fn is_hash(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn looks_random(text: &str) -> bool {
    text.len() >= 24
        && text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic())
}

fn first_word(text: &str) -> &str {
    runs(text, is_word).next().map_or("", |word| &text[word])
}

fn last_word(text: &str) -> &str {
    runs(text, is_word).last().map_or("", |word| &text[word])
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The longest stretches of such characters.
fn runs(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text.get(at..)?.find(&is_part)?;
        let end = text[start..]
            .find(|c| !is_part(c))
            .map_or(text.len(), |end| start + end);
        at = end;
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "Canary";

    #[test]
    fn a_credential_shows_nothing_but_its_origin() {
        for text in [
            "[credentials]\nmain = \"Canary\"",
            "[credentials\nmain \"Canary\"",
            "[credential.main]\nx = Canary\n",
            "[credentials.main]\nx = [\"Canary\"]",
            "[credentials.main]\nx = \"\nCanary\"",
            "[credentials.main]\nx = \"a\"Canary\"",
            "credentials = { main = \"Canary\" }",
            "credentials { main \"Canary\"",
            "credentials.main = { x = 'Canary', origin = 'https://app.example.com' }",
        ] {
            let masked = file(text, &BTreeMap::new());

            assert!(!masked.contains(CANARY), "{masked}");
            assert_eq!(masked.contains("app"), text.contains("app"));
        }
    }

    #[test]
    fn a_literal_is_hidden_however_it_is_assigned() {
        for text in [
            "token = \"Canary\"",
            "token = 'Canary' # why",
            "token=Canary",
            "token = \"Canary",
            "token = \"a\\\"Canary\"",
            "token = \"\"\"\nCanary\n\"\"\"",
            "token = \"\"\"\nCanary\n",
            "token: \"Canary\"",
            "token \"Canary\"",
            "main = { token \"Canary\" }",
            "\"token\" = \"Canary\"",
            "main = { token = \"Canary\", origin = \"x\" }",
            "main.next_token = \"Canary\"",
            "token =\n\"Canary\"",
            "token = \"\nCanary\"",
            "token = \"\nCanary",
            "token \"= \"Canary\"",
            "token = \"\"Canary\"",
            "token = \"env:A\"Canary",
            "token\n\"Canary\"",
            "tokne = \"Canary\"",
            "api_key = \"Canary\"",
            "Password = \"Canary\"",
            "hash = \"Canary\"",
            "hash = \"sha256:Canary\"",
            "hashes = [\"a\", \"Canary\"]",
            "hashes = [\n  \"a\",\n  \"Canary\"\n",
            "token = \"file:Canary\"",
            "token = \"env:Canary-é\"",
        ] {
            let masked = file(text, &BTreeMap::new());

            assert!(!masked.contains(CANARY), "{masked}");
            assert_eq!(masked.len(), text.len());
            assert_eq!(masked.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_wherever_it_stands() {
        for text in [
            "level = \"ptr_Canary0\"",
            "# eyJhbGciOiJIUzI1NiJ9.Canary.Canary",
            "x = \"Bearer Canary\"",
            "x = \"bearer a Canary\"",
            "url = \"https://user:Canary@example.com\"",
            "url = \"https://user:a/Canary@example.com\"",
            "name = Canary00000000000000000000",
        ] {
            let masked = words(text);

            assert!(!masked.contains(CANARY), "{masked}");
            assert_eq!(masked.len(), text.len());
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for text in [
            "token = \"file:/run/secrets/wegly-token\" # where it is",
            "main = { token = \"env:WEGLY_TOKEN\", origin = \"https://app.example.com\" }",
            "[credentials.main]\norigin = \"https://app.example.com\"\n[log]\nlevel = \"info\"",
            "credential = \"main\"\n[[keys]]\nname = \"billing\"\n",
            "path = \"/integrations/external/chats/{id}/messages/interactive\"",
            "expires_at = 2027-06-30T00:00:00Z\nburst = 40",
            "hash = \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
            "allowed_domains = [\"billing.example.com\", \"*.apps.example.com\"]",
            "max_in_flight = 1024 # what the tokens are for\nhosts = []",
        ] {
            assert_eq!(file(text, &BTreeMap::new()), text);
        }
    }

    #[test]
    fn a_multibyte_secret_is_hidden_byte_for_byte() {
        assert_eq!(file("token = 'é€'", &BTreeMap::new()), "token = '*****'");
    }
}
