//! Where the tunnel between nodes listens, and where others are told to dial it.

use crate::cli::{CliError, CliResult};
use clap::Args;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;
use tokio::net::TcpListener;

/// Options of an agent that reaches other nodes.
#[derive(Debug, Clone, Args)]
pub(crate) struct TunnelArgs {
    /// Where other nodes may dial this one: pods reach each other across hosts that way. With none they cannot, and this node dials them
    #[arg(long, env = "DRIFTLESS_TUNNEL_LISTEN", value_name = "ADDR:PORT|none", default_value = "0.0.0.0:7782")]
    tunnel_listen: TunnelListen,
    /// Where other nodes are told to dial this one, best first; without a port, that of --tunnel-listen [default: the address of this
    /// host that leads to the controller]
    #[arg(long, env = "DRIFTLESS_ADVERTISE", value_name = "ADDR[:PORT]", value_delimiter = ',')]
    advertise: Vec<Advertised>,
}

/// Where to listen, if anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TunnelListen(Option<SocketAddr>);

impl FromStr for TunnelListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| "write ADDRESS:PORT, as 0.0.0.0:7782, or none".to_owned())
    }
}

/// An address with or without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Advertised {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let full: SocketAddr = text.parse().map_err(|_| "write an IP address, with a port or without".to_owned())?;
        Ok(Self { address: full.ip(), port: Some(full.port()) })
    }
}

impl TunnelArgs {
    /// Opens the listener, and says where others are told to dial. `controllers` are the addresses of the controller.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) async fn open(&self, controllers: &[String]) -> CliResult<Option<(TcpListener, Vec<SocketAddr>)>> {
        let Some(address) = self.tunnel_listen.0 else { return Ok(None) };
        let failed = |error| {
            CliError::with_source(format!("other nodes cannot come in at {address}"), error)
                .hint("choose another address with --tunnel-listen, or none if this host cannot be dialled in any case")
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok(Some((listener, self.advertised(bound, towards(controllers).await))))
    }

    /// What is advertised for a listener at `bound`, on a host that reaches its controller from `towards`.
    fn advertised(&self, bound: SocketAddr, towards: Option<IpAddr>) -> Vec<SocketAddr> {
        if !self.advertise.is_empty() {
            let full = |told: &Advertised| SocketAddr::new(told.address, told.port.unwrap_or(bound.port()));
            return self.advertise.iter().map(full).collect();
        }
        let address = if bound.ip().is_unspecified() { towards } else { Some(bound.ip()) };
        address.map(|address| SocketAddr::new(address, bound.port())).into_iter().collect()
    }
}

/// An address that no host has (RFC 5737): the way to it is the way to everywhere else.
const ELSEWHERE: &str = "198.51.100.1:9";

/// The address of this host from which it reaches the first of these that it can. For a controller on this very host, where that is of no
/// use to others, the one from which it reaches everywhere else.
async fn towards(controllers: &[String]) -> Option<IpAddr> {
    for controller in controllers.iter().map(String::as_str).chain([ELSEWHERE]) {
        let Ok(resolved) = tokio::net::lookup_host(controller).await else { continue };
        if let Some(local) = resolved.into_iter().find_map(source).filter(|local| !local.is_loopback()) {
            return Some(local);
        }
    }
    None
}

/// From which address of this host the kernel would send to `address`.
fn source(address: SocketAddr) -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing: the kernel looks up the route.
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(advertise: &[&str], bound: &str, towards: Option<&str>, expected: &[&str]) {
        let args = TunnelArgs {
            tunnel_listen: TunnelListen(None),
            advertise: advertise.iter().map(|text| text.parse().expect("an address")).collect(),
        };
        let towards = towards.map(|text| text.parse().expect("an address"));
        let said = args.advertised(bound.parse().expect("an address"), towards);
        assert_eq!(said.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{advertise:?} {bound}");
    }

    #[test]
    fn what_is_advertised_is_what_was_said_or_the_way_to_the_controller() {
        check(&[], "0.0.0.0:7782", Some("192.0.2.7"), &["192.0.2.7:7782"]);
        check(&[], "0.0.0.0:7782", None, &[]);
        check(&[], "198.51.100.1:9", Some("192.0.2.7"), &["198.51.100.1:9"]);
        check(&["203.0.113.5", "203.0.113.6:443"], "0.0.0.0:7782", None, &["203.0.113.5:7782", "203.0.113.6:443"]);
        check(&["2001:db8::1", "[2001:db8::2]:9"], "0.0.0.0:7782", None, &["[2001:db8::1]:7782", "[2001:db8::2]:9"]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!("none".parse(), Ok(TunnelListen(None)));
        for text in ["7782", "0.0.0.0", "host:7782", ""] {
            assert!(text.parse::<TunnelListen>().is_err(), "{text}");
        }
        for text in ["host", "192.0.2.7:", "192.0.2.7:70000", ""] {
            assert!(text.parse::<Advertised>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_loopback_is_never_advertised_by_itself() {
        assert_eq!(source(SocketAddr::from(([127, 0, 0, 1], 7781))), Some(IpAddr::from([127, 0, 0, 1])));
        let towards = towards(&["127.0.0.1:7781".to_owned()]).await;
        assert!(towards.is_none_or(|address| !address.is_loopback()), "{towards:?}");
    }
}
