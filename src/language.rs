//! In which language does an application want its refusals?

use http::HeaderValue;

/// The languages that Portaria speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, unless Portuguese is preferred.
    #[default]
    English,
    /// Brazilian Portuguese.
    Portuguese,
}

impl Language {
    /// The one that these values of `Accept-Language` prefer (RFC 9110 §12.5.4). One that
    /// makes no sense is no preference.
    pub fn preferred(accepted: &[HeaderValue]) -> Self {
        // What is written first wins among equals; `*` is as good as English.
        let mut best = (0, Self::English);
        for range in accepted
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            let (tag, weight) = match range.split_once(';') {
                Some((tag, weight)) => (tag.trim(), thousandths(weight.trim())),
                None => (range.trim(), Some(1000)),
            };
            let primary = tag.split('-').next().unwrap_or_default();
            let language = if primary.eq_ignore_ascii_case("pt") {
                Self::Portuguese
            } else if primary.eq_ignore_ascii_case("en") || primary == "*" {
                Self::English
            } else {
                continue;
            };
            if let Some(weight) = weight
                && best.0 < weight
            {
                best = (weight, language);
            }
        }
        best.1
    }

    /// Picks the sentence of this language.
    pub fn pick<T>(self, english: T, portuguese: T) -> T {
        match self {
            Self::English => english,
            Self::Portuguese => portuguese,
        }
    }

    /// Its tag, for `Content-Language`.
    pub fn tag(self) -> &'static str {
        self.pick("en", "pt-BR")
    }
}

/// `q=0.8` as 800.
fn thousandths(weight: &str) -> Option<u16> {
    let number = weight
        .strip_prefix("q=")
        .or_else(|| weight.strip_prefix("Q="))?;
    match number.split_once('.') {
        None => match number {
            "0" => Some(0),
            "1" => Some(1000),
            _ => None,
        },
        Some((whole @ ("0" | "1"), digits))
            if digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit()) =>
        {
            let fraction: u16 = format!("{digits:0<3}").parse().ok()?;
            let weight = if whole == "1" { 1000 } else { 0 } + fraction;
            (weight <= 1000).then_some(weight)
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_known_language_wins_and_the_first_among_equals() {
        for (value, expected) in [
            ("", Language::English),
            ("pt", Language::Portuguese),
            ("PT-br", Language::Portuguese),
            ("pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", Language::Portuguese),
            ("en-US,en;q=0.9,pt;q=0.8", Language::English),
            ("en;q=0.5, pt;q=0.55", Language::Portuguese),
            ("en, pt", Language::English),
            ("fr, pt;q=0.1", Language::Portuguese),
            ("*, pt;q=0.5", Language::English),
            ("pt;q=0, en;q=0.1", Language::English),
            ("pt;q=0", Language::English),
            ("pt;q=2", Language::English),
            ("pt;q=1.001", Language::English),
            ("pt;q=0.0001", Language::English),
            ("ptolemaic", Language::English),
        ] {
            let accepted = [value.parse().unwrap()];

            assert_eq!(Language::preferred(&accepted), expected, "{value:?}");
        }
    }
}
