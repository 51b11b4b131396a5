//! Is the config right?
//!
//! Judges the [tree](crate::config) once, into what the steps work with. Whatever can be
//! wrong is found here, all of it at once; after that nothing about the config can fail.
//! This is the only module that sees both the tree and the types of the steps.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{
    Method,
    uri::{Authority, Scheme},
};

use crate::{
    config::{Address, Browser, Config, Limit, Loaded, LogFormat, Mistakes, Path, Source},
    gateway_key::KeyHash,
    limiter::{Bucket, Buckets},
    middleware::{
        body,
        cors::Cors,
        credential::{Credential, SentOrigin, Token},
        domain::{Domain, Origin, Rule},
        front::Front,
        key::{Client, Keys},
        limits::{CoolDown, PerChat},
        schema::Rules,
    },
    route::{ID, Route},
    schema::Schema,
    secret, telemetry, upstream,
};

mod trust;

/// A config that has been judged, ready to serve.
#[derive(Debug)]
pub struct Plan {
    /// Where applications connect.
    pub listen: Vec<Address>,
    /// Where operators look.
    pub admin: Address,
    /// How the log is written.
    pub log: (LogFormat, String),
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Requests that may be in flight at once.
    pub max_in_flight: usize,
    /// Until a head must be complete.
    pub head_timeout: Duration,
    /// How long a client may stop reading.
    pub write_timeout: Duration,
    /// Until a request must be answered.
    pub request_timeout: Duration,
    /// Until a stop cuts what still runs.
    pub drain_timeout: Duration,
    /// What the front needs to know.
    pub front: Arc<Front>,
    /// What preflights allow, where they are answered.
    pub cors: Option<Cors>,
    /// Who may call.
    pub keys: Arc<Keys>,
    /// What may be called.
    pub routes: Vec<RoutePlan>,
    /// With which tokens.
    pub credentials: Vec<Arc<Credential>>,
    /// Where messages go.
    pub upstream: upstream::Settings,
}

/// What the steps of one route need.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name, method and path.
    pub route: Arc<Route>,
    /// Who may call.
    pub keys: Arc<Keys>,
    /// What a body may be.
    pub body: Arc<body::Limits>,
    /// What a message must keep.
    pub rules: Arc<Rules>,
    /// Messages to one chat.
    pub per_chat: Option<Arc<PerChat>>,
}

/// What a plan takes from outside the config.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Looks up an environment variable that a secret is in.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The wall clock.
    pub now: fn() -> SystemTime,
}

impl Plan {
    /// Judges and compiles.
    ///
    /// # Errors
    /// All mistakes, each with its place.
    pub fn compile(loaded: &Loaded, surroundings: Surroundings<'_>) -> Result<Self, Mistakes> {
        let mut judge = Judge {
            config: &loaded.config,
            directory: loaded.directory().to_owned(),
            surroundings,
            mistakes: loaded.mistakes(),
        };
        let plan = judge.compile();
        match plan {
            Some(plan) if judge.mistakes.is_empty() => Ok(plan),
            Some(_) | None => Err(judge.mistakes),
        }
    }

    /// The buckets that need to be swept.
    pub fn per_chat(&self) -> Vec<Arc<PerChat>> {
        self.routes
            .iter()
            .filter_map(|plan| plan.per_chat.clone())
            .collect()
    }
}

/// Goes through the tree and notes what is wrong. Each part gives `None` where it
/// cannot be used; the others are judged all the same.
struct Judge<'a> {
    config: &'a Config,
    directory: PathBuf,
    surroundings: Surroundings<'a>,
    mistakes: Mistakes,
}

