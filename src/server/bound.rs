//! Where does it listen?
//!
//! On TCP addresses, on unix sockets, on what systemd passes. To a unix socket, nobody can connect before it is
//! known who may. Accepting never ends for a failure: most often it
//! is "too many open files", which passes.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener, UnixSocket, UnixStream},
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    Stream,
    passed::{Passed, Socket},
};
use crate::{config::Address, middleware::key::failures::Peer};

/// After a failure to accept. Spinning would not help it.
const PAUSE: Duration = Duration::from_millis(50);
/// After so long without a failure, the next one is worth a line in the log.
const QUIET: Duration = Duration::from_secs(10);

/// Who waits to be accepted; the system may allow fewer.
pub(super) const BACKLOG: u32 = 1024;

/// Who may connect to a unix socket: whoever may write to its file.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The mode of the file.
    pub mode: u32,
    /// Its owner. None: whoever runs this process.
    pub owner: Option<u32>,
    /// Its group. None: the one that runs this process.
    pub group: Option<u32>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            mode: 0o660,
            owner: None,
            group: None,
        }
    }
}

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    address: Address,
    /// The file of the socket, if it is ours.
    file: Option<Arc<SocketFile>>,
    /// Whether somebody else holds the socket, too, and keeps it when this process ends.
    pub(super) is_passed: bool,
    /// When it last failed to accept, for whomever.
    failed: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Binds an address, or takes what was passed: all sockets of that name. A unix socket
    /// that we make is for those who have access.
    ///
    /// # Errors
    /// It cannot be had; the address is named.
    pub async fn bind(
        address: &Address,
        access: Access,
        passed: &mut Passed,
    ) -> io::Result<Vec<Self>> {
        Self::bind_all(address, access, passed)
            .await
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })
    }

    async fn bind_all(
        address: &Address,
        access: Access,
        passed: &mut Passed,
    ) -> io::Result<Vec<Self>> {
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                Ok(vec![Self::new(Listener::Tcp(listener))?])
            }
            Address::Unix(path) => {
                remove_stale(path).await?;
                let mut bound = Self::new(Listener::Unix(listen_unix(path, access)?))?;
                bound.file = Some(Arc::new(SocketFile(path.clone())));
                Ok(vec![bound])
            }
            Address::Systemd(name) => {
                let sockets = passed.take(name)?.into_iter();
                let one = |socket| {
                    let mut bound = Self::new(Listener::of(socket)?)?;
                    bound.is_passed = true;
                    Ok(bound)
                };
                sockets.map(one).collect()
            }
        }
    }

    fn new(listener: Listener) -> io::Result<Self> {
        let address = match &listener {
            Listener::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned())
            }
        };
        Ok(Self {
            listener,
            address,
            file: None,
            is_passed: false,
            failed: Arc::default(),
        })
    }

    /// The same socket for each of these runtimes: who has time accepts.
    ///
    /// # Errors
    /// There are no more descriptors to be had.
    pub fn share(self, runtimes: &[Handle]) -> io::Result<Vec<Self>> {
        let listener = Socket::try_from(self.listener)?;
        let one = |runtime: &Handle| {
            let _entered = runtime.enter();
            Ok(Self {
                listener: Listener::of(listener.try_clone()?)?,
                address: self.address.clone(),
                file: self.file.clone(),
                is_passed: self.is_passed,
                failed: self.failed.clone(),
            })
        };
        runtimes.iter().map(one).collect()
    }

    /// Where it listens; port 0 is a real one by now.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Whether it may speak TLS: unix sockets do without.
    pub fn is_tcp(&self) -> bool {
        matches!(self.listener, Listener::Tcp(_))
    }

    /// Waits for the next connection, over any number of failures.
    pub(crate) async fn accept(&mut self) -> (Box<dyn Stream>, Peer) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Once per burst: it comes back every 50 ms until descriptors are free.
                    if self.is_news() {
                        let address = &self.address;
                        tracing::warn!(%error, %address, "cannot accept connections; they wait");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Notes a failure. Is it the first after a quiet time?
    fn is_news(&self) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let last = failed.replace(Instant::now());
        last.is_none_or(|last| QUIET < last.elapsed())
    }
}

impl Listener {
    fn of(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Socket::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // It fails only on a connection that has ended, and reading will tell.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Peer(Some(peer.ip()))))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok((Box::new(stream), Peer(None)))
            }
        }
    }
}

impl TryFrom<Listener> for Socket {
    type Error = io::Error;

    fn try_from(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => listener.into_std().map(Self::Tcp),
            Listener::Unix(listener) => listener.into_std().map(Self::Unix),
        }
    }
}

/// The file of a unix socket, which goes when nobody listens any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever finds it next would only be refused.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a socket that nobody listens on any more: what a crash leaves behind.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(in_use("something that is no socket is there"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(in_use("another process listens there")),
        // Full of those who wait, or closed to us: binding will fail, and say why.
        Err(_) => Ok(()),
    }
}

/// The file is there once it is bound, but until `listen` everybody is refused: so there
/// is time to say who may connect.
fn listen_unix(path: &Path, access: Access) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let permissions = fs::Permissions::from_mode(access.mode);
    fs::set_permissions(path, permissions)
        .and_then(|()| match (access.owner, access.group) {
            // To ask for nothing is forbidden, too, where a sandbox forbids the question.
            (None, None) => Ok(()),
            (owner, group) => chown(path, owner, group).map_err(|error| {
                let why = format!("it cannot get its owner or group: {error}");
                io::Error::new(error.kind(), why)
            }),
        })
        .and_then(|()| socket.listen(BACKLOG))
        .inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
}

fn in_use(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_bound_and_does_not_listen_lets_nobody_in() {
        let home = tempfile::TempDir::new().unwrap();
        let path = home.path().join("socket");
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();

        let early = UnixStream::connect(&path).await.unwrap_err();
        let _listening = socket.listen(BACKLOG).unwrap();

        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        assert!(UnixStream::connect(&path).await.is_ok());
    }
}
