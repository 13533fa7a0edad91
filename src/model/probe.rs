//! Probes and hooks of containers.

use super::IntOrString;
use serde::{Deserialize, Serialize};

/// A liveness, readiness or startup probe, with Kubernetes' defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Succeeds on a status from 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// Succeeds when the port accepts a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// Succeeds when the command ends with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Succeeds when the gRPC health service says `SERVING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAction>,
    /// Seconds from the start of the container to the first probe.
    pub initial_delay_seconds: u32,
    /// Seconds between probes, at least 1.
    pub period_seconds: u32,
    /// Seconds until a probe counts as failed, at least 1.
    pub timeout_seconds: u32,
    /// Successes in a row that make it succeed.
    pub success_threshold: u32,
    /// Failures in a row that make it fail.
    pub failure_threshold: u32,
    /// The grace of a stop that this probe asks for; that of the pod if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u64>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http_get: None,
            tcp_socket: None,
            exec: None,
            grpc: None,
            initial_delay_seconds: 0,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace_period_seconds: None,
        }
    }
}

/// `httpGet`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGet {
    /// The path, `/` if empty.
    pub path: String,
    /// A container port by number or name.
    pub port: IntOrString,
    /// `HTTP` or `HTTPS`; `HTTP` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// The host to ask instead of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers to send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// `httpHeaders[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHeader {
    /// The header.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `tcpSocket`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpSocket {
    /// A container port by number or name.
    pub port: IntOrString,
    /// The host to connect to instead of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// `grpc`: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcAction {
    /// The container port.
    pub port: u16,
    /// The service to ask for; empty for the server as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
}

/// `exec`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecAction {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
}

/// `lifecycle`: <https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// Runs right after the start; the container is not ready before it is done, and is killed if it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_start: Option<Hook>,
    /// Runs before the stop signal, within the grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<Hook>,
}

/// What a hook does: exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hook {
    /// A command in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// A GET to the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<SleepAction>,
}

/// `sleep`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SleepAction {
    /// How long.
    pub seconds: u64,
}
