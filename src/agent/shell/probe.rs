//! Makes one probe, as the kubelet does: <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>.

use super::grpc;
use super::http::url;
use crate::agent::core::{HttpTarget, ProbeAction, ProbeOutcome, ProbeRequest};
use crate::agent::runtime::{Runtime, RuntimeError};
use std::time::Duration;
use tokio::net::TcpStream;

/// What a runtime may need beyond the timeout of a command.
const RUNTIME_ANSWER: Duration = Duration::from_secs(8);

/// Makes it; a timeout is a failure.
pub(super) async fn probe(runtime: Option<&dyn Runtime>, request: &ProbeRequest) -> ProbeOutcome {
    let work = async {
        match &request.action {
            ProbeAction::Http(target) => http(target).await,
            ProbeAction::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(_) => ProbeOutcome::Success,
                Err(error) => ProbeOutcome::Failure(format!("connect to {host}:{port}: {error}")),
            },
            ProbeAction::Exec(command) => exec(runtime, request, command).await,
            ProbeAction::Grpc { host, port, service } => match grpc::check(host, *port, service).await {
                Ok(()) => ProbeOutcome::Success,
                Err(message) => ProbeOutcome::Failure(format!("health of {host}:{port}: {message}")),
            },
            ProbeAction::Impossible(why) => ProbeOutcome::Unknown(why.clone()),
        }
    };
    // A command is killed at its timeout by the runtime, which needs a moment to say so. One that does not say it hangs itself: that is
    // nothing to restart a container for.
    let by_runtime = matches!(request.action, ProbeAction::Exec(_));
    let patience = if by_runtime { RUNTIME_ANSWER } else { Duration::ZERO };
    match tokio::time::timeout(request.timeout + patience, work).await {
        Ok(outcome) => outcome,
        Err(_) if by_runtime => ProbeOutcome::Unknown("its runtime does not answer".to_owned()),
        Err(_) => ProbeOutcome::Failure(format!("no answer within {} s", request.timeout.as_secs())),
    }
}

async fn http(target: &HttpTarget) -> ProbeOutcome {
    match super::http::get(target).await {
        Ok(status) if (200..400).contains(&status) => ProbeOutcome::Success,
        Ok(status) => ProbeOutcome::Failure(format!("GET {}: status {status}", url(target))),
        Err(error) => ProbeOutcome::Failure(format!("GET {}: {error}", url(target))),
    }
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
