//! Connections of clients: accepted, TLS taken off, and served until they end or we do.

use super::super::tcp::{EXHAUSTED, is_exhausted, tune};
use super::forward::Visit;
use super::headers::{Client, is_trusted};
use super::server::Shared;
use crate::model::{Kind, ObjectKey};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

/// Fields of a header.
const FIELDS_MAX: usize = 100;

/// Bytes of a header.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Requests that run at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Requests of one HTTP/2 connection that were taken back before they were looked at; at more it is ended (CVE-2023-44487).
const RESETS_MAX: usize = 20;

/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);

/// Where the listeners are, once they are.
#[derive(Debug)]
pub(super) struct Listening {
    http: watch::Receiver<Option<SocketAddr>>,
    https: watch::Receiver<Option<SocketAddr>>,
}

impl Listening {
    pub(super) async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (opened(self.http.clone()).await, opened(self.https.clone()).await)
    }
}

async fn opened(mut address: watch::Receiver<Option<SocketAddr>>) -> SocketAddr {
    match address.wait_for(Option::is_some).await.map(|address| *address) {
        Ok(Some(address)) => address,
        // The listener ended before it was open.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// One of the two ways in.
#[derive(Clone)]
struct Door {
    wanted: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

/// Opens both once there is something to serve.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    config: Arc<ServerConfig>,
    (known, shutdown): (&CancellationToken, &CancellationToken),
) -> Listening {
    let mut open = |wanted, tls| {
        let (opened, address) = watch::channel(None);
        let door = Door { wanted, tls, shared: Arc::clone(shared), shutdown: shutdown.clone() };
        tasks.spawn(door.serve(known.clone(), opened));
        address
    };
    Listening { http: open(shared.settings.http, None), https: open(shared.settings.https, Some(TlsAcceptor::from(config))) }
}

impl Door {
    /// Serves until the end of the server, and then until its clients have had their answers.
    async fn serve(self, known: CancellationToken, opened: watch::Sender<Option<SocketAddr>>) {
        let mut clients = JoinSet::new();
        let accepted = async {
            known.cancelled().await;
            self.accept(opened, &mut clients).await;
        };
        tokio::select! {
            () = accepted => {}
            () = self.shutdown.cancelled() => {}
        }
        while clients.join_next().await.is_some() {}
    }

    async fn accept(&self, opened: watch::Sender<Option<SocketAddr>>, clients: &mut JoinSet<()>) {
        let listener = self.shared.proxy.listen(everything(), self.wanted).await;
        let address = listener.local_addr().ok();
        if let (Some(address), Some(_)) = (address, &self.tls) {
            self.shared.serves_https_at(address.port());
        }
        opened.send_replace(address);
        let permits = Arc::new(Semaphore::new(self.shared.settings.limits.connections_max));
        loop {
            // The semaphore is never closed, so that this ends only by a permit.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            while clients.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let permit = Arc::new(permit);
                    let Ok(local) = stream.local_addr() else { continue };
                    let address = peer.ip().to_canonical();
                    let trusted = is_trusted(address, &self.shared.settings.trusted);
                    let client = Client { address, local, tls: self.tls.is_some(), trusted };
                    let visit = Visit { shared: Arc::clone(&self.shared), client, permit };
                    clients.spawn(self.clone().attend(stream, visit));
                }
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!("Ingress cannot accept: {error}; raise the limit of open files (`ulimit -n`)");
                    tokio::time::sleep(EXHAUSTED).await;
                }
                Err(error) => tracing::debug!("a connection was gone before it was accepted: {error}"),
            }
        }
    }

    async fn attend(self, stream: TcpStream, visit: Visit) {
        tune(&stream);
        let Some(tls) = &self.tls else {
            return self.serve_http1(stream, visit).await;
        };
        match timeout(self.shared.settings.limits.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => self.serve_http2(stream, visit).await,
            Ok(Ok(stream)) => self.serve_http1(stream, visit).await,
            Ok(Err(error)) => tracing::debug!(client = %visit.client.address, "a TLS handshake failed: {error}"),
            Err(_) => tracing::debug!(client = %visit.client.address, "a TLS handshake was not done in time"),
        }
    }

    async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, visit: Visit) {
        let begun = CancellationToken::new();
        let (farewell, first) = (self.farewell(begun.clone()), begun);
        let service = service_fn(move |request: Request<Incoming>| {
            first.cancel();
            let visit = visit.clone();
            async move { Ok::<_, Infallible>(visit.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.shared.settings.limits.header);
        builder.max_headers(FIELDS_MAX).max_buf_size(HEADER_BYTES_MAX);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = farewell => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended(outcome);
    }

    /// Over when the connection is to take no further request: once we end, and its first one has begun. It may be on its way, and a
    /// connection that is closed before is a request that failed.
    async fn farewell(&self, begun: CancellationToken) {
        self.shutdown.cancelled().await;
        // It ends either way.
        let _ = timeout(self.shared.settings.limits.first, begun.cancelled()).await;
    }

    async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, visit: Visit) {
        let service = service_fn(move |request: Request<Incoming>| {
            let visit = visit.clone();
            async move { Ok::<_, Infallible>(visit.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
        builder.max_concurrent_streams(STREAMS_MAX).max_pending_accept_reset_streams(RESETS_MAX);
        builder.max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended(outcome);
    }
}

/// Clients break off, and some are no clients.
fn ended(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!("a client's connection ended: {error}");
    }
}

/// Stands for all Ingresses in messages about a listener.
fn everything() -> ObjectKey {
    ObjectKey::new(Kind::Ingress, "", "all Ingresses")
}
