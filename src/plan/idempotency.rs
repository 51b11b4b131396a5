//! What is remembered, where, and for how long?

use std::{path::Path as File, time::Duration};

use super::Judge;
use crate::{
    config::{Idempotent, Path, RecordStore},
    middleware::idempotency::Rule,
    records::Terms,
};

/// A request has ended when its time is over, but for the last words about it.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl Judge<'_> {
    pub(super) fn idempotency(&mut self) -> (RecordStore, Terms) {
        let written = &self.config.idempotency;
        let at = |field: &str| Path::new("idempotency").key(field);
        let lease = self.config.server.request_timeout.0 + LAST_WORDS;
        if written.ttl.0 <= lease {
            self.mistakes
                .add(
                    at("ttl"),
                    "a message would be forgotten while it is on its way",
                )
                .hint("it must be longer than `request_timeout` by more than 10 s");
        }
        if written.max_entries == 0 {
            self.mistakes.add(
                at("max_entries"),
                "nothing could be remembered: it must be at least 1",
            );
        }
        let store = match &written.store {
            RecordStore::Local => RecordStore::Local,
            RecordStore::Redis => RecordStore::Redis,
            RecordStore::File(path) => {
                if cfg!(not(feature = "file")) {
                    self.mistakes
                        .add(
                            at("store"),
                            "this Portaria was built without records in files",
                        )
                        .hint(
                            "take one that was built with the feature `file`, as the packages are",
                        );
                }
                let path = self.directory.join(path);
                let folder = path.parent().filter(|folder| **folder != *File::new(""));
                if path.is_dir() {
                    self.mistakes
                        .add(at("store"), format!("`{}` is a folder", written.store))
                        .hint("write the path of a file; it is made when it is not there");
                } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    self.mistakes.add(
                        at("store"),
                        format!("there is no folder `{}`", folder.display()),
                    );
                }
                RecordStore::File(path)
            }
        };
        let terms = Terms {
            ttl: written.ttl.0,
            lease,
            max_entries: written.max_entries,
            max_bytes: written.max_bytes.0,
        };
        (store, terms)
    }
}

/// What a route asks of the names of messages.
pub(super) fn rule(written: Idempotent, terms: Terms) -> Option<Rule> {
    let is_required = match written {
        Idempotent::Off => return None,
        Idempotent::Optional => false,
        Idempotent::Required => true,
    };
    Some(Rule { is_required, terms })
}
