//! One request: which rule, which backend, there and back.
//!
//! A request is sent to another backend, or a second time, only if nothing of it has been sent; or if it went out on a connection that
//! was kept from an earlier request and ended before a byte of an answer, it has no body, and its method may be repeated (RFC 9110
//! section 9.2.2, RFC 9112 section 9.3.1): the backend was closing the connection then, for having been idle.

use super::super::pool::{self, Door, Lease, Pool};
use super::answer::{self, Refusal};
use super::body::{Answer, Delivered, Outgoing, Progress, Watched};
use super::connections::{Address, Connection, Unanswered};
use super::headers::{self, Client};
use super::router::RequestPath;
use super::server::Shared;
use crate::clock;
use crate::model::IngressTarget;
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;

/// One client's connection, as the requests on it see it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    /// Held while the connection, or what it became, lasts.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
}

/// A request that has a target, on its way.
struct Errand {
    target: IngressTarget,
    pool: Arc<Pool>,
    client: pool::Client,
    progress: Arc<Progress>,
}

/// The head of an answer, and what it came by.
struct Reply {
    response: Response<Incoming>,
    lease: Lease,
    address: Address,
    connection: Connection,
}

impl Visit {
    /// Answers a request.
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Answer> {
        match self.pass_on(request).await {
            Ok(response) => response,
            Err(refusal) => refusal.answer(),
        }
    }

    async fn pass_on(self, mut request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Refusal::BadMethod);
        }
        let host = host_of(&request).ok_or(Refusal::BadHost)?;
        let path = RequestPath::parse(request.uri().path()).map_err(|_| Refusal::BadPath)?;
        let state = self.shared.state();
        let route = state.router.find(&name_of(&host), &path).ok_or(Refusal::NoRule)?;
        if route.to_https && !self.client.is_https(request.headers()) {
            let location = self.shared.https_location(&host, request.uri()).ok_or(Refusal::BadHost)?;
            return Ok(answer::redirect(location));
        }
        let target = route.target.clone().ok_or(Refusal::NoEndpoint)?;
        let pool = self.shared.proxy.backends(&target.service, target.port).ok_or(Refusal::NoEndpoint)?;
        let upgrade = headers::upgrade(request.version(), request.headers());
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let progress = Progress::new(clock::now(), request.body().is_end_stream());
        let client = pool::Client { address: self.client.address, door: Door::Inside };
        let errand = Errand { target, pool, client, progress };
        let request = self.prepare(request, &host, upgrade, &errand)?;
        let reply = self.send(request, &errand).await?;
        self.deliver(reply, client_side)
    }

    /// The request as a backend gets it.
    fn prepare(
        &self,
        request: Request<Incoming>,
        host: &Authority,
        upgrade: Option<HeaderValue>,
        errand: &Errand,
    ) -> Result<Request<Outgoing>, Refusal> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.clear();
        let host_field = HeaderValue::from_str(host.as_str()).map_err(|_| Refusal::BadHost)?;
        headers::prepare(&mut parts.headers, &self.client, &host_field, || self.shared.request_id());
        if let Some(protocol) = upgrade {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol);
        }
        parts.uri = errand.uri(&parts.uri, host).ok_or(Refusal::BadHost)?;
        parts.version = errand.version();
        Ok(Request::from_parts(parts, Either::Left(Watched::new(body, Arc::clone(&errand.progress)))))
    }

    /// Finds a backend that takes the request.
    async fn send(&self, mut request: Request<Outgoing>, errand: &Errand) -> Result<Reply, Refusal> {
        let mut tried = Vec::new();
        let mut only_new = false;
        loop {
            let none_left = if tried.is_empty() { Refusal::NoEndpoint } else { Refusal::Unreachable };
            let lease = errand.pool.pick(errand.client, &tried, clock::now()).ok_or(none_left)?;
            let address = errand.address(&lease);
            let kept = self.shared.connections.take(&address).filter(|_| !only_new);
            let reused = kept.is_some();
            let opened = match kept {
                Some(connection) => Ok(connection),
                None => self.shared.connections.open(&address, &lease, errand.target.protocol).await,
            };
            let Ok(mut connection) = opened else {
                tried.push(lease.failed(clock::now()));
                continue;
            };
            if !errand.pool.holds(&lease) {
                // It left the set meanwhile, and the acknowledgement of that says that nobody comes any more.
                tried.push(lease.outdated());
                continue;
            }
            let again = if reused { repeated(&request) } else { None };
            let silence = self.shared.settings.limits.silence;
            match errand.exchange(&mut connection, request, silence).await? {
                Ok(response) => return Ok(Reply { response, lease, address, connection }),
                Err(Unanswered::Unsent(unsent)) => {
                    request = *unsent;
                    if !reused {
                        tried.push(lease.failed(clock::now()));
                    }
                }
                Err(Unanswered::Broken(error)) => {
                    tracing::debug!(service = %errand.target.service, "a backend ended the connection of a request: {error}");
                    request = again.ok_or(Refusal::Broken)?;
                }
            }
            only_new = reused;
        }
    }

    /// The answer as the client gets it.
    fn deliver(self, reply: Reply, client_side: Option<OnUpgrade>) -> Result<Response<Answer>, Refusal> {
        let Reply { mut response, lease, address, connection } = reply;
        let lease = Arc::new(lease);
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched {
            // Nobody asked for it.
            let client_side = client_side.ok_or(Refusal::Broken)?;
            let backend_side = hyper::upgrade::on(&mut response);
            tokio::spawn(tunnel(client_side, backend_side, Arc::clone(&lease), self.permit));
        } else if let Connection::Http1(sender) = connection {
            let idle = idle_time(response.headers());
            tokio::spawn(give_back(Arc::clone(&self.shared), address, sender, idle));
        }
        let (mut parts, body) = response.into_parts();
        parts.extensions.clear();
        parts.version = Version::HTTP_11;
        let protocol = parts.headers.get(header::UPGRADE).cloned().filter(|_| switched);
        headers::strip(&mut parts.headers);
        if let Some(protocol) = protocol {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, protocol);
        }
        Ok(Response::from_parts(parts, Either::Left(Delivered::new(body, lease))))
    }
}

