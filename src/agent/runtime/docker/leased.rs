//! Containers with a lease: put under guard before they start, renewed, and let go when they are gone.

use super::inspect::Container;
use super::{Shared, guard};
use crate::agent::runtime::{ContainerId, ContainerLaunch, ContainerStatus, RunState, RuntimeError};
use crate::model::BootMoment;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

impl Shared {
    /// Sees to it that a container will end in time. It must not be started before.
    pub(super) async fn put_under_guard(&self, launch: &ContainerLaunch, id: &ContainerId) -> Result<(), RuntimeError> {
        let Some(lease) = launch.lease else { return Ok(()) };
        let (guard, id) = (self.guard.clone(), id.clone());
        in_background(format!("guarding {}", launch.labels.container_name()), move || guard.hold(&id, &lease)).await
    }

    /// A container whose processes the guard does not see could not be ended: it must not run.
    pub(super) fn check_guarded(&self, launch: &ContainerLaunch, container: &Container) -> Result<(), RuntimeError> {
        let id = container.id.as_str();
        if launch.lease.is_none() || container.state.run_state() != RunState::Running || !guard::processes(id).is_empty() {
            return Ok(());
        }
        let message = "it has a lease, and nothing could end it when that runs out: the Engine's processes are not to be seen \
                       from this agent's host";
        Err(RuntimeError::Config { message: message.to_owned() })
    }

    /// Makes leases end later.
    pub(super) async fn renew(&self, leases: &BTreeMap<ContainerId, BootMoment>) -> Result<(), RuntimeError> {
        let (guard, leases) = (self.guard.clone(), leases.clone());
        in_background("renewing leases".to_owned(), move || guard.renew(&leases)).await
    }

    /// Adds to a list what the guard knows of it, and lets those go that are not in it: `held` were there before it was asked for.
    pub(super) fn compare_with_guard(&self, statuses: &mut [ContainerStatus], mut held: BTreeSet<ContainerId>) {
        for status in statuses.iter_mut().filter(|status| held.remove(&status.id)) {
            status.lease = self.guard.end_of(&status.id);
            if let RunState::Exited(exit) = &mut status.state {
                *exit = self.guard.told(&status.id.0, exit.clone());
                self.guard.settle(&status.id);
            }
        }
        held.iter().for_each(|id| self.guard.release(id));
    }
}

/// Does what may wait for a file.
async fn in_background<F>(action: String, work: F) -> Result<(), RuntimeError>
where
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    let outcome = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    outcome.map_err(|error| RuntimeError::Failed { action, message: error.to_string() })
}
