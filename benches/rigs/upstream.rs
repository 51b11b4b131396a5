//! How does the upstream behave?
//!
//! On plain sockets, well or badly. Whatever it reads is in the ledger before it does
//! anything about it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::Duration,
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{client::number_in, ledger::Ledger};

/// The gateway waits for an answer for this long.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than that.
const LATE: Duration = Duration::from_millis(700);
/// Shorter than that, however slow.
const SLOW: Duration = Duration::from_millis(20);
/// How often nobody listens, and for how long: longer than the gateway pauses before it
/// tries once more.
const OUTAGES: Duration = Duration::from_secs(4);
const OUTAGE: Duration = Duration::from_millis(100);

/// How it behaves, all in all.
#[derive(Clone)]
pub(crate) enum Manners {
    /// It answers at once.
    Prompt,
    /// It answers after some time, up to this.
    Unhurried(Duration),
    /// It has so many places, and takes so long for each message.
    Busy(Arc<Semaphore>, Duration),
    /// One message in a hundred meets each [`Act`] but the first and the last, and now and then it
    /// is away: its port refuses, connections that wait for a message are closed.
    Faulty,
    /// It answers at once, those who come with one of these tokens.
    Strict(Arc<RwLock<Vec<String>>>),
}

/// What it does with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Act {
    Answers,
    ResetsUnread,
    ResetsMidway,
    HangsUp,
    AnswersLate,
    AnswersGarbage,
    AnswersHalf,
    Answers500,
    Answers503,
    AnswersSlowly,
    Answers401,
}

impl Act {
    pub(crate) const ALL: [Self; 11] = [
        Self::Answers,
        Self::ResetsUnread,
        Self::ResetsMidway,
        Self::HangsUp,
        Self::AnswersLate,
        Self::AnswersGarbage,
        Self::AnswersHalf,
        Self::Answers500,
        Self::Answers503,
        Self::AnswersSlowly,
        Self::Answers401,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::ResetsUnread => "resets before reading",
            Self::ResetsMidway => "resets within the body",
            Self::HangsUp => "hangs up after reading",
            Self::AnswersLate => "answers too late",
            Self::AnswersGarbage => "answers garbage",
            Self::AnswersHalf => "answers half",
            Self::Answers500 => "answers 500",
            Self::Answers503 => "answers 503",
            Self::AnswersSlowly => "answers byte by byte",
            Self::Answers401 => "answers 401",
        }
    }
}

/// An upstream. Dropped, it is gone.
pub(crate) struct Upstream {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start(manners: Manners, ledger: Arc<Ledger>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, manners, ledger));
        Self {
            address,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(mut listener: TcpListener, manners: Manners, ledger: Arc<Ledger>) {
    let address = listener.local_addr().unwrap();
    let leaving = watch::Sender::new(());
    let mut connections = JoinSet::new();
    // Early, so that a short soak has one.
    let mut next_outage = Instant::now() + OUTAGES / 8;
    let mut random = Random(0);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    sleep(OUTAGE).await;
                    continue;
                };
                stream.set_nodelay(true).unwrap();
                let connection = Connection {
                    stream,
                    unread: Vec::new(),
                    manners: manners.clone(),
                    ledger: ledger.clone(),
                    leave: leaving.subscribe(),
                    random: Random(random.next()),
                };
                // An error is the other side's doing.
                connections.spawn(async move { drop(connection.serve().await) });
                while connections.try_join_next().is_some() {}
            }
            () = sleep_until(next_outage), if matches!(manners, Manners::Faulty) => {
                drop(listener);
                leaving.send_replace(());
                sleep(OUTAGE).await;
                listener = listen_again(address).await;
                next_outage = Instant::now() + OUTAGES;
            }
        }
    }
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        match socket.bind(address).and_then(|()| socket.listen(1024)) {
            Ok(listener) => return listener,
            Err(_taken) => sleep(OUTAGE).await,
        }
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    manners: Manners,
    ledger: Arc<Ledger>,
    /// Changes when the upstream goes away.
    leave: watch::Receiver<()>,
    random: Random,
}

