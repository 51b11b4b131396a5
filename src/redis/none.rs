//! Where would Redis be, if this were built without it?
//!
//! Nowhere: a config that asks for one is refused. So that nothing else has to know, here are
//! the types of `redis.rs`, of which there can be no value.

use std::{convert::Infallible, marker::PhantomData, sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use rustls::ClientConfig;

/// How Redis would be reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address.
    pub target: Target,
    /// How long a question may take.
    pub timeout: Duration,
    /// What TLS connections believe.
    pub tls: Arc<ClientConfig>,
    /// What happens while it is away, for the log.
    pub meanwhile: String,
}

/// There is none.
#[derive(Clone, Debug)]
pub struct Redis(Infallible);

/// There is none.
#[derive(Clone, Debug)]
pub struct Target(Infallible);

/// Redis does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct Away;

/// A script that nobody runs.
#[derive(Debug)]
pub(crate) struct Script;

/// A question that nobody answers.
pub(crate) struct ScriptInvocation<'s>(PhantomData<&'s Script>);

impl Redis {
    /// Never.
    pub fn new(settings: Settings) -> Self {
        match settings.target.0 {}
    }

    /// Never.
    pub(crate) async fn ask<T>(&self, _question: &ScriptInvocation<'_>) -> Result<T, Away> {
        match self.0 {}
    }

    /// Never.
    pub async fn answers(&self) {
        match self.0 {}
    }

    /// Never.
    pub async fn keep(self, _is_up: Gauge) {
        match self.0 {}
    }
}

impl Target {
    /// No URL is one of a Redis.
    pub fn parse(_url: &str) -> Option<Self> {
        None
    }

    /// Never.
    pub fn is_tls(&self) -> bool {
        match self.0 {}
    }
}

impl Script {
    pub(crate) fn new(_text: &str) -> Self {
        Self
    }

    pub(crate) fn prepare_invoke(&self) -> ScriptInvocation<'_> {
        ScriptInvocation(PhantomData)
    }
}

impl ScriptInvocation<'_> {
    pub(crate) fn key<T>(&mut self, _key: T) -> &mut Self {
        self
    }

    pub(crate) fn arg<T>(&mut self, _argument: T) -> &mut Self {
        self
    }
}
