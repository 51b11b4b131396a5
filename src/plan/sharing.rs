//! Can gateways share what they should, and count alone what they cannot?

use std::{num::NonZeroU32, sync::Arc};

use secrecy::ExposeSecret as _;

use super::{Judge, trust};
use crate::{
    config::{Limit, LimitStore, Limits, OnStoreFailure, Path, RecordStore, Source},
    redis::{Settings, Target},
    secret,
};

impl Judge<'_> {
    pub(super) fn redis(&mut self) -> Option<Settings> {
        let limits = &self.config.limits;
        let at = |field: &str| Path::new("limits").key(field);
        match (limits.store, limits.on_store_failure, limits.replicas) {
            (LimitStore::Redis, OnStoreFailure::Local, None) => {
                self.mistakes
                    .add(at("store"), "nobody knows what a gateway allows while Redis is away: a limit divided by how many?")
                    .hint("add `replicas = …`, the number of gateways, or `on_store_failure = \"refuse\"`");
            }
            (LimitStore::Local, OnStoreFailure::Refuse, _) => {
                self.mistakes.add(
                    at("on_store_failure"),
                    "`on_store_failure` is never looked at: the store is `local`",
                );
            }
            (LimitStore::Local, _, Some(_)) => {
                self.mistakes.add(
                    at("replicas"),
                    "`replicas` is never looked at: the store is `local`",
                );
            }
            (LimitStore::Redis, ..) | (LimitStore::Local, OnStoreFailure::Local, None) => {}
        }

        let redis = &self.config.redis;
        let at = |field: &str| Path::new("redis").key(field);
        let uses = [
            ("limits", "count", limits.store == LimitStore::Redis),
            ("idempotency", "remember", self.remembers_in_redis()),
        ];
        let uses: Vec<_> = uses.into_iter().filter(|(.., is_used)| *is_used).collect();
        if cfg!(not(feature = "redis")) && !uses.is_empty() {
            for (section, ..) in uses {
                self.mistakes
                    .add(
                        Path::new(section).key("store"),
                        "this Portaria was built without Redis",
                    )
                    .hint("take one that was built with the feature `redis`, as the packages are");
            }
            return None;
        }
        let Some(url) = &redis.url else {
            for (section, purpose, _) in uses {
                self.mistakes
                    .add(
                        Path::new(section).key("store"),
                        format!("there is no Redis to {purpose} in"),
                    )
                    .hint("add `[redis]` with `url = \"env:REDIS_URL\"`");
            }
            return None;
        };
        if uses.is_empty() {
            self.mistakes
                .add(
                    Path::new("redis"),
                    "Redis is never used: nothing is kept in it",
                )
                .hint("write `store = \"redis\"` in `[limits]` or `[idempotency]`, or leave `[redis]` out");
            return None;
        }
        let target = self.target(at("url"), url)?;
        let ca = self.ca(at("ca"), redis.ca.as_ref());
        if ca.is_some() && !target.is_tls() {
            self.mistakes.add(
                at("ca"),
                "`ca` is never used: Redis is not reached by `rediss://`",
            );
        }
        match trust::client_config(ca.as_deref(), target.is_tls()) {
            Ok(tls) => Some(Settings {
                target,
                timeout: redis.timeout.0,
                tls: Arc::new(tls),
                meanwhile: self.meanwhile(),
            }),
            Err(message) => {
                self.mistakes.add(at("ca"), message);
                None
            }
        }
    }

    fn target(&mut self, at: Path, source: &Source) -> Option<Target> {
        let source = match source {
            Source::File(path) => &Source::File(self.directory.join(path)),
            Source::Env(_) => source,
        };
        match secret::read(source, self.surroundings.environment) {
            Ok(url) => {
                let target = Target::parse(url.expose_secret());
                if target.is_none() {
                    self.mistakes
                        .add(at, format!("what is in `{source}` is no URL of a Redis"))
                        .hint("it reads `redis://host:6379/0`, `rediss://…` with TLS, or `redis+unix:///path`; user and password stand before the host");
                }
                target
            }
            Err(error) => {
                self.mistakes.add(at, format!("`{source}` {error}"));
                None
            }
        }
    }

    /// What one gateway allows when it counts alone.
    pub(super) fn alone(&self, limit: Limit) -> Limit {
        let counted = self.counted();
        match counted.store {
            LimitStore::Local => limit,
            LimitStore::Redis => limit.part_of(replicas(counted)),
        }
    }

    /// How limits are counted. Another store waits for a restart, and all that belongs to it.
    pub(super) fn counted(&self) -> &Limits {
        let started = &self.kept.started(self.config).limits;
        if started.store == self.config.limits.store {
            &self.config.limits
        } else {
            started
        }
    }

    /// What happens while Redis is away, for the log.
    fn meanwhile(&self) -> String {
        let limits = &self.config.limits;
        let mut meanwhile = Vec::new();
        match (limits.store, limits.on_store_failure) {
            (LimitStore::Local, _) => {}
            (LimitStore::Redis, OnStoreFailure::Local) => meanwhile.push(format!(
                "this gateway counts alone and allows one part in {} of each limit",
                replicas(limits)
            )),
            (LimitStore::Redis, OnStoreFailure::Refuse) => {
                meanwhile.push("what needs a limit is refused".to_owned());
            }
        }
        if self.remembers_in_redis() {
            meanwhile.push("messages with an Idempotency-Key are refused".to_owned());
        }
        meanwhile.join("; ")
    }

    fn remembers_in_redis(&self) -> bool {
        self.config.idempotency.store == RecordStore::Redis
    }
}

fn replicas(limits: &Limits) -> NonZeroU32 {
    limits.replicas.unwrap_or(NonZeroU32::MIN)
}
