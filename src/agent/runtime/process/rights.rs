//! What a host process can be held to of the settings that are made for containers.

use crate::agent::runtime::{RuntimeError, Seccomp, Security};

/// Refuses what would not be kept. Manifests that ask for it are refused before; this is for what they cannot know.
pub(super) fn check(security: &Security) -> Result<(), RuntimeError> {
    let own = rustix::process::geteuid().as_raw();
    if let Some(user) = security.user.filter(|user| *user != own) {
        let message = format!("a host process runs as the agent's user, {own}, and not as runAsUser {user}");
        return Err(RuntimeError::Config { message });
    }
    if security.non_root && own == 0 {
        let message = "the process has runAsNonRoot, and the agent runs as root".to_owned();
        return Err(RuntimeError::Config { message });
    }
    let asked = [
        (security.group.is_some(), "runAsGroup"),
        (!security.groups.is_empty(), "supplementalGroups and fsGroup"),
        (security.privileged, "privileged"),
        (!security.add.is_empty() || !security.drop.is_empty(), "capabilities"),
        (security.read_only_root, "readOnlyRootFilesystem"),
        (security.seccomp != Seccomp::RuntimeDefault, "seccompProfile"),
    ];
    match asked.into_iter().find(|(asks, _)| *asks) {
        Some((_, field)) => Err(RuntimeError::Unsupported(format!("{field} for host processes"))),
        None => Ok(()),
    }
}
