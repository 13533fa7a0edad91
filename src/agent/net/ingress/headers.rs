//! What of a message's header goes on to the other side. Pure.
//!
//! Fields about one connection stay on it (RFC 9110 section 7.6.1). What a backend is told of the client is ours to say: the client's own
//! words about it are replaced, unless it is a proxy that is trusted.

use crate::model::Cidr;
use hyper::Version;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::{IpAddr, SocketAddr};

/// Fields about one connection that `Connection` need not name.
const OF_ONE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What backends believe about the client.
const ABOUT_THE_CLIENT: [HeaderName; 7] =
    [header::FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PORT, FORWARDED_PROTO, FORWARDED_SCHEME, REAL_IP];

/// Who is at the other end of a client's connection, and how it came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// Its address.
    pub(super) address: IpAddr,
    /// Where it connected to.
    pub(super) local: SocketAddr,
    /// Whether it speaks TLS with us.
    pub(super) tls: bool,
    /// Whether it is a proxy whose word about its own client counts.
    pub(super) trusted: bool,
}

impl Client {
    /// The scheme that the client's client used, as far as it may be believed.
    pub(super) fn is_https(&self, headers: &HeaderMap) -> bool {
        let told = || headers.get(FORWARDED_PROTO).filter(|_| self.trusted);
        told().map_or(self.tls, |proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
    }
}

/// Whether an address is one of the trusted proxies.
pub(super) fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    match address {
        IpAddr::V4(address) => trusted.iter().any(|range| range.contains(address)),
        IpAddr::V6(_) => false,
    }
}

/// What the client wants the connection to become, if anything: the token of `Upgrade`. HTTP/2 is never one: a tunnel of it would
/// carry requests past every rule.
pub(super) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = version == Version::HTTP_11 && names(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let wanted = headers.get(header::UPGRADE).filter(|_| asked)?;
    let text = wanted.to_str().ok()?;
    let is_http2 = |protocol: &str| protocol.trim().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("h2"));
    let is_http = |protocol: &str| protocol.trim().get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"));
    (!text.split(',').any(|protocol| is_http2(protocol) || is_http(protocol))).then(|| wanted.clone())
}

/// The field names that `Connection` lists.
fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
}

/// Removes what is about one connection only.
pub(super) fn strip(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = names(headers).filter_map(|name| name.parse().ok()).collect();
    // Whatever a client lists: who is asked for, and how long the body is, stay.
    let kept = [header::HOST, header::CONTENT_LENGTH];
    for name in listed.iter().chain(&OF_ONE_CONNECTION).filter(|name| !kept.contains(name)) {
        headers.remove(name);
    }
}

/// Makes the header of a client's request that of ours to a backend. `host` is who was asked for, `id` the name of the request if it
/// has none.
pub(super) fn prepare(headers: &mut HeaderMap, client: &Client, host: &HeaderValue, id: impl FnOnce() -> HeaderValue) {
    let takes_trailers = headers.get_all(header::TE).iter().filter_map(|te| te.to_str().ok());
    let takes_trailers = takes_trailers.flat_map(|te| te.split(',')).any(|part| part.trim().eq_ignore_ascii_case("trailers"));
    let https = client.is_https(headers);
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Two words about the length of one body: the chunks say it (RFC 9112 section 6.1), and the other word goes no further.
        headers.remove(header::CONTENT_LENGTH);
    }
    strip(headers);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // We have answered it, as far as it was due.
    headers.remove(header::EXPECT);
    remove_disguised(headers);
    let before = if client.trusted { headers.get_all(FORWARDED_FOR).iter().cloned().collect() } else { Vec::new() };
    let (told_host, told_port) = (headers.remove(FORWARDED_HOST), headers.remove(FORWARDED_PORT));
    for name in &ABOUT_THE_CLIENT {
        headers.remove(name);
    }
    let own = |address: IpAddr| HeaderValue::from_str(&address.to_string());
    if let (Ok(chain), Ok(real)) = (chain(&before, client.address), own(first_untold(&before, client))) {
        headers.insert(FORWARDED_FOR, chain);
        headers.insert(REAL_IP, real);
    }
    let scheme = HeaderValue::from_static(if https { "https" } else { "http" });
    headers.insert(FORWARDED_PROTO, scheme);
    headers.insert(FORWARDED_HOST, told_host.filter(|_| client.trusted).unwrap_or_else(|| host.clone()));
    headers.insert(FORWARDED_PORT, told_port.filter(|_| client.trusted).unwrap_or_else(|| client.local.port().into()));
    headers.insert(header::HOST, host.clone());
    headers.entry(REQUEST_ID).or_insert_with(id);
}

