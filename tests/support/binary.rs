//! What does the process do?
//!
//! Runs the real binary: what it prints, how it takes signals, how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use serde_json::Value;
use tokio::sync::watch;

use super::{Home, PATIENCE, within};

/// A running process. Dropped, it is killed.
pub struct Portaria {
    /// There until [`exit`](Self::exit) has taken it.
    child: Option<Child>,
    output: watch::Receiver<Output>,
}

/// What a process has printed: lines, and where.
#[derive(Clone, Debug, Default)]
struct Output {
    lines: Vec<(Source, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// All it printed to standard output.
    pub stdout: String,
    /// All it printed to standard error.
    pub stderr: String,
}

impl Portaria {
    /// `portaria serve` with the config of this home, to be started, perhaps after
    /// a change of its environment.
    pub fn serve(home: &Home) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portaria"));
        command
            .args(["serve", "--config"])
            .arg(home.config())
            .current_dir(home.path(""));
        command
    }

    /// Starts a command, with all its output caught.
    pub fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// The same, with this as its standard input.
    pub fn start_with(mut command: Command, stdin: impl Into<Stdio>) -> Self {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, output) = watch::channel(Output::default());
        let sender = Arc::new(sender);
        collect(
            Source::Stdout,
            child.stdout.take().unwrap(),
            Arc::clone(&sender),
        );
        collect(Source::Stderr, child.stderr.take().unwrap(), sender);
        Self {
            child: Some(child),
            output,
        }
    }

    /// Waits until applications can connect; returns where.
    pub async fn address(&self) -> SocketAddr {
        self.listener("server").await
    }

    /// Where applications can connect over TCP, as far as it is known.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let output = self.output.borrow();
        let lines = output.lines.iter();
        lines
            .filter_map(|(_, line)| listener(line, "server"))
            .collect()
    }

    /// Waits until operators can connect; returns where.
    pub async fn admin_address(&self) -> SocketAddr {
        self.listener("admin").await
    }

    async fn listener(&self, name: &str) -> SocketAddr {
        let what = format!("the address of the {name} listener");
        self.await_output(&what, |line| listener(line, name)).await
    }

    /// Waits for a line with these words in it, printed already or not; returns it.
    pub async fn await_line(&self, words: &str) -> String {
        let what = format!("a line with {words:?}");
        self.await_output(&what, |line| line.contains(words).then(|| line.to_owned()))
            .await
    }

    /// The first thing that is found in a line.
    async fn await_output<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut output = self.output.clone();
        let search = |output: &Output| output.lines.iter().find_map(|(_, line)| find(line));
        let line = output.wait_for(|output| search(output).is_some());
        match tokio::time::timeout(PATIENCE, line).await {
            Ok(Ok(output)) => search(&output).unwrap(),
            Ok(Err(_)) => panic!("the process ended without {what}\n{}", self.output()),
            Err(_) => panic!("waited {PATIENCE:?} in vain for {what}\n{}", self.output()),
        }
    }

    /// All it has printed so far.
    pub fn output(&self) -> String {
        self.output.borrow().text(|_| true)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal, by its name: `TERM`, `HUP`, `STOP`.
    pub fn signal(&self, name: &str) {
        send_signal(self.id(), name);
    }

    /// Waits for the process to end by itself.
    pub async fn exit(mut self) -> Exit {
        let mut child = self.child.take().unwrap();
        let id = child.id();
        let mut end = tokio::task::spawn_blocking(move || child.wait().unwrap());
        let status = match tokio::time::timeout(PATIENCE, &mut end).await {
            Ok(status) => status.unwrap(),
            Err(_) => {
                // Or the runtime would wait for it for ever.
                send_signal(id, "KILL");
                panic!(
                    "waited {PATIENCE:?} in vain for the process to end\n{}",
                    self.output()
                );
            }
        };
        within("the rest of the output", async {
            while self.output.changed().await.is_ok() {}
        })
        .await;
        let output = self.output.borrow();
        Exit {
            status,
            stdout: output.text(|source| source == Source::Stdout),
            stderr: output.text(|source| source == Source::Stderr),
        }
    }
}

impl Drop for Portaria {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Output {
    fn text(&self, is_wanted: impl Fn(Source) -> bool) -> String {
        let wanted = self.lines.iter().filter(|(source, _)| is_wanted(*source));
        wanted.map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// Which address a log line announces, if it is that of this listener ("server"
/// or "admin"). The one place that knows what such a line looks like.
fn listener(line: &str, name: &str) -> Option<SocketAddr> {
    let line = serde_json::from_str::<Value>(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let field = |name: &str| fields.get(name)?.as_str();
    let is_meant = field("message")? == "listening" && field("listener")? == name;
    is_meant.then(|| field("address")?.parse().ok()).flatten()
}

/// A thread that reads to the end of a pipe.
fn collect(source: Source, pipe: impl Read + Send + 'static, to: Arc<watch::Sender<Output>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            to.send_modify(|output| output.lines.push((source, line)));
        }
    });
}

/// By the shell, which always has `kill` built in.
pub(super) fn send_signal(id: u32, name: &str) {
    let kill = format!("kill -s {name} {id}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "no such process or signal: {kill}");
}
