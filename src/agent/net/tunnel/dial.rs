//! Dialling a node at the addresses that it says.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// So long an address has a lead over the next one.
const LEAD: Duration = Duration::from_millis(200);

/// The first connection that any of these addresses gives, within that time. They are tried in their order, each a moment after the one
/// before, so that one that leads nowhere holds up nobody.
///
/// # Errors
/// Why the one failed that failed last.
pub(super) async fn dial(addresses: &[SocketAddr], within: Duration) -> io::Result<TcpStream> {
    let mut attempts: FuturesUnordered<_> = addresses
        .iter()
        .zip(0_u32..)
        .map(|(address, turn)| async move {
            sleep(LEAD * turn).await;
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(stream)
        })
        .collect();
    let first = async {
        let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "it says no address");
        while let Some(outcome) = attempts.next().await {
            match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    };
    let late = |_| {
        let named: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        io::Error::new(io::ErrorKind::TimedOut, format!("{}: no answer within {} s", named.join(", "), within.as_secs()))
    };
    timeout(within, first).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_address_that_leads_nowhere_holds_up_nobody() {
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = there.local_addr().expect("an address");
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listener.local_addr().expect("an address")
        };
        let stream = dial(&[gone, here], Duration::from_secs(20)).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("an address"), here);
        let error = dial(&[gone], Duration::from_secs(20)).await.expect_err("nobody is there");
        assert!(error.to_string().contains("refused"), "{error}");
        let error = dial(&[], Duration::from_secs(20)).await.expect_err("nowhere to go");
        assert_eq!(error.to_string(), "it says no address");
    }
}
