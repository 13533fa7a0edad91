//! Changed configuration of running pods (`driftless.dev/config-update: in-place`): the files of their volumes follow, as in
//! Kubernetes; their environment and what is mounted by `subPath` stay until the next start.

use super::agent::Agent;
use super::event::{ContainerKey, Effect};
use super::pod::Pod;
use crate::agent::launch;
use crate::model::{Container, PodSnapshot};

impl Agent {
    /// Brings the files of a running container to the configuration of its template, if they are of another version or nobody knows.
    pub(super) fn refresh(&mut self, pod: &mut Pod, snapshot: &PodSnapshot, template: &Container) {
        let version = &snapshot.config.version;
        let uid = pod.run.uid;
        let Some(member) = pod.member_mut(&template.name).filter(|member| member.config.as_ref() != Some(version)) else {
            return;
        };
        member.config = Some(version.clone());
        let key = ContainerKey { pod: uid, container: template.name.clone(), attempt: member.attempt };
        match self.launched(pod, snapshot, template, launch::files) {
            Ok(volumes) if volumes.is_empty() => {}
            Ok(volumes) => self.effects.push(Effect::Rewrite { key, volumes }),
            Err(error) => self.rewritten(&key, Err(error.to_string())),
        }
    }
}
