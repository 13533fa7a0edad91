//! What an Engine says of itself.

use super::engine::Engine;
use crate::agent::runtime::RuntimeError;
use serde::Deserialize;
use std::path::PathBuf;
use tokio::sync::broadcast;

/// An Engine, as far as it matters for whether pods can run on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// `20.10.24`
    pub version: String,
    /// The version of its API that we would speak.
    pub api: String,
    /// `systemd` or `cgroupfs`
    pub cgroup_driver: String,
    /// `overlay2`
    pub storage: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Whether its containers live in a network that this host cannot reach.
    pub rootless: bool,
}

/// `GET /info`, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Info {
    cgroup_driver: String,
    driver: String,
    docker_root_dir: PathBuf,
    security_options: Option<Vec<String>>,
}

/// Asks the Engine at a socket. Nothing is made there.
///
/// # Errors
/// [`RuntimeError::Unavailable`] with what to do about it.
pub async fn describe(socket: PathBuf) -> Result<EngineFacts, RuntimeError> {
    // Nobody is warned of anything here.
    let engine = Engine::new(socket, String::new(), broadcast::channel(1).0);
    let session = engine.reach().await?;
    let info: Info = session.get("/info").await.map_err(|error| engine.read_failed("asking what it is", error))?;
    Ok(EngineFacts {
        version: session.engine_version.clone(),
        api: session.api(),
        cgroup_driver: info.cgroup_driver,
        storage: info.driver,
        data: info.docker_root_dir,
        rootless: info.security_options.iter().flatten().any(|option| option.contains("rootless")),
    })
}
