//! What is wrong with a config, and where?

/// Where in the config: `keys[3].hash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field of a table.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

impl Path {
    /// A field of the root table.
    pub fn new(key: impl Into<String>) -> Self {
        Self(vec![Segment::Key(key.into())])
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
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Where.
    pub path: Path,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Mistake {
    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// Everything that is wrong, not only the first thing.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("the config has {} mistakes", .list.len())]
pub struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    /// Notes a mistake.
    #[expect(clippy::expect_used, reason = "it was pushed just now")]
    pub fn add(&mut self, path: Path, message: impl Into<String>) -> &mut Mistake {
        self.list.push(Mistake {
            path,
            message: message.into(),
            hint: None,
        });
        self.list.last_mut().expect("it was pushed just now")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
