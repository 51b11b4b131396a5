//! What does an application hear?
//!
//! A connection that sends any bytes at all and reads HTTP/1.1 answers. It does
//! only what it is told: it neither retries nor reconnects.

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{Answer, within};

/// A connection to the gateway. Dropped, it is closed.
pub struct Client {
    stream: Box<dyn Connection>,
    /// Bytes that were read and belong to no answer yet.
    unread: Vec<u8>,
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Client {
    /// Connects over TCP.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a TCP connection", TcpStream::connect(address))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Connects to a unix socket.
    pub async fn connect_unix(path: &Path) -> Self {
        Self::over(
            within("a unix connection", UnixStream::connect(path))
                .await
                .unwrap(),
        )
    }

    /// Takes any connection: TLS, or one end of a duplex pipe.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
        }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        within("the client to be read from", sent).await.unwrap();
    }

    /// Says that nothing more will be sent, and can still hear.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.read_answer().await
    }

    /// Reads the next answer; a `100 Continue` is one too. The connection can go
    /// on afterwards, unless only its end ended the answer.
    pub async fn read_answer(&mut self) -> Answer {
        within("an answer", self.read_answer_patiently()).await
    }

    /// Reads the next answer, or finds that the connection ended before it was whole.
    pub async fn read_until_answer_or_end(&mut self) -> Option<Answer> {
        within("an answer or an end", async {
            while !self.has_whole_answer() {
                if !self.read_more().await {
                    return None;
                }
            }
            Some(self.read_answer_patiently().await)
        })
        .await
    }

    /// Whether an answer with a `Content-Length` is here whole.
    fn has_whole_answer(&self) -> bool {
        let Some(head) = self
            .unread
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
        else {
            return false;
        };
        let text = String::from_utf8_lossy(&self.unread[..head]).to_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        length.is_none_or(|length| head + 4 + length.parse::<usize>().unwrap() <= self.unread.len())
    }

    /// Reads everything there is until the gateway closes, or resets, the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        within("the gateway to close the connection", async {
            while self.read_more().await {}
        })
        .await;
        std::mem::take(&mut self.unread)
    }

    /// Waits for the gateway to close the connection; true if it said nothing more.
    pub async fn is_closed_by_peer(&mut self) -> bool {
        self.read_to_end().await.is_empty()
    }

    async fn read_answer_patiently(&mut self) -> Answer {
        let head = String::from_utf8(self.read_through(b"\r\n\r\n").await).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let mut answer = Answer::new(status);
        for line in lines {
            let (name, value) = line.split_once(':').expect("a header line has a colon");
            answer = answer.with_header(name, value.trim());
        }
        let length = answer
            .header("Content-Length")
            .map(|digits| digits.parse().unwrap());
        answer.body = match (status, length, answer.header("Transfer-Encoding")) {
            (100..=199 | 204 | 304, ..) => Vec::new(),
            (_, None, Some("chunked")) => self.read_chunks().await,
            (_, Some(length), None) => self.read_exactly(length).await,
            (_, None, None) => self.read_to_end().await,
            (.., Some(_)) => panic!("nobody can tell how long this answer is:\n{head}"),
        };
        answer
    }

    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.read_through(b"\r\n").await).unwrap();
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let chunk = self.read_exactly(length).await;
            assert_eq!(self.read_exactly(2).await, b"\r\n", "no CRLF after a chunk");
            body.extend(chunk);
            if length == 0 {
                return body;
            }
        }
    }

    /// Reads up to and including `end`.
    async fn read_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(start) = self
                .unread
                .windows(end.len())
                .position(|bytes| bytes == end)
            {
                return self.unread.drain(..start + end.len()).collect();
            }
            self.need_more().await;
        }
    }

    async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            self.need_more().await;
        }
        self.unread.drain(..count).collect()
    }

    async fn need_more(&mut self) {
        if !self.read_more().await {
            let unread = String::from_utf8_lossy(&self.unread);
            panic!("the connection ended within an answer; what was left: {unread:?}");
        }
    }

    /// Reads what there is; false at the end, be it FIN or RST.
    async fn read_more(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.unread)
            .await
            .is_ok_and(|count| count > 0)
    }
}
