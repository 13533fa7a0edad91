//! What runs in pods.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// Says what it hears; ends when the other side does.
pub(super) async fn echo() -> SocketAddr {
    serve(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        // Whoever breaks off is gone.
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// Hears everything to the end, and then says how long it was.
pub(super) async fn counts() -> SocketAddr {
    serve(|mut stream| async move {
        let mut heard = Vec::new();
        if stream.read_to_end(&mut heard).await.is_ok() {
            let _ = stream.write_all(heard.len().to_string().as_bytes()).await;
        }
    })
    .await
}

/// Talks and talks in pieces of `piece` bytes, and counts what it got rid of.
pub(super) async fn talks(piece: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let said = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&said);
    let address = serve(move |mut stream| {
        let said = Arc::clone(&counted);
        async move {
            let _ = stream.set_nodelay(true);
            let text = vec![b'x'; piece];
            while stream.write_all(&text).await.is_ok() {
                said.fetch_add(piece, Ordering::SeqCst);
            }
        }
    })
    .await;
    (address, said)
}

/// Hands out its connections.
pub(super) async fn by_hand() -> (SocketAddr, mpsc::UnboundedReceiver<TcpStream>) {
    let (sender, streams) = mpsc::unbounded_channel();
    let address = serve(move |stream| {
        let _ = sender.send(stream);
        std::future::ready(())
    })
    .await;
    (address, streams)
}

async fn serve<F: Future<Output = ()> + Send + 'static>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Answers each datagram with itself.
pub(super) async fn echo_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    address
}
