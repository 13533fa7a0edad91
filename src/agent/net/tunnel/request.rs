//! How a stream says where it leads, and how it is answered: `POST http://NODE/PROTOCOL/POD/PORT`. Pure.

use super::refusal::{HEADER, Refusal};
use crate::agent::net::reach::Target;
use crate::model::{NodeName, PodUid, Protocol};
use http::{HeaderValue, Method, Request, Response};
use uuid::Uuid;

/// What opens a stream to `target`. `None` if its node has a name that fits in no address.
pub(super) fn request(target: &Target) -> Option<Request<()>> {
    let address = format!("http://{}/{}/{}/{}", target.node, word(target.protocol), target.pod, target.port);
    Request::builder().method(Method::POST).uri(address).body(()).ok()
}

/// Where a stream is to lead, on the node `here`.
///
/// # Errors
/// It cannot be read.
pub(super) fn target(request: &Request<()>, here: &NodeName) -> Result<Target, Refusal> {
    let parts: Vec<&str> = request.uri().path().split('/').collect();
    let ["", protocol, pod, port] = parts.as_slice() else { return Err(Refusal::Misread) };
    if request.method() != Method::POST {
        return Err(Refusal::Misread);
    }
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| word(*known) == *protocol);
    Ok(Target {
        node: here.clone(),
        pod: PodUid(Uuid::try_parse(pod).map_err(|_| Refusal::Misread)?),
        port: port.parse().map_err(|_| Refusal::Misread)?,
        protocol: protocol.ok_or(Refusal::Misread)?,
    })
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The answer to a stream that is taken, or not.
pub(super) fn answer(verdict: Result<(), Refusal>) -> Response<()> {
    let mut response = Response::new(());
    if let Err(refusal) = verdict {
        *response.status_mut() = refusal.status();
        response.headers_mut().insert(HEADER, HeaderValue::from_static(refusal.name()));
    }
    response
}

/// What an answer says.
///
/// # Errors
/// The stream was refused.
pub(super) fn verdict<T>(response: &Response<T>) -> Result<(), Refusal> {
    if response.status().is_success() {
        return Ok(());
    }
    let name = response.headers().get(HEADER).and_then(|name| name.to_str().ok());
    // A reason that only a newer version knows leads to no pod either.
    Err(name.and_then(Refusal::named).unwrap_or(Refusal::NotAnEndpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Result<(u128, u16, Protocol), Refusal>) {
        let request = Request::builder().method(method).uri(format!("http://n2{path}")).body(()).expect("a request");
        let here = NodeName::new("n2");
        let expected = expected.map(|(pod, port, protocol)| Target {
            node: here.clone(),
            pod: PodUid(Uuid::from_u128(pod)),
            port,
            protocol,
        });
        assert_eq!(target(&request, &here), expected, "{method} {path}");
    }

    #[test]
    fn a_stream_says_protocol_pod_and_port_and_nothing_else() {
        const POD: &str = "00000000-0000-0000-0000-000000000007";
        check("POST", &format!("/tcp/{POD}/80"), Ok((7, 80, Protocol::Tcp)));
        check("POST", &format!("/udp/{POD}/65535"), Ok((7, 65_535, Protocol::Udp)));
        for path in
            ["", "/", "/tcp", "/tcp/7/80", &format!("/sctp/{POD}/80"), &format!("/tcp/{POD}/65536"), &format!("/tcp/{POD}/80/")]
        {
            check("POST", path, Err(Refusal::Misread));
        }
        check("GET", &format!("/tcp/{POD}/80"), Err(Refusal::Misread));
    }

    #[test]
    fn what_is_asked_and_answered_is_read_as_it_was_meant() {
        let node = NodeName::new("n2");
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let meant = Target { node: node.clone(), pod: PodUid(Uuid::from_u128(7)), port: 80, protocol };
            assert_eq!(target(&request(&meant).expect("a request"), &node), Ok(meant));
        }
        for meant in [Ok(()), Err(Refusal::PodFull), Err(Refusal::NotAnEndpoint)] {
            assert_eq!(verdict(&answer(meant)), meant);
        }
        let of_tomorrow = Response::builder().status(418).header(HEADER, "tea").body(()).expect("a response");
        assert_eq!(verdict(&of_tomorrow), Err(Refusal::NotAnEndpoint));
    }
}
