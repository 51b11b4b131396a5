//! Can it listen as written?

use std::{path::PathBuf, sync::Arc};

use ::http::uri::Authority;
use nix::unistd::{Group, User};

use super::Judge;
use crate::{
    config::{Address, Path, Source},
    server::{
        Access,
        tls::{Files, Tls},
    },
    telemetry,
};

/// More than any machine has processors for; each costs memory and descriptors.
const MAX_WORKERS: usize = 1024;

impl Judge<'_> {
    pub(super) fn server(&mut self) {
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
        if server
            .workers
            .is_some_and(|count| !(1..=MAX_WORKERS).contains(&count))
        {
            self.mistakes.add(
                at("workers"),
                format!("`workers` must be from 1 to {MAX_WORKERS}"),
            );
        }
        if !(1024..=256 * 1024).contains(&server.max_head.0) {
            self.mistakes.add(
                at("max_head"),
                "`max_head` must be from `1 KiB` to `256 KiB`",
            );
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
                    format!("`level` cannot be read: {error}"),
                )
                .hint(
                    "write `error`, `warn`, `info`, `debug`, or a list like `warn,portaria=debug`",
                );
        }
    }

    pub(super) fn tls(&mut self) -> Option<Arc<Tls>> {
        let server = &self.config.server;
        let written = server.tls.as_ref()?;
        let at = Path::new("server").key("tls");
        let is_unix = |address: &Address| matches!(address, Address::Unix(_));
        if server.listen.iter().all(is_unix) {
            self.mistakes.add(
                at.clone(),
                "`tls` is never used: unix sockets speak without it",
            );
        }
        let cert = self.pem(at.clone().key("cert"), &written.cert);
        let key = self.pem(at.clone().key("key"), &written.key);
        let client_ca = match &written.client_ca {
            None => Some(None),
            Some(source) => self.pem(at.clone().key("client_ca"), source).map(Some),
        };
        let files = Files {
            cert: cert?,
            key: key?,
            client_ca: client_ca?,
        };
        match Tls::load(&files, &self.kept) {
            Ok(tls) => Some(tls),
            Err(faults) => {
                for fault in faults {
                    self.mistakes
                        .add(at.clone().key(fault.field), fault.message);
                }
                None
            }
        }
    }

    pub(super) fn unix(&mut self) -> Access {
        let written = &self.config.server.unix;
        let at = |field: &str| Path::new("server").key("unix").key(field);
        if written.mode.0 & 0o222 == 0 {
            self.mistakes
                .add(at("mode"), "nobody could connect: nobody may write to it");
        }
        Access {
            mode: written.mode.0,
            owner: self.id(at("owner"), "user", written.owner.as_deref(), |name| {
                User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()))
            }),
            group: self.id(at("group"), "group", written.group.as_deref(), |name| {
                Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw()))
            }),
        }
    }

    /// The number of a user or a group.
    fn id(
        &mut self,
        at: Path,
        kind: &str,
        written: Option<&str>,
        look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
    ) -> Option<u32> {
        let written = written?;
        // The last number is none: to the system it means "leave it".
        if let Some(number) = written.parse().ok().filter(|number| *number != u32::MAX) {
            return Some(number);
        }
        match look_up(written) {
            Ok(Some(number)) => return Some(number),
            Ok(None) => self
                .mistakes
                .add(at, format!("there is no {kind} `{written}` here")),
            Err(error) => self.mistakes.add(
                at,
                format!("the {kind} `{written}` cannot be looked up: {error}"),
            ),
        };
        None
    }

    /// The path of a file that is watched.
    fn pem(&mut self, at: Path, source: &Source) -> Option<PathBuf> {
        match source {
            Source::File(path) => Some(self.directory.join(path)),
            Source::Env(_) => {
                self.mistakes
                    .add(at, "certificates and their keys are read from a file alone")
                    .hint("write `file:/path/to/the.pem`");
                None
            }
        }
    }
}
