//! How is a message kept?
//!
//! As its text, and a flat list of what stands in it: an object is followed by its
//! members, name and value, an array by its items. A string is a range of the text, or,
//! where it was written with escapes, of what they stand for. So a message costs two or
//! three allocations, whatever its size, and a schema reads it where it lies: to
//! jsonschema this is one more representation of JSON ([`Flat`]).

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use bytestring::ByteString;
use jsonschema::{
    JsonType,
    json::{self, Array, Json, NodeIdentity, Object},
};
use serde_json::{Map, Number, Value};

/// A strict JSON text and what stands in it.
#[derive(Clone, PartialEq)]
pub struct Document {
    text: ByteString,
    found: Found,
}

/// What stands in a text.
#[derive(Clone, PartialEq)]
pub(super) struct Found {
    nodes: Vec<Node>,
    /// What escapes stand for, one string after the other.
    unescaped: String,
}

/// One value, or the name of a member.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    /// Where in the text.
    Text {
        from: usize,
        to: usize,
    },
    /// Where in what escapes stand for.
    Unescaped {
        from: usize,
        to: usize,
    },
    /// So many items; what follows the array is at `end`.
    Array {
        count: usize,
        end: usize,
    },
    /// So many members, likewise.
    Object {
        count: usize,
        end: usize,
    },
}

impl Found {
    pub(super) fn of(self, text: ByteString) -> Document {
        Document { text, found: self }
    }

    fn text<'a>(&'a self, text: &'a str, index: usize) -> Option<&'a str> {
        match self.nodes[index] {
            Node::Text { from, to } => Some(&text[from..to]),
            Node::Unescaped { from, to } => Some(&self.unescaped[from..to]),
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Array { .. }
            | Node::Object { .. } => None,
        }
    }

    /// Without a look at where characters begin.
    fn bytes<'a>(&'a self, text: &'a str, index: usize) -> &'a [u8] {
        match self.nodes[index] {
            Node::Text { from, to } => &text.as_bytes()[from..to],
            Node::Unescaped { from, to } => &self.unescaped.as_bytes()[from..to],
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Array { .. }
            | Node::Object { .. } => &[],
        }
    }

    /// Where the value at `index` ends.
    fn end(&self, index: usize) -> usize {
        match self.nodes[index] {
            Node::Array { end, .. } | Node::Object { end, .. } => end,
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Text { .. }
            | Node::Unescaped { .. } => index + 1,
        }
    }
}

/// Writes down what a parser finds.
pub(super) struct Builder<'t> {
    text: &'t str,
    found: Found,
}

impl<'t> Builder<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Found {
                // Most messages have fewer, and none has many more.
                nodes: Vec::with_capacity(8 + text.len() / 16),
                unescaped: String::new(),
            },
        }
    }

    pub(super) fn finish(self) -> Found {
        self.found
    }

    pub(super) fn add(&mut self, node: Node) {
        self.found.nodes.push(node);
    }

    /// A string that is a piece of the text.
    pub(super) fn add_borrowed(&mut self, piece: &'t str) {
        let from = piece.as_ptr().addr() - self.text.as_ptr().addr();
        let to = from + piece.len();
        self.add(Node::Text { from, to });
    }

    /// A string whose escapes have been replaced.
    pub(super) fn add_unescaped(&mut self, string: &str) {
        let from = self.begin_unescaped();
        self.unescaped().push_str(string);
        self.end_unescaped(from);
    }

    /// A string with escapes begins; what they stand for is put into
    /// [`unescaped`](Self::unescaped).
    pub(super) fn begin_unescaped(&mut self) -> usize {
        if self.found.unescaped.is_empty() {
            // Mostly room for them all: no text grows by losing its escapes.
            self.found.unescaped.reserve(self.text.len() / 4);
        }
        self.found.unescaped.len()
    }

    pub(super) fn unescaped(&mut self) -> &mut String {
        &mut self.found.unescaped
    }

    pub(super) fn end_unescaped(&mut self, from: usize) {
        let to = self.found.unescaped.len();
        self.add(Node::Unescaped { from, to });
    }

    /// An array or object begins; it is named when it is closed.
    pub(super) fn open(&mut self) -> usize {
        self.add(Node::Null);
        self.found.nodes.len() - 1
    }

    pub(super) fn close_array(&mut self, index: usize, count: usize) {
        let end = self.found.nodes.len();
        self.found.nodes[index] = Node::Array { count, end };
    }

    pub(super) fn close_object(&mut self, index: usize, count: usize) {
        let end = self.found.nodes.len();
        self.found.nodes[index] = Node::Object { count, end };
    }

    /// The names of the first `count` members of an object that is still open.
    fn open_names(&self, object: usize, count: usize) -> impl Iterator<Item = &str> {
        let mut index = object + 1;
        (0..count).filter_map(move |_| {
            let name = self.found.text(self.text, index);
            index = self.found.end(index + 1);
            name
        })
    }

    pub(super) fn has_member(&self, object: usize, count: usize, name: &str) -> bool {
        self.open_names(object, count).any(|other| other == name)
    }

    /// The string that was added last.
    pub(super) fn last_name(&self) -> &[u8] {
        let last = self.found.nodes.len().checked_sub(1);
        last.map_or(&[], |index| self.found.bytes(self.text, index))
    }

    pub(super) fn names(&self, object: usize, count: usize) -> impl Iterator<Item = Cow<'t, str>> {
        self.open_names(object, count)
            .map(|name| Cow::Owned(name.to_owned()))
    }
}

