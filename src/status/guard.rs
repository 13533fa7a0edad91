//! What every request passes first: whose Host it names, whether it tries to change or enter something, and the headers of the
//! answer.

use super::refusal::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// What the guard needs to know: where we listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    /// The listener's address.
    pub(super) address: SocketAddr,
}

/// Refuses what is not ours to answer, and puts the security headers on what is.
pub(super) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let mut response = match gate.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The page sets a policy of its own that allows its inline style and script by their hashes.
const HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

impl Gate {
    fn judge(self, request: &Request) -> Result<(), Refusal> {
        self.judge_host(request)?;
        if let Some(instead) = way_in(request.uri().path()) {
            return Err(Refusal::no_way_in(instead));
        }
        if request.headers().contains_key(header::UPGRADE) {
            return Err(Refusal::no_way_in("upgrades are refused; to follow along, use ?watch=true or /driftless/v1/stream"));
        }
        match *request.method() {
            Method::GET | Method::HEAD => Ok(()),
            _ => Err(Refusal::read_only()),
        }
    }

    /// A browser can be brought to ask us under a name that an attacker's DNS points here; the Host gives it away.
    fn judge_host(self, request: &Request) -> Result<(), Refusal> {
        let host = request_host(request.uri().host(), request.uri().port_u16(), request.headers());
        match host.as_deref() {
            Some(host) if self.is_ours(host) => Ok(()),
            Some(host) => Err(Refusal::misdirected(format!(
                "the Host {host:?} is not this server: ask http://{} (through ssh, forward the same port: ssh -L {}:{} HOST)",
                self.address,
                self.address.port(),
                self.address,
            ))),
            None => Err(Refusal::misdirected(format!("the request has no Host: ask http://{}", self.address))),
        }
    }

    fn is_ours(self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let port_is_ours = port.map_or(self.address.port() == 80, |port| port == self.address.port().to_string());
        let name_is_ours = name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip| self.is_our_ip(ip));
        port_is_ours && name_is_ours
    }

    fn is_our_ip(self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip == self.address.ip()
    }
}

fn request_host(uri_host: Option<&str>, uri_port: Option<u16>, headers: &HeaderMap) -> Option<String> {
    let from_header = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    from_header.or_else(|| {
        let port = uri_port.map(|port| format!(":{port}")).unwrap_or_default();
        uri_host.map(|host| format!("{host}{port}"))
    })
}

/// Splits `[::1]:7780`, `127.0.0.1:7780` or `localhost` into its name (without brackets) and its port.
fn split_port(host: &str) -> (&str, Option<&str>) {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (name, rest.strip_prefix(':'));
    }
    match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

/// For a path into a pod, what to do instead.
fn way_in(path: &str) -> Option<&'static str> {
    let mut parts = path.strip_prefix("/api/v1/namespaces/")?.split('/').skip(1);
    let (resource, _, action) = (parts.next()?, parts.next()?, parts.next()?);
    match (resource, action) {
        ("pods", "exec") => {
            Some("run `docker exec -it NAMESPACE_POD_CONTAINER sh` on the pod's node (`kubectl get pod -o wide` names it)")
        }
        ("pods", "attach") => Some("`driftless logs -f POD` follows what it prints"),
        ("pods", "portforward") => {
            Some("its Service has an address on every node (`kubectl get services`); from afar, use ssh -L")
        }
        ("pods" | "services", "proxy") => Some("ask its Service at the address in `kubectl get services`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_with_our_port_are_ours() {
        let gate = Gate { address: "127.0.0.1:7780".parse().unwrap() };
        for host in ["localhost:7780", "LOCALHOST:7780", "127.0.0.1:7780", "127.1.2.3:7780", "[::1]:7780"] {
            assert!(gate.is_ours(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "evil.example:7780",
            "localhost.evil.example:7780",
            "127.0.0.1.evil.example:7780",
            "10.0.0.1:7780",
            "[::2]:7780",
            "",
            ":7780",
        ] {
            assert!(!gate.is_ours(host), "{host}");
        }
    }

    #[test]
    fn every_way_into_a_pod_says_what_to_do_instead() {
        for action in ["exec", "attach", "portforward", "proxy"] {
            assert!(way_in(&format!("/api/v1/namespaces/shop/pods/web/{action}")).is_some(), "{action}");
        }
        assert_eq!(way_in("/api/v1/namespaces/shop/pods/web/log"), None);
        assert_eq!(way_in("/api/v1/namespaces/shop/pods/exec"), None);
    }
}
