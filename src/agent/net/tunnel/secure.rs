//! TLS between two nodes, and which of them opens streams over a connection.
//!
//! Whoever dials says by the name of the protocol (ALPN, RFC 7301) which of the two it is: [`FORWARD`] where the dialling node opens the
//! streams, [`REVERSED`] where the dialled one does. The protocol is HTTP/2 in both cases.

use crate::model::NodeName;
use crate::trust::{peer_of, server_name};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

const FORWARD: &[u8] = b"driftless-tunnel/1";

const REVERSED: &[u8] = b"driftless-tunnel-reversed/1";

/// Which of two nodes opens the streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    /// The one that dialled.
    Dialling,
    /// The one that was dialled.
    Dialled,
}

/// What this node shows to others, and accepts of them.
#[derive(Clone)]
pub(super) struct Security {
    forward: Arc<ClientConfig>,
    reversed: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Security")
    }
}

impl Security {
    /// As these say, whose verifiers check names and keys of nodes.
    pub(super) fn new(client: ClientConfig, mut server: ServerConfig) -> Self {
        let speaking = |protocol: &[u8]| {
            let mut config = client.clone();
            config.alpn_protocols = vec![protocol.to_owned()];
            Arc::new(config)
        };
        server.alpn_protocols = vec![FORWARD.to_owned(), REVERSED.to_owned()];
        Self { forward: speaking(FORWARD), reversed: speaking(REVERSED), server: Arc::new(server) }
    }

    /// Greets the node that was dialled.
    ///
    /// # Errors
    /// It is another one, or does not accept us.
    pub(super) async fn greet<T>(&self, stream: T, peer: &NodeName, opener: Opener) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(peer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let config = match opener {
            Opener::Dialling => &self.forward,
            Opener::Dialled => &self.reversed,
        };
        Ok(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?.into())
    }

    /// Hears who dialled, and which of us opens streams.
    ///
    /// # Errors
    /// It is no node of the cluster, or speaks another protocol.
    pub(super) async fn hear<T>(&self, stream: T) -> io::Result<(TlsStream<T>, NodeName, Opener)>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let unknown = || io::Error::new(io::ErrorKind::PermissionDenied, "it showed no certificate of a node");
        let (peer, _) = peer_of(connection).ok_or_else(unknown)?;
        let opener = match connection.alpn_protocol() {
            Some(FORWARD) => Opener::Dialling,
            Some(REVERSED) => Opener::Dialled,
            Some(_) | None => return Err(io::Error::new(io::ErrorKind::Unsupported, "it speaks another protocol")),
        };
        Ok((stream.into(), peer, opener))
    }
}
