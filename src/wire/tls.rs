//! TLS on the way between agents and their controller: the gate where agents come in, and how they dial it.

use super::WireError;
use super::io::{Caller, Incoming, Io};
use crate::clock;
use crate::model::{JoinRefusal, Moment, NodeName};
use crate::trust::{self, Authorities, Credentials, NodeIdentity, Request, TrustError};
use arc_swap::ArcSwap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a handshake may take, and the way to a host.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 128;

/// Connections without a certificate at a time, and how long each may last: enough to join.
pub(super) const STRANGERS: (usize, Duration) = (32, Duration::from_secs(15));

/// How often the gate looks whether its own certificate is to be renewed, or the authority was exchanged.
const TEND_PERIOD: Duration = Duration::from_secs(30);

/// After a certificate that could not be renewed.
const TEND_PAUSE: Duration = Duration::from_millis(250);

/// A peer whose host has vanished is noticed within this time, also while data is on its way to it.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// What the controller of a cluster has of its authority.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// `identity/` of the state directory.
    pub identity_dir: PathBuf,
    /// The cluster's id.
    pub cluster_id: String,
    /// Names and addresses that the controller's certificate is for as well.
    pub advertised: Vec<String>,
    /// How long certificates are valid.
    pub life: Duration,
}

/// Where agents of other hosts come in: the authority, and the controller's own certificate. Clones share it.
#[derive(Debug, Clone)]
pub struct Gate {
    settings: Arc<GateSettings>,
    authorities: Arc<ArcSwap<Authorities>>,
    identity: NodeIdentity,
}

impl Gate {
    /// Opens the authority; makes it on the first start.
    ///
    /// # Errors
    /// Its files are exposed or damaged, or an advertised name is none.
    pub fn open(settings: GateSettings) -> Result<Self, TrustError> {
        let now = clock::wall();
        let authorities = Authorities::load_or_create(&settings.identity_dir, &settings.cluster_id, now)?;
        let (key, issued) = authorities.issue_controller(&settings.advertised, settings.life, now)?;
        let identity = NodeIdentity::new(key, &issued)?;
        Ok(Self { settings: Arc::new(settings), authorities: Arc::new(ArcSwap::from_pointee(authorities)), identity })
    }

    /// Lets connections in from `listener`, each with the name of its node, until nobody takes them any more.
    ///
    /// # Errors
    /// The provider of cryptography is unusable.
    pub fn listen(&self, listener: TcpListener) -> Result<Incoming, TrustError> {
        let acceptor = TlsAcceptor::from(Arc::new(trust::server_config(&self.identity)?));
        let (sender, receiver) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(accept(listener, acceptor, sender));
        Ok(Incoming::of(receiver))
    }

    /// Renews the controller's certificate in time, and takes a new authority over. Never ends.
    pub async fn tend(&self) {
        loop {
            let now = clock::wall();
            let due = self.identity.certificate().map_or(now, |certificate| certificate.renewal(0.0));
            sleep(due.since(now).clamp(TEND_PAUSE, TEND_PERIOD)).await;
            if let Err(error) = self.refresh(clock::wall()) {
                tracing::error!(error = %error, hint = error.hint(), "the controller's certificate cannot be renewed");
            }
        }
    }

    /// One look at whether something is to be renewed.
    pub(super) fn refresh(&self, now: Moment) -> Result<(), TrustError> {
        let GateSettings { identity_dir, cluster_id, advertised, life } = self.settings.as_ref();
        let found = Authorities::load_or_create(identity_dir, cluster_id, now)?;
        let before = self.authorities.load();
        let count = |authorities: &Authorities| authorities.roots(*life, now).len();
        let is_other = found.fingerprint() != before.fingerprint() || count(&found) != self.identity.roots();
        let is_due = self.identity.certificate().is_none_or(|certificate| now >= certificate.renewal(0.0));
        if !is_other && !is_due {
            return Ok(());
        }
        let (key, issued) = found.issue_controller(advertised, *life, now)?;
        self.identity.replace_with_key(key, &issued)?;
        self.authorities.store(Arc::new(found));
        tracing::info!("the controller has a new certificate");
        Ok(())
    }

    /// A certificate for a node that may have one.
    pub(super) fn issue(&self, node: &NodeName, request: &Request) -> Result<Credentials, TrustError> {
        self.authorities.load().issue_node(node, request, self.settings.life, clock::wall())
    }
}

/// Accepts until the other end of `sender` is gone.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<io::Result<Io>>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let strangers = Arc::new(Semaphore::new(STRANGERS.0));
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = sender.closed() => return,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, or a connection that ended before it was accepted: neither ends the listener.
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, strangers, sender) = (acceptor.clone(), Arc::clone(&strangers), sender.clone());
        tokio::spawn(async move {
            let shaken = shake(stream, acceptor, strangers).await;
            drop(permit);
            match shaken {
                // Without a receiver the controller has ended.
                Ok(io) => drop(sender.send(Ok(io)).await),
                Err(error) => tracing::debug!(%error, "a connection was refused"),
            }
        });
    }
}

