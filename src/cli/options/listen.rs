//! Where status listens.

use crate::cli::{CliError, CliResult};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Listens at `address` (`HOST:PORT`, port 0 for any free one), on this machine only.
pub(crate) async fn bind_status(address: &str) -> CliResult<TcpListener> {
    let what = format!("cannot listen on {address}");
    let resolved = tokio::net::lookup_host(address).await;
    let addresses: Vec<SocketAddr> = resolved
        .map_err(|error| CliError::with_source(what.clone(), error).hint("write --listen HOST:PORT, as 127.0.0.1:7780"))?
        .collect();
    if let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        return Err(CliError::new(format!("{what}: {} can be reached by others", open.ip())).hint(
            "beyond this machine status needs TLS and a token, which this version does not have yet; listen on 127.0.0.1 and use an ssh \
             tunnel (ssh -L 7780:127.0.0.1:7780 HOST)",
        ));
    }
    TcpListener::bind(&*addresses).await.map_err(|error| {
        let hint = hint(error.kind());
        CliError::with_source(what, error).hint(hint)
    })
}

fn hint(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::AddrInUse {
        "another driftless may be running here (`driftless get nodes` asks it); choose another port with --listen 127.0.0.1:7790, or 0 \
         for any"
    } else if kind == ErrorKind::PermissionDenied {
        "ports below 1024 need root; choose another with --listen 127.0.0.1:7780"
    } else {
        "choose another address with --listen"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused_with_what_to_do() {
        let refused = bind_status("0.0.0.0:0").await.expect_err("refused").render();
        assert!(refused.contains("TLS and a token") && refused.contains("ssh -L"), "{refused}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_with_a_way_out() {
        let first = bind_status("127.0.0.1:0").await.expect("free");
        let taken = first.local_addr().expect("bound").to_string();
        let refused = bind_status(&taken).await.expect_err("in use").render();
        assert!(refused.contains(&taken) && refused.contains("--listen"), "{refused}");
    }
}
