//! The messages: a name, the body, and what each schema finds in it.

use serde_json::{Value, json};

/// A name; the body; `pointer keyword, …` under `wegly`; the same under `whatsapp`.
pub(crate) type Case = (&'static str, Value, &'static str, &'static str);

/// A body, and how it differs from one that passes.
#[derive(Clone)]
pub(crate) struct Body(pub(crate) Value);

/// A message with one button.
pub(crate) fn button() -> Body {
    Body(json!({
        "interactive_type": "button",
        "body": {"text": "Confirma o horário?"},
        "action": {"buttons": [{"id": "yes", "title": "Sim"}]}
    }))
}

/// A message with a list of one row.
pub(crate) fn list() -> Body {
    Body(json!({
        "interactive_type": "list",
        "body": {"text": "Escolha um horário"},
        "action": {"button": "Horários", "sections": [section("Manhã", ["r1"])]}
    }))
}

/// The example on Wegly's page.
pub(crate) fn published() -> Value {
    json!({
        "interactive_type": "button",
        "body": {"text": "<string>"},
        "action": {
            "buttons": [{"id": "<string>", "title": "<string>"}],
            "button": "<string>",
            "sections": [{
                "rows": [{"id": "<string>", "title": "<string>", "description": "<string>"}],
                "title": "<string>"
            }]
        },
        "reference_wamid": "<string>"
    })
}

impl Body {
    /// With this value at the pointer, whose parent exists; the index after
    /// the last item appends.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match self.0.pointer_mut(parent).unwrap() {
            Value::Array(items) => {
                let index: usize = name.parse().unwrap();
                items.splice(index..items.len().min(index + 1), [value]);
            }
            Value::Object(members) => {
                let name = name.replace("~1", "/").replace("~0", "~");
                members.insert(name, value);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                panic!("{pointer} is below a leaf")
            }
        }
        self
    }

    /// Without the member at the pointer.
    pub(crate) fn cut(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let members = self.0.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        members.remove(name).unwrap();
        self
    }
}

/// A section with rows of these ids.
pub(crate) fn section<const N: usize>(title: &str, ids: [&str; N]) -> Value {
    let rows: Vec<_> = ids
        .iter()
        .map(|id| json!({"id": id, "title": "Row"}))
        .collect();
    json!({"title": title, "rows": rows})
}

/// Sections with so many rows each, all with ids of their own.
pub(crate) fn sections(rows: &[usize]) -> Value {
    let section = |(index, count): (usize, &usize)| {
        let row = |row| json!({"id": format!("{index}.{row}"), "title": "Row"});
        json!({"title": "Section", "rows": (0..*count).map(row).collect::<Vec<_>>()})
    };
    rows.iter().enumerate().map(section).collect()
}

/// So many buttons, all different.
fn buttons(count: usize) -> Value {
    (0..count)
        .map(|index| json!({"id": format!("b{index}"), "title": format!("B {index}")}))
        .collect()
}

/// A text, so many times.
fn x(text: &str, times: usize) -> Value {
    json!(text.repeat(times))
}

/// A button message with one change.
fn b(pointer: &str, value: Value) -> Value {
    button().set(pointer, value).0
}

/// A list message with one change.
fn l(pointer: &str, value: Value) -> Value {
    list().set(pointer, value).0
}

/// A button message with a header.
fn h(header: Value) -> Value {
    b("/header", header)
}