/// One handshake. Who shows no certificate gets a short time, and only so many at once.
async fn shake(stream: TcpStream, acceptor: TlsAcceptor, strangers: Arc<Semaphore>) -> io::Result<Io> {
    watch_for_death(&stream)?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if let Some((node, key)) = trust::peer_of(stream.get_ref().1) {
        return Ok(Io::from_caller(stream, Caller::Node { node, key }));
    }
    let crowded = |_| io::Error::new(io::ErrorKind::ResourceBusy, "too many connections without a certificate");
    let permit = strangers.try_acquire_owned().map_err(crowded)?;
    let brief = Brief { stream, ends: Box::pin(sleep(STRANGERS.1)), _permit: permit };
    Ok(Io::from_caller(brief, Caller::Stranger))
}

/// The kernel itself notices a peer that is gone without a word.
fn watch_for_death(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, DEAD_AFTER / 2)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 5)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// A stream that ends after a while, whatever happens on it.
struct Brief<S> {
    stream: S,
    ends: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Brief<S> {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.ends.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Brief<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Brief<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How a node dials its controller.
#[derive(Debug)]
pub struct Dialer {
    addresses: Vec<String>,
    /// Counts attempts: each that fails goes on with the next address.
    turn: AtomicUsize,
    identity: NodeIdentity,
    doubt: Arc<Notify>,
}

impl Dialer {
    /// Dials the first of `addresses` (`HOST:PORT`) that answers, showing the certificate that `identity` has by then. `doubt` hears of
    /// it when that is not accepted.
    #[must_use]
    pub fn new(addresses: Vec<String>, identity: NodeIdentity, doubt: Arc<Notify>) -> Self {
        Self { addresses, turn: AtomicUsize::new(0), identity, doubt }
    }

    /// One attempt, at the address whose turn it is.
    pub(super) async fn connect(&self) -> io::Result<Io> {
        let turn = self.turn.load(Ordering::Relaxed);
        let address = self.addresses.get(turn % self.addresses.len().max(1)).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let config = trust::controller_config(&self.identity, true).map_err(io::Error::other)?;
        let dialled = dial(address, Arc::new(config)).await;
        if dialled.is_err() {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        dialled
    }

    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }
}

/// Opens one connection to a controller at `address` (`HOST:PORT`).
///
/// # Errors
/// Nobody is there, or it is not our controller.
pub(super) async fn dial(address: &str, config: Arc<ClientConfig>) -> io::Result<Io> {
    let open = async {
        let stream = TcpStream::connect(address).await?;
        watch_for_death(&stream)?;
        let name = ServerName::try_from(trust::CONTROLLER_NAME).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    };
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", HANDSHAKE.as_secs()));
    timeout(HANDSHAKE, open).await.map_err(silent)?.map(Io::new)
}

/// What a failed handshake says of the clocks, or of whose controller this is.
pub(super) fn verdict(error: &io::Error) -> Option<Verdict> {
    let inner = error.get_ref()?.downcast_ref::<TlsError>()?;
    let TlsError::InvalidCertificate(reason) = inner else { return None };
    let clock = |ours: u64, bound: u64| {
        let by = Duration::from_secs(ours.abs_diff(bound));
        Verdict::Clock(JoinRefusal::Clock { by, ahead: ours > bound })
    };
    if let CertificateError::ExpiredContext { time, not_after } = reason {
        return Some(clock(time.as_secs(), not_after.as_secs()));
    }
    if let CertificateError::NotValidYetContext { time, not_before } = reason {
        return Some(clock(time.as_secs(), not_before.as_secs()));
    }
    let CertificateError::Other(other) = reason else {
        return matches!(reason, CertificateError::UnknownIssuer).then_some(Verdict::UnknownAuthority);
    };
    other.0.downcast_ref::<trust::WrongAuthority>().map(|_| Verdict::WrongAuthority)
}

/// Why the certificate of a controller was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is valid at another time than ours.
    Clock(JoinRefusal),
    /// Its authority is not the one that the token names.
    WrongAuthority,
    /// Its authority is none that this host knows.
    UnknownAuthority,
}

/// Listens for agents.
///
/// # Errors
/// The address is in use, or not ours.
pub async fn bind(address: &str) -> Result<TcpListener, WireError> {
    let what = || format!("cannot listen for agents on {address}");
    TcpListener::bind(address).await.map_err(|source| WireError::Io { what: what(), source })
}
