//! How does the upstream behave?
//!
//! As its script says: step by step, connection by connection, on a socket of
//! the loopback interface. Whatever it reads goes into the ledger first.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Answer, Ledger};

/// What each connection does. The last line of a script holds for all
/// connections after it.
#[derive(Clone, Debug)]
pub struct Script(Vec<Vec<Step>>);

impl Script {
    /// Every connection does this.
    pub fn each(steps: impl Into<Vec<Step>>) -> Self {
        Self(vec![steps.into()])
    }

    /// The connections after those so far do this instead.
    pub fn then(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.0.push(steps.into());
        self
    }

    /// Every request gets the standard answer.
    pub fn serve() -> Self {
        Self::answers([Answer::standard()])
    }

    /// The first request gets the first answer, whatever its connection, and so
    /// on; the last answer repeats.
    pub fn answers(answers: impl Into<Vec<Answer>>) -> Self {
        Self::each([Step::Serve(answers.into())])
    }

    /// Every connection is reset after so many bytes of the request.
    pub fn resets_after(bytes: usize) -> Self {
        Self::each([Step::ReadBytes(bytes), Step::Reset])
    }

    /// Every connection takes one request, and answers with these bytes and a FIN.
    pub fn writes(bytes: impl AsRef<[u8]>) -> Self {
        Self::each([
            Step::ReadRequest,
            Step::Write(bytes.as_ref().to_vec()),
            Step::Close,
        ])
    }

    /// Every request is read, and none is answered.
    pub fn hangs() -> Self {
        Self::each([Step::Hang])
    }

    fn steps(&self, connection: usize) -> Vec<Step> {
        self.0[connection.min(self.0.len() - 1)].clone()
    }
}

/// One thing a connection does. After the last, it is closed; so it is when a
/// step waits for bytes and the other side closes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads to the end of the next head, and what came along with it.
    ReadHead,
    /// Reads to the end of the next request.
    ReadRequest,
    /// Reads so many more bytes, and not one beyond.
    ReadBytes(usize),
    /// Writes these bytes, whatever they mean.
    Write(Vec<u8>),
    /// Writes this answer.
    Answer(Answer),
    /// Does nothing until the test opens the gate.
    Wait(Gate),
    /// Does nothing for a time. Only for slowness that is itself under test.
    Pause(Duration),
    /// Reads on, says nothing, until the other side closes.
    Hang,
    /// Answers every request until the other side closes, as [`Script::answers`] says.
    Serve(Vec<Answer>),
    /// Says that nothing more will be written (FIN), and goes on.
    HalfClose,
    /// Closes (FIN). Bytes that were not read turn it into a reset, as TCP has it.
    Close,
    /// Closes with a reset (RST).
    Reset,
}

/// Something a connection waits for and a test opens. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it, for ever and for all who wait.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}

/// An upstream. Dropped, it is gone: its port refuses, its connections are closed.
pub struct Upstream {
    address: SocketAddr,
    ledger: Ledger,
    ca: Option<String>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Starts one that speaks plain HTTP/1.1.
    pub async fn start(script: Script) -> Self {
        Self::start_with(script, None).await
    }

    /// Starts one that speaks HTTP/1.1 over TLS, with a certificate for these names.
    /// Its address is `127.0.0.1`.
    pub async fn start_tls(names: &[&str], script: Script) -> Self {
        Self::start_with(script, Some(Certificate::new(names))).await
    }

    async fn start_with(script: Script, certificate: Option<Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ledger = Ledger::new();
        let (ca, acceptor) = certificate.map(|it| (it.ca, it.acceptor)).unzip();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, script, ledger.clone()));
        Self {
            address,
            ledger,
            ca,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as `[upstream].url` has it.
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate authority to trust, in PEM.
    pub fn ca(&self) -> &str {
        self.ca.as_deref().expect("it was started with `start_tls`")
    }

    /// What arrived.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    script: Script,
    ledger: Ledger,
) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let number = ledger.open();
        let (steps, acceptor, ledger) = (script.steps(number), acceptor.clone(), ledger.clone());
        connections.spawn(async move {
            // An error is the other side's doing, and what it did is in the ledger.
            if let Ok(stream) = Stream::accept(tcp, acceptor).await {
                let player = Player {
                    stream,
                    number,
                    ledger,
                    taken: 0,
                };
                let _ = player.play(steps).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, and how far it is.
struct Player {
    stream: Stream,
    number: usize,
    ledger: Ledger,
    /// Requests that earlier steps have dealt with.
    taken: usize,
}

impl Player {
    async fn play(mut self, steps: Vec<Step>) -> io::Result<()> {
        for step in steps {
            match step {
                Step::ReadHead => {
                    while !self.ledger.has_head(self.number, self.taken) {
                        self.read(usize::MAX).await?;
                    }
                }
                Step::ReadRequest => drop(self.read_request().await?),
                Step::ReadBytes(mut missing) => {
                    while missing > 0 {
                        missing -= self.read(missing).await?;
                    }
                }
                Step::Write(bytes) => self.stream.write(&bytes).await?,
                Step::Answer(answer) => self.stream.write(&answer.to_bytes()).await?,
                Step::Wait(gate) => gate.opened().await,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Hang => loop {
                    self.read(usize::MAX).await?;
                },
                Step::Serve(answers) => loop {
                    let number = self.read_request().await?;
                    let answer = &answers[number.min(answers.len() - 1)];
                    self.stream.write(&answer.to_bytes()).await?;
                },
                Step::HalfClose => self.stream.finish().await?,
                Step::Close => return self.stream.finish().await,
                Step::Reset => return self.stream.tcp().set_zero_linger(),
            }
        }
        self.stream.finish().await
    }

    /// Reads to the end of the next request; returns its number among all of them.
    async fn read_request(&mut self) -> io::Result<usize> {
        loop {
            if let Some(number) = self.ledger.number_of(self.number, self.taken) {
                self.taken += 1;
                return Ok(number);
            }
            self.read(usize::MAX).await?;
        }
    }

    /// Reads some bytes into the ledger, `limit` at most. The end is an error.
    async fn read(&mut self, limit: usize) -> io::Result<usize> {
        let mut buffer = vec![0; limit.min(16 * 1024)];
        let result = match self.stream.read(&mut buffer).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            result => result,
        };
        match &result {
            Ok(count) => self.ledger.note_bytes(self.number, &buffer[..*count]),
            Err(_) => self.ledger.note_close(self.number),
        }
        result
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn accept(tcp: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<Self> {
        // What one step writes goes out before the next.
        tcp.set_nodelay(true)?;
        Ok(match acceptor {
            None => Self::Plain(tcp),
            Some(acceptor) => Self::Tls(Box::new(acceptor.accept(tcp).await?)),
        })
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A certificate authority made for one test, and a server with its certificate.
struct Certificate {
    ca: String,
    acceptor: TlsAcceptor,
}

impl Certificate {
    fn new(names: &[&str]) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            ca: ca.pem(),
            acceptor: TlsAcceptor::from(Arc::new(tls)),
        }
    }
}
