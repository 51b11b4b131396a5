//! What runs here?
//!
//! One document for an operator: nothing in it is secret. A key is known by the beginning of
//! its hash, a token by the order in which this process came to know it.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::{
    config::{self, Source},
    middleware::{
        credential::Credential,
        key::{self, Client},
    },
    plan::Plan,
    problem::KeyFault,
    reload::{Now, Report},
    shared::Shared,
};

/// `sha256:` and eight digits: they tell an operator's keys apart, and open nothing.
const SHOWN_OF_HASH: usize = 15;

/// The answer of `/status`, but for the listeners.
pub(super) fn document(current: &Now, shared: &Shared, now: SystemTime) -> Value {
    let plan = &*current.plan;
    let config = &plan.config;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": date(current.started),
        "uptime_seconds": seconds(current.started, now),
        "config": {
            "hash": plan.config.hash(),
            "since": date(current.since),
            "age_seconds": seconds(current.since, now),
            "waiting_for_restart": current.waiting,
        },
        "last_reload": current.last.as_ref().map(report),
        "tls": plan.tls.as_ref().map(|tls| json!({ "expires_at": tls.expires_at().map(date) })),
        "requests_in_flight": shared.room.in_flight(),
        "connections": shared.metrics.connections.get(),
        "limits": {
            "max_connections": plan.max_connections,
            "max_in_flight": plan.max_in_flight,
            "upstream": config.limits.upstream,
        },
        "upstream": { "url": config.upstream.url },
        "routes": config.routes(),
        "keys": keys(plan, now),
        "credentials": plan.credentials.iter().map(|it| credential(it, plan)).collect::<Value>(),
    })
}

/// What came of a reload.
pub(super) fn report(report: &Report) -> Value {
    let (result, what, list) = match &report.result {
        Ok(changed) => ("ok", "changed", changed),
        Err(mistakes) => ("failed", "mistakes", mistakes),
    };
    json!({
        "at": date(report.at),
        "trigger": report.trigger,
        "result": result,
        what: list,
    })
}

/// In the order in which they are written.
fn keys(plan: &Plan, now: SystemTime) -> Value {
    let clients: HashMap<&str, &Client> = plan
        .keys
        .clients()
        .map(|client| (&*client.name, &**client))
        .collect();
    let written = plan.config.keys.iter();
    written
        .filter_map(|written| Some(key(written, clients.get(&*written.name)?, now)))
        .collect()
}

fn key(written: &config::Key, client: &Client, now: SystemTime) -> Value {
    let state = match key::is_valid(client, now) {
        Ok(()) => "active",
        Err(KeyFault::NotYetValid) => "not yet valid",
        Err(KeyFault::Expired) => "expired",
        Err(KeyFault::Disabled | KeyFault::Unknown) => "disabled",
    };
    let hashes = client.hashes.iter().map(|(hash, seen)| {
        let hash = hash.to_string();
        json!({
            "hash": hash.get(..SHOWN_OF_HASH),
            "last_seen": seen.last().map(date),
        })
    });
    let last_seen = client.hashes.iter().filter_map(|(_, seen)| seen.last());
    json!({
        "name": &*client.name,
        "state": state,
        "not_before": client.not_before.map(date),
        "expires_at": client.expires_at.map(date),
        "last_seen": last_seen.max().map(date),
        "hashes": hashes.collect::<Value>(),
        "credential": &*client.credential.name,
        "routes": client.routes.iter().map(|route| &**route).collect::<Value>(),
        "allowed_domains": written.allowed_domains,
        "domain_mode": written.domain_mode,
        "rate_limit": written.rate_limit,
    })
}

fn credential(credential: &Credential, plan: &Plan) -> Value {
    let written = plan.config.credentials.get(&*credential.name);
    let sources = written.map(|written| [Some(&written.token), written.next_token.as_ref()]);
    let sources = sources.into_iter().flatten().flatten();
    let tokens = credential.tokens.iter().zip(sources).enumerate();
    let tokens = tokens.map(|(index, (token, source))| {
        json!({
            "from": Source::to_string(source),
            "generation": *token.generation,
            "in_use": index == credential.in_use(),
            "expires_at": token.expires_at.map(date),
        })
    });
    json!({
        "name": &*credential.name,
        "expires_at": credential.expires_at().map(date),
        "tokens": tokens.collect::<Value>(),
        "cooling_down_seconds": credential.cool_down.remaining().map(|rest| rest.as_secs_f64()),
    })
}

fn date(time: SystemTime) -> String {
    format_rfc3339_seconds(time).to_string()
}

fn seconds(since: SystemTime, now: SystemTime) -> u64 {
    now.duration_since(since)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
