//! What does an application send, and hear?
//!
//! Messages with a number, over a plain socket. A client does only what it is told: it
//! neither retries nor reconnects.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UnixStream},
};

use crate::support::{CHAT, key};

/// How many chats the messages go to, in turn.
const CHATS: usize = 10_000;
/// What stands before a message's number, in its text.
const MARK: &[u8] = b"Mensagem ";
/// The digits of a number.
const DIGITS: usize = 12;

/// The number of the message in these bytes, once they reach so far.
pub(crate) fn number_in(bytes: &[u8]) -> Option<usize> {
    let start = memmem::find(bytes, MARK)? + MARK.len();
    let digits = bytes.get(start..start + DIGITS)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// A request of which only the numbers change: the chat's and the message's own.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    chat: usize,
    number: usize,
    name: Option<usize>,
}

impl Template {
    /// With the key of "billing".
    pub(crate) fn new() -> Self {
        Self::of("billing")
    }

    /// With the key of this application.
    pub(crate) fn of(application: &str) -> Self {
        Self::with(application, "")
    }

    /// With the key of "billing", each message with its number as its `Idempotency-Key`.
    pub(crate) fn named() -> Self {
        Self::with("billing", &format!("Idempotency-Key: {:0DIGITS$}\r\n", 0))
    }

    fn with(application: &str, field: &str) -> Self {
        // The text comes first, so that half a body tells its number.
        let body = r#"{"body":{"text":"Mensagem 000000000000: podemos confirmar a entrega?"},"interactive_type":"button","action":{"buttons":[{"id":"confirm","title":"Confirmar"},{"id":"change","title":"Mudar a data"}]}}"#;
        let bytes = format!(
            "POST /integrations/external/chats/{CHAT}/messages/interactive HTTP/1.1\r\n\
             Host: portaria.test\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{field}Content-Length: {}\r\n\r\n{body}",
            key(application),
            body.len()
        )
        .into_bytes();
        let end_of_chat = memmem::find(&bytes, CHAT.as_bytes()).unwrap() + CHAT.len();
        let name = memmem::find(&bytes, b"Idempotency-Key: ");
        Self {
            chat: end_of_chat - DIGITS,
            name: name.map(|at| at + "Idempotency-Key: ".len()),
            number: memmem::find(&bytes, MARK).unwrap() + MARK.len(),
            bytes,
        }
    }

    /// The message with this number.
    pub(crate) fn message(&mut self, number: usize) -> &[u8] {
        self.message_to(number % CHATS, number)
    }

    /// The same to a chat of this number.
    pub(crate) fn message_to(&mut self, chat: usize, number: usize) -> &[u8] {
        for (at, value) in [(self.chat, chat), (self.number, number)] {
            self.bytes[at..at + DIGITS].copy_from_slice(format!("{value:012}").as_bytes());
        }
        if let Some(at) = self.name {
            self.bytes
                .copy_within(self.number..self.number + DIGITS, at);
        }
        &self.bytes
    }
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) delivery: Delivery,
    /// Whether it is the last one on its connection.
    pub(crate) is_last: bool,
    /// Whether it was given before.
    pub(crate) is_replay: bool,
}

/// What `Portaria-Delivery` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Sent,
    NotSent,
    Unknown,
    /// Nothing: it is not an answer of the gateway.
    Untold,
}

/// A connection that ended before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Not a byte of the answer came.
    Silently,
    /// Some of it came.
    Midway,
}

/// A connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    pub(crate) async fn connect_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?))
    }

    /// Takes a connection of any kind.
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
        }
    }

    /// Connects from this address, one of our own.
    pub(crate) async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Sends bytes that are not a whole request.
    pub(crate) async fn dribble(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Ended> {
        // Whoever closes may have answered before.
        let _ = self.stream.write_all(request).await;
        loop {
            if let Some((answer, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return Ok(answer);
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.unread.is_empty() => return Err(Ended::Silently),
                Ok(0) | Err(_) => return Err(Ended::Midway),
            }
        }
    }
}

/// The answer that these bytes begin with, and its length; `None` while some is missing.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&bytes[..head]).unwrap();
    let mut answer = Answer {
        status: text[9..12].parse().unwrap(),
        delivery: Delivery::Untold,
        is_last: false,
        is_replay: false,
    };
    let mut body = 0;
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("content-length") {
            body = value.parse().unwrap();
        } else if is("connection") {
            answer.is_last = value == "close";
        } else if is("idempotent-replayed") {
            answer.is_replay = true;
        } else if is("portaria-delivery") {
            answer.delivery = match value {
                "sent" => Delivery::Sent,
                "not_sent" => Delivery::NotSent,
                "unknown" => Delivery::Unknown,
                _ => panic!("no such delivery: {value}"),
            };
        }
    }
    (bytes.len() >= head + body).then_some((answer, head + body))
}