/// Programs that get the header as variables (CGI, WSGI) cannot tell `X_Real_IP` from `X-Real-IP`.
fn remove_disguised(headers: &mut HeaderMap) {
    let is_disguised = |name: &HeaderName| {
        let plain = name.as_str().replace('_', "-");
        plain != name.as_str() && ABOUT_THE_CLIENT.iter().any(|known| known.as_str() == plain)
    };
    let disguised: Vec<HeaderName> = headers.keys().filter(|name| is_disguised(name)).cloned().collect();
    for name in disguised {
        headers.remove(name);
    }
}

fn chain(before: &[HeaderValue], address: IpAddr) -> Result<HeaderValue, header::InvalidHeaderValue> {
    let mut chain: Vec<u8> = Vec::new();
    for value in before {
        chain.extend(value.as_bytes());
        chain.extend(b", ");
    }
    chain.extend(address.to_string().as_bytes());
    HeaderValue::from_bytes(&chain)
}

/// The client of a trusted proxy: the last address that it gives; else the client itself.
fn first_untold(before: &[HeaderValue], client: &Client) -> IpAddr {
    let last = before.last().and_then(|value| value.to_str().ok()).and_then(|text| text.rsplit(',').next());
    last.and_then(|text| text.trim().parse().ok()).unwrap_or(client.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field =
            |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut map = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            map.append(name, value);
        }
        map
    }

    fn prepared(trusted: bool, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let client = Client { address: [192, 0, 2, 7].into(), local: ([127, 0, 0, 1], 8080).into(), tls: false, trusted };
        let mut headers = map(fields);
        prepare(&mut headers, &client, &HeaderValue::from_static("shop.example"), || HeaderValue::from_static("new"));
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        lines.sort();
        lines
    }

    const PLAIN: [&str; 7] = [
        "host: shop.example",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: shop.example",
        "x-forwarded-port: 8080",
        "x-forwarded-proto: http",
        "x-real-ip: 192.0.2.7",
        "x-request-id: new",
    ];

    #[test]
    fn what_a_client_says_of_itself_is_replaced() {
        assert_eq!(prepared(false, &[]), PLAIN);
        let lies = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "admin.example"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x_real_ip", "10.0.0.1"),
        ];
        assert_eq!(prepared(false, &lies), PLAIN);
    }

    #[test]
    fn what_a_trusted_proxy_says_of_its_client_is_kept_and_extended() {
        let told = [("x-forwarded-for", "10.0.0.1, 203.0.113.9"), ("x-forwarded-proto", "https"), ("x-request-id", "r1")];
        let lines = prepared(true, &told);
        for expected in [
            "x-forwarded-for: 10.0.0.1, 203.0.113.9, 192.0.2.7",
            "x-real-ip: 203.0.113.9",
            "x-forwarded-proto: https",
            "x-request-id: r1",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:?}");
        }
    }

    #[test]
    fn fields_of_one_connection_stay_on_it_but_never_the_ones_that_frame_a_message() {
        let lines = prepared(
            false,
            &[
                ("connection", "close, X-Once, content-length, host"),
                ("x-once", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip, trailers"),
                ("upgrade", "h2c"),
                ("expect", "100-continue"),
                ("content-length", "3"),
                ("x-kept", "1"),
            ],
        );
        let mut expected: Vec<&str> = PLAIN.to_vec();
        expected.extend(["content-length: 3", "te: trailers", "x-kept: 1"]);
        expected.sort_unstable();
        assert_eq!(lines, expected);
        assert_eq!(prepared(false, &[("content-length", "3"), ("transfer-encoding", "chunked")]), PLAIN);
    }

    #[test]
    fn a_connection_becomes_what_was_asked_for_but_never_http() {
        let asked = |connection, protocol| upgrade(Version::HTTP_11, &map(&[("connection", connection), ("upgrade", protocol)]));
        assert!(asked("keep-alive, Upgrade", "websocket").is_some());
        assert!(asked("upgrade", "SPDY/3.1").is_some());
        assert!(asked("keep-alive", "websocket").is_none());
        for never in ["h2c", "websocket, H2C", "HTTP/2.0", "h2"] {
            assert!(asked("upgrade", never).is_none(), "{never}");
        }
        assert!(upgrade(Version::HTTP_10, &map(&[("connection", "upgrade"), ("upgrade", "websocket")])).is_none());
    }
}
