//! Does a secret show that somebody wrote into the config, and misspelt something too?

use portaria::config::Loaded;
use proptest::{prelude::*, sample::select};

use crate::cases;

/// Both halves are as secret as the whole.
const HALVES: [&str; 2] = ["Secretofmine", "Anotherhalf"];

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn one_slip_of_the_pen_shows_no_secret(
        form in select(FORMS.to_vec()),
        at: prop::sample::Index,
        removed in 0_usize..2,
        put in select(vec!["", "", "\n", " ", "\"", "'", "=", ":", ",", "#", "[", "]", "{", "}", "\\", ".", "x", "é", "\r\n", "\t", "\u{0}"]),
    ) {
        let secret = HALVES.concat();
        let text = form.replace("SECRET", &secret);
        let mut places = text.char_indices().map(|(at, _)| at);
        let start = places.nth(at.index(text.chars().count())).unwrap();
        let end = (start + removed..=text.len()).find(|end| text.is_char_boundary(*end));
        let mut slipped = text;
        slipped.replace_range(start..end.unwrap_or(start), put);

        if let Err(mistakes) = Loaded::parse("portaria.toml", &slipped, []) {
            let lines: Vec<String> = mistakes.lines().collect();
            let shown = mistakes.render(false) + &mistakes.render(true) + &lines.join("\n");
            for half in HALVES {
                prop_assert!(!shown.contains(half), "{}\nof\n{}", shown, slipped);
            }
        }
    }
}

/// Ways to write a token where only its place should stand. A gateway key is known by its
/// looks wherever it stands.
const FORMS: [&str; 8] = [
    "[credentials.main]\ntoken = \"SECRET\"\n\n[server]\nlisten = []\n",
    "[credentials.main]\ntoken = 'SECRET' # here\norigin = \"https://a.example\"\n",
    "[credentials.main]\norigin = \"https://a.example\"\nnext_token = \"SECRET\"\n",
    "[credentials]\nmain = { token = \"SECRET\", origin = \"https://a.example\" }\n",
    "credentials.main.token = \"SECRET\"\n",
    "[credentials.main]\ntoken = \"\"\"\nSECRET\n\"\"\"\n",
    "[credentials.main]\ntoken = [\"SECRET\"]\n",
    "[credentials.main]\n\"token\" = \"SECRET\"\n",
];