/// Every message.
#[rustfmt::skip] // one message a line
pub(crate) fn all() -> Vec<Case> {
    let family = "👨‍👩‍👧"; // five code points: three people and two joiners
    let ok = "";
    let id = "/action/buttons/0/id";
    let title = "/action/buttons/0/title";
    let label = "/action/button";
    let section_title = "/action/sections/0/title";
    let row_id = "/action/sections/0/rows/0/id";
    let row_title = "/action/sections/0/rows/0/title";
    let row_text = "/action/sections/0/rows/0/description";
    let both = "/action required";
    vec![
        // The whole.
        ("button message", button().0, ok, ok),
        ("list message", list().0, ok, ok),
        ("published example", published(), ok, ok),
        ("published example as a list", Body(published()).set("/interactive_type", json!("list")).0, ok, ok),
        ("null", json!(null), " type", " type"),
        ("a string", json!("button"), " type", " type"),
        ("a number", json!(1), " type", " type"),
        ("an array of one message", json!([button().0]), " type", " type"),
        ("an empty object", json!({}), " required,  required,  required", " required,  required,  required"),

        // interactive_type
        ("no type", button().cut("/interactive_type").0, " required", " required"),
        ("no type, no action members", button().cut("/interactive_type").set("/action", json!({})).0, " required", " required"),
        ("type null", b("/interactive_type", json!(null)), "/interactive_type enum", "/interactive_type enum"),
        ("type number", b("/interactive_type", json!(1)), "/interactive_type enum", "/interactive_type enum"),
        ("type array", b("/interactive_type", json!(["button"])), "/interactive_type enum", "/interactive_type enum"),
        ("type empty", b("/interactive_type", json!("")), "/interactive_type enum", "/interactive_type enum"),
        ("type in capitals", b("/interactive_type", json!("Button")), "/interactive_type enum", "/interactive_type enum"),
        ("type in the plural", b("/interactive_type", json!("buttons")), "/interactive_type enum", "/interactive_type enum"),
        ("type with a blank", b("/interactive_type", json!("button ")), "/interactive_type enum", "/interactive_type enum"),
        ("type of Meta, cta_url", b("/interactive_type", json!("cta_url")), "/interactive_type enum", "/interactive_type enum"),
        ("type of Meta, product", b("/interactive_type", json!("product")), "/interactive_type enum", "/interactive_type enum"),
        ("type of Meta, flow", b("/interactive_type", json!("flow")), "/interactive_type enum", "/interactive_type enum"),

        // body
        ("no body", button().cut("/body").0, " required", " required"),
        ("body null", b("/body", json!(null)), "/body type", "/body type"),
        ("body a string, as for a text message", b("/body", json!("Oi")), "/body type", "/body type"),
        ("body an array", b("/body", json!([])), "/body type", "/body type"),
        ("body without text", b("/body", json!({})), ok, "/body required"),
        ("body text null", b("/body/text", json!(null)), "/body/text type", "/body/text type"),
        ("body text a number", b("/body/text", json!(1)), "/body/text type", "/body/text type"),
        ("body text an object", b("/body/text", json!({"text": "Oi"})), "/body/text type", "/body/text type"),
        ("body text empty", b("/body/text", json!("")), ok, "/body/text minLength"),
        ("body text of one blank", b("/body/text", json!(" ")), ok, ok),
        ("body text of 1 character", b("/body/text", json!("a")), ok, ok),
        ("body text of 1024", b("/body/text", x("a", 1024)), ok, ok),
        ("body text of 1025", b("/body/text", x("a", 1025)), ok, "/body/text maxLength"),
        ("body text of 1024 ç", b("/body/text", x("ç", 1024)), ok, ok),
        ("body text of 1025 ç", b("/body/text", x("ç", 1025)), ok, "/body/text maxLength"),
        ("body text of 1024 emoji", b("/body/text", x("😀", 1024)), ok, ok),
        ("body text of 1025 emoji", b("/body/text", x("😀", 1025)), ok, "/body/text maxLength"),
        ("body text of 4096", b("/body/text", x("a", 4096)), ok, "/body/text maxLength"),
        ("list body text of 1024", l("/body/text", x("a", 1024)), ok, ok),
        ("list body text of 1025", l("/body/text", x("a", 1025)), ok, "/body/text maxLength"),
        ("list body text of 4096, as Meta's page allows", l("/body/text", x("a", 4096)), ok, "/body/text maxLength"),
        ("body text with lines, markdown and a link", b("/body/text", json!("*Oi*\n_tudo bem?_ https://example.com")), ok, ok),
        ("body text with other scripts", b("/body/text", json!("日本語 عربى עברית")), ok, ok),
        ("body with preview_url", b("/body/preview_url", json!(true)), ok, "/body/preview_url additionalProperties"),
        ("body with type", b("/body/type", json!("text")), ok, "/body/type additionalProperties"),

        // action
        ("no action", button().cut("/action").0, " required", " required"),
        ("action null", b("/action", json!(null)), "/action type", "/action type"),
        ("action an array", b("/action", json!([])), "/action type", "/action type"),
        ("action empty", b("/action", json!({})), ok, both),
        ("list action empty", l("/action", json!({})), ok, "/action required, /action required"),
        ("button message with a list", list().set("/interactive_type", json!("button")).0, ok, both),
        ("list message with buttons", button().set("/interactive_type", json!("list")).0, ok, "/action required, /action required"),
        ("unknown type with an empty action", b("/interactive_type", json!("x")), "/interactive_type enum", "/interactive_type enum"),
        ("action with catalog_id", b("/action/catalog_id", json!("1")), ok, "/action/catalog_id additionalProperties"),
        ("action with name and parameters", button().set("/action/name", json!("cta_url")).set("/action/parameters", json!({})).0, ok, "/action/name additionalProperties, /action/parameters additionalProperties"),

        // buttons
        ("buttons null", b("/action/buttons", json!(null)), "/action/buttons type", "/action/buttons type"),
        ("buttons an object", b("/action/buttons", json!({"id": "a", "title": "A"})), "/action/buttons type", "/action/buttons type"),
        ("no buttons", b("/action/buttons", json!([])), ok, "/action/buttons minItems"),
        ("2 buttons", b("/action/buttons", buttons(2)), ok, ok),
        ("3 buttons", b("/action/buttons", buttons(3)), ok, ok),
        ("4 buttons", b("/action/buttons", buttons(4)), ok, "/action/buttons maxItems"),
        ("10 buttons", b("/action/buttons", buttons(10)), ok, "/action/buttons maxItems"),
        ("button null", b("/action/buttons/0", json!(null)), "/action/buttons/0 type", "/action/buttons/0 type"),
        ("button a string", b("/action/buttons/0", json!("Sim")), "/action/buttons/0 type", "/action/buttons/0 type"),
        ("button empty", b("/action/buttons/0", json!({})), ok, "/action/buttons/0 required, /action/buttons/0 required"),
        ("button without id", button().cut(id).0, ok, "/action/buttons/0 required"),
        ("button without title", button().cut(title).0, ok, "/action/buttons/0 required"),
        ("second button without title", b("/action/buttons/1", json!({"id": "no"})), ok, "/action/buttons/1 required"),
        ("button as Meta has it", b("/action/buttons/0", json!({"type": "reply", "reply": {"id": "a", "title": "A"}})), ok,
            "/action/buttons/0 required, /action/buttons/0 required, /action/buttons/0/reply additionalProperties, /action/buttons/0/type additionalProperties"),
        ("button with a type", b("/action/buttons/0/type", json!("reply")), ok, "/action/buttons/0/type additionalProperties"),
        ("button with a description", b("/action/buttons/0/description", json!("x")), ok, "/action/buttons/0/description additionalProperties"),

        // button titles
        ("button title null", b(title, json!(null)), "/action/buttons/0/title type", "/action/buttons/0/title type"),
        ("button title a number", b(title, json!(1)), "/action/buttons/0/title type", "/action/buttons/0/title type"),
        ("button title empty", b(title, json!("")), ok, "/action/buttons/0/title minLength"),
        ("button title of 1", b(title, json!("a")), ok, ok),
        ("button title of 20", b(title, x("a", 20)), ok, ok),
        ("button title of 21", b(title, x("a", 21)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 20 ç, 40 bytes", b(title, x("ç", 20)), ok, ok),
        ("button title of 21 ç", b(title, x("ç", 21)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 20 emoji, 40 UTF-16 units", b(title, x("😀", 20)), ok, ok),
        ("button title of 21 emoji", b(title, x("😀", 21)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 4 families, 20 code points", b(title, x(family, 4)), ok, ok),
        ("button title of 4 families and a letter", b(title, json!(family.repeat(4) + "a")), ok, "/action/buttons/0/title maxLength"),
        ("button title of 5 families, 5 graphemes", b(title, x(family, 5)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 10 letters with combining accents", b(title, x("e\u{301}", 10)), ok, ok),
        ("button title of 11 letters with combining accents", b(title, x("e\u{301}", 11)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 6 keycaps", b(title, x("1\u{fe0f}\u{20e3}", 6)), ok, ok),
        ("button title of 7 keycaps", b(title, x("1\u{fe0f}\u{20e3}", 7)), ok, "/action/buttons/0/title maxLength"),
        ("button title of 10 flags", b(title, x("🇧🇷", 10)), ok, ok),
        ("button title of 11 flags", b(title, x("🇧🇷", 11)), ok, "/action/buttons/0/title maxLength"),
        ("button title with blanks around", b(title, json!(" Sim ")), ok, ok),
        ("same title twice", b("/action/buttons/1", json!({"id": "no", "title": "Sim"})), ok, "/action/buttons/1/title x-uniqueBy"),
        ("titles that differ in case", b("/action/buttons/1", json!({"id": "no", "title": "SIM"})), ok, ok),
        ("same title three times", button().set("/action/buttons/1", json!({"id": "a", "title": "Sim"})).set("/action/buttons/2", json!({"id": "b", "title": "Sim"})).0, ok,
            "/action/buttons/1/title x-uniqueBy, /action/buttons/2/title x-uniqueBy"),

        // button ids
        ("button id null", b(id, json!(null)), "/action/buttons/0/id type", "/action/buttons/0/id type"),
        ("button id a number", b(id, json!(7)), "/action/buttons/0/id type", "/action/buttons/0/id type"),
        ("button id empty", b(id, json!("")), ok, "/action/buttons/0/id minLength"),
        ("button id of 256", b(id, x("a", 256)), ok, ok),
        ("button id of 257", b(id, x("a", 257)), ok, "/action/buttons/0/id maxLength"),
        ("button id of 256 ç", b(id, x("ç", 256)), ok, ok),
        ("button id of 257 emoji", b(id, x("😀", 257)), ok, "/action/buttons/0/id maxLength"),
        ("button id with a blank before", b(id, json!(" yes")), ok, "/action/buttons/0/id x-trimmed"),
        ("button id with a blank after", b(id, json!("yes ")), ok, "/action/buttons/0/id x-trimmed"),
        ("button id with a newline after", b(id, json!("yes\n")), ok, "/action/buttons/0/id x-trimmed"),
        ("button id with a no-break space before", b(id, json!("\u{a0}yes")), ok, "/action/buttons/0/id x-trimmed"),
        ("button id of one blank", b(id, json!(" ")), ok, "/action/buttons/0/id x-trimmed"),
        ("button id with a blank inside", b(id, json!("y es")), ok, ok),
        ("button id of 256 and a blank", b(id, json!("a".repeat(256) + " ")), ok, "/action/buttons/0/id maxLength, /action/buttons/0/id x-trimmed"),
        ("button id that is JSON", b(id, json!(r#"{"a":1}"#)), ok, ok),
        ("same button id twice", b("/action/buttons/1", json!({"id": "yes", "title": "Não"})), ok, "/action/buttons/1/id x-uniqueBy"),
        ("same button twice", b("/action/buttons/1", json!({"id": "yes", "title": "Sim"})), ok, "/action/buttons/1/id x-uniqueBy, /action/buttons/1/title x-uniqueBy"),
        ("button ids that differ in case", b("/action/buttons/1", json!({"id": "YES", "title": "Não"})), ok, ok),
        ("id of one button as title of the other", b("/action/buttons/1", json!({"id": "Sim", "title": "yes"})), ok, ok),

        // the label of a list
        ("list without label", list().cut(label).0, ok, "/action required"),
        ("label null", l(label, json!(null)), "/action/button type", "/action/button type"),
        ("label an object", l(label, json!({"title": "x"})), "/action/button type", "/action/button type"),
        ("label empty", l(label, json!("")), ok, "/action/button minLength"),
        ("label of 1", l(label, json!("a")), ok, ok),
        ("label of 20", l(label, x("a", 20)), ok, ok),
        ("label of 21", l(label, x("a", 21)), ok, "/action/button maxLength"),
        ("label of 20 ç", l(label, x("ç", 20)), ok, ok),
        ("label of 20 emoji", l(label, x("😀", 20)), ok, ok),
        ("label of 21 emoji", l(label, x("😀", 21)), ok, "/action/button maxLength"),

        // sections
        ("list without sections", list().cut("/action/sections").0, ok, "/action required"),
        ("sections null", l("/action/sections", json!(null)), "/action/sections type", "/action/sections type"),
        ("sections an object", l("/action/sections", json!({})), "/action/sections type", "/action/sections type"),
        ("no section", l("/action/sections", json!([])), ok, "/action/sections minItems"),
        ("10 sections", l("/action/sections", sections(&[1; 10])), ok, ok),
        ("11 sections, so 11 rows", l("/action/sections", sections(&[1; 11])), ok, "/action/sections maxItems, /action/sections x-maxTotalItems"),
        ("section null", l("/action/sections/0", json!(null)), "/action/sections/0 type", "/action/sections/0 type"),
        ("section empty", l("/action/sections/0", json!({})), ok, "/action/sections/0 required"),
        ("one section without title", list().cut(section_title).0, ok, ok),
        ("one section with an empty title", l(section_title, json!("")), ok, ok),
        ("section title null", l(section_title, json!(null)), "/action/sections/0/title type", "/action/sections/0/title type"),
        ("section title of 24", l(section_title, x("a", 24)), ok, ok),
        ("section title of 25", l(section_title, x("a", 25)), ok, "/action/sections/0/title maxLength"),
        ("section title of 24 ç", l(section_title, x("ç", 24)), ok, ok),
        ("section title of 25 emoji", l(section_title, x("😀", 25)), ok, "/action/sections/0/title maxLength"),
        ("two sections", l("/action/sections/1", section("Tarde", ["r2"])), ok, ok),
        ("two sections of one title", l("/action/sections/1", section("Manhã", ["r2"])), ok, ok),
        ("two sections, the first without title", list().cut(section_title).set("/action/sections/1", section("Tarde", ["r2"])).0, ok, "/action/sections/0 required"),
        ("two sections, the second without title", l("/action/sections/1", json!({"rows": [{"id": "r2", "title": "R"}]})), ok, "/action/sections/1 required"),
        ("two sections, one title empty", l("/action/sections/1", section("", ["r2"])), ok, "/action/sections/1/title minLength"),
        ("two sections, one title of 1", l("/action/sections/1", section("T", ["r2"])), ok, ok),
        ("section with product_items", l("/action/sections/0/product_items", json!([])), ok, "/action/sections/0/product_items additionalProperties"),

        // rows
        ("section without rows", list().cut("/action/sections/0/rows").0, ok, "/action/sections/0 required"),
        ("rows null", l("/action/sections/0/rows", json!(null)), "/action/sections/0/rows type", "/action/sections/0/rows type"),
        ("rows an object", l("/action/sections/0/rows", json!({})), "/action/sections/0/rows type", "/action/sections/0/rows type"),
        ("no row", l("/action/sections/0/rows", json!([])), ok, "/action/sections/0/rows minItems"),
        ("no row in the second section", l("/action/sections/1", section("Tarde", [])), ok, "/action/sections/1/rows minItems"),
        ("10 rows in one section", l("/action/sections", sections(&[10])), ok, ok),
        ("11 rows in one section", l("/action/sections", sections(&[11])), ok, "/action/sections x-maxTotalItems"),
        ("10 rows in two sections", l("/action/sections", sections(&[5, 5])), ok, ok),
        ("11 rows in two sections", l("/action/sections", sections(&[6, 5])), ok, "/action/sections x-maxTotalItems"),
        ("100 rows in ten sections", l("/action/sections", sections(&[10; 10])), ok, "/action/sections x-maxTotalItems"),
        ("row null", l("/action/sections/0/rows/0", json!(null)), "/action/sections/0/rows/0 type", "/action/sections/0/rows/0 type"),
        ("row a string", l("/action/sections/0/rows/0", json!("8h")), "/action/sections/0/rows/0 type", "/action/sections/0/rows/0 type"),
        ("row empty", l("/action/sections/0/rows/0", json!({})), ok, "/action/sections/0/rows/0 required, /action/sections/0/rows/0 required"),
        ("row without id", list().cut(row_id).0, ok, "/action/sections/0/rows/0 required"),
        ("row without title", list().cut(row_title).0, ok, "/action/sections/0/rows/0 required"),
        ("row with an unknown member", l("/action/sections/0/rows/0/price", json!(1)), ok, "/action/sections/0/rows/0/price additionalProperties"),
        ("row id a number", l(row_id, json!(1)), "/action/sections/0/rows/0/id type", "/action/sections/0/rows/0/id type"),
        ("row id empty", l(row_id, json!("")), ok, "/action/sections/0/rows/0/id minLength"),
        ("row id of 1", l(row_id, json!("1")), ok, ok),
        ("row id of 200", l(row_id, x("a", 200)), ok, ok),
        ("row id of 201", l(row_id, x("a", 201)), ok, "/action/sections/0/rows/0/id maxLength"),
        ("row id of 200 ç", l(row_id, x("ç", 200)), ok, ok),
        ("row id of 201 emoji", l(row_id, x("😀", 201)), ok, "/action/sections/0/rows/0/id maxLength"),
        ("row id with blanks around, which only buttons forbid", l(row_id, json!(" r1 ")), ok, ok),
        ("same row id twice in a section", l("/action/sections/0/rows/1", json!({"id": "r1", "title": "Other"})), ok, "/action/sections/0/rows/1/id x-uniqueBy"),
        ("same row id in two sections", l("/action/sections/1", section("Tarde", ["r2", "r1"])), ok, "/action/sections/1/rows/1/id x-uniqueBy"),
        ("row title null", l(row_title, json!(null)), "/action/sections/0/rows/0/title type", "/action/sections/0/rows/0/title type"),
        ("row title empty", l(row_title, json!("")), ok, "/action/sections/0/rows/0/title minLength"),
        ("row title of 24", l(row_title, x("a", 24)), ok, ok),
        ("row title of 25", l(row_title, x("a", 25)), ok, "/action/sections/0/rows/0/title maxLength"),
        ("row title of 24 ç", l(row_title, x("ç", 24)), ok, ok),
        ("row title of 24 emoji", l(row_title, x("😀", 24)), ok, ok),
        ("row title of 25 emoji", l(row_title, x("😀", 25)), ok, "/action/sections/0/rows/0/title maxLength"),
        ("same row title twice", l("/action/sections/0/rows/1", json!({"id": "r2", "title": "Row"})), ok, ok),
        ("row description null", l(row_text, json!(null)), "/action/sections/0/rows/0/description type", "/action/sections/0/rows/0/description type"),
        ("row description empty", l(row_text, json!("")), ok, ok),
        ("row description of 72", l(row_text, x("a", 72)), ok, ok),
        ("row description of 73", l(row_text, x("a", 73)), ok, "/action/sections/0/rows/0/description maxLength"),
        ("row description of 72 emoji", l(row_text, x("😀", 72)), ok, ok),
        ("row description of 73 ç", l(row_text, x("ç", 73)), ok, "/action/sections/0/rows/0/description maxLength"),

        // the other kind beside
        ("button message with a label beside", b("/action/button", json!("Horários")), ok, ok),
        ("button message with sections beside", b("/action/sections", sections(&[2])), ok, ok),
        ("list message with buttons beside", l("/action/buttons", buttons(3)), ok, ok),
        ("button message with too long a label beside", b("/action/button", x("a", 21)), ok, "/action/button maxLength"),
        ("button message with 11 rows beside", b("/action/sections", sections(&[11])), ok, "/action/sections x-maxTotalItems"),
        ("list message with 4 buttons beside", l("/action/buttons", buttons(4)), ok, "/action/buttons maxItems"),
        ("list message with a nameless button beside", l("/action/buttons", json!([{"id": "a"}])), ok, "/action/buttons/0 required"),
        ("button message with sections null beside", b("/action/sections", json!(null)), "/action/sections type", "/action/sections type"),

        // header
        ("header null", h(json!(null)), "/header type", "/header type"),
        ("header a string", h(json!("Oi")), "/header type", "/header type"),
        ("header empty", h(json!({})), ok, "/header required"),
        ("header without type", h(json!({"text": "Oi"})), ok, "/header required"),
        ("header of type null", h(json!({"type": null})), ok, "/header/type enum, /header/type type"),
        ("header of unknown type", h(json!({"type": "audio", "audio": {"id": "1"}})), ok, "/header/audio additionalProperties, /header/type enum"),
        ("header text", h(json!({"type": "text", "text": "Oi"})), ok, ok),
        ("header text missing", h(json!({"type": "text"})), ok, "/header required"),
        ("header text null", h(json!({"type": "text", "text": null})), ok, "/header/text type"),
        ("header text empty", h(json!({"type": "text", "text": ""})), ok, "/header/text minLength"),
        ("header text of 1", h(json!({"type": "text", "text": "a"})), ok, ok),
        ("header text of 60", h(json!({"type": "text", "text": x("a", 60)})), ok, ok),
        ("header text of 61", h(json!({"type": "text", "text": x("a", 61)})), ok, "/header/text maxLength"),
        ("header text of 60 ç", h(json!({"type": "text", "text": x("ç", 60)})), ok, ok),
        ("header text of 60 emoji", h(json!({"type": "text", "text": x("😀", 60)})), ok, ok),
        ("header text of 61 emoji", h(json!({"type": "text", "text": x("😀", 61)})), ok, "/header/text maxLength"),
        ("header sub_text of 60", h(json!({"type": "text", "text": "Oi", "sub_text": x("a", 60)})), ok, ok),
        ("header sub_text of 61", h(json!({"type": "text", "text": "Oi", "sub_text": x("a", 61)})), ok, "/header/sub_text maxLength"),
        ("header sub_text null", h(json!({"type": "text", "text": "Oi", "sub_text": null})), ok, "/header/sub_text type"),
        ("header image by id", h(json!({"type": "image", "image": {"id": "1"}})), ok, ok),
        ("header image by link", h(json!({"type": "image", "image": {"link": "https://example.com/a.png"}})), ok, ok),
        ("header image missing", h(json!({"type": "image"})), ok, "/header required"),
        ("header image under another name", h(json!({"type": "image", "video": {"id": "1"}})), ok, "/header required"),
        ("header image null", h(json!({"type": "image", "image": null})), ok, "/header/image type"),
        ("header image empty", h(json!({"type": "image", "image": {}})), ok, "/header/image anyOf"),
        ("header image id a number", h(json!({"type": "image", "image": {"id": 1}})), ok, "/header/image/id type"),
        ("header image id empty", h(json!({"type": "image", "image": {"id": ""}})), ok, "/header/image/id minLength"),
        ("header image link null", h(json!({"type": "image", "image": {"link": null}})), ok, "/header/image/link type"),
        ("header image link empty", h(json!({"type": "image", "image": {"link": ""}})), ok, "/header/image/link minLength"),
        ("header image link of 1", h(json!({"type": "image", "image": {"link": "a"}})), ok, ok),
        ("header image by id and link", h(json!({"type": "image", "image": {"id": "1", "link": "https://example.com/a.png"}})), ok, ok),
        ("header image with a caption", h(json!({"type": "image", "image": {"id": "1", "caption": "x"}})), ok, "/header/image/caption additionalProperties"),
        ("header image with a filename", h(json!({"type": "image", "image": {"id": "1", "filename": "x"}})), ok, "/header/image/filename additionalProperties"),
        ("header video by id", h(json!({"type": "video", "video": {"id": "1"}})), ok, ok),
        ("header video missing", h(json!({"type": "video"})), ok, "/header required"),
        ("header video empty", h(json!({"type": "video", "video": {}})), ok, "/header/video anyOf"),
        ("header document by link, with a filename", h(json!({"type": "document", "document": {"link": "https://example.com/a.pdf", "filename": "a.pdf"}})), ok, ok),
        ("header document of a filename alone", h(json!({"type": "document", "document": {"filename": "a.pdf"}})), ok, "/header/document anyOf"),
        ("header document missing", h(json!({"type": "document"})), ok, "/header required"),
        ("header document null", h(json!({"type": "document", "document": null})), ok, "/header/document type"),
        ("header document id of 1", h(json!({"type": "document", "document": {"id": "1"}})), ok, ok),
        ("header document id null", h(json!({"type": "document", "document": {"id": null}})), ok, "/header/document/id type"),
        ("header document id empty", h(json!({"type": "document", "document": {"id": ""}})), ok, "/header/document/id minLength"),
        ("header document link of 1", h(json!({"type": "document", "document": {"link": "a"}})), ok, ok),
        ("header document link null", h(json!({"type": "document", "document": {"link": null}})), ok, "/header/document/link type"),
        ("header document link empty", h(json!({"type": "document", "document": {"link": ""}})), ok, "/header/document/link minLength"),
        ("header document filename null", h(json!({"type": "document", "document": {"id": "1", "filename": null}})), ok, "/header/document/filename type"),
        ("header document with a caption", h(json!({"type": "document", "document": {"id": "1", "caption": "x"}})), ok, "/header/document/caption additionalProperties"),
        ("list header text", l("/header", json!({"type": "text", "text": "Oi"})), ok, ok),
        ("list header image", l("/header", json!({"type": "image", "image": {"id": "1"}})), ok, "/header/type const"),
        ("list header video", l("/header", json!({"type": "video", "video": {"id": "1"}})), ok, "/header/type const"),
        ("list header document", l("/header", json!({"type": "document", "document": {"id": "1"}})), ok, "/header/type const"),
        ("list header of unknown type", l("/header", json!({"type": "gif"})), ok, "/header/type const"),

        // reference_wamid
        ("reference", b("/reference_wamid", json!("wamid.HBgL")), ok, ok),
        ("reference null", b("/reference_wamid", json!(null)), "/reference_wamid type", "/reference_wamid type"),
        ("reference a number", b("/reference_wamid", json!(1)), "/reference_wamid type", "/reference_wamid type"),
        ("reference empty", b("/reference_wamid", json!("")), ok, ok),
        ("reference of 200", b("/reference_wamid", x("a", 200)), ok, ok),
        ("reference of 201", b("/reference_wamid", x("a", 201)), "/reference_wamid maxLength", "/reference_wamid maxLength"),
        ("reference of 200 emoji", b("/reference_wamid", x("😀", 200)), ok, ok),
        ("reference of 201 ç", l("/reference_wamid", x("ç", 201)), "/reference_wamid maxLength", "/reference_wamid maxLength"),

        // members that Wegly does not have
        ("footer", b("/footer", json!({"text": "Obrigado"})), ok, "/footer additionalProperties"),
        ("context", b("/context", json!({"message_id": "wamid.x"})), ok, "/context additionalProperties"),
        ("to", b("/to", json!("5511999999999")), ok, "/to additionalProperties"),
        ("Meta's type", b("/type", json!("interactive")), ok, "/type additionalProperties"),
        ("messaging_product and recipient_type", button().set("/messaging_product", json!("whatsapp")).set("/recipient_type", json!("individual")).0, ok,
            "/messaging_product additionalProperties, /recipient_type additionalProperties"),
        ("a whole message of Meta's", json!({"messaging_product": "whatsapp", "to": "1", "type": "interactive", "interactive": button().0}),
            " required,  required,  required",
            " required,  required,  required, /interactive additionalProperties, /messaging_product additionalProperties, /to additionalProperties, /type additionalProperties"),
        ("buttons at the top", button().set("/buttons", buttons(1)).set("/action", json!({})).0, ok, "/action required, /buttons additionalProperties"),
        ("an unknown member", b("/colour", json!("red")), ok, "/colour additionalProperties"),
        ("an unknown member of no name", b("/", json!(1)), ok, "/ additionalProperties"),
        ("a known member in capitals", b("/Header", json!({})), ok, "/Header additionalProperties"),
        ("the name of a prototype", b("/__proto__", json!({"interactive_type": "x"})), ok, "/__proto__ additionalProperties"),

        // several at once
        ("everything wrong with a button message", json!({"interactive_type": "button", "body": {"text": ""}, "action": {"buttons": [{"id": " ", "title": ""}, {"id": " ", "title": x("a", 21)}]}, "reference_wamid": x("a", 201), "footer": 1}),
            "/reference_wamid maxLength",
            "/action/buttons/0/id x-trimmed, /action/buttons/0/title minLength, /action/buttons/1/id x-trimmed, /action/buttons/1/id x-uniqueBy, /action/buttons/1/title maxLength, /body/text minLength, /footer additionalProperties, /reference_wamid maxLength"),
    ]
}