impl Judge<'_> {
    fn compile(&mut self) -> Option<Plan> {
        self.server();
        let upstream = self.upstream();
        let credentials = self.credentials();
        let routes = self.routes();
        let names: Vec<Arc<str>> = routes
            .iter()
            .map(|(route, ..)| route.name.clone())
            .collect();
        let by_hash = self.keys(&credentials, &names);
        let cors = self.cors(
            &by_hash,
            routes.iter().map(|(route, ..)| route.method.clone()),
        );
        let keys = Arc::new(Keys::new(by_hash, self.surroundings.now));
        let server = &self.config.server;
        let body_timeout = server.body_timeout.0;
        Some(Plan {
            listen: server.listen.clone(),
            admin: self.config.admin.listen.clone(),
            log: (self.config.log.format, self.config.log.level.clone()),
            max_connections: server.max_connections,
            max_in_flight: server.max_in_flight,
            head_timeout: server.head_timeout.0,
            write_timeout: server.write_timeout.0,
            request_timeout: server.request_timeout.0,
            drain_timeout: server.drain_timeout.0,
            front: Arc::new(Front {
                hosts: server.hosts.clone(),
                max_head: server.max_head.0,
            }),
            cors,
            routes: routes
                .into_iter()
                .map(|(route, rules, max_body, per_chat)| RoutePlan {
                    route: Arc::new(route),
                    keys: keys.clone(),
                    body: Arc::new(body::Limits {
                        max_body,
                        body_timeout,
                    }),
                    rules: Arc::new(rules),
                    per_chat: per_chat.map(|limit| Arc::new(Buckets::new(limit))),
                })
                .collect(),
            keys,
            credentials: credentials.into_values().collect(),
            upstream: upstream?,
        })
    }

    fn server(&mut self) {
        let server = &self.config.server;
        let at = |field: &str| Path::new("server").key(field);
        if server.listen.is_empty() {
            self.mistakes
                .add(at("listen"), "nobody could connect: there is no address");
        }
        for (index, address) in server.listen.iter().enumerate() {
            let is_port_0 = matches!(address, Address::Tcp(address) if address.port() == 0);
            let is_taken =
                server.listen[..index].contains(address) || *address == self.config.admin.listen;
            if is_taken && !is_port_0 {
                self.mistakes.add(
                    at("listen").index(index),
                    format!("`{address}` is listened on twice"),
                );
            }
        }
        for (field, number) in [
            ("max_connections", server.max_connections),
            ("max_in_flight", server.max_in_flight),
        ] {
            if number == 0 {
                self.mistakes
                    .add(at(field), "nobody could call: it must be at least 1");
            }
        }
        if !(1024..=256 * 1024).contains(&server.max_head.0) {
            self.mistakes
                .add(at("max_head"), "must be from `1 KiB` to `256 KiB`");
        }
        for (index, host) in server.hosts.iter().enumerate() {
            let is_name = host
                .parse::<Authority>()
                .is_ok_and(|name| name.host() == host);
            if !is_name {
                self.mistakes
                    .add(
                        at("hosts").index(index),
                        format!("`{host}` is no host name"),
                    )
                    .hint("write it without scheme, port and path: `gateway.example.com`");
            }
        }
        if let Err(error) = telemetry::parse_level(&self.config.log.level) {
            self.mistakes
                .add(
                    Path::new("log").key("level"),
                    format!("is no level: {error}"),
                )
                .hint(
                    "write `error`, `warn`, `info`, `debug`, or a list like `warn,portaria=debug`",
                );
        }
    }

    fn upstream(&mut self) -> Option<upstream::Settings> {
        let upstream = &self.config.upstream;
        let at = |field: &str| Path::new("upstream").key(field);
        let (scheme, authority) = match parse_upstream(&upstream.url, upstream.plaintext) {
            Ok(parts) => parts,
            Err((message, hint)) => {
                self.mistakes.add(at("url"), message).hint(hint);
                return None;
            }
        };
        if scheme == Scheme::HTTP && upstream.ca.is_some() {
            self.mistakes
                .add(at("ca"), "is never used: the upstream's url is `http://`");
        }
        if upstream.max_response.0 == 0 {
            self.mistakes.add(at("max_response"), "no answer would fit");
        }
        let ca = match &upstream.ca {
            None | Some(Source::Env(_)) => None,
            Some(Source::File(path)) => Some(self.directory.join(path)),
        };
        if let Some(Source::Env(_)) = upstream.ca {
            self.mistakes
                .add(at("ca"), "certificates are read from a file alone")
                .hint("write `file:/path/to/ca.pem`");
        }
        let tls = match trust::client_config(ca.as_deref(), scheme == Scheme::HTTPS) {
            Ok(tls) => tls,
            Err(message) => {
                self.mistakes.add(at("ca"), message);
                return None;
            }
        };
        Some(upstream::Settings {
            scheme,
            authority,
            http_version: upstream.http_version,
            tls,
            connect_timeout: upstream.connect_timeout.0,
            response_timeout: upstream.response_timeout.0,
            max_response: upstream.max_response.0,
            pool_idle_timeout: upstream.pool_idle_timeout.0,
        })
    }

    fn credentials(&mut self) -> BTreeMap<String, Arc<Credential>> {
        if self.config.credentials.is_empty() {
            self.mistakes
                .add(
                    Path::new("credentials"),
                    "nobody could call: there is no credential",
                )
                .hint("add `[credentials.main]` with `token = \"file:/run/secrets/wegly-token\"`");
        }
        let mut credentials = BTreeMap::new();
        for (name, written) in &self.config.credentials {
            let at = Path::new("credentials").key(name);
            self.check_name(at.clone(), name);
            let mut tokens = Vec::new();
            for (field, source) in [
                ("token", Some(&written.token)),
                ("next_token", written.next_token.as_ref()),
            ] {
                if let Some(source) = source {
                    tokens.extend(self.token(at.clone().key(field), source));
                }
            }
            let origin = match written.origin.as_deref() {
                None => SentOrigin::None,
                Some("forward") => SentOrigin::Forward,
                Some(origin) => match (Origin::parse(origin), origin.parse()) {
                    (Some(_), Ok(value)) => SentOrigin::Fixed(value),
                    _ => {
                        self.mistakes
                            .add(at.key("origin"), format!("`{origin}` is no origin as browsers send it"))
                            .hint("write `https://app.example.com`, without a path, in lower case, or `forward`");
                        SentOrigin::None
                    }
                },
            };
            // A credential with mistakes stays known, or every key that names it would seem wrong.
            credentials.insert(
                name.clone(),
                Arc::new(Credential {
                    name: name.as_str().into(),
                    tokens,
                    origin,
                    bucket: Bucket::new(self.config.limits.upstream),
                    cool_down: CoolDown::new(self.config.upstream.cool_down_cap.0),
                    accepted: Default::default(),
                }),
            );
        }
        credentials
    }

    fn token(&mut self, at: Path, source: &Source) -> Option<Token> {
        let source = match source {
            Source::File(path) => &Source::File(self.directory.join(path)),
            Source::Env(_) => source,
        };
        match secret::read(source, self.surroundings.environment) {
            Ok(token) => {
                let token = Token::new(token);
                if token.is_none() {
                    self.mistakes
                        .add(at, "what is there cannot stand in a header field");
                }
                token
            }
            Err(error) => {
                self.mistakes.add(at, error.to_string());
                None
            }
        }
    }

    fn routes(&mut self) -> Vec<(Route, Rules, usize, Option<Limit>)> {
        let built_in = [crate::config::Route::interactive()];
        let written = match &*self.config.routes {
            [] => &built_in[..],
            written => written,
        };
        let mut routes: Vec<(Route, Rules, usize, Option<Limit>)> = Vec::new();
        for (index, written) in written.iter().enumerate() {
            let at = Path::new("routes").index(index);
            self.check_name(at.clone().key("name"), &written.name);
            let method = self.method(at.clone().key("method"), &written.method);
            self.check_path(at.clone().key("path"), &written.path);
            if written.max_body.0 == 0 {
                self.mistakes
                    .add(at.clone().key("max_body"), "no message would fit");
            }
            if written.per_chat.is_some() && !written.path.contains(ID) {
                self.mistakes
                    .add(
                        at.clone().key("per_chat"),
                        "the path names no chat to count by",
                    )
                    .hint("put `{id}` into `path`, or leave `per_chat` out");
            }
            let schema = self.schema(at.clone().key("schema"), &written.schema);
            for (other, ..) in &routes {
                if *other.name == *written.name {
                    self.mistakes.add(
                        at.clone().key("name"),
                        format!("there are two routes `{}`", written.name),
                    );
                }
                if other.path == written.path && method.as_ref() == Some(&other.method) {
                    self.mistakes.add(
                        at.clone().key("path"),
                        format!("`{}` has this method and path already", other.name),
                    );
                }
            }
            if let (Some(method), Some(schema)) = (method, schema) {
                let route = Route {
                    name: written.name.as_str().into(),
                    method,
                    path: written.path.clone(),
                };
                let rules = Rules {
                    schema,
                    mode: written.schema_mode,
                };
                routes.push((route, rules, written.max_body.0, written.per_chat));
            }
        }
        routes
    }

    fn method(&mut self, at: Path, written: &str) -> Option<Method> {
        let method = Method::from_bytes(written.as_bytes()).ok();
        let carries_a_message = [Method::POST, Method::PUT, Method::PATCH];
        if method
            .as_ref()
            .is_some_and(|method| carries_a_message.contains(method))
        {
            return method;
        }
        self.mistakes
            .add(
                at,
                format!("`{written}` is no method that carries a message"),
            )
            .hint("write `POST`, `PUT` or `PATCH`");
        None
    }

    fn check_path(&mut self, at: Path, path: &str) {
        let rest = path.replacen(ID, "id", 1);
        let segments_are_plain = rest.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && segment
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
            })
        });
        let id_is_a_segment = path.split('/').any(|segment| segment == ID) || !path.contains(ID);
        if !segments_are_plain || !id_is_a_segment {
            self.mistakes
                .add(at, format!("`{path}` is no path of plain segments"))
                .hint("write it like `/integrations/external/chats/{id}/messages/interactive`, with `{id}` as one whole segment");
        }
    }

    fn schema(&mut self, at: Path, written: &str) -> Option<Schema> {
        let text = match Schema::built_in(written) {
            Some(text) => text.to_owned(),
            None => {
                let path = self.directory.join(written);
                match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        self.mistakes
                            .add(at, format!("`{written}` cannot be read: {error}"))
                            .hint("built in are `wegly` and `whatsapp`; anything else is the path of a JSON Schema file");
                        return None;
                    }
                }
            }
        };
        match Schema::compile(&text) {
            Ok(schema) => Some(schema),
            Err(mistakes) => {
                for mistake in mistakes {
                    self.mistakes.add(
                        at.clone(),
                        format!("`{written}` is no schema that can be used: {mistake}"),
                    );
                }
                None
            }
        }
    }

    fn keys(
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
        for (index, written) in self.config.keys.iter().enumerate() {
            let at = Path::new("keys").index(index);
            self.check_name(at.clone().key("name"), &written.name);
            if self.config.keys[..index]
                .iter()
                .any(|other| other.name == written.name)
            {
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
            let client = Arc::new(Client {
                name: written.name.as_str().into(),
                not_before: written.not_before.map(|time| time.0),
                expires_at: written.expires_at.map(|time| time.0),
                is_disabled: written.disabled,
                routes,
                domains,
                browser: written.browser,
                bucket: written.rate_limit.map(Bucket::new),
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

    fn hashes(&mut self, at: &Path, written: &crate::config::Key) -> Vec<(Path, KeyHash)> {
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
                        .add(at, "is no hash of a key")
                        .hint("write `sha256:` and 64 hexadecimal digits, as `portaria key hash` prints them");
                }
            }
        }
        hashes
    }

    fn credential_of(
        &mut self,
        at: &Path,
        written: &crate::config::Key,
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

    fn routes_of(
        &mut self,
        at: &Path,
        written: &crate::config::Key,
        routes: &[Arc<str>],
    ) -> Vec<Arc<str>> {
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

    fn domains_of(&mut self, at: &Path, written: &crate::config::Key) -> Option<Rule> {
        if written.allowed_domains.is_empty() {
            if written.domain_mode != Default::default() {
                self.mistakes.add(
                    at.clone().key("domain_mode"),
                    "is never looked at: there are no `allowed_domains`",
                );
            }
            return None;
        }
        if written.browser != Browser::Refuse {
            self.mistakes.add(
                at.clone().key("browser"),
                "is never looked at: the key has `allowed_domains`",
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

    fn cors(
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

    /// Names are labels of metrics, and parts of the names of environment variables.
    fn check_name(&mut self, at: Path, name: &str) {
        let is_plain = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if !is_plain {
            self.mistakes.add(
                at,
                format!("`{name}` is no name: 1 to 64 of `a`-`z`, `0`-`9`, `_` and `-`"),
            );
        } else if name == "none" {
            self.mistakes
                .add(at, "`none` stands for what is not known, in metrics");
        }
    }
}

/// Scheme and authority of the upstream, or what is wrong and what to do.
fn parse_upstream(
    written: &str,
    plaintext: bool,
) -> Result<(Scheme, Authority), (String, &'static str)> {
    const FORM: &str = "write scheme and host alone: `https://api.wegly.com.br`";
    let no_url = || (String::from("is no URL of an API"), FORM);
    let url = url::Url::parse(written).map_err(|_| no_url())?;
    let scheme = match url.scheme() {
        "https" => Scheme::HTTPS,
        "http" => Scheme::HTTP,
        _ => return Err(no_url()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("must not hold a user or a password".into(), FORM));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err((
            "must not have a path, a query or a fragment".into(),
            "paths belong to `[[routes]]`",
        ));
    }
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(no_url()),
    };
    if scheme == Scheme::HTTP && !is_loopback && !plaintext {
        return Err((
            "the token would cross the network unprotected".into(),
            "write `https://`, or set `plaintext = true` if the network is to be trusted with it",
        ));
    }
    let authority = url.authority().parse().map_err(|_| no_url())?;
    Ok((scheme, authority))
}

fn listing<'a>(words: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("{words} {}", names.join(", "))
}
