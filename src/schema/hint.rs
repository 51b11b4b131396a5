//! What should an application send instead?
//!
//! Most of those who send a member that Wegly does not have know it from Meta's API,
//! which says the same things under other names. These names are ours to repeat; any
//! other unknown name is the client's own text.

use crate::language::Language;

/// What to do instead, in each language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hint {
    english: &'static str,
    portuguese: &'static str,
}

impl Hint {
    /// The hint for the member `name` of the value at `parent`, a JSON pointer.
    pub(super) fn find(parent: &str, name: &str) -> Option<Self> {
        let place = place(parent);
        HINTS
            .iter()
            .find(|(places, names, ..)| {
                names.contains(&name) && (places.is_empty() || places.contains(&place.as_str()))
            })
            .map(|&(_, _, english, portuguese)| Self {
                english,
                portuguese,
            })
    }

    pub(super) fn sentence(self, language: Language) -> &'static str {
        language.pick(self.english, self.portuguese)
    }
}

/// Where (an empty list is anywhere), which names, what to do.
#[rustfmt::skip] // a table reads best as a table
const HINTS: &[(&[&str], &[&str], &str, &str)] = &[
    (&[""], &["to", "recipient", "phone", "chat_id"], "leave it out; the path names the chat", "retire-o; o caminho já indica o chat"),
    (&[""], &["type"], "use `interactive_type`", "use `interactive_type`"),
    (&[""], &["interactive"], "put its content at the top level, and its `type` into `interactive_type`", "coloque o conteúdo dele no nível de cima e o `type` dele em `interactive_type`"),
    (&[""], &["buttons", "button", "sections"], "put it into `action`", "coloque-o dentro de `action`"),
    (&[""], &["text"], "put it into `body`", "coloque-o dentro de `body`"),
    (&[], &["context", "message_id"], "to reply to a message, use `reference_wamid` at the top level", "para responder a uma mensagem, use `reference_wamid` no nível de cima"),
    (&[], &["footer"], "Wegly has no footer; put the text at the end of `body.text`", "a Wegly não tem rodapé; coloque o texto no fim de `body.text`"),
    (&[], &["messaging_product", "recipient_type", "biz_opaque_callback_data", "preview_url"], "leave it out; it belongs to Meta's API", "retire-o; ele é da API da Meta"),
    (&["/action/buttons/*"], &["reply", "type"], "a button is flat: `id` and `title`", "um botão é plano: `id` e `title`"),
    (&["/action/sections/*"], &["product_items"], "Wegly sends buttons and lists only", "a Wegly envia só botões e listas"),
    (&["/action"], &["name", "parameters", "catalog_id", "product_retailer_id"], "Wegly sends buttons and lists only", "a Wegly envia só botões e listas"),
    (&["/header/image", "/header/video", "/header/document"], &["caption"], "a header has no caption", "um cabeçalho não tem legenda"),
];

/// The pointer with `*` for every index.
fn place(pointer: &str) -> String {
    pointer
        .split('/')
        .map(|segment| match segment.parse::<usize>() {
            Ok(_) => "*",
            Err(_) => segment,
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_fits_its_place() {
        let hint = |parent, name| {
            let hint = Hint::find(parent, name);
            hint.map(|hint| hint.sentence(Language::English))
        };

        assert_eq!(hint("", "type"), Some("use `interactive_type`"));
        assert_eq!(
            hint("/action/buttons/2", "type"),
            Some("a button is flat: `id` and `title`")
        );
        assert_eq!(hint("/body", "type"), None);
        assert!(hint("/action", "footer").is_some());
        assert_eq!(hint("", "fotter"), None);
    }
}
