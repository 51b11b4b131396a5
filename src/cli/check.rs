//! Would the gateway start, and as what?

use std::{
    collections::HashMap,
    io::{self, Write},
    time::SystemTime,
};

use clap::Args;
use humantime::format_rfc3339_seconds as date;

use super::{BAD, ConfigFile, Environment, Failure, GOOD, STRONG, compile, example, limit};
use crate::{
    config::{self, Browser, Config, Idempotent, Mode, Source},
    middleware::key::{self, Client},
    plan::Plan,
    problem::KeyFault,
    secret,
    server::{descriptors, memory},
};

/// Look for mistakes in a config
///
/// Does all that `serve` does before it listens: reads the config, compiles the schemas,
/// reads the secrets. Shows every mistake, or what would run.
#[derive(Debug, Args)]
#[command(after_help = example("portaria check --config /etc/portaria/portaria.toml"))]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(
        self,
        environment: &Environment,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let loaded = self.config.load(environment)?;
        let plan = compile(&loaded, environment)?;
        let file = self.config.find()?.display();
        writeln!(out, "{file}: {GOOD}no mistakes{GOOD:#}")?;
        let summary = Summary {
            config: &loaded.config,
            plan: &plan,
            now: SystemTime::now(),
        };
        Ok(summary.print(out)?)
    }
}

/// What would run: in the config's words, with the plan's verdicts.
struct Summary<'a> {
    config: &'a Config,
    plan: &'a Plan,
    now: SystemTime,
}

/// A name and what is to be said of it, a line each.
type Entry<'a> = (&'a str, Vec<String>);

