//! Who may call, and from which pages?

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ::http::Method;

use super::Judge;
use crate::{
    config::{Browser, Key, Path},
    gateway_key::KeyHash,
    middleware::{
        cors::Cors,
        credential::Credential,
        domain::{Domain, Rule},
        key::Client,
    },
};

impl Judge<'_> {
    pub(super) fn keys(
        &mut self,
        credentials: &BTreeMap<String, Arc<Credential>>,
        routes: &[Arc<str>],
    ) -> HashMap<KeyHash, Arc<Client>> {
        if self.config.keys.is_empty() {
            self.mistakes
                .add(Path::new("keys"), "nobody could call: there is no key")
                .hint("`portaria key new --name NAME` makes one, with the lines to paste here");
        }
        let mut by_hash: HashMap<KeyHash, Arc<Client>> = HashMap::new();
        let mut names = HashSet::new();
        for (index, written) in self.config.keys.iter().enumerate() {
            let at = Path::new("keys").index(index);
            self.check_name(at.clone().key("name"), &written.name);
            if !names.insert(&written.name) {
                self.mistakes
                    .add(
                        at.clone().key("name"),
                        format!("there are two keys `{}`", written.name),
                    )
                    .hint("one application may have several `hashes`");
            }
            let hashes = self.hashes(&at, written);
            if let (Some(start), Some(end)) = (written.not_before, written.expires_at)
                && end <= start
            {
                self.mistakes.add(
                    at.clone().key("expires_at"),
                    "the key would never be valid: it expires before `not_before`",
                );
            }
            let credential = self.credential_of(&at, written, credentials);
            let routes = self.routes_of(&at, written, routes);
            let domains = self.domains_of(&at, written);
            let Some(credential) = credential else {
                continue;
            };
            let name: Arc<str> = written.name.as_str().into();
            let client = Arc::new(Client {
                bucket: written
                    .rate_limit
                    .map(|limit| self.kept.bucket_of_key(&name, self.alone(limit))),
                hashes: hashes
                    .iter()
                    .map(|(_, hash)| (*hash, self.kept.seen(&name, *hash)))
                    .collect(),
                name,
                not_before: written.not_before.map(|time| time.0),
                expires_at: written.expires_at.map(|time| time.0),
                is_disabled: written.disabled,
                routes,
                domains,
                browser: written.browser,
                limit: written.rate_limit,
                credential,
            });
            for (at, hash) in hashes {
                if let Some(other) = by_hash.insert(hash, client.clone()) {
                    self.mistakes
                        .add(at, format!("`{}` has this hash already", other.name));
                }
            }
        }
        by_hash
    }

    fn hashes(&mut self, at: &Path, written: &Key) -> Vec<(Path, KeyHash)> {
        let one = written
            .hash
            .iter()
            .map(|hash| (at.clone().key("hash"), hash));
        let several = written
            .hashes
            .iter()
            .enumerate()
            .map(|(index, hash)| (at.clone().key("hashes").index(index), hash));
        let all: Vec<(Path, &String)> = one.chain(several).collect();
        if all.is_empty() {
            self.mistakes
                .add(
                    at.clone(),
                    format!("`{}` has no `hash`, so nobody could use it", written.name),
                )
                .hint("`portaria key new` makes a key and prints its hash");
        }
        if written.hash.is_some() && !written.hashes.is_empty() {
            self.mistakes
                .add(at.clone().key("hashes"), "there is a `hash` as well")
                .hint("put all of them into `hashes`");
        }
        let mut hashes = Vec::new();
        for (at, text) in all {
            match text.parse() {
                Ok(hash) => hashes.push((at, hash)),
                // What stands there may be the key itself, so it is not shown.
                Err(_) => {
                    self.mistakes
                        .add(at, "this is no hash of a key")
                        .hint("write `sha256:` and 64 hexadecimal digits, as `portaria key hash` prints them");
                }
            }
        }
        hashes
    }

    fn credential_of(
        &mut self,
        at: &Path,
        written: &Key,
        credentials: &BTreeMap<String, Arc<Credential>>,
    ) -> Option<Arc<Credential>> {
        match &written.credential {
            Some(name) => {
                let found = credentials.get(name);
                if found.is_none() {
                    self.mistakes
                        .add(
                            at.clone().key("credential"),
                            format!("there is no credential `{name}`"),
                        )
                        .hint(listing("there are", credentials.keys().map(String::as_str)));
                }
                found.cloned()
            }
            None if credentials.len() == 1 => credentials.values().next().cloned(),
            // That there is none is a mistake of its own.
            None if credentials.is_empty() => None,
            None => {
                self.mistakes
                    .add(
                        at.clone(),
                        format!(
                            "`{}` does not say with which credential its messages go out",
                            written.name
                        ),
                    )
                    .hint(listing(
                        "add `credential = …`; there are",
                        credentials.keys().map(String::as_str),
                    ));
                None
            }
        }
    }

    fn routes_of(&mut self, at: &Path, written: &Key, routes: &[Arc<str>]) -> Vec<Arc<str>> {
        let Some(names) = &written.routes else {
            return routes.to_vec();
        };
        if names.is_empty() {
            self.mistakes
                .add(at.clone().key("routes"), "the key could call nothing")
                .hint("leave it out to allow all routes");
        }
        let mut allowed = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match routes.iter().find(|route| ***route == **name) {
                Some(route) => allowed.push(route.clone()),
                None => {
                    self.mistakes
                        .add(
                            at.clone().key("routes").index(index),
                            format!("there is no route `{name}`"),
                        )
                        .hint(listing("there are", routes.iter().map(|route| &**route)));
                }
            }
        }
        allowed
    }

    fn domains_of(&mut self, at: &Path, written: &Key) -> Option<Rule> {
        if written.allowed_domains.is_empty() {
            if written.domain_mode != Default::default() {
                self.mistakes.add(
                    at.clone().key("domain_mode"),
                    "`domain_mode` is never looked at: there are no `allowed_domains`",
                );
            }
            return None;
        }
        if written.browser != Browser::Refuse {
            self.mistakes.add(
                at.clone().key("browser"),
                "`browser` is never looked at: the key has `allowed_domains`",
            );
        }
        let mut domains = Vec::new();
        for (index, entry) in written.allowed_domains.iter().enumerate() {
            match Domain::parse(entry) {
                Ok(domain) => domains.push(domain),
                Err(what) => {
                    self.mistakes
                        .add(at.clone().key("allowed_domains").index(index), format!("`{entry}` {what}"))
                        .hint("write `app.example.com`, `https://app.example.com:8443` or `*.apps.example.com`");
                }
            }
        }
        Some(Rule {
            domains,
            mode: written.domain_mode,
        })
    }

    pub(super) fn cors(
        &mut self,
        clients: &HashMap<KeyHash, Arc<Client>>,
        methods: impl Iterator<Item = Method>,
    ) -> Option<Cors> {
        if !self.config.server.cors {
            return None;
        }
        let is_for_any_page = clients
            .values()
            .any(|client| client.domains.is_none() && client.browser == Browser::Allow);
        let domains: Vec<Domain> = clients
            .values()
            .filter_map(|client| client.domains.as_ref())
            .flat_map(|rule| rule.domains.iter().cloned())
            .collect();
        if domains.is_empty() && !is_for_any_page && !clients.is_empty() {
            self.mistakes
                .add(
                    Path::new("server").key("cors"),
                    "no key may be used from a page, so no preflight would pass",
                )
                .hint("give a key `allowed_domains`, or leave `cors` out");
        }
        Some(Cors {
            domains: (!is_for_any_page).then_some(domains),
            methods: methods.collect(),
        })
    }
}

fn listing<'a>(words: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    names.dedup();
    format!("{words} {}", names.join(", "))
}