impl Connection {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let mut byte = [0];
            let is_closed = tokio::select! {
                biased;
                _ = self.leave.changed() => true,
                peeked = self.stream.peek(&mut byte) => peeked? == 0,
            };
            if is_closed {
                return Ok(());
            }
            let mut act = self.choose();
            if act == Act::ResetsUnread {
                return self.stream.set_zero_linger();
            }
            if act == Act::ResetsMidway {
                return self.read_part(act).await;
            }
            let (number, knows_us) = self.read_message().await?;
            if !knows_us {
                act = Act::Answers401;
            }
            self.ledger.note_whole(number, act);
            match act {
                Act::Answers => {
                    self.take_time().await;
                    self.stream.write_all(ANSWER).await?;
                }
                Act::AnswersLate => {
                    sleep(LATE).await;
                    self.stream.write_all(ANSWER).await?;
                }
                Act::AnswersGarbage => {
                    return self
                        .stream
                        .write_all(b"\x15\x03\x01\0\x02\x02F\r\n\r\n")
                        .await;
                }
                Act::AnswersHalf => {
                    return self.stream.write_all(&ANSWER[..ANSWER.len() - 9]).await;
                }
                Act::Answers401 => self.stream.write_all(UNAUTHORIZED).await?,
                Act::Answers500 => self.stream.write_all(FAILURE).await?,
                Act::Answers503 => self.stream.write_all(UNAVAILABLE).await?,
                Act::AnswersSlowly => {
                    let pause = SLOW / u32::try_from(ANSWER.len().div_ceil(16)).unwrap();
                    for bytes in ANSWER.chunks(16) {
                        self.stream.write_all(bytes).await?;
                        sleep(pause).await;
                    }
                }
                Act::HangsUp | Act::ResetsUnread | Act::ResetsMidway => return Ok(()),
            }
        }
    }

    fn choose(&mut self) -> Act {
        match self.manners {
            Manners::Faulty => match self.random.below(100) {
                // The first is no fault, and the last is for `Strict`.
                drawn @ 1..10 => Act::ALL[drawn],
                _ => Act::Answers,
            },
            Manners::Prompt | Manners::Unhurried(_) | Manners::Busy(..) | Manners::Strict(_) => {
                Act::Answers
            }
        }
    }

    async fn take_time(&mut self) {
        match &self.manners {
            Manners::Prompt | Manners::Faulty | Manners::Strict(_) => {}
            Manners::Unhurried(most) => {
                let micros = usize::try_from(most.as_micros()).unwrap();
                let micros = u64::try_from(self.random.below(micros)).unwrap();
                sleep(Duration::from_micros(micros)).await;
            }
            Manners::Busy(places, time) => {
                let _place = places.acquire().await.unwrap();
                sleep(*time).await;
            }
        }
    }

    /// Reads a message to its number, and resets the connection.
    async fn read_part(mut self, act: Act) -> io::Result<()> {
        loop {
            if let Some(number) = number_in(&self.unread) {
                self.ledger.note_part(number, act);
                return self.stream.set_zero_linger();
            }
            self.read(64).await?;
        }
    }

    /// Reads one message whole; returns its number, and whether its token is one of ours.
    async fn read_message(&mut self) -> io::Result<(usize, bool)> {
        loop {
            if let Some(length) = message_length(&self.unread)
                && self.unread.len() >= length
            {
                let message = &self.unread[..length];
                let number = number_in(message).expect("only our messages come");
                let knows_us = match &self.manners {
                    Manners::Strict(tokens) => tokens.read().unwrap().iter().any(|token| {
                        memmem::find(message, format!("Bearer {token}\r\n").as_bytes()).is_some()
                    }),
                    Manners::Prompt
                    | Manners::Unhurried(_)
                    | Manners::Busy(..)
                    | Manners::Faulty => true,
                };
                self.unread.drain(..length);
                return Ok((number, knows_us));
            }
            self.read(16 * 1024).await?;
        }
    }

    /// Reads some bytes, `limit` at most. The end is an error.
    async fn read(&mut self, limit: usize) -> io::Result<()> {
        let limit = u64::try_from(limit).unwrap();
        match (&mut self.stream)
            .take(limit)
            .read_buf(&mut self.unread)
            .await?
        {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// How long the message is that these bytes begin with; `None` while its head is cut.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&bytes[..head]).unwrap();
    let mut fields = text.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    Some(head + length.parse::<usize>().unwrap())
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n\
    {\"total\":1,\"records\":[{\"id\":\"3c90c3cc-0d44-4b50-8888-8dd25736052a\",\"from_me\":true,\"status\":\"sent\"}]}";
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
const FAILURE: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// The same numbers each time (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }
}