impl Summary<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let config = self.config;
        let server = &config.server;
        let mut listen: Vec<_> = server.listen.iter().map(ToString::to_string).collect();
        if let Err(too_few) = descriptors::check(server.max_connections, server.max_in_flight) {
            listen.push(format!("{BAD}{too_few}{BAD:#}"));
        }
        if let Err(too_little) = memory::check(self.plan) {
            listen.push(format!("{BAD}{too_little}{BAD:#}"));
        }
        let upstream = vec![
            config.upstream.url.clone(),
            format!("{} with each credential", limit(config.limits.upstream)),
        ];
        let routes = config.routes();
        let sections: [(&str, Vec<Entry<'_>>); 4] = [
            (
                "listeners",
                [("server", listen)]
                    .into_iter()
                    .chain(self.tls())
                    .chain([("admin", vec![config.admin.listen.to_string()])])
                    .collect(),
            ),
            (
                "routes",
                routes
                    .iter()
                    .map(|written| route(written, &config.idempotency))
                    .collect(),
            ),
            (
                "upstream",
                [("api", upstream)]
                    .into_iter()
                    .chain(self.credentials())
                    .collect(),
            ),
            ("keys", self.keys().collect()),
        ];

        let names = sections.iter().flat_map(|(_, entries)| entries);
        let width = names.map(|(name, _)| name.len()).max().unwrap_or_default();
        for (heading, entries) in sections {
            writeln!(out, "\n{STRONG}{heading}{STRONG:#}")?;
            for (name, lines) in entries {
                let names = [name].into_iter().chain(std::iter::repeat(""));
                for (name, line) in names.zip(lines) {
                    writeln!(out, "  {name:<width$}  {line}")?;
                }
            }
        }
        Ok(())
    }

    fn tls(&self) -> Option<Entry<'_>> {
        let written = self.config.server.tls.as_ref()?;
        let mut lines = vec![
            format!("certificate from {}", written.cert),
            format!("key from {}", place(&written.key)),
        ];
        let end = self.plan.tls.as_ref().and_then(|tls| tls.expires_at());
        lines.extend(end.map(|end| self.end(end)));
        if let Some(authorities) = &written.client_ca {
            lines.push(format!("for clients with a certificate of {authorities}"));
        }
        Some(("tls", lines))
    }

    fn end(&self, end: SystemTime) -> String {
        match end <= self.now {
            true => format!("{BAD}expired at {}{BAD:#}", date(end)),
            false => format!("expires at {}", date(end)),
        }
    }

    fn credentials(&self) -> impl Iterator<Item = Entry<'_>> {
        self.config.credentials.iter().map(|(name, written)| {
            let mut lines = vec![format!("token from {}", place(&written.token))];
            if let Some(next) = &written.next_token {
                lines.push(format!("next token from {}", place(next)));
            }
            if let Some(origin) = &written.origin {
                lines.push(format!("origin {origin}"));
            }
            let mut compiled = self.plan.credentials.iter();
            let end = compiled
                .find(|compiled| *compiled.name == **name)
                .and_then(|compiled| compiled.expires_at());
            lines.extend(end.map(|end| self.end(end)));
            (&**name, lines)
        })
    }

    fn keys(&self) -> impl Iterator<Item = Entry<'_>> {
        let clients = self.plan.keys.clients();
        let by_name: HashMap<&str, &Client> =
            clients.map(|client| (&*client.name, &**client)).collect();
        let written = self.config.keys.iter();
        written.filter_map(move |key| Some(self.key(key, by_name.get(&*key.name)?)))
    }

    fn key<'a>(&self, written: &'a config::Key, client: &Client) -> Entry<'a> {
        let rate = match written.rate_limit {
            Some(rate) => limit(rate),
            None => "no rate limit".to_owned(),
        };
        let credential = &client.credential.name;
        let mut lines = vec![format!(
            "{}, {rate}, credential {credential}",
            self.state(client)
        )];
        if let Some(routes) = &written.routes {
            lines.push(format!("routes {}", routes.join(", ")));
        }
        match (&*written.allowed_domains, written.browser) {
            ([], Browser::Refuse) => lines.push("for servers, not for web pages".to_owned()),
            ([], Browser::Allow) => lines.push("for servers and any web page".to_owned()),
            (domains, _) => {
                let mode = only_reported(written.domain_mode);
                lines.push(format!("for pages of {}{mode}", domains.join(", ")));
            }
        }
        (&written.name, lines)
    }

    fn state(&self, client: &Client) -> String {
        let since =
            |time: Option<SystemTime>| time.map(|time| date(time).to_string()).unwrap_or_default();
        match key::is_valid(client, self.now) {
            Ok(()) if client.expires_at.is_some() => {
                format!("{GOOD}valid{GOOD:#} until {}", since(client.expires_at))
            }
            Ok(()) => format!("{GOOD}valid{GOOD:#}"),
            Err(KeyFault::Disabled | KeyFault::Unknown) => format!("{BAD}disabled{BAD:#}"),
            Err(KeyFault::Expired) => {
                format!("{BAD}expired{BAD:#} at {}", since(client.expires_at))
            }
            Err(KeyFault::NotYetValid) => {
                format!(
                    "{BAD}not yet valid{BAD:#}, from {}",
                    since(client.not_before)
                )
            }
        }
    }
}

fn route<'a>(route: &'a config::Route, kept: &config::Idempotency) -> Entry<'a> {
    let mode = only_reported(route.schema_mode);
    let mut lines = vec![
        format!("{} {}", route.method, route.path),
        format!(
            "schema {}{mode}, body up to {}",
            route.schema, route.max_body
        ),
    ];
    lines.extend(
        route
            .per_chat
            .map(|per_chat| format!("{} to one chat", limit(per_chat))),
    );
    let asked = match route.idempotency {
        Idempotent::Off => None,
        Idempotent::Optional => Some("optional"),
        Idempotent::Required => Some("required"),
    };
    lines.extend(asked.map(|asked| {
        let (ttl, store) = (kept.ttl, &kept.store);
        format!("Idempotency-Key {asked}, remembered for {ttl} ({store})")
    }));
    (&route.name, lines)
}

fn only_reported(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "",
        Mode::Report => " (reported, not refused)",
    }
}

/// Where a secret is.
fn place(source: &Source) -> String {
    if secret::is_world_readable(source) {
        format!("{source} {BAD}(everybody on this machine can read it){BAD:#}")
    } else {
        source.to_string()
    }
}
