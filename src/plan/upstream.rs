//! Can messages go where they should, and with which tokens?

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use ::http::uri::{Authority, Scheme};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::{Judge, trust};
use crate::{
    config::{self, Path, Source},
    middleware::{
        credential::{Credential, SentOrigin, Token},
        domain::Origin,
    },
    secret,
    shared::Digest,
    upstream::Settings,
};

impl Judge<'_> {
    pub(super) fn upstream(&mut self) -> Option<Arc<Settings>> {
        let upstream = &self.config.upstream;
        let at = |field: &str| Path::new("upstream").key(field);
        let ca = self.ca(at("ca"), upstream.ca.as_ref());
        let (scheme, authority) = match parse_upstream(&upstream.url, upstream.plaintext) {
            Ok(parts) => parts,
            Err((message, hint)) => {
                self.mistakes.add(at("url"), message).hint(hint);
                return None;
            }
        };
        if scheme == Scheme::HTTP && ca.is_some() {
            self.mistakes.add(
                at("ca"),
                "`ca` is never used: the upstream's url is `http://`",
            );
        }
        let settings = self.kept.upstream(digest(upstream, ca.as_deref()), || {
            Ok(Settings {
                tls: trust::client_config(ca.as_deref(), scheme == Scheme::HTTPS)?,
                scheme,
                authority,
                http_version: upstream.http_version,
                connect_timeout: upstream.connect_timeout.0,
                response_timeout: upstream.response_timeout.0,
                max_response: upstream.max_response.0,
                pool_idle_timeout: upstream.pool_idle_timeout.0,
            })
        });
        settings
            .map_err(|message: String| self.mistakes.add(at("ca"), message))
            .ok()
    }

    /// The file of the authorities to trust, if not the system's.
    pub(super) fn ca(&mut self, at: Path, ca: Option<&Source>) -> Option<PathBuf> {
        match ca? {
            Source::File(path) => Some(self.directory.join(path)),
            Source::Env(_) => {
                self.mistakes
                    .add(at, "certificates are read from a file alone")
                    .hint("write `file:/path/to/ca.pem`");
                None
            }
        }
    }

    pub(super) fn credentials(&mut self) -> BTreeMap<String, Arc<Credential>> {
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
            let name: Arc<str> = name.as_str().into();
            let mut tokens = Vec::new();
            for (field, source) in [
                ("token", Some(&written.token)),
                ("next_token", written.next_token.as_ref()),
            ] {
                if let Some(source) = source {
                    tokens.extend(self.token(at.clone().key(field), &name, source));
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
            let (limit, cap) = (
                self.config.limits.upstream,
                self.config.upstream.cool_down_cap.0,
            );
            credentials.insert(
                name.to_string(),
                Arc::new(Credential {
                    bucket: self.kept.bucket_of_credential(&name, self.alone(limit)),
                    cool_down: self.kept.cool_down(&name, cap),
                    accepted: self.kept.accepted(&name),
                    name,
                    tokens,
                    origin,
                    limit,
                }),
            );
        }
        credentials
    }

    fn token(&mut self, at: Path, credential: &Arc<str>, source: &Source) -> Option<Token> {
        let source = match source {
            Source::File(path) => &Source::File(self.directory.join(path)),
            Source::Env(_) => source,
        };
        match secret::read(source, self.surroundings.environment) {
            Ok(token) => {
                let digest = Sha256::digest(token.expose_secret()).into();
                let token = Token::new(token, self.kept.generation(credential, digest));
                if token.is_none() {
                    self.mistakes.add(
                        at,
                        format!("what is in `{source}` cannot stand in a header field"),
                    );
                }
                token
            }
            Err(error) => {
                self.mistakes.add(at, format!("`{source}` {error}"));
                None
            }
        }
    }
}

/// The same for the same settings and the same authorities. The system's own are read once.
fn digest(upstream: &config::Upstream, ca: Option<&std::path::Path>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(format!("{upstream:?}"));
    hash.update(ca.and_then(|ca| fs::read(ca).ok()).unwrap_or_default());
    hash.finalize().into()
}

/// Scheme and authority of the upstream, or what is wrong and what to do.
fn parse_upstream(
    written: &str,
    plaintext: bool,
) -> Result<(Scheme, Authority), (String, &'static str)> {
    const FORM: &str = "write scheme and host alone: `https://api.wegly.com.br`";
    let no_url = || (String::from("the upstream's url is no URL of an API"), FORM);
    let url = url::Url::parse(written).map_err(|_| no_url())?;
    let scheme = match url.scheme() {
        "https" => Scheme::HTTPS,
        "http" => Scheme::HTTP,
        _ => return Err(no_url()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "the upstream's url must not hold a user or a password".into(),
            FORM,
        ));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err((
            "the upstream's url must not have a path, a query or a fragment".into(),
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
