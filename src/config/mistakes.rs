//! What is wrong with a config, and where?
//!
//! A [`Mistake`] names a [`Path`]; [`Mistakes`] knows where that path was written,
//! in the file or in an environment variable, and shows it as a compiler would.

use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::mask;

/// Where in the config: `keys[3].hash`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A field of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

impl Path {
    /// A field of the root table.
    pub fn new(key: impl Into<String>) -> Self {
        Self::root().key(key)
    }

    /// The root table itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A field below.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.push(Segment::Key(key.into()));
        self
    }

    /// An element below.
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    /// Its steps from the root on.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_last()?;
        Some(Self(parent.to_vec()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong. What looks like a secret in its words is masked.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Where.
    pub path: Path,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    point: Point,
}

impl Mistake {
    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(mask::words(&hint.into()));
    }

    /// Points at the name of the field, not at its value.
    pub fn at_key(&mut self) -> &mut Self {
        self.point = Point::Key;
        self
    }

    pub(super) fn at_bytes(&mut self, bytes: Range<usize>) -> &mut Self {
        self.point = Point::Bytes(bytes);
        self
    }

    pub(super) fn at_variable(&mut self, name: &str) -> &mut Self {
        self.point = Point::Variable(name.to_owned());
        self
    }
}

/// What the caret is put under.
#[derive(Clone, Debug)]
enum Point {
    Value,
    Key,
    Bytes(Range<usize>),
    Variable(String),
}

/// Everything that is wrong, not only the first thing.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    text: Arc<Text>,
    list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn within(text: Arc<Text>) -> Self {
        Self {
            text,
            list: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> Arc<Text> {
        self.text.clone()
    }

    pub(super) fn set_by_variable(&mut self, path: Path, name: String) {
        Arc::make_mut(&mut self.text).variables.insert(path, name);
    }

    /// Whether something is said of this path already.
    pub(super) fn know(&self, path: &Path) -> bool {
        self.list.iter().any(|mistake| mistake.path == *path)
    }

    /// Notes a mistake.
    #[expect(clippy::expect_used, reason = "it was pushed just now")]
    pub fn add(&mut self, path: Path, message: impl Into<String>) -> &mut Mistake {
        self.list.push(Mistake {
            path,
            message: mask::words(&message.into()),
            hint: None,
            point: Point::Value,
        });
        self.list.last_mut().expect("it was pushed just now")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All of them, in the order of the file; then those of the environment.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_cached_key(|mistake| self.text.place(mistake));
        list.into_iter()
    }

    /// Each with its line, a caret and its hint, as a compiler shows them.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let shown: Vec<_> = self
            .iter()
            .map(|mistake| self.text.show(mistake, &renderer))
            .collect();
        shown.join("\n\n")
    }

    /// Each in one line, for a log: `portaria.toml:12:3: unknown field …`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.iter().map(|mistake| self.text.line(mistake))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Mistakes {}

/// What was read, and where in it everything stands. No secret is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    name: String,
    masked: String,
    pub(super) spans: BTreeMap<Path, Span>,
    pub(super) variables: BTreeMap<Path, String>,
}

/// Where a value stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
    /// TOML's name for its type: `"integer"`, `"datetime"`, `"table"`.
    pub(super) kind: &'static str,
}

impl Span {
    pub(super) fn is_scalar(&self) -> bool {
        self.kind != "table" && self.kind != "array"
    }
}

/// Where a mistake is shown. The order is the order of showing.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    File,
    Bytes(usize, usize),
    Variable(String),
}

impl Text {
    /// `text` is masked; `spans` may be those of the text as it was, because a mask
    /// has the length of what it hides.
    pub(super) fn new(name: &str, text: &str, spans: BTreeMap<Path, Span>) -> Self {
        Self {
            name: name.to_owned(),
            masked: mask::file(text, &spans),
            spans,
            variables: BTreeMap::new(),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// Whether the file has a plain value there, neither a table nor an array.
    pub(super) fn is_scalar(&self, path: &Path) -> bool {
        self.spans.get(path).is_some_and(Span::is_scalar)
    }

    fn show(&self, mistake: &Mistake, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(&mistake.message);
        let group = Group::with_title(title);
        let group = match self.place(mistake) {
            Place::File => group.element(Origin::path(&self.name)),
            Place::Bytes(start, end) => group.element(
                Snippet::source(&self.masked)
                    .path(&self.name)
                    .annotation(AnnotationKind::Primary.span(start..end)),
            ),
            Place::Variable(name) => group.element(Origin::path(format!(
                "environment variable {}",
                mask::words(&name)
            ))),
        };
        let hint = mistake
            .hint
            .as_deref()
            .map(|hint| Level::HELP.message(hint));
        renderer.render(&[group.elements(hint)])
    }

    fn line(&self, mistake: &Mistake) -> String {
        let place = match self.place(mistake) {
            Place::File => self.name.clone(),
            Place::Bytes(start, _) => {
                let before = self.masked.get(..start).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                format!("{}:{line}:{column}", self.name)
            }
            Place::Variable(name) => mask::words(&name),
        };
        let message = &mistake.message;
        match &mistake.hint {
            Some(hint) => format!("{place}: {message} ({hint})"),
            None => format!("{place}: {message}"),
        }
    }

    fn place(&self, mistake: &Mistake) -> Place {
        let at_key = match &mistake.point {
            Point::Bytes(bytes) => return Place::Bytes(bytes.start, bytes.end),
            Point::Variable(name) => return Place::Variable(name.clone()),
            Point::Key => true,
            Point::Value => false,
        };
        if let Some(name) = self.variables.get(&mistake.path) {
            return Place::Variable(name.clone());
        }
        // What is missing is shown where it should be: in the nearest table around.
        let around = std::iter::successors(Some(mistake.path.clone()), Path::parent);
        for path in around {
            if let Some(span) = self.spans.get(&path) {
                let span = if at_key { &span.key } else { &span.value };
                return Place::Bytes(span.start, span.end);
            }
            if let Some(name) = self.variable_below(&path) {
                return Place::Variable(name.clone());
            }
        }
        Place::File
    }

    /// The variable that made a table, if it is not the root.
    fn variable_below(&self, table: &Path) -> Option<&String> {
        let mut variables = self.variables.iter();
        let (_, name) = variables.find(|(path, _)| path.0.starts_with(&table.0))?;
        (!table.0.is_empty()).then_some(name)
    }
}
