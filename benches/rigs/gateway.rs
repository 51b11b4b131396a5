//! What does the process cost?
//!
//! The real binary, as an operator would run it; its log goes through a pipe, and is
//! counted, not kept.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    support::{self, Home, Portaria},
    upstream::Upstream,
};

/// A running gateway. Dropped, it is killed.
pub(crate) struct Gateway {
    child: Child,
    started: Instant,
    address: SocketAddr,
    admin_address: SocketAddr,
    log: Option<JoinHandle<Log>>,
    /// There until it is killed.
    home: Option<Home>,
}

/// What was in its log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Log {
    /// Lines about a request.
    pub(crate) requests: usize,
    /// Lines about something that somebody must look at.
    pub(crate) errors: usize,
}

impl Gateway {
    /// Starts one, without limits on how often, and with these settings:
    /// `("SERVER__MAX_IN_FLIGHT", "64")`.
    pub(crate) fn start(upstream: &Upstream, settings: &[(&str, &str)]) -> Self {
        Self::start_at(Self::home(upstream), settings)
    }

    /// What it needs.
    pub(crate) fn home(upstream: &Upstream) -> Home {
        let home = Home::new(&upstream.url());
        home.append(
            r#"[limits]
upstream = { rate = "1000000/s", burst = 1000000 }
[[routes]]
name = "interactive"
path = "/integrations/external/chats/{id}/messages/interactive"
per_chat = { rate = "1000000/s", burst = 1000000 }"#,
        );
        home
    }

    /// Starts one with the config of this home, and with these settings. Its first listener
    /// is one for TCP.
    pub(crate) fn start_at(home: Home, settings: &[(&str, &str)]) -> Self {
        let mut command = Portaria::serve(&home);
        for (name, value) in settings {
            command.env(format!("PORTARIA__{name}"), value);
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut gateway = Self {
            address: listener(&mut log, "server"),
            admin_address: listener(&mut log, "admin"),
            child,
            started,
            log: None,
            home: Some(home),
        };
        gateway.log = Some(thread::spawn(move || count(log)));
        gateway
    }

    /// How long ago its process was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where applications connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators look.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Waits until one of its metrics says so.
    pub(crate) async fn await_metric(&self, line: &str) {
        let mut operator = support::Client::connect(self.admin_address).await;
        loop {
            let request = "GET /metrics HTTP/1.1\r\nHost: portaria.test\r\n\r\n";
            let page = operator.exchange(request).await.body;
            if str::from_utf8(&page).unwrap().lines().any(|it| it == line) {
                return;
            }
            // It has other work, too.
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where its files are.
    pub(crate) fn files(&self) -> &Home {
        self.home.as_ref().unwrap()
    }

    /// Tells it to stop.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Kills it; returns what the next one may find.
    pub(crate) fn kill(mut self) -> Home {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.home.take().unwrap()
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn exit(mut self) -> (ExitStatus, Log) {
        let log = self.log.take().unwrap();
        let waited = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            (status, log.join().unwrap())
        });
        waited.await.unwrap()
    }

    /// Memory that it uses now, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.kibibytes("VmRSS:") * 1024
    }

    /// The most that it has used so far.
    pub(crate) fn peak_memory(&self) -> usize {
        self.kibibytes("VmHWM:") * 1024
    }

    fn kibibytes(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// Open descriptors. The process lets nobody look into it: only root can tell.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        entries.ok().map(Iterator::count)
    }

    /// Processor time that it has taken so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, in brackets, may hold anything; the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
        // Linux has told user space 100 ticks a second since ever.
        Duration::from_millis(ticks * 10)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads on to the line that announces a listener; returns its address.
fn listener(log: &mut BufReader<ChildStdout>, name: &str) -> SocketAddr {
    loop {
        let mut line = String::new();
        let count = log.read_line(&mut line).unwrap();
        assert!(count > 0, "the gateway ended without its {name} listener");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "listening" && line["listener"] == name {
            return line["address"].as_str().unwrap().parse().unwrap();
        }
    }
}

fn count(mut log: BufReader<ChildStdout>) -> Log {
    let mut counts = Log::default();
    let mut line = Vec::new();
    while log
        .read_until(b'\n', &mut line)
        .is_ok_and(|count| count > 0)
    {
        counts.requests += usize::from(memchr::memmem::find(&line, b"\"request_id\":").is_some());
        counts.errors += usize::from(memchr::memmem::find(&line, b"\"level\":\"ERROR\"").is_some());
        line.clear();
    }
    counts
}

/// Lets this process, and those that it starts, have as many descriptors as it may;
/// returns how many.
pub(crate) fn raise_descriptors() -> usize {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    usize::try_from(most.unwrap_or(u64::MAX)).unwrap()
}
