//! From where is the config read?

use std::path::Path;

use crate::config::{Config, Mistakes};

/// A config as it was read, with what is needed to point at a place in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was written.
    pub config: Config,
}

impl Loaded {
    /// An empty list of mistakes that knows this config's text.
    pub fn mistakes(&self) -> Mistakes {
        Mistakes::default()
    }
}

/// Reads the file, then the environment.
pub fn load(
    _file: &Path,
    _environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Mistakes> {
    Err(Mistakes::default())
}

/// The JSON Schema (2020-12) of the config file.
pub fn json_schema() -> serde_json::Value {
    serde_json::Value::Null
}
