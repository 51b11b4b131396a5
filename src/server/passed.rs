//! Which sockets were passed to this process?
//!
//! systemd can bind sockets itself and pass them on (`sd_listen_fds(3)`). They are there
//! before Portaria is, and while it is restarted: who connects meanwhile waits.

use std::{fmt, io, net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;

/// What a socket without a name is called, by systemd too.
const UNNAMED: &str = "unknown";

/// The sockets that were passed and not taken yet.
pub struct Passed {
    sockets: ListenFd,
    /// The name of each; one that has been taken has none any more.
    names: Vec<Option<String>>,
}

/// A socket that no runtime has yet.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }
}

impl Passed {
    /// None.
    pub fn none() -> Self {
        Self::named(ListenFd::empty(), "")
    }

    /// Those of this process, with their names as they are in `LISTEN_FDNAMES`. Call it
    /// before there are threads: it takes variables out of the environment, so that no
    /// child believes they are meant for it.
    pub fn to_this_process(names: &str) -> Self {
        Self::named(ListenFd::from_env(), names)
    }

    fn named(sockets: ListenFd, names: &str) -> Self {
        let names = names.split(':').filter(|name| !name.is_empty());
        let names = names.chain(std::iter::repeat(UNNAMED));
        Self {
            names: names
                .take(sockets.len())
                .map(|name| Some(name.to_owned()))
                .collect(),
            sockets,
        }
    }

    /// Takes all of this name.
    ///
    /// # Errors
    /// There is none, or one is of a kind that cannot be accepted on.
    pub(super) fn take(&mut self, name: &str) -> io::Result<Vec<Socket>> {
        let mut taken = Vec::new();
        for index in 0..self.names.len() {
            if self.names[index].as_deref() == Some(name) {
                taken.push(self.socket(index)?);
                self.names[index] = None;
            }
        }
        if taken.is_empty() {
            let others: Vec<_> = self.left().collect();
            let others = match &*others {
                [] => "none at all".to_owned(),
                others => others.join(", "),
            };
            let why = format!("no socket of this name was passed, but {others}");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(taken)
    }

    /// The names of those that nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }

    fn socket(&mut self, index: usize) -> io::Result<Socket> {
        let tcp = self.sockets.take_tcp_listener(index);
        let socket = match tcp.ok().flatten() {
            Some(listener) => Socket::Tcp(listener),
            None => match self.sockets.take_unix_listener(index)? {
                Some(listener) => Socket::Unix(listener),
                None => return Err(io::ErrorKind::NotFound.into()),
            },
        };
        match &socket {
            Socket::Tcp(listener) => listener.set_nonblocking(true)?,
            Socket::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(socket)
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passed").field(&self.names).finish()
    }
}
