//! What does a gateway on real sockets do?
//!
//! The same that the binary does, in the test's own process: the config is read, the
//! listeners are bound, and whatever would be a signal is a call of [`Running::stop`].

use std::{net::SocketAddr, path::PathBuf, time::SystemTime};

use portaria::{
    app::{App, Ended},
    config::{Address, Mistakes},
    plan::Plan,
    reload::{Reading, Reloader},
    shared::Kept,
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Answer, Client, Home, Upstream, within};

/// A setting: the name of its environment variable without `PORTARIA__`, and its value.
pub type Setting<'a> = (&'a str, &'a str);

/// A gateway that runs. Dropped, it is gone.
pub struct Running {
    servers: Vec<Address>,
    admin: Address,
    stop: mpsc::UnboundedSender<()>,
    /// One: the gateway itself.
    running: JoinSet<Ended>,
    /// Its files, as long as it may want them.
    _home: Option<Home>,
}

impl Running {
    /// Runs one in front of this upstream, with all settings as they are by default.
    pub async fn before(upstream: &Upstream) -> Self {
        Self::with(upstream, []).await
    }

    /// Runs one in front of this upstream, with these settings.
    pub async fn with<'a>(
        upstream: &Upstream,
        settings: impl IntoIterator<Item = Setting<'a>>,
    ) -> Self {
        let home = Home::new(&upstream.url());
        let mut running = Self::at(&home, settings).await;
        running._home = Some(home);
        running
    }

    /// Runs one with the config of this home and these settings.
    pub async fn at<'a>(home: &Home, settings: impl IntoIterator<Item = Setting<'a>>) -> Self {
        let reading = reading(home, settings);
        let (contents, plan) = reading.read(Kept::default());
        let reloader = Reloader::new(reading, contents).unwrap();
        let app = App::bind(shown(plan)).await.unwrap().reloading(reloader);
        let (stop, mut stops) = mpsc::unbounded_channel();
        let (servers, admin) = (app.addresses(), app.admin_address());
        let mut running = JoinSet::new();
        running.spawn(app.run(async move || {
            // Where the test is over, nobody stops it any more.
            if stops.recv().await.is_none() {
                std::future::pending().await
            }
        }));
        Self {
            servers,
            admin,
            stop,
            running,
            _home: None,
        }
    }

    /// Where applications connect.
    pub fn address(&self) -> SocketAddr {
        tcp(&self.servers[0])
    }

    /// Where applications connect, if that is a unix socket.
    pub fn socket(&self) -> PathBuf {
        match &self.servers[0] {
            Address::Unix(path) => path.clone(),
            other @ (Address::Tcp(_) | Address::Systemd(_)) => panic!("{other} is no unix socket"),
        }
    }

    /// A connection of an application.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Sends a request on a connection of its own.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().await.exchange(request).await
    }

    /// A connection of an operator.
    pub async fn connect_admin(&self) -> Client {
        Client::connect(tcp(&self.admin)).await
    }

    /// What an operator gets from this path.
    pub async fn admin(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: portaria.test\r\n\r\n");
        self.connect_admin().await.exchange(request).await
    }

    /// What comes of it when an operator asks for a reload.
    pub async fn reload(&self) -> Answer {
        let request = "POST /reload HTTP/1.1\r\nHost: portaria.test\r\n\r\n";
        self.connect_admin().await.exchange(request).await
    }

    /// Waits until `/metrics` has this line.
    pub async fn await_metric(&self, line: &str) {
        let request = "GET /metrics HTTP/1.1\r\nHost: portaria.test\r\n\r\n";
        let mut operator = self.connect_admin().await;
        within(&format!("the metric {line}"), async {
            loop {
                let page = operator.exchange(request).await.body;
                if str::from_utf8(&page).unwrap().lines().any(|it| it == line) {
                    return;
                }
            }
        })
        .await;
    }

    /// Stops it, as a signal would; a second time, at once.
    pub fn stop(&self) {
        self.stop.send(()).unwrap();
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) -> Ended {
        within("the gateway to end", self.running.join_next())
            .await
            .unwrap()
            .unwrap()
    }
}

/// What the gateway makes of the config of this home. Panics where it has mistakes.
pub fn plan<'a>(home: &Home, settings: impl IntoIterator<Item = Setting<'a>>) -> Plan {
    let (_contents, plan) = reading(home, settings).read(Kept::default());
    shown(plan)
}

fn reading<'a>(home: &Home, settings: impl IntoIterator<Item = Setting<'a>>) -> Reading {
    let environment = settings
        .into_iter()
        .map(|(name, value)| (format!("PORTARIA__{name}"), value.to_owned()));
    Reading {
        file: home.config(),
        environment: environment.collect(),
        now: SystemTime::now,
    }
}

fn shown(plan: Result<Plan, Mistakes>) -> Plan {
    plan.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}

/// Panics unless this is a whole and proper refusal.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, code: &str, delivery: &str) {
    let shown = String::from_utf8_lossy(&answer.body);
    let found = (
        answer.status,
        answer.header("Content-Type").unwrap_or_default(),
        answer.header("Portaria-Delivery").unwrap_or_default(),
    );
    let expected = (status, "application/problem+json", delivery);
    assert_eq!(found, expected, "{shown}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{shown}");
    assert_eq!(problem["status"], status, "{shown}");
    assert_eq!(problem["delivery"], delivery, "{shown}");
    assert_eq!(
        problem["request_id"],
        answer.header("X-Request-Id").unwrap_or_default()
    );
}

fn tcp(address: &Address) -> SocketAddr {
    match address {
        Address::Tcp(address) => *address,
        other @ (Address::Unix(_) | Address::Systemd(_)) => panic!("{other} is no TCP address"),
    }
}
