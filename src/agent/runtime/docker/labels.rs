//! The labels on our containers ★: all that is needed to adopt one without a ledger.

use crate::agent::runtime::{Labels, LaunchPort, Role};
use crate::model::{Kind, NodeName, ObjectKey, PodUid, Revision, TemplateHash};
use std::collections::BTreeMap;

/// ★ The cluster. Also on our network.
pub(super) const CLUSTER: &str = "driftless.dev/cluster";
/// ★ The node.
pub(super) const NODE: &str = "driftless.dev/node";
const POD_UID: &str = "driftless.dev/pod-uid";
const POD: &str = "driftless.dev/pod";
const NAMESPACE: &str = "driftless.dev/namespace";
const CONTAINER: &str = "driftless.dev/container";
const TEMPLATE_HASH: &str = "driftless.dev/template-hash";
const REVISION: &str = "driftless.dev/revision";
/// `Deployment/web`
const WORKLOAD: &str = "driftless.dev/workload";
const SLOT: &str = "driftless.dev/slot";
const ATTEMPT: &str = "driftless.dev/attempt";
/// What it is to its pod; absent from what versions without sandboxes have made.
const ROLE: &str = "driftless.dev/role";
/// The ports as launched, as JSON: names and host ports are nowhere else on the container.
const PORTS: &str = "driftless.dev/ports";
/// On a container that started with our init, since its environment holds secrets.
pub(super) const INIT: &str = "driftless.dev/init";

/// The labels of a container to be made.
pub(super) fn write(labels: &Labels, ports: &[LaunchPort]) -> BTreeMap<String, String> {
    let workload = format!("{}/{}", labels.workload.kind, labels.workload.name);
    // Numbers, names and an enum always have a JSON form.
    let ports = serde_json::to_string(ports).unwrap_or_default();
    let pairs = [
        (CLUSTER, labels.cluster.clone()),
        (NODE, labels.node.to_string()),
        (POD_UID, labels.uid.to_string()),
        (POD, labels.pod.clone()),
        (NAMESPACE, labels.namespace().to_owned()),
        (CONTAINER, labels.container.clone()),
        (TEMPLATE_HASH, labels.hash.to_string()),
        (REVISION, labels.revision.to_string()),
        (WORKLOAD, workload),
        (SLOT, labels.slot.to_string()),
        (ATTEMPT, labels.attempt.to_string()),
        (ROLE, labels.role.as_str().to_owned()),
        (PORTS, ports),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Reads the labels back; `Err` names the label that is missing or unreadable.
pub(super) fn read(written: &BTreeMap<String, String>) -> Result<(Labels, Vec<LaunchPort>), &'static str> {
    let text = |key: &'static str| written.get(key).map(String::as_str).ok_or(key);
    let (kind, name) = text(WORKLOAD)?.split_once('/').ok_or(WORKLOAD)?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(WORKLOAD)?;
    let labels = Labels {
        cluster: text(CLUSTER)?.to_owned(),
        node: NodeName::new(text(NODE)?),
        uid: PodUid(text(POD_UID)?.parse().map_err(|_| POD_UID)?),
        pod: text(POD)?.to_owned(),
        workload: ObjectKey::new(kind, text(NAMESPACE)?, name),
        slot: text(SLOT)?.parse().map_err(|_| SLOT)?,
        container: text(CONTAINER)?.to_owned(),
        hash: TemplateHash::new(text(TEMPLATE_HASH)?),
        revision: Revision::new(text(REVISION)?),
        attempt: text(ATTEMPT)?.parse().map_err(|_| ATTEMPT)?,
        role: Role::from_label(written.get(ROLE).map(String::as_str)),
    };
    let ports = serde_json::from_str(text(PORTS)?).map_err(|_| PORTS)?;
    Ok((labels, ports))
}

/// Whether a container with these labels is ours to touch.
pub(super) fn are_ours(written: &BTreeMap<String, String>, cluster: &str, node: &NodeName) -> bool {
    written.get(CLUSTER).is_some_and(|label| label == cluster) && written.get(NODE).is_some_and(|label| label == node.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runtime::samples;
    use crate::model::Protocol;

    /// None of them as it is by default.
    fn labels() -> Labels {
        Labels { slot: 2, attempt: 3, role: Role::Sidecar, ..samples::labels() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let ports = vec![LaunchPort {
            name: "http".to_owned(),
            container_port: 80,
            protocol: Protocol::Tcp,
            host_port: Some(8080),
            host_ip: None,
        }];
        assert_eq!(read(&write(&labels(), &ports)), Ok((labels(), ports)));
    }

    #[test]
    fn what_an_older_version_made_is_a_container_like_any() {
        let mut written = write(&labels(), &[]);
        written.remove(ROLE);
        assert_eq!(read(&written).map(|(labels, _)| labels.role), Ok(Role::Main));
    }

    #[test]
    fn a_missing_label_is_named() {
        let mut written = write(&labels(), &[]);
        written.remove(POD_UID);
        assert_eq!(read(&written), Err("driftless.dev/pod-uid"));
    }

    #[test]
    fn only_the_same_cluster_and_node_are_ours() {
        let written = write(&labels(), &[]);
        assert!(are_ours(&written, "prod", &NodeName::new("host-1")));
        assert!(!are_ours(&written, "prod", &NodeName::new("host-2")));
        assert!(!are_ours(&written, "test", &NodeName::new("host-1")));
        assert!(!are_ours(&BTreeMap::new(), "prod", &NodeName::new("host-1")));
    }
}