impl Document {
    /// As it came.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The outermost value.
    pub fn root(&self) -> Item<'_> {
        Item {
            document: self,
            index: 0,
        }
    }

    /// One string.
    fn string(string: &str) -> Self {
        Self {
            text: string.into(),
            found: Found {
                nodes: vec![Node::Text {
                    from: 0,
                    to: string.len(),
                }],
                unescaped: String::new(),
            },
        }
    }
}

/// Nothing of a message.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").finish_non_exhaustive()
    }
}

/// A value of a document.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    document: &'a Document,
    index: usize,
}

impl<'a> Item<'a> {
    fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }

    fn node(self) -> &'a Node {
        &self.document.found.nodes[self.index]
    }

    /// Its string, if it is one.
    pub fn text(self) -> Option<&'a str> {
        self.document.found.text(&self.document.text, self.index)
    }

    /// Its items; none if it is no array.
    pub fn items(self) -> Items<'a> {
        let left = match self.node() {
            Node::Array { count, .. } => *count,
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Text { .. }
            | Node::Unescaped { .. }
            | Node::Object { .. } => 0,
        };
        Items {
            next: self.at(self.index + 1),
            left,
        }
    }

    /// Its members; none if it is no object.
    pub fn members(self) -> Members<'a> {
        let left = match self.node() {
            Node::Object { count, .. } => *count,
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Text { .. }
            | Node::Unescaped { .. }
            | Node::Array { .. } => 0,
        };
        Members {
            next: self.at(self.index + 1),
            left,
        }
    }

    /// Its member of this name.
    pub fn get(self, name: &str) -> Option<Self> {
        let Document { text, found } = self.document;
        let mut members = self.members();
        while let Some((at, value)) = members.next_at() {
            if found.bytes(text, at.index) == name.as_bytes() {
                return Some(value);
            }
        }
        None
    }

    /// A tree of its own.
    pub fn to_value(self) -> Value {
        match self.node() {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => Value::Number(number.clone()),
            Node::Text { .. } | Node::Unescaped { .. } => self.text().into(),
            Node::Array { .. } => self.items().map(Self::to_value).collect(),
            Node::Object { .. } => self
                .members()
                .map(|(name, value)| (name.to_owned(), value.to_value()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

/// The items of an array.
#[derive(Debug)]
pub struct Items<'a> {
    next: Item<'a>,
    left: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        let item = self.next;
        self.next = item.at(item.document.found.end(item.index));
        Some(item)
    }
}

/// The members of an object, in the order of the text.
#[derive(Debug)]
pub struct Members<'a> {
    next: Item<'a>,
    left: usize,
}

impl<'a> Members<'a> {
    /// The next name, and its value.
    fn next_at(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let (name, value) = (self.next, self.next.at(self.next.index + 1));
        self.next = value.at(value.document.found.end(value.index));
        Some((name, value))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Item<'a>);

    fn next(&mut self) -> Option<(&'a str, Item<'a>)> {
        let (name, value) = self.next_at()?;
        Some((name.text().unwrap_or_default(), value))
    }
}

/// A [`Document`], as jsonschema sees it.
#[derive(Debug)]
pub enum Flat {}

impl Json for Flat {
    type Node<'a> = Item<'a>;
    type PreparedKey = String;
    type StringBuffer = ();

    /// A look-up compares names one by one, so going through all costs as much.
    const KEYS_PER_LOOKUP: usize = 1;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Item<'_>) -> T) -> T {
        f(Document::string(string).root())
    }
}

impl<'a> json::Node<'a, Flat> for Item<'a> {
    type Object = Self;
    type Array = Self;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Self> {
        matches!(self.node(), Node::Object { .. }).then_some(*self)
    }

    fn as_array(&self) -> Option<Self> {
        matches!(self.node(), Node::Array { .. }).then_some(*self)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.text().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        match self.node() {
            Node::Number(number) => Some(number),
            Node::Null
            | Node::Bool(_)
            | Node::Text { .. }
            | Node::Unescaped { .. }
            | Node::Array { .. }
            | Node::Object { .. } => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            Node::Null
            | Node::Number(_)
            | Node::Text { .. }
            | Node::Unescaped { .. }
            | Node::Array { .. }
            | Node::Object { .. } => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.node(), Node::Null)
    }

    fn json_type(&self) -> JsonType {
        match self.node() {
            Node::Null => JsonType::Null,
            Node::Bool(_) => JsonType::Boolean,
            Node::Number(_) => JsonType::Number,
            Node::Text { .. } | Node::Unescaped { .. } => JsonType::String,
            Node::Array { .. } => JsonType::Array,
            Node::Object { .. } => JsonType::Object,
        }
    }

    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let text = self.text()?;
        // A character is one to four bytes long: mostly that is all one has to know.
        let most = text.len() as u64;
        let least = most.div_ceil(4);
        if most < min || max < least {
            return Some(false);
        }
        if min <= least && most <= max {
            return Some(true);
        }
        Some((min..=max).contains(&(text.chars().count() as u64)))
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.text(), expected.as_str()) {
            (Some(text), Some(expected)) => text == expected,
            (None, None) => json::cmp::equal(&self.to_value(), expected),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Item::to_value(*self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.node()).addr()))
    }
}

