//! The sandbox on an Engine: a container of our own program that does nothing but hold namespaces.
//!
//! Its image needs no registry: it is made of our own binary when the first sandbox of an Engine is made. There is only ever one. Its
//! name is not that of our version but of what is asked of it, so that an upgrade of Driftless neither replaces it nor restarts a pod.

use super::settle::Settled;
use super::{Shared, create, import, network};
use crate::agent::runtime::{ContainerLaunch, RuntimeError};
use bollard::models::{ContainerCreateBody, HostConfig};

/// The image, and what is asked of it: `/usr/local/bin/driftless pause`.
const REPOSITORY: &str = "driftless/sandbox";
const TAG: &str = "1";

/// The program in it.
const PROGRAM: &str = "driftless";

/// Nobody.
const USER: &str = "65534:65534";

/// What to send to make it. It has no rights beyond running.
pub(super) fn body(launch: &ContainerLaunch, settled: &Settled) -> ContainerCreateBody {
    let host = create::shared_host_config(launch, settled);
    ContainerCreateBody {
        image: Some(format!("{REPOSITORY}:{TAG}")),
        entrypoint: Some(vec![format!("/usr/local/bin/{PROGRAM}"), "pause".to_owned()]),
        user: Some(USER.to_owned()),
        host_config: Some(HostConfig {
            ipc_mode: host.ipc_mode.clone().or_else(|| Some("shareable".to_owned())),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(true),
            ..host
        }),
        ..create::shared(launch)
    }
}

impl Shared {
    /// Makes the image, unless another agent has been faster.
    pub(super) async fn import_sandbox(&self) -> Result<(), RuntimeError> {
        let session = self.engine.session().await?;
        let _lock = network::alone(&self.engine).await;
        if import::exists(&self.engine, &session, &format!("{REPOSITORY}:{TAG}")).await? {
            return Ok(());
        }
        let root = import::files_as(&self.settings.program, PROGRAM).await?;
        import::import(&self.engine, &session, (REPOSITORY, TAG), &root).await
    }
}
