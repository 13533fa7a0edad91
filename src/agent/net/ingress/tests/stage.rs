//! What the tests share: a server, backends and clients.

use super::super::{Ingress, IngressLimits, IngressSettings};
use crate::agent::net::{Proxy, Reach, Setup, Stream, Target};
use crate::model::{
    Backend, BackendProtocol, Cidr, EndpointPort, EndpointSet, Epoch, HostPattern, Incarnation, IngressCertificate, IngressRoute,
    IngressTable, IngressTarget, Kind, NodeName, ObjectKey, PathPattern, PodUid, Protocol, SecretBytes, TemplateHash,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing here takes that long, unless it hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A server and what it follows.
pub(super) struct Stage {
    pub(super) proxy: Proxy,
    pub(super) ingress: Ingress,
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    pub(super) ways: Arc<Ways>,
    version: u64,
}

/// The way to other nodes: their pods are on this host, at the loopback address.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<Vec<Target>>);

impl Ways {
    /// What was dialled.
    pub(super) fn dialled(&self) -> Vec<Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reach for Ways {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(target.clone());
        Box::pin(async move { Ok(Box::new(TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).await?) as Box<dyn Stream>) })
    }
}

impl Stage {
    /// Waits until the connection to the backend is kept for the next request.
    pub(super) async fn kept(&self) {
        let kept = async {
            while self.ingress.idle() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, kept).await.expect("kept");
    }

    pub(super) async fn new() -> Self {
        Self::with(IngressLimits::default(), Vec::new()).await
    }

    /// At any ports.
    pub(super) fn settings() -> IngressSettings {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        IngressSettings { http: any, https: any, trusted: Vec::new(), limits: IngressLimits::default() }
    }

    pub(super) async fn with(limits: IngressLimits, trusted: Vec<Cidr>) -> Self {
        let settings = IngressSettings { trusted, limits, ..Self::settings() };
        let ways = Arc::new(Ways::default());
        let proxy = Proxy::new(Setup { reach: Arc::<Ways>::clone(&ways), ..Setup::alone(NodeName::new("here")) });
        let ingress = Ingress::start(settings, proxy.clone()).expect("random numbers");
        ingress.apply(&IngressTable::default());
        let (http, https) = timeout(DEADLINE, ingress.addresses()).await.expect("listening");
        Self { proxy, ingress, http, https, ways, version: 0 }
    }

    /// Sends a Service's requests to these backends, as the agent does.
    pub(super) fn lead(&mut self, service: &str, backends: &[SocketAddr]) {
        self.lead_to("here", service, backends);
    }

    /// The same, of backends on some node.
    pub(super) fn lead_to(&mut self, node: &str, service: &str, backends: &[SocketAddr]) {
        self.version += 1;
        let backend = |(index, address): (usize, &SocketAddr)| Backend {
            pod: uid(service, index, *address),
            node: NodeName::new(node),
            address: address.ip(),
            port: address.port(),
        };
        let port = EndpointPort {
            name: String::new(),
            port: 80,
            protocol: Protocol::Tcp,
            node_port: None,
            backends: backends.iter().enumerate().map(backend).collect(),
        };
        let set = EndpointSet { ports: vec![port], ..EndpointSet::empty(key(service), self.version) };
        self.proxy.apply(&set, &[]);
        self.ingress.follow(&set);
    }

    /// Every path of every host leads to the Service `web`, which has these backends.
    pub(super) fn serve(&mut self, backends: &[SocketAddr]) {
        self.lead("web", backends);
        self.follow(vec![route("", "/", "web")], Vec::new());
    }

    pub(super) fn follow(&mut self, routes: Vec<IngressRoute>, certificates: Vec<IngressCertificate>) {
        self.version += 1;
        let table = IngressTable { version: self.version, routes, certificates };
        assert_eq!(self.ingress.apply(&table), self.version);
    }

    /// Sends these bytes on a new connection and reads to its end.
    pub(super) async fn say(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.expect("connected");
        stream.write_all(bytes.as_bytes()).await.expect("written");
        read_all(&mut stream).await
    }

    /// A GET on a new connection that is closed after it.
    pub(super) async fn get(&self, host: &str, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
    }
}

fn uid(service: &str, index: usize, address: SocketAddr) -> PodUid {
    let counter = u64::try_from(index).unwrap_or(0) * 100_000 + u64::from(address.port());
    let incarnation = Incarnation { epoch: Epoch(1), counter };
    PodUid::derive("test", &ObjectKey::new(Kind::Deployment, "shop", service), 0, &TemplateHash::new("aa"), incarnation)
}

fn key(service: &str) -> ObjectKey {
    ObjectKey::new(Kind::Service, "shop", service)
}

/// A prefix rule.
pub(super) fn route(host: &str, path: &str, service: &str) -> IngressRoute {
    IngressRoute {
        ingress: ObjectKey::new(Kind::Ingress, "shop", "i"),
        host: HostPattern::new(host),
        path: PathPattern::Prefix(path.to_owned()),
        target: Some(IngressTarget { service: key(service), port: 80, protocol: BackendProtocol::Http1 }),
        to_https: false,
    }
}

/// A rule whose Service speaks HTTP/2.
pub(super) fn h2c_route(host: &str, path: &str, service: &str) -> IngressRoute {
    let target = IngressTarget { service: key(service), port: 80, protocol: BackendProtocol::H2c };
    IngressRoute { target: Some(target), ..route(host, path, service) }
}

/// A certificate for a host and its DER, signed by itself.
pub(super) fn certificate(host: &str, secret: &str) -> (IngressCertificate, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = rcgen::CertificateParams::new(vec![host.to_owned()]).and_then(|params| params.self_signed(&key));
    let made = made.expect("a certificate");
    let entry = IngressCertificate {
        host: HostPattern::new(host),
        secret: ObjectKey::new(Kind::Secret, "shop", secret),
        chain: made.pem().into_bytes(),
        key: SecretBytes::new(key.serialize_pem().into_bytes()),
    };
    (entry, made.der().to_vec())
}

pub(super) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until a text has come.
pub(super) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut bytes = Vec::new();
    let all = async {
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(stream.read_u8().await.expect("more bytes"));
        }
    };
    let came = timeout(DEADLINE, all).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(came.is_ok(), "{end:?} did not come after {text:?}");
    text
}

/// A listener of our own, for backends that are scripts.
pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A backend that answers every request with what it got: its name, the request line, the fields, an empty line, and the body.
pub(super) async fn echo(name: &'static str) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, name));
        }
    });
    address
}

async fn serve(stream: TcpStream, name: &'static str) {
    let service = service_fn(move |request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let mut text = format!("{name}\n{} {} {:?}\n", parts.method, parts.uri, parts.version);
        for (field, value) in &parts.headers {
            text.push_str(&format!("{field}: {}\n", value.to_str().unwrap_or("?")));
        }
        text.push('\n');
        // A body that breaks off is no request to answer.
        let body = body.collect().await?.to_bytes();
        text.push_str(&String::from_utf8_lossy(&body));
        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(text))))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A backend that speaks HTTP/2 and answers with the body that it got, as it comes, and with trailers.
pub(super) async fn h2c_echo() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let te = request.headers().get("te").cloned();
                let mut response = Response::new(request.into_body());
                response.headers_mut().extend(te.map(|te| (hyper::header::HeaderName::from_static("seen-te"), te)));
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// An HTTP/2 client on a stream.
pub(super) async fn http2_client<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::client::conn::http2::SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("a handshake");
    tokio::spawn(connection);
    sender
}
