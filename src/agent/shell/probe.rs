//! Makes one probe, as the kubelet does: <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>.

use crate::agent::core::{ProbeAction, ProbeOutcome, ProbeRequest};
use crate::agent::runtime::{Runtime, RuntimeError};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Makes it; a timeout is a failure.
pub(super) async fn probe(runtime: Option<&dyn Runtime>, request: &ProbeRequest) -> ProbeOutcome {
    let work = async {
        match &request.action {
            ProbeAction::Http { https: true, .. } => {
                ProbeOutcome::Unknown("scheme HTTPS is not supported yet; use tcpSocket".to_owned())
            }
            ProbeAction::Http { host, port, path, headers, .. } => http(host, *port, path, headers).await,
            ProbeAction::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(_) => ProbeOutcome::Success,
                Err(error) => ProbeOutcome::Failure(format!("connect to {host}:{port}: {error}")),
            },
            ProbeAction::Exec(command) => exec(runtime, request, command).await,
            ProbeAction::Impossible(why) => ProbeOutcome::Unknown(why.clone()),
        }
    };
    // A command is killed at its timeout by the runtime, which needs a moment to say so.
    let patience = if matches!(request.action, ProbeAction::Exec(_)) { Duration::from_secs(5) } else { Duration::ZERO };
    match tokio::time::timeout(request.timeout + patience, work).await {
        Ok(outcome) => outcome,
        Err(_) => ProbeOutcome::Failure(format!("no answer within {} s", request.timeout.as_secs())),
    }
}

async fn http(host: &str, port: u16, path: &str, headers: &[(String, String)]) -> ProbeOutcome {
    match status(host, port, path, headers).await {
        Ok(status) if (200..400).contains(&status) => ProbeOutcome::Success,
        Ok(status) => ProbeOutcome::Failure(format!("GET http://{host}:{port}{path}: status {status}")),
        Err(error) => ProbeOutcome::Failure(format!("GET http://{host}:{port}{path}: {error}")),
    }
}

async fn status(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    let own = request.headers_mut();
    own.insert(HOST, format!("{host}:{port}").parse()?);
    own.insert(USER_AGENT, concat!("driftless-probe/", env!("CARGO_PKG_VERSION")).parse()?);
    for (name, value) in headers {
        own.insert(hyper::header::HeaderName::try_from(name.as_str())?, value.parse()?);
    }
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Both at once: the connection makes progress only while it is polled, and is dropped with the answer. A server that closes
    // after its answer ends the connection, and the answer is there all the same.
    let answer = tokio::select! {
        answer = &mut answer => answer?,
        end = connection => {
            end?;
            answer.await?
        }
    };
    Ok(answer.status().as_u16())
}

async fn exec(runtime: Option<&dyn Runtime>, request: &ProbeRequest, command: &[String]) -> ProbeOutcome {
    let Some(runtime) = runtime else { return ProbeOutcome::Unknown("its runtime is not there".to_owned()) };
    match runtime.exec(&request.id, command, request.timeout).await {
        Ok(result) if result.code == Some(0) => ProbeOutcome::Success,
        Ok(result) => {
            let end = match result.code {
                Some(code) => format!("ended with {code}"),
                None => format!("did not end within {} s", request.timeout.as_secs()),
            };
            let output = result.output.trim();
            ProbeOutcome::Failure(if output.is_empty() {
                format!("the command {end}")
            } else {
                format!("the command {end}: {output}")
            })
        }
        Err(error @ RuntimeError::Refused { .. }) => ProbeOutcome::Failure(error.to_string()),
        Err(error) => ProbeOutcome::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProbeOutcome, http};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_answer_counts_though_the_server_closes_right_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n").await;
            }
        });
        // Which of answer and end is seen first is a matter of chance.
        for _ in 0..100 {
            assert_eq!(http("127.0.0.1", port, "/", &[]).await, ProbeOutcome::Success);
        }
    }
}
