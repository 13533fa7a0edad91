//! Commands inside a container.

use super::Shared;
use super::engine::Session;
use super::init;
use crate::agent::runtime::{ContainerId, ExecResult, RuntimeError};
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tokio::time::timeout;

/// What is kept of the output, for a probe's message.
const OUTPUT_BYTES_MAX: usize = 1024;

/// An Engine that says nothing for so long hangs: other than a command, which has its own time.
const ANSWER: Duration = Duration::from_secs(3);

/// Pause before the Engine is asked again whether a command has ended.
const NOT_YET: Duration = Duration::from_millis(10);

/// A command that cannot be found or run ends with one of these, as in a shell.
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

impl Shared {
    pub(super) async fn exec(&self, id: &ContainerId, command: &[String], limit: Duration) -> Result<ExecResult, RuntimeError> {
        let session = self.engine.session().await?;
        let prepared = timeout(limit.max(ANSWER), self.prepare(&session, id, command)).await;
        let exec = prepared.map_err(|_| self.engine.silent())??;
        let mut output = Vec::new();
        match timeout(limit, self.run(&session, id, &exec, &mut output)).await {
            Ok(code) => Ok(ExecResult { code: Some(code?), output: text(&output) }),
            Err(_) => {
                // An Engine that hangs says nothing of the command: it may have ended well.
                timeout(ANSWER, kill(&session, id, &exec)).await.map_err(|_| self.engine.silent())?;
                Ok(ExecResult { code: None, output: text(&output) })
            }
        }
    }

    async fn prepare(&self, session: &Session, id: &ContainerId, command: &[String]) -> Result<String, RuntimeError> {
        let command = init::wrap(command, &self.find_ours(session, id).await?.labels());
        let options = CreateExecOptions {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = session.client.create_exec(&id.0, options).await;
        exec.map(|exec| exec.id).map_err(|error| self.of_container(id, "preparing a command in", &error))
    }

    /// Runs a prepared command to its end. `output` holds what it has said so far, also when this is given up.
    async fn run(&self, session: &Session, id: &ContainerId, exec: &str, output: &mut Vec<u8>) -> Result<i32, RuntimeError> {
        let started = session.client.start_exec(exec, None).await;
        let failed = |error| self.of_container(id, "running a command in", &error);
        match started {
            Ok(StartExecResults::Attached { output: mut chunks, input: _input }) => {
                while let Some(chunk) = chunks.next().await {
                    let bytes = chunk.map_err(failed)?.into_bytes();
                    let room = OUTPUT_BYTES_MAX - output.len();
                    output.extend(bytes.iter().take(room));
                }
            }
            Ok(StartExecResults::Detached) => {}
            // Some Engines answer a missing program with an error, some with its exit code and the error as output.
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.contains("OCI runtime exec failed") =>
            {
                output.extend(message.bytes().take(OUTPUT_BYTES_MAX));
                return Ok(if message.contains("not found") { NOT_FOUND } else { CANNOT_RUN });
            }
            Err(error) => return Err(failed(error)),
        }
        self.exit_code(session, id, exec).await
    }

    /// The exit code of a command whose output has ended. The Engine may note it a moment later than it closes the output; the
    /// caller's timeout bounds the wait.
    async fn exit_code(&self, session: &Session, id: &ContainerId, exec: &str) -> Result<i32, RuntimeError> {
        loop {
            let state = session.client.inspect_exec(exec).await;
            let state = state.map_err(|error| self.of_container(id, "running a command in", &error))?;
            if state.running == Some(true) {
                tokio::time::sleep(NOT_YET).await;
                continue;
            }
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            return code.ok_or_else(|| RuntimeError::Failed {
                action: format!("running a command in container {id}"),
                message: "the Engine does not say how it ended".to_owned(),
            });
        }
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}

/// Kills a command that took too long. The Engine has no call for it, but tells the process id; it is ours to kill only if
/// it is a process of this host and of that container, which its cgroup says. Where that fails (an Engine in a virtual
/// machine, an agent without the right) the command goes on by itself, as it did with Kubernetes' dockershim.
async fn kill(session: &Session, id: &ContainerId, exec: &str) {
    let Ok(exec) = session.client.inspect_exec(exec).await else { return };
    let Some(pid) = exec.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { return };
    let cgroup = tokio::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).await.unwrap_or_default();
    if exec.running == Some(true)
        && cgroup.contains(&id.0)
        && let Err(error) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!("a command that took too long in container {id} could not be killed: {error}");
    }
}