impl<'a> Object<'a, Flat> for Item<'a> {
    type Node = Self;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        Item::members(*self).left
    }

    fn get(&self, name: &String) -> Option<Self> {
        Item::get(*self, name)
    }

    fn members(&self) -> Members<'a> {
        Item::members(*self)
    }
}

impl<'a> Array<'a, Flat> for Item<'a> {
    type Node = Self;
    type ElementsIter = Items<'a>;

    fn len(&self) -> usize {
        self.items().left
    }

    fn elements(&self) -> Items<'a> {
        self.items()
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::json::conformance;

    use super::*;

    #[test]
    fn it_is_what_jsonschema_takes_for_json() {
        let text = conformance::document().to_string();
        let document = Document::parse(text.into()).unwrap();

        conformance::assert_conformance::<Flat>(&document.root());
    }

    #[test]
    fn its_strings_are_what_their_escapes_stand_for() {
        let text = r#"{"\u0061\n":["\ud83d\ude00","é",""],"b":{"c":"\"","d":[]}}"#;
        let document = Document::parse(Bytes::from_static(text.as_bytes())).unwrap();

        assert_eq!(
            document.root().to_value(),
            serde_json::json!({"a\n": ["😀", "é", ""], "b": {"c": "\"", "d": []}})
        );
        assert_eq!(document.bytes(), text);
    }

    #[test]
    fn it_does_not_print_itself() {
        let document = Document::parse(Bytes::from_static(b"[\"canary\"]")).unwrap();

        assert!(!format!("{document:?} {:?}", document.root()).contains("canary"));
    }
}