impl Errand {
    fn address(&self, lease: &Lease) -> Address {
        Address { service: self.target.service.clone(), port: self.target.port, backend: lease.backend().clone() }
    }

    fn is_http2(&self) -> bool {
        self.target.protocol == crate::model::BackendProtocol::H2c
    }

    fn version(&self) -> Version {
        if self.is_http2() { Version::HTTP_2 } else { Version::HTTP_11 }
    }

    /// Path and query as they came; HTTP/2 names the host beside them.
    fn uri(&self, asked: &Uri, host: &Authority) -> Option<Uri> {
        let path = asked.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if !self.is_http2() {
            return Some(Uri::from(path));
        }
        Uri::builder().scheme(Scheme::HTTP).authority(host.clone()).path_and_query(path).build().ok()
    }

    /// Sends, and waits for the head of the answer for as long as something moves.
    async fn exchange(
        &self,
        connection: &mut Connection,
        request: Request<Outgoing>,
        silence: Duration,
    ) -> Result<Result<Response<Incoming>, Unanswered>, Refusal> {
        let sent = clock::now();
        let mut answered = std::pin::pin!(connection.send(request));
        loop {
            let moved = self.progress.last().max(sent);
            let left = silence.saturating_sub(clock::now().since(moved));
            tokio::select! {
                answer = answered.as_mut() => return Ok(answer),
                () = tokio::time::sleep(left), if !left.is_zero() => {}
                () = std::future::ready(()), if left.is_zero() => {
                    return Err(if self.progress.has_ended() { Refusal::TooSlow } else { Refusal::ClientTooSlow });
                }
            }
        }
    }
}

/// The same request once more, if that is harmless: its method may be repeated, and it has no body.
fn repeated(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let is_harmless =
        request.method().is_idempotent() && request.body().is_end_stream() && !request.headers().contains_key(header::UPGRADE);
    if !is_harmless {
        return None;
    }
    let mut again = Request::new(Either::Right(Empty::new()));
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

/// Which host a request is for, as RFC 9112 section 3.2 and RFC 9113 section 8.3.1 say; `None` if it says so not at all, or in two ways.
fn host_of(request: &Request<Incoming>) -> Option<Authority> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let (field, more) = (fields.next(), fields.next());
    let named = match field {
        Some(field) => Some(Authority::try_from(field.as_bytes()).ok()?),
        None => None,
    };
    let in_target = request.uri().authority();
    let differs = request.version() == Version::HTTP_2 && in_target.zip(named.as_ref()).is_some_and(|(a, b)| a != b);
    if more.is_some() || differs {
        return None;
    }
    let host = in_target.cloned().or(named)?;
    (!host.as_str().contains('@')).then_some(host)
}

/// The name in it: lower case, without the port, and without the dot of the root.
fn name_of(host: &Authority) -> String {
    host.host().trim_end_matches('.').to_ascii_lowercase()
}

/// How long the backend says that it keeps a connection (`Keep-Alive: timeout=5`), less a second for the way.
fn idle_time(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("keep-alive")?.to_str().ok()?;
    let told = text.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(told.trim().parse::<u64>().ok()?.saturating_sub(1)))
}

/// Keeps the connection once the request on it is over.
async fn give_back(
    shared: Arc<Shared>,
    address: Address,
    mut sender: hyper::client::conn::http1::SendRequest<Outgoing>,
    idle: Option<Duration>,
) {
    // It fails where the connection has ended.
    if sender.ready().await.is_ok() {
        let is_wanted = || shared.proxy.backends(&address.service, address.port).is_some_and(|pool| pool.has(&address.backend));
        shared.connections.give_back(address.clone(), sender, idle, is_wanted);
    }
}

/// Carries what the connection has become until either side ends it.
async fn tunnel(client: OnUpgrade, backend: OnUpgrade, _lease: Arc<Lease>, _permit: Arc<OwnedSemaphorePermit>) {
    match tokio::try_join!(client, backend) {
        Ok((client, backend)) => {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            // That one side breaks off is how most of them end.
            let _ = copy_bidirectional(&mut client, &mut backend).await;
        }
        Err(error) => tracing::debug!("a connection did not become what was asked for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_port_case_and_final_dot() {
        for (host, expected) in [
            ("Shop.Example:8080", "shop.example"),
            ("shop.example.", "shop.example"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(name_of(&Authority::from_static(host)), expected);
        }
    }

    #[test]
    fn a_backend_that_says_how_long_it_waits_is_believed() {
        let told = |text| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(text));
            idle_time(&headers)
        };
        assert_eq!(told("timeout=5, max=100"), Some(Duration::from_secs(4)));
        assert_eq!(told("max=100, timeout=2"), Some(Duration::from_secs(1)));
        assert_eq!(told("timeout=0"), Some(Duration::ZERO));
        assert_eq!(told("timeout=soon"), None);
    }
}
