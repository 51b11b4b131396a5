//! What does an upstream cost that does nothing?
//!
//! For comparisons: it answers every message at once, with what Wegly answers, in clear
//! text and over TLS, and counts the messages that came without the token. It ends when
//! its standard input does.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, TOKEN};

const BODY: &str = include_str!("../messages/answer.json");
/// What asks for the counts.
const COUNTS: &[u8] = b"GET /counts ";

/// What has come so far.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicUsize,
    /// Messages without the token, with another one, or with two.
    strangers: AtomicUsize,
}

/// Says where it listens and where the gateway is, and leaves the certificate of its authority in the directory.
pub(crate) async fn run(directory: &str) {
    let authority = Authority::new();
    let ca = Path::new(directory).join("upstream-ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls(&authority)));
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secret = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = serde_json::json!({
        "plain": plain.local_addr().unwrap().port(),
        "tls": secret.local_addr().unwrap().port(),
        "ca": ca,
        "token": TOKEN,
        "portaria": env!("CARGO_BIN_EXE_portaria"),
    });
    writeln!(io::stdout().lock(), "{addresses}").unwrap();

    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    let of_plain = counts.clone();
    tasks.spawn(accept(plain, move |stream| serve(stream, of_plain.clone())));
    tasks.spawn(accept(secret, move |stream| {
        let (handshake, counts) = (acceptor.accept(stream), counts.clone());
        async move { serve(handshake.await?, counts).await }
    }));
    let ended = || io::copy(&mut io::stdin(), &mut io::sink());
    tokio::task::spawn_blocking(ended).await.unwrap().unwrap();
}

fn tls(authority: &Authority) -> ServerConfig {
    let certificate = authority.issue("localhost", 2100);
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der()], key)
        .unwrap()
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        // An error is the other side's doing.
        let served = serve(stream);
        connections.spawn(async move { drop(served.await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let answer = response(BODY);
    let token = format!("Bearer {TOKEN}");
    let mut unread = BytesMut::with_capacity(16 * 1024);
    while 0 < stream.read_buf(&mut unread).await? {
        while let Some(request) = Request::read(&unread) {
            if unread.starts_with(COUNTS) {
                let Counts {
                    messages,
                    strangers,
                } = &*counts;
                let counts = serde_json::json!({ "messages": messages, "strangers": strangers });
                stream.write_all(&response(&counts.to_string())).await?;
            } else {
                let is_known = request.authorization.len() == 1
                    && request.authorization[0] == token.as_bytes();
                counts.messages.fetch_add(1, Ordering::Relaxed);
                counts
                    .strangers
                    .fetch_add(usize::from(!is_known), Ordering::Relaxed);
                stream.write_all(&answer).await?;
            }
            let length = request.length;
            unread.advance(length);
        }
    }
    Ok(())
}

fn response(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole request.
struct Request<'a> {
    authorization: Vec<&'a [u8]>,
    length: usize,
}

impl<'a> Request<'a> {
    /// `None` while some of it is missing.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let mut request = Self {
            authorization: Vec::new(),
            length: head,
        };
        for line in bytes[..head].split(|byte| *byte == b'\n').skip(1) {
            let colon = line.iter().position(|byte| *byte == b':');
            let Some((name, value)) = colon.map(|colon| line.split_at(colon)) else {
                continue;
            };
            let value = value[1..].trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                let length: usize = str::from_utf8(value).unwrap().parse().unwrap();
                request.length += length;
            } else if name.eq_ignore_ascii_case(b"authorization") {
                request.authorization.push(value);
            }
        }
        (request.length <= bytes.len()).then_some(request)
    }
}
