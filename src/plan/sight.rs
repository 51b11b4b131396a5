//! Can it be seen what happens?

use std::path::PathBuf;

use url::Url;

use super::{Judge, trust};
use crate::{config::Path, traces};

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

    pub(super) fn traces(&mut self) -> Option<traces::Settings> {
        let written = self.config.traces.as_ref()?;
        let at = Path::new("traces").key("endpoint");
        let url = Url::parse(&written.endpoint).ok().filter(|url| {
            let is_http = matches!(url.scheme(), "http" | "https");
            is_http && url.username().is_empty() && url.password().is_none()
        });
        let endpoint = url.as_ref().and_then(|url| url.as_str().parse().ok());
        let (Some(url), Some(endpoint)) = (url, endpoint) else {
            self.mistakes
                .add(at, "the endpoint is no URL that spans can be posted to")
                .hint("write `http://127.0.0.1:4318/v1/traces`, without a user or a password");
            return None;
        };
        let tls = trust::client_config(None, url.scheme() == "https");
        let tls = tls
            .map_err(|message| self.mistakes.add(at, message).hint("or write `http://`"))
            .ok()?;
        Some(traces::Settings {
            endpoint,
            tls,
            sample: written.sample,
        })
    }
}
