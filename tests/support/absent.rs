//! What if there is no upstream?

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A port that refuses connections, and that nobody else can take meanwhile.
pub struct Refusing(TcpSocket);

impl Refusing {
    /// Takes the port; it is bound, and does not listen.
    pub fn new() -> Self {
        Self(bound())
    }

    /// Where it refuses.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// A port that answers nothing: who connects, waits.
pub struct Silent {
    listener: TcpListener,
    _first: TcpStream,
}

impl Silent {
    /// Listens with room for one connection that nobody accepts, and takes that
    /// room. Linux drops the SYN of the next.
    pub async fn new() -> Self {
        let listener = bound().listen(0).unwrap();
        let first = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        Self {
            listener,
            _first: first,
        }
    }

    /// Where it is silent.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}

fn bound() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}
