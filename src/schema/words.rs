//! How is a violation put into words?
//!
//! In English and Portuguese, each a clause whose subject is what the pointer leads to.
//! What is quoted is from the schema, or a count or a length; nothing is the client's own.

use std::fmt::Write as _;

use super::violation::{Bound, Fault, Unit, Violation};
use crate::language::Language;

impl Violation {
    /// The violation as a clause whose subject is what the pointer leads to.
    pub fn detail(&self, language: Language) -> String {
        let limit = self.limit.unwrap_or_default();
        let actual = self.actual.unwrap_or_default();
        match &self.fault {
            Fault::Missing(name) => {
                language.pick(format!("`{name}` is missing"), format!("falta `{name}`"))
            }
            Fault::Unexpected {
                hint: Some(hint), ..
            } => {
                let hint = hint.sentence(language);
                language.pick(
                    format!("is not allowed here: {hint}"),
                    format!("não é permitido aqui: {hint}"),
                )
            }
            Fault::Unexpected { hint: None, near } => {
                let mut sentence = language
                    .pick("is not allowed here", "não é permitido aqui")
                    .to_owned();
                if let Some(near) = near {
                    let question = language.pick("did you mean", "você quis dizer");
                    let _ = write!(sentence, "; {question} `{near}`?");
                }
                sentence
            }
            Fault::Type(expected, actual) => {
                let names = |names: &[&'static str]| {
                    let names: Vec<_> =
                        names.iter().map(|name| type_name(name, language)).collect();
                    names.join(language.pick(" or ", " ou "))
                };
                let (expected, actual) = (names(expected), names(&[actual]));
                language.pick(
                    format!("must be {expected}, not {actual}"),
                    format!("deve ser {expected}, não {actual}"),
                )
            }
            Fault::Options(options) => match (listed(options), options.len()) {
                (_, 0) => language
                    .pick(
                        "has a value that is not allowed",
                        "tem um valor não permitido",
                    )
                    .to_owned(),
                (option, 1) => {
                    language.pick(format!("must be {option}"), format!("deve ser {option}"))
                }
                (options, _) => language.pick(
                    format!("must be one of {options}"),
                    format!("deve ser um destes: {options}"),
                ),
            },
            Fault::Over(unit) => {
                let has = unit.has(actual, language);
                language.pick(
                    format!("{has}; the limit is {limit}"),
                    format!("{has}; o limite é {limit}"),
                )
            }
            Fault::Under(_) if actual == 0 && limit == 1 => language
                .pick("must not be empty", "não pode ficar vazio")
                .to_owned(),
            Fault::Under(unit) => {
                let has = unit.has(actual, language);
                language.pick(
                    format!("{has}; the least is {limit}"),
                    format!("{has}; o mínimo é {limit}"),
                )
            }
            Fault::Total(of) if of.is_empty() => language.pick(
                format!("has {actual} items in all; the limit is {limit}"),
                format!("tem {actual} itens ao todo; o limite é {limit}"),
            ),
            Fault::Total(of) => language.pick(
                format!("has {actual} `{of}` in all; the limit is {limit}"),
                format!("tem {actual} `{of}` ao todo; o limite é {limit}"),
            ),
            Fault::SameAs(first) => language.pick(
                format!("is the same as {first}, but must be unique"),
                format!("é igual a {first}, mas deve ser único"),
            ),
            Fault::NotUnique => language
                .pick(
                    "has the same item more than once",
                    "tem o mesmo item mais de uma vez",
                )
                .to_owned(),
            Fault::Blanks => language
                .pick(
                    "begins or ends with white space",
                    "começa ou termina com espaço em branco",
                )
                .to_owned(),
            Fault::Bound(bound, limit) => {
                let must_be = language.pick("must be", "deve ser");
                format!("{must_be} {} {limit}", bound.words(language))
            }
            Fault::Pattern(pattern) => language.pick(
                format!("does not match the pattern `{pattern}`"),
                format!("não corresponde ao padrão `{pattern}`"),
            ),
            Fault::Format(format) => language.pick(
                format!("is not in the format `{format}`"),
                format!("não está no formato `{format}`"),
            ),
            Fault::Name => language
                .pick(
                    "has a name that is not allowed",
                    "tem um nome não permitido",
                )
                .to_owned(),
            Fault::Contains => language
                .pick(
                    "has too few or too many items of the kind that it must contain",
                    "tem itens de menos ou de mais do tipo que deve conter",
                )
                .to_owned(),
            Fault::NoAlternative(names) => match listed(names) {
                names if names.is_empty() => language
                    .pick(
                        "fits none of the allowed forms",
                        "não cabe em nenhuma das formas permitidas",
                    )
                    .to_owned(),
                names => language.pick(
                    format!("needs one of {names}"),
                    format!("precisa de um destes: {names}"),
                ),
            },
            Fault::ManyAlternatives(names) => match listed(names) {
                names if names.is_empty() => language
                    .pick(
                        "fits more than one of the allowed forms, but must fit one",
                        "cabe em mais de uma das formas permitidas, mas deve caber em uma só",
                    )
                    .to_owned(),
                names => language.pick(
                    format!("must have only one of {names}"),
                    format!("deve ter só um destes: {names}"),
                ),
            },
            Fault::Other => {
                let keyword = self.keyword;
                language.pick(
                    format!("breaks the rule `{keyword}` of the schema"),
                    format!("não cumpre a regra `{keyword}` do schema"),
                )
            }
        }
    }
}

impl Unit {
    fn has(self, count: u64, language: Language) -> String {
        let (english, portuguese) = match (self, count) {
            (Self::Characters, 1) => ("is 1 character long", "tem 1 caractere"),
            (Self::Items, 1) => ("has 1 item", "tem 1 item"),
            (Self::Members, 1) => ("has 1 member", "tem 1 membro"),
            (Self::Characters, _) => {
                return language.pick(
                    format!("is {count} characters long"),
                    format!("tem {count} caracteres"),
                );
            }
            (Self::Items, _) => {
                return language.pick(format!("has {count} items"), format!("tem {count} itens"));
            }
            (Self::Members, _) => {
                return language.pick(
                    format!("has {count} members"),
                    format!("tem {count} membros"),
                );
            }
        };
        language.pick(english, portuguese).to_owned()
    }
}

impl Bound {
    fn words(self, language: Language) -> &'static str {
        match self {
            Self::AtMost => language.pick("at most", "no máximo"),
            Self::AtLeast => language.pick("at least", "no mínimo"),
            Self::Below => language.pick("less than", "menor que"),
            Self::Above => language.pick("more than", "maior que"),
            Self::MultipleOf => language.pick("a multiple of", "múltiplo de"),
        }
    }
}

/// The names, each in backticks.
fn listed(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn type_name(name: &'static str, language: Language) -> &'static str {
    match name {
        "boolean" => language.pick("a boolean", "um booleano"),
        "integer" => language.pick("an integer", "um número inteiro"),
        "number" => language.pick("a number", "um número"),
        "string" => language.pick("a string", "uma string"),
        "array" => language.pick("an array", "um array"),
        "object" => language.pick("an object", "um objeto"),
        name => name,
    }
}
