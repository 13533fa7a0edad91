//! Runs one hook, as the kubelet does: <https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/>.

use super::http;
use crate::agent::core::{HookAction, HookRequest};
use crate::agent::runtime::Runtime;
use std::time::Duration;

/// A command is killed at its timeout by the runtime, which needs a moment to say so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs it to its end.
///
/// # Errors
/// It failed, or took too long; one sentence.
pub(super) async fn run(runtime: Option<&dyn Runtime>, request: &HookRequest) -> Result<(), String> {
    let work = async {
        match &request.action {
            HookAction::Exec(command) => exec(runtime, request, command).await,
            // Any answer will do: the kubelet does not look at its status.
            HookAction::Http(target) => match http::get(target).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("GET {}: {error}", http::url(target))),
            },
            HookAction::Sleep(pause) => {
                tokio::time::sleep(*pause).await;
                Ok(())
            }
            HookAction::Impossible(why) => Err(why.clone()),
        }
    };
    let late = || format!("it did not end within {} s", request.timeout.as_secs());
    tokio::time::timeout(request.timeout + PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
}

async fn exec(runtime: Option<&dyn Runtime>, request: &HookRequest, command: &[String]) -> Result<(), String> {
    let runtime = runtime.ok_or("its runtime is not there")?;
    let result = runtime.exec(&request.id, command, request.timeout).await.map_err(|error| error.to_string())?;
    let output = result.output.trim();
    let said = if output.is_empty() { String::new() } else { format!(": {output}") };
    match result.code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("the command ended with {code}{said}")),
        None => Err(format!("the command did not end within {} s{said}", request.timeout.as_secs())),
    }
}
