//! Rules of StatefulSets, DaemonSets and volume claims.

use super::super::findings::Findings;
use crate::model::{ClaimSpec, DaemonUpdate, Stateful, StatefulUpdate};
use std::collections::BTreeSet;

/// A StatefulSet's name, a dash and a number are the host name of a pod, and Kubernetes makes a label of them with a hash.
pub(super) const STATEFUL_NAME_MAX: usize = 52;

pub(super) fn check_daemon(update: &DaemonUpdate, findings: &mut Findings<'_>) {
    let DaemonUpdate::Rolling { max_surge, max_unavailable } = update else { return };
    let pointer = "/spec/updateStrategy/rollingUpdate";
    match (max_surge.is_zero(), max_unavailable.is_zero()) {
        (true, true) => findings.error(pointer, "must let maxSurge or maxUnavailable be above 0", None),
        (false, false) => {
            let hint = "with maxSurge the new pod of a node comes first, with maxUnavailable the old one goes first".to_owned();
            findings.error(pointer, "must have one of maxSurge and maxUnavailable, not both", Some(hint));
        }
        (true, false) | (false, true) => {}
    }
}

pub(super) fn check_stateful(spec: &Stateful, findings: &mut Findings<'_>) {
    if let StatefulUpdate::Rolling { max_unavailable, .. } = &spec.update
        && max_unavailable.is_zero()
    {
        findings.error("/spec/updateStrategy/rollingUpdate/maxUnavailable", "must be above 0", None);
    }
    if spec.service_name.is_empty() {
        let hint = "a headless Service gives its pods their names in DNS: write one, and its name here".to_owned();
        findings.warning("/spec", "the StatefulSet has no serviceName".to_owned(), Some(hint));
    }
    let mut names = BTreeSet::new();
    for (index, claim) in spec.claims.iter().enumerate() {
        let pointer = format!("/spec/volumeClaimTemplates/{index}");
        if !names.insert(&claim.name) {
            findings.error(&format!("{pointer}/metadata/name"), "is the name of another claim template", None);
        }
        check_claim(&claim.spec, &format!("{pointer}/spec"), findings);
    }
}

/// Checks what is claimed; `root` leads to it. There is one kind of volume, a folder, which has neither classes nor sizes.
pub(super) fn check_claim(spec: &ClaimSpec, root: &str, findings: &mut Findings<'_>) {
    if spec.access_modes.is_empty() {
        let hint = "write [ReadWriteOnce]: a claim is a folder on one node".to_owned();
        findings.error(&format!("{root}/accessModes"), "is required", Some(hint));
    }
    if !spec.resources.requests.contains_key("storage") {
        let hint = "write any size, such as 1Gi: Kubernetes wants one, and a folder has no limit".to_owned();
        findings.error(&format!("{root}/resources/requests/storage"), "is required", Some(hint));
    }
}
