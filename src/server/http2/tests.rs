//! Both ends of a pipe in place of a socket, so that the clock can stop. The client is
//! made of frames, as an attacker's is.

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, Service, service_fn};

use super::*;
use crate::{
    http::{Request, Response},
    middleware::run_to_end,
    pipeline::Pipeline,
    server::Serving,
};

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The kinds of frames that the tests write or look for.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The error code of a GOAWAY, for a client that was told to calm down.
const ENHANCE_YOUR_CALM: u32 = 11;

/// `POST https://a/`, in HPACK without compression.
const HEAD: &[u8] = b"\x83\x87\x84\x41\x01a";

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_and_the_next_one_too() {
    let mut peer = Peer::greet().await;

    for stream in [1, 3] {
        peer.write(HEADERS, END_STREAM | END_HEADERS, stream, HEAD)
            .await;

        assert_eq!(peer.read_until(HEADERS).await.stream, stream);
        assert_eq!(peer.read_until(DATA).await.payload, "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_after_head_timeout() {
    for said in [&b""[..], b"P", PREFACE] {
        let began = Instant::now();
        let mut peer = Peer::connect();

        peer.pipe.write_all(said).await.unwrap();
        peer.ended().await;

        let lasted = began.elapsed();
        assert!(
            (HEAD_TIMEOUT..=HEAD_TIMEOUT + GOODBYE).contains(&lasted),
            "{lasted:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_is_told_to_go_after_head_timeout() {
    let mut peer = Peer::greet().await;
    let began = Instant::now();

    let goaway = peer.read_until(GOAWAY).await;

    assert_eq!(began.elapsed(), HEAD_TIMEOUT);
    assert_eq!(goaway.error(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_gives_head_timeout_anew() {
    let mut peer = Peer::greet().await;
    tokio::time::sleep(HEAD_TIMEOUT - Duration::from_secs(1)).await;
    peer.write(HEADERS, END_STREAM | END_HEADERS, 1, HEAD).await;
    peer.read_until(DATA).await;
    let answered = Instant::now();

    peer.read_until(GOAWAY).await;

    assert_eq!(answered.elapsed(), HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_becomes_whole_does_not_hold_the_connection() {
    let mut peer = Peer::greet().await;
    let began = Instant::now();
    peer.write(HEADERS, END_STREAM, 1, HEAD).await;

    peer.read_until(GOAWAY).await;

    assert_eq!(began.elapsed(), HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_runs_is_not_idle() {
    let go_on = Arc::new(Notify::new());
    let mut peer = Peer::greet_with(waiting(go_on.clone())).await;
    peer.write(HEADERS, END_STREAM | END_HEADERS, 1, HEAD).await;
    let long = 3 * (HEAD_TIMEOUT + WRITE_TIMEOUT);
    let early = tokio::time::timeout(long, peer.read_until(GOAWAY)).await;

    go_on.notify_one();

    assert!(early.is_err());
    assert_eq!(peer.read_until(HEADERS).await.stream, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let mut peer = Peer::connect();
    let began = Instant::now();
    peer.pipe.write_all(PREFACE).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: there is no room for any answer.
    peer.write(SETTINGS, 0, 0, b"\0\x04\0\0\0\0").await;
    peer.write(HEADERS, END_STREAM | END_HEADERS, 1, HEAD).await;

    peer.read_until(GOAWAY).await;
    peer.ended().await;

    assert_eq!(began.elapsed(), HEAD_TIMEOUT + WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_a_request_finish_and_says_goodbye() {
    let go_on = Arc::new(Notify::new());
    let mut peer = Peer::greet_with(waiting(go_on.clone())).await;
    peer.write(HEADERS, END_STREAM | END_HEADERS, 1, HEAD).await;
    peer.settle().await;

    peer.stop.cancel();
    let goaway = peer.read_until(GOAWAY).await;
    go_on.notify_one();

    assert_eq!(goaway.error(), 0);
    assert_eq!(peer.read_until(HEADERS).await.stream, 1);
    assert_eq!(peer.read_until(DATA).await.payload, "hello");
    peer.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_closes_an_http_1_connection_is_not_said_here() {
    let closing = service_fn(async |_: Request| {
        let mut response = Response::new(Body::full("hello"));
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, "close".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let mut peer = Peer::greet_with(answering(closing)).await;

    peer.write(HEADERS, END_STREAM | END_HEADERS, 1, HEAD).await;
    let head = peer.read_until(HEADERS).await;

    assert!(!head.payload.windows(5).any(|bytes| bytes == b"close"));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let goaway = flood(|number| {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, HEAD);
        let reset = frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes());
        [head, reset].concat()
    });

    assert_eq!(goaway.await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn requests_that_make_us_reset_them_end_the_connection() {
    let goaway = flood(|number| {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, HEAD);
        let nothing = frame(WINDOW_UPDATE, 0, 2 * number + 1, &[0; 4]);
        [head, nothing].concat()
    });

    assert!(goaway.await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_head_in_endless_pieces_ends_the_connection() {
    let goaway = flood(|number| match number {
        0 => frame(HEADERS, END_STREAM, 1, HEAD),
        _ => frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"),
    });

    assert_eq!(goaway.await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_endless_empty_pieces_ends_the_connection() {
    let goaway = flood(|number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, HEAD),
        _ => frame(DATA, 0, 1, b""),
    });

    assert_eq!(goaway.await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn chatter_without_end_ends_the_connection() {
    const UNKNOWN: u8 = 0xbf;

    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[]), (UNKNOWN, &[])] {
        assert_eq!(flood(|_| frame(kind, 0, 0, payload)).await, None, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ping_now_and_then() {
    let mut peer = Peer::greet().await;

    for _ in 0..20 {
        for _ in 0..50 {
            peer.write(PING, 0, 0, &[0; 8]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.write(HEADERS, END_STREAM | END_HEADERS, peer.next, HEAD)
            .await;
        peer.next += 2;
    }

    assert!(!peer.served.is_finished());
}

/// Sends such pieces until the connection has ended; returns the error of the GOAWAY, if
/// there was one.
async fn flood(piece: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    const MOST: u32 = 50_000;

    let Peer {
        pipe,
        served,
        stop: _stop,
        ..
    } = Peer::greet_with(answering(service_fn(|req: Request| async {
        // As a stage that waits for the body.
        let _ = http_body_util::BodyExt::collect(req.into_body()).await;
        Ok::<_, Infallible>(Response::new(Body::full("hello")))
    })))
    .await;
    let (mut from, mut to) = tokio::io::split(pipe);
    let write = async {
        for number in 0..MOST {
            if to.write_all(&piece(number)).await.is_err() {
                return;
            }
        }
        panic!("{MOST} pieces were taken");
    };
    let read = async {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes).await;
        bytes
    };
    let ((), bytes) = tokio::join!(write, read);
    assert!(served.await.unwrap().is_err());
    frames(bytes.into())
        .find(|frame| frame.kind == GOAWAY)
        .map(|frame| frame.error())
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client, and the server's end of its connection.
struct Peer {
    pipe: DuplexStream,
    served: JoinHandle<Result<(), BoxError>>,
    stop: CancellationToken,
    next: u32,
}

impl Peer {
    /// Connects, and says nothing.
    fn connect() -> Self {
        Self::connect_to(answering(service_fn(async |_: Request| {
            Ok::<_, Infallible>(Response::new(Body::full("hello")))
        })))
    }

    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    fn connect_to(pipeline: Pipeline) -> Self {
        let (pipe, theirs) = tokio::io::duplex(64 * 1024);
        let stop = CancellationToken::new();
        let limits = Limits {
            max_head: 16 * 1024,
            head_timeout: HEAD_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            farewell: Duration::ZERO,
        };
        let server = Server {
            serving: Serving::alone(pipeline, limits.clone()),
            limits,
            tls: None,
            tasks: Tasks::default(),
        };
        let guest = Arc::new(Guest::new(&stop));
        Self {
            pipe,
            served: tokio::spawn(serve(server, theirs, Peer(None), guest)),
            stop,
            next: 1,
        }
    }

    /// Connects and agrees on HTTP/2.
    async fn greet() -> Self {
        Self::connect().greeted().await
    }

    async fn greet_with(pipeline: Pipeline) -> Self {
        Self::connect_to(pipeline).greeted().await
    }

    async fn greeted(mut self) -> Self {
        self.pipe.write_all(PREFACE).await.unwrap();
        self.write(SETTINGS, 0, 0, b"").await;
        self
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = frame(kind, flags, stream, payload);
        self.pipe.write_all(&bytes).await.unwrap();
    }

    /// The next frame of this kind. Those before it are passed over.
    async fn read_until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.expect("the connection ended");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The next frame. A ping is answered: the client is alive, and only that.
    async fn read(&mut self) -> Option<Frame> {
        const ACK: u8 = 1;

        let mut bytes = [0; 9];
        self.pipe.read_exact(&mut bytes).await.ok()?;
        let mut frame = Frame::parse(&bytes);
        let mut payload = vec![0; frame.length];
        self.pipe.read_exact(&mut payload).await.ok()?;
        frame.payload = payload.into();
        if frame.kind == PING && frame.flags & ACK == 0 {
            let answer = self::frame(PING, ACK, 0, &frame.payload);
            let _ = self.pipe.write_all(&answer).await;
        }
        Some(frame)
    }

    /// Lets the server do what it can do.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Reads on until the connection has ended.
    async fn ended(&mut self) {
        while self.read().await.is_some() {}
        let _ = (&mut self.served).await.unwrap();
    }
}

/// A pipeline whose answers wait.
fn waiting(go_on: Arc<Notify>) -> Pipeline {
    let steps = service_fn(move |_: Request| {
        let go_on = go_on.clone();
        async move {
            go_on.notified().await;
            Ok::<_, Infallible>(Response::new(Body::full("hello")))
        }
    });
    answering(steps)
}

/// A pipeline of this one step.
fn answering<S>(step: S) -> Pipeline
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    Pipeline::new(run_to_end::layer(Tasks::default()).layer(step))
}

struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Bytes,
}

impl Frame {
    fn parse(mut header: &[u8]) -> Self {
        Self {
            length: usize::try_from(header.get_uint(3)).unwrap(),
            kind: header.get_u8(),
            flags: header.get_u8(),
            stream: header.get_u32(),
            payload: Bytes::new(),
        }
    }

    /// Of a GOAWAY.
    fn error(&self) -> u32 {
        (&self.payload[4..]).get_u32()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn frames(mut bytes: Bytes) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(move || {
        let header = (9 <= bytes.len()).then(|| bytes.split_to(9))?;
        let mut frame = Frame::parse(&header);
        frame.payload = (frame.length <= bytes.len()).then(|| bytes.split_to(frame.length))?;
        Some(frame)
    })
}
