//! Does Redis answer?
//!
//! All share one connection, with many questions on their way over it at once. One task,
//! [`Redis::keep`], opens it, asks something over it now and then, and opens another when it
//! is lost. Whoever else asks only uses what is there, and waits no longer than `timeout`.
//!
//! So Redis may be away, slow, full or restarted at any moment. A question that fails takes
//! the connection out of use; until the task has had an answer over it, everybody else is
//! told at once that Redis is [`Away`]. An outage costs a request `timeout`, and only those
//! requests that were asking when it began.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use ::redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, aio::MultiplexedConnection as Connection,
};
pub(crate) use ::redis::{Script, ScriptInvocation};
use prometheus_client::metrics::gauge::Gauge;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

/// How long a connection may take to be opened. Nobody waits for it.
const OPENING: Duration = Duration::from_secs(1);
/// How long after one attempt the next begins, at most: what was lost in one moment by many
/// gateways should not come back in one.
const PAUSE: Duration = Duration::from_millis(500);
/// How long nothing is asked of it before the task asks.
const QUIET: Duration = Duration::from_millis(500);
/// Questions that may wait to be written.
const WAITING: usize = 1024;

/// How Redis is reached.
#[derive(Clone)]
pub struct Settings {
    /// Its address and our name there.
    pub target: Target,
    /// How long a question may take.
    pub timeout: Duration,
    /// What TLS connections believe.
    pub tls: Arc<ClientConfig>,
    /// What happens while it is away, for the log.
    pub meanwhile: String,
}

/// See the [module](self). Clones are the same.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The connection, while it may be used.
    connection: watch::Sender<Option<Connection>>,
    /// There is reason to look whether Redis still answers.
    doubt: Notify,
    probe: Script,
}

/// Redis does not answer, or not in time, or not what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct Away;

