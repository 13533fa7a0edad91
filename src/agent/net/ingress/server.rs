//! The server as a whole: what it follows, and the handle to it.

use super::super::proxy::Proxy;
use super::certificates::{Certificates, default_certificate};
use super::connections::Connections;
use super::listen::{self, Listening};
use super::router::Router;
use crate::model::{Cidr, EndpointSet, IngressTable};
use arc_swap::ArcSwap;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig, version};
use tokio_util::sync::CancellationToken;

/// The port of `https://`.
const HTTPS: u16 = 443;

/// How often connections that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// How Ingress is served on this node.
#[derive(Debug, Clone)]
pub struct IngressSettings {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where HTTPS is served.
    pub https: SocketAddr,
    /// Proxies in front of us whose word about their clients counts.
    pub trusted: Vec<Cidr>,
    /// What is held back with.
    pub limits: IngressLimits,
}

/// What Ingress holds back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngressLimits {
    /// Connections of clients, per listener. Further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Until the header of a request must have come, and until a connection without a request is closed.
    pub header: Duration,
    /// Until a TLS handshake must be done.
    pub handshake: Duration,
    /// When the server ends, the first request of a connection that was just taken in is waited for so long.
    pub first: Duration,
    /// A client may be silent in the middle of a body, and a backend before its answer, for so long.
    pub silence: Duration,
}

impl Default for IngressLimits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            header: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            first: Duration::from_secs(1),
            silence: Duration::from_secs(60),
        }
    }
}

/// The Ingress server of one node.
#[derive(Debug)]
pub struct Ingress {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    listening: Listening,
    /// Cancelled when there is a table to serve.
    known: CancellationToken,
    shutdown: CancellationToken,
}

/// What every request looks at.
pub(super) struct Shared {
    state: ArcSwap<State>,
    /// The version in `state`; applied one after the other.
    version: Mutex<u64>,
    pub(super) proxy: Proxy,
    pub(super) connections: Connections,
    pub(super) settings: IngressSettings,
    /// Where HTTPS is served.
    https_port: AtomicU16,
    fallback: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    ids: Ids,
}

/// A table, ready to be looked things up in.
#[derive(Debug)]
pub(super) struct State {
    pub(super) router: Router,
    certificates: Certificates,
}

/// Names of requests: unique, and nobody can guess the next one.
struct Ids {
    key: [u8; 32],
    next: AtomicU64,
}

impl Ingress {
    /// A server that listens from its first table on; an address that cannot be had (yet) is tried again. `proxy` knows the
    /// backends and the way to them, and who holds sockets while the agent restarts. Must be called within tokio.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn start(settings: IngressSettings, proxy: Proxy) -> Result<Self, String> {
        proxy.find_keeper();
        let shared = Arc::new(Shared::new(settings, proxy)?);
        let (known, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let config = Arc::new(tls_config(&shared)?);
        let mut tasks = JoinSet::new();
        let listening = listen::start(&mut tasks, &shared, config, (&known, &shutdown));
        let (swept, ended) = (Arc::clone(&shared), shutdown.clone());
        tasks.spawn(async move { sweep(&swept, &ended).await });
        Ok(Self { shared, tasks, listening, known, shutdown })
    }

    /// Follows a table from now on, and returns the version that is followed afterwards: that of `table`, unless a newer one came
    /// before. Requests that are under way go on as they began.
    pub fn apply(&self, table: &IngressTable) -> u64 {
        let mut version = self.shared.version.lock().unwrap_or_else(PoisonError::into_inner);
        if table.version >= *version {
            *version = table.version;
            self.shared.state.store(Arc::new(State::new(table, &self.shared.provider)));
            self.known.cancel();
        }
        *version
    }

    /// A set that the proxy follows now: connections to backends that are not in it are closed when nothing is on them.
    pub fn follow(&self, set: &EndpointSet) {
        self.shared.connections.keep_only(set);
    }

    /// Connections to backends that no request is on.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.shared.connections.idle()
    }

    /// Where HTTP and HTTPS are served, once both are.
    pub async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        self.listening.addresses().await
    }

    /// Takes no more connections, leaves the sockets to the next agent, and ends once the requests that are under way have had their
    /// answers, or have taken so long.
    pub async fn finish(mut self, patience: Duration) {
        self.shutdown.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("requests through Ingress are cut off: they have not ended within {} s", patience.as_secs());
        }
    }
}

async fn sweep(shared: &Shared, shutdown: &CancellationToken) {
    while tokio::time::timeout(SWEEP, shutdown.cancelled()).await.is_err() {
        shared.connections.sweep();
    }
}

impl Shared {
    fn new(settings: IngressSettings, proxy: Proxy) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut key = [0; 32];
        provider.secure_random.fill(&mut key).map_err(|_| "the system gives no random numbers".to_owned())?;
        let nothing = State::new(&IngressTable::default(), &provider);
        Ok(Self {
            state: ArcSwap::from_pointee(nothing),
            version: Mutex::new(0),
            connections: Connections::new(proxy.clone()),
            proxy,
            https_port: AtomicU16::new(settings.https.port()),
            settings,
            fallback: Arc::new(default_certificate(&provider)?),
            provider,
            ids: Ids { key, next: AtomicU64::new(0) },
        })
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// HTTPS is served at this port, whichever was asked for.
    pub(super) fn serves_https_at(&self, port: u16) {
        self.https_port.store(port, Ordering::Relaxed);
    }

    pub(super) fn request_id(&self) -> HeaderValue {
        let count = self.ids.next.fetch_add(1, Ordering::Relaxed);
        let digest = blake3::keyed_hash(&self.ids.key, &count.to_be_bytes()).to_hex();
        digest.get(..32).and_then(|id| HeaderValue::from_str(id).ok()).unwrap_or_else(|| HeaderValue::from_static("0"))
    }

    /// The same with TLS.
    pub(super) fn https_location(&self, host: &Authority, asked: &Uri) -> Option<HeaderValue> {
        let port = self.https_port.load(Ordering::Relaxed);
        let port = if port == HTTPS { String::new() } else { format!(":{port}") };
        let path = asked.path_and_query().map_or("/", |path| path.as_str());
        HeaderValue::from_str(&format!("https://{}{port}{path}", host.host())).ok()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl State {
    fn new(table: &IngressTable, provider: &CryptoProvider) -> Self {
        Self { router: Router::new(table), certificates: Certificates::new(table, provider) }
    }
}

/// TLS 1.2 and newer, for clients of the public.
fn tls_config(shared: &Arc<Shared>) -> Result<ServerConfig, String> {
    let versions = [&version::TLS13, &version::TLS12];
    let builder = ServerConfig::builder_with_provider(Arc::clone(&shared.provider)).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(ByName(Arc::clone(shared))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Shows each client the certificate for the name that it asks for, of the newest table.
#[derive(Debug)]
struct ByName(Arc<Shared>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.0.state.load();
        let found = hello.server_name().and_then(|name| state.certificates.find(name));
        Some(Arc::clone(found.unwrap_or(&self.0.fallback)))
    }
}
