//! Can it be seen what happens?

use std::path::PathBuf;

use super::Judge;
use crate::config::Path;

impl Judge<'_> {
    pub(super) fn audit(&mut self) -> Option<PathBuf> {
        let file = self.directory.join(self.config.audit.file.as_ref()?);
        let problem = match file.parent() {
            _ if file.is_dir() => "is a folder, and no file can have its name",
            Some(folder) if folder.is_dir() => return Some(file),
            Some(_) | None => "cannot be made: there is no such folder",
        };
        let message = format!("`{}` {problem}", file.display());
        self.mistakes
            .add(Path::new("audit").key("file"), message)
            .hint("write `/var/log/portaria/audit.jsonl`, and make the folder first");
        None
    }
}