impl Redis {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            connection: watch::Sender::default(),
            doubt: Notify::new(),
            // Whatever a question may need: scripts, and room for what they write.
            probe: Script::new("return redis.call('SET', KEYS[1], '', 'PX', 1)"),
        }))
    }

    /// Runs a script, by its hash; Redis gets its text when it does not know it.
    ///
    /// # Errors
    /// There was no good answer in time, or there is no hope for one.
    pub async fn ask<T: FromRedisValue>(&self, question: &ScriptInvocation<'_>) -> Result<T, Away> {
        let mut connection = self.0.connection.borrow().clone().ok_or(Away)?;
        let answer = question.invoke_async(&mut connection);
        match timeout(self.0.settings.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is_answer(&error) => {
                tracing::debug!(%error, "Redis answers with an error");
                self.0.doubt.notify_one();
                Err(Away)
            }
            Ok(Err(_lost)) => self.doubt(),
            Err(_elapsed) => self.doubt(),
        }
    }

    fn doubt<T>(&self) -> Result<T, Away> {
        self.0.connection.send_replace(None);
        self.0.doubt.notify_one();
        Err(Away)
    }

    /// Waits until it answers.
    pub async fn answers(&self) {
        let mut connection = self.0.connection.subscribe();
        // The sender is ours, so this ends with a connection.
        let _ = connection.wait_for(Option::is_some).await;
    }

    /// Keeps the connection, for ever. `is_up` says whether there is one.
    pub async fn keep(self, is_up: Gauge) {
        let mut was_up = None;
        let mut note = |error: Option<&RedisError>| {
            is_up.set(error.is_none().into());
            if was_up.replace(error.is_none()) == Some(error.is_none()) {
                return;
            }
            match error {
                None => tracing::info!("Redis answers"),
                Some(error) => {
                    let meanwhile = &self.0.settings.meanwhile;
                    tracing::warn!(%error, "Redis is away; until it is back, {meanwhile}");
                }
            }
        };
        loop {
            let error = self.hold_one(|| note(None)).await;
            self.0.connection.send_replace(None);
            note(Some(&error));
            sleep(random_part_of(PAUSE)).await;
        }
    }

    /// Holds one connection until it is lost, and says how that was.
    async fn hold_one(&self, answers: impl FnMut()) -> RedisError {
        let opened = match self.0.settings.target.protocol {
            Protocol::Unix(ref path) => self.log_in(UnixStream::connect(path)).await,
            Protocol::Tcp { ref host, port } => self.log_in(connect(host, port)).await,
            Protocol::Tls { ref host, port } => {
                let connector = TlsConnector::from(self.0.settings.tls.clone());
                let stream = async {
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    connector.connect(name, connect(host, port).await?).await
                };
                self.log_in(stream).await
            }
        };
        let (connection, driver) = match opened {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        tokio::select! {
            () = driver => io::Error::from(io::ErrorKind::ConnectionReset).into(),
            error = self.watch(connection, answers) => error,
        }
    }

    /// A connection, and what reads and writes it for as long as it is polled.
    async fn log_in<S>(
        &self,
        stream: impl Future<Output = io::Result<S>>,
    ) -> Result<(Connection, Driver), RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new()
            // We count the time ourselves.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING);
        let opened = timeout(OPENING, async {
            let login = &self.0.settings.target.login;
            Connection::new_with_config(login, stream.await?, config).await
        });
        let (connection, driver) = opened.await.map_err(|_elapsed| late())??;
        Ok((connection, Box::pin(driver)))
    }

    /// Puts a connection into use, again and again, as long as it answers.
    async fn watch(&self, connection: Connection, mut answers: impl FnMut()) -> RedisError {
        loop {
            let mut probed = connection.clone();
            let mut probe = self.0.probe.prepare_invoke();
            let answer = probe.key("portaria:probe").invoke_async(&mut probed);
            match timeout(self.0.settings.timeout, answer).await {
                Ok(Ok(())) => answers(),
                Ok(Err(error)) => return error,
                Err(_elapsed) => return late(),
            }
            self.0.connection.send_if_modified(|used| {
                let is_out_of_use = used.is_none();
                used.get_or_insert_with(|| connection.clone());
                is_out_of_use
            });
            let _ = timeout(QUIET, self.0.doubt.notified()).await;
        }
    }
}

type Driver = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether Redis said so. Then the connection is well, and the next question may be too.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

fn late() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()
}

/// At least a half of it.
fn random_part_of(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.settings).finish()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = self.timeout;
        f.debug_struct("Settings")
            .field("timeout", &timeout)
            .finish_non_exhaustive()
    }
}

/// Where Redis is, and who we are there. It holds the password.
#[derive(Clone)]
pub struct Target {
    protocol: Protocol,
    login: RedisConnectionInfo,
}

#[derive(Clone)]
enum Protocol {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Unix(PathBuf),
}

impl Target {
    /// Reads `redis://`, `rediss://` (TLS) and `redis+unix://`. None if it is no such URL.
    pub fn parse(url: &str) -> Option<Self> {
        // The library knows TLS only together with a TLS of its own.
        let (url, is_tls) = match url.split_once("://")? {
            // `#insecure` would switch off what makes TLS worth its name.
            (_, rest) if rest.contains('#') => return None,
            ("rediss", rest) => (format!("redis://{rest}"), true),
            ("redis" | "redis+unix", _) => (url.to_owned(), false),
            _ => return None,
        };
        let info = url.into_connection_info().ok()?;
        let protocol = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) if is_tls => Protocol::Tls { host, port },
            ConnectionAddr::Tcp(host, port) => Protocol::Tcp { host, port },
            ConnectionAddr::Unix(path) => Protocol::Unix(path),
            // Not without a TLS of the library's own.
            ConnectionAddr::TcpTls { .. } | _ => return None,
        };
        let login = info
            .redis_settings()
            .clone()
            .set_lib_name("portaria", env!("CARGO_PKG_VERSION"));
        Some(Self { protocol, login })
    }

    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.protocol, Protocol::Tls { .. })
    }
}
