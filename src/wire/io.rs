//! The streams of bytes that a link runs over.

use super::WireError;
use futures_util::Stream;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
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

/// A connection, whatever it runs over.
pub struct Io(Pin<Box<dyn ByteStream>>);

impl Io {
    /// Wraps a stream of bytes.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}

impl Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

/// The connections that come in at the controller.
pub struct Incoming(Pin<Box<dyn Stream<Item = io::Result<Io>> + Send>>);

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

/// The address of a controller, as a person writes it: `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireAddress(PathBuf);

impl WireAddress {
    /// The address of the socket at `path`.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// How to reach it.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector::Unix(self.0.clone())
    }
}

impl fmt::Display for WireAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}

impl FromStr for WireAddress {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(WireError::Address("no path after unix:".to_owned())),
            Some(path) => Ok(Self(PathBuf::from(path))),
            None => Err(WireError::Address(format!(
                "{text} is not unix:PATH: controllers and agents on different hosts need certificates, which this version does not \
                 have yet"
            ))),
        }
    }
}
