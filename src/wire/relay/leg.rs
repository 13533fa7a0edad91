//! A node's side: calls another node, or answers its call.

use super::super::client::{channel, refusal};
use super::super::proto::relay_client::RelayClient as Client;
use super::super::proto::{self, relay_piece::Piece};
use super::super::{Connector, WireError};
use super::PIECE;
use crate::model::NodeName;
use bytes::Bytes;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Pieces that are ready for the network.
const SENDING_MAX: usize = 4;

/// How a node meets others at its controller: over a connection of its own for each, so that what others send does not hold up what the
/// controller says.
#[derive(Debug, Clone)]
pub struct RelayClient {
    connector: Connector,
}

impl RelayClient {
    /// Reaches the controller as the agent itself does.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self { connector }
    }

    /// Has a node called, and waits until it has come. Dropping the future hangs up.
    ///
    /// # Errors
    /// The controller is away, does not hear the node either, or has too much to relay.
    pub async fn call(&self, node: &NodeName) -> io::Result<DuplexStream> {
        self.meet(Piece::Call(node.to_string())).await
    }

    /// Comes because of a call.
    ///
    /// # Errors
    /// The caller has hung up.
    pub async fn answer(&self, call: u64) -> io::Result<DuplexStream> {
        self.meet(Piece::Answer(call)).await
    }

    async fn meet(&self, first: Piece) -> io::Result<DuplexStream> {
        let channel = channel(self.connector.connect().await?).await.map_err(io::Error::other)?;
        let mut client = Client::new(channel).max_decoding_message_size(2 * PIECE).max_encoding_message_size(2 * PIECE);
        let (sender, receiver) = mpsc::channel(SENDING_MAX);
        sender.send(proto::RelayPiece { piece: Some(first) }).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        let mut inbound = client.meet(ReceiverStream::new(receiver)).await.map_err(|status| words(&status))?.into_inner();
        match inbound.message().await.map_err(|status| words(&status))? {
            Some(proto::RelayPiece { piece: Some(Piece::Met(_)) }) => {}
            Some(_) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        let (near, far) = tokio::io::duplex(2 * PIECE);
        let (read, write) = tokio::io::split(far);
        tokio::spawn(async move {
            // Whichever ends first ends the other: inside is a connection that says its own end.
            tokio::select! {
                () = send(read, sender) => {}
                () = receive(inbound, write) => {}
            }
        });
        Ok(near)
    }
}

/// What the controller said, or that it is away.
fn words(status: &Status) -> io::Error {
    let error = refusal(status);
    if let WireError::Io { source, .. } = error { source } else { io::Error::other(error.to_string()) }
}

async fn send(mut from: ReadHalf<DuplexStream>, to: mpsc::Sender<proto::RelayPiece>) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let data = Bytes::copy_from_slice(&buffer[..length]);
        if to.send(proto::RelayPiece { piece: Some(Piece::Data(data)) }).await.is_err() {
            return;
        }
    }
}

async fn receive(mut from: Streaming<proto::RelayPiece>, mut to: WriteHalf<DuplexStream>) {
    while let Ok(Some(proto::RelayPiece { piece: Some(Piece::Data(data)) })) = from.message().await {
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
}
