//! The streams of bytes that a link runs over.

use super::WireError;
use super::tls::Dialer;
use crate::model::{KeyFingerprint, NodeName};
use futures_util::Stream;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::server::Connected;

/// Bytes in flight on an in-memory link: what a socket buffer would hold.
const MEMORY_BYTES: usize = 64 * 1024;

trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ByteStream for T {}

/// Who is at the other end of a connection that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process of this machine that the socket's permissions let in.
    Local,
    /// A node with a certificate of the cluster.
    Node {
        /// Its name there.
        node: NodeName,
        /// Its key.
        key: KeyFingerprint,
    },
    /// Somebody without a certificate.
    Stranger,
}

/// A connection, whatever it runs over.
pub struct Io {
    stream: Pin<Box<dyn ByteStream>>,
    caller: Caller,
}

impl Io {
    /// Wraps a stream of bytes within this machine.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self::from_caller(stream, Caller::Local)
    }

    /// Wraps a stream of bytes that somebody opened.
    pub(super) fn from_caller(stream: impl AsyncRead + AsyncWrite + Send + 'static, caller: Caller) -> Self {
        Self { stream: Box::pin(stream), caller }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

impl Connected for Io {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.caller.clone()
    }
}

/// The connections that come in at the controller.
pub struct Incoming(Pin<Box<dyn Stream<Item = io::Result<Io>> + Send>>);

impl Incoming {
    /// Those that arrive in a queue.
    pub(super) fn of(queue: mpsc::Receiver<io::Result<Io>>) -> Self {
        Self(Box::pin(ReceiverStream::new(queue)))
    }

    /// Those of several doors.
    #[must_use]
    pub fn merge(doors: Vec<Incoming>) -> Self {
        Self(Box::pin(futures_util::stream::select_all(doors)))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl Stream for Incoming {
    type Item = io::Result<Io>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// How an agent reaches its controller.
#[derive(Debug, Clone)]
pub enum Connector {
    /// Within this process.
    Memory(mpsc::Sender<Io>),
    /// At a unix socket of this machine.
    Unix(PathBuf),
    /// On another host, over TLS.
    Tls(Arc<Dialer>),
}

impl Connector {
    /// Opens one connection.
    ///
    /// # Errors
    /// The controller is not there.
    pub async fn connect(&self) -> io::Result<Io> {
        match self {
            Connector::Memory(door) => {
                let (near, far) = tokio::io::duplex(MEMORY_BYTES);
                let gone = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the controller has ended");
                door.send(Io::new(far)).await.map_err(gone)?;
                Ok(Io::new(near))
            }
            Connector::Unix(path) => UnixStream::connect(path).await.map(Io::new),
            Connector::Tls(dialer) => dialer.connect().await,
        }
    }

    /// The controller did not let us in: whatever we showed may be out of date.
    pub(super) fn doubt(&self) {
        match self {
            Connector::Memory(_) | Connector::Unix(_) => {}
            Connector::Tls(dialer) => dialer.doubt(),
        }
    }
}

/// A pair of ends within this process, for `driftless up`. The agent may connect as often as it likes.
#[must_use]
pub fn local() -> (Connector, Incoming) {
    use futures_util::StreamExt;
    let (door, room) = mpsc::channel(4);
    (Connector::Memory(door), Incoming(Box::pin(ReceiverStream::new(room).map(Ok))))
}

/// Listens on a unix socket that only this user may use: mode 0600, in a folder that is made with mode 0700 where it is missing.
/// A socket file that nobody listens on is replaced.
///
/// # Errors
/// Another process listens there, something else is in its place, or the folder cannot be written.
pub fn unix(path: &Path) -> Result<(Incoming, SocketGuard), WireError> {
    use futures_util::StreamExt;
    let failed = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |source| WireError::Io { what, source }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("cannot make the folder of the socket"))?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("cannot listen on the socket"))?;
    let guard = SocketGuard(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("cannot restrict the socket"))?;
    let incoming = UnixListenerStream::new(listener).map(|stream| stream.map(Io::new));
    Ok((Incoming(Box::pin(incoming)), guard))
}

fn remove_stale(path: &Path) -> Result<(), WireError> {
    let failed = |what: &str, source| WireError::Io { what: format!("{what} {}", path.display()), source };
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("cannot look at the socket", error)),
    };
    if !kind.is_socket() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket is there");
        return Err(failed("cannot listen on the socket", source));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(WireError::InUse(path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("cannot remove the stale socket", error))
        }
        Err(error) => Err(failed("cannot tell whether somebody listens on the socket", error)),
    }
}

/// Removes the socket file when the controller ends.
#[derive(Debug)]
pub struct SocketGuard(PathBuf);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        // A file that stays behind is found stale by the next controller.
        let _ = fs::remove_file(&self.0);
    }
}

/// The port that agents come in at, unless set otherwise.
const PORT: u16 = 7781;

/// The address of a controller, as a person writes it: `unix:PATH`, or `HOST:PORT`, where the port is 7781 if it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireAddress {
    /// A unix socket of this machine.
    Unix(PathBuf),
    /// A port of a host, over TLS.
    Tcp(String),
}

impl fmt::Display for WireAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            WireAddress::Tcp(address) => f.write_str(address),
        }
    }
}

impl FromStr for WireAddress {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let refused = |why: &str| Err(WireError::Address(format!("{text} is no address of a controller: {why}")));
        match text.strip_prefix("unix:") {
            Some("") => return refused("there is no path after unix:"),
            Some(path) => return Ok(Self::Unix(PathBuf::from(path))),
            None => {}
        }
        // An IPv6 address with a port is in brackets; one without has more than one colon.
        let bare = text.starts_with('[') && text.ends_with(']') || !text.contains(':');
        let full = if bare { format!("{text}:{PORT}") } else { text.to_owned() };
        match full.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => Ok(Self::Tcp(full)),
            _ => refused("write HOST:7781 or unix:PATH"),
        }
    }
}
