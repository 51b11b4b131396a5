//! What do gateways share?
//!
//! A real Redis of its own for a test, on a unix socket or, with TLS, on a free port. It can
//! be killed, restarted and paused.

use std::{
    io::{BufRead, BufReader, ErrorKind},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use portaria::{
    metrics::Metrics,
    records::{Shared, Store},
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinSet};

use super::{Certificate, Home, Setting, binary::send_signal, plan, within};

/// A running Redis. Dropped, it is gone.
pub struct Redis {
    home: TempDir,
    arguments: Vec<String>,
    /// The `env:` or `file:` that a config has for its URL.
    source: String,
    /// There unless it was killed.
    child: Option<Child>,
}

impl Redis {
    /// Starts one on a unix socket.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with these arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        let url = format!("redis+unix://{}", home.path().join("socket").display());
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        let mut redis = Self::new(home, &url, arguments.collect());
        redis.restart().await;
        redis
    }

    /// Starts one that answers on TCP by TLS alone, and knows one user.
    pub async fn start_with_tls(certificate: &Certificate, user: &str, password: &str) -> Self {
        let home = TempDir::new().unwrap();
        let write = |name: &str, pem: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        };
        let (cert, key) = (
            write("cert.pem", &certificate.cert),
            write("key.pem", &certificate.key),
        );
        // Free now. Should somebody else take it meanwhile, the start says so.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let arguments = [
            &format!("--tls-port {port} --bind 127.0.0.1 --tls-auth-clients no") as &str,
            &format!("--tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {cert}"),
            // What the README asks for.
            &format!("--user {user} on >{password} ~portaria:* resetchannels -@all"),
            "+get +set +del +pttl +time +eval +evalsha +script|load +hello +select",
            "--user default off",
        ]
        .join(" ");
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let password = password.replace('@', "%40");
        let url = format!("rediss://{user}:{password}@127.0.0.1:{port}");
        let mut redis = Self::new(home, &url, arguments);
        redis.restart().await;
        redis
    }

    fn new(home: TempDir, url: &str, arguments: Vec<String>) -> Self {
        let path = home.path().join("url");
        std::fs::write(&path, url).unwrap();
        Self {
            source: format!("file:{}", path.display()),
            home,
            arguments,
            child: None,
        }
    }

    /// The settings of one of so many gateways that share limits in it.
    pub fn settings<'a>(&'a self, replicas: &'a str) -> Vec<Setting<'a>> {
        vec![
            ("LIMITS__STORE", "redis"),
            ("LIMITS__REPLICAS", replicas),
            ("REDIS__URL", &self.source),
        ]
    }

    /// A store of records in it, and what keeps its connection.
    pub async fn store(&self) -> (Arc<dyn Store>, JoinSet<()>) {
        let home = Home::new("http://127.0.0.1:1");
        let settings = [("REDIS__TIMEOUT", "5s"), ("IDEMPOTENCY__STORE", "redis")];
        let plan = plan(&home, [&self.settings("1")[..], &settings].concat());
        let redis = portaria::redis::Redis::new(plan.redis.unwrap());
        let mut keeper = JoinSet::new();
        let is_up = Metrics::default().limit_store_up.clone();
        keeper.spawn(redis.clone().keep(is_up));
        within("an answer of Redis", redis.answers()).await;
        (Arc::new(Shared::new(redis)), keeper)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// What it answers to a command.
    pub fn command(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.arg("-s").arg(self.socket()).args(words).output();
        let output = output.unwrap_or_else(|error| missing("redis-cli", &error));
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// Ends it, at once and with all that it knew.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again, with nothing in it.
    pub async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.home.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| missing("redis-server", &error));
        let output = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let (told, ready) = oneshot::channel();
        // It reads on until the end: Redis must not wait to be read.
        std::thread::spawn(move || {
            let mut told = Some(told);
            let mut said = String::new();
            for line in output.lines().map_while(Result::ok) {
                said = format!("{said}\n{line}");
                if line.contains("eady to accept connections")
                    && let Some(told) = told.take()
                {
                    let _ = told.send(Ok(()));
                }
            }
            if let Some(told) = told {
                let _ = told.send(Err(said));
            }
        });
        let ready = within("Redis to be ready", ready).await.unwrap();
        ready.unwrap_or_else(|said| panic!("Redis does not start:{said}"));
    }

    /// Lets it neither read nor answer, without closing a connection.
    pub fn pause(&self) {
        send_signal(self.child.as_ref().unwrap().id(), "STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        send_signal(self.child.as_ref().unwrap().id(), "CONT");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    assert_ne!(
        error.kind(),
        ErrorKind::NotFound,
        "{program} is missing. On Debian: apt-get install --no-install-recommends redis-server"
    );
    panic!("{program} does not start: {error}")
}
