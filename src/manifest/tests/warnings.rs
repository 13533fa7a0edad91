//! What Kubernetes takes and is not quite kept here: accepted, and said.

use super::documents::{check, judge};
use super::*;

#[test]
fn a_size_on_disk_is_not_kept_and_that_is_said() {
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a, image: b}]\n  volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]\n",
        "Accepted Pod/p
         6:45: warning: sizeLimit is not kept on disk (write medium: Memory with it, or leave it out)",
    );
}

#[test]
fn a_claim_template_takes_the_place_of_a_volume_and_that_is_said() {
    check(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s}\nspec:\n  serviceName: s\n  selector: {matchLabels: {a: b}}\n  \
         volumeClaimTemplates: [{metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]\n  \
         template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers: [{name: a, image: b}]\n      \
         volumes: [{name: v, emptyDir: {}}]\n",
        "Accepted StatefulSet/s
         7:85: warning: without effect here: spec.volumeClaimTemplates[0].spec.resources
         12:17: warning: the claim template v takes the place of this volume",
    );
}

#[test]
fn a_device_is_waited_for_and_not_shared() {
    let judged = |resources: &str| {
        judge(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: a, image: b, resources: {{{resources}}}}}]}}\n"
        ))
    };
    let good = judged("limits: {gpu.example.com/x: 1}, requests: {gpu.example.com/x: \"1\"}");
    assert!(good.starts_with("Accepted") && good.contains("no node offers gpu.example.com/x yet: its pods will wait"), "{good}");
    assert_eq!(judged("limits: {gpu.example.com/x: 0}"), "Accepted Pod/p\n");
    for (bad, expected) in [
        ("requests: {gpu.example.com/x: 1}", "resources.limits['gpu.example.com/x'] is required: a device is not shared"),
        (
            "limits: {gpu.example.com/x: 2}, requests: {gpu.example.com/x: 1}",
            "resources.requests['gpu.example.com/x'] must be the limit: a device is not shared",
        ),
        ("limits: {gpu.example.com/x: 500m}", "resources.limits['gpu.example.com/x'] must be a whole number"),
        ("limits: {gpu.example.com/x: many}", "resources.limits['gpu.example.com/x'] must be an amount"),
        ("limits: {hugepages-2Mi: 4Mi}", "resources.limits.hugepages-2Mi is not supported: huge pages are not allotted"),
        ("limits: {gpu: 1}", "resources.limits.gpu is not a known field"),
    ] {
        assert!(judged(bad).starts_with("Rejected") && judged(bad).contains(expected), "{}", judged(bad));
    }
}

#[test]
fn a_version_that_only_its_name_tells_from_its_successor_is_read_as_that() {
    let cron = "kind: CronJob\nmetadata: {name: c}\nspec: {schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}\n";
    let old = format!("apiVersion: batch/v1beta1\n{cron}");
    check(
        &old,
        "Accepted CronJob/c
         1:13: warning: batch/v1beta1 was removed from Kubernetes for CronJob, and is read as batch/v1 (write batch/v1)",
    );
    let written = |text: &str| {
        let loaded = load(&tree("r", &[("f.yaml", text)]), &BTreeMap::new(), &DigestKey::unkeyed());
        loaded.desired.objects.values().next().expect("the CronJob").written.clone()
    };
    assert_eq!(written(&old), written(&format!("apiVersion: batch/v1\n{cron}")));
}

/// Kubernetes takes any text as the name of a claim: the document is good by itself, and lacks the claim.
#[test]
fn a_claim_whose_name_is_a_placeholder_is_missing() {
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: a, image: b}]\n  volumes: [{name: v, persistentVolumeClaim: {claimName: '${CLAIM}'}}]\n",
        "Accepted Pod/p
         6:58: error: PersistentVolumeClaim default/${CLAIM} does not exist \
         (this looks like a placeholder (envsubst, Flux postBuild): commit what envsubst prints, or set it with kustomize)",
    );
    let judged = judge(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: b}], volumes: [{name: v, persistentVolumeClaim: {claimName: 'data-$(POD_NAME)'}}]}\n",
    );
    assert!(judged.starts_with("Rejected"), "{judged}");
}

#[test]
fn the_engines_own_seccomp_profile_is_what_containers_have_anyway() {
    let judged = |value: &str, spec: &str| {
        let note = format!("seccomp.security.alpha.kubernetes.io/pod: {value}");
        judge(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p, annotations: {{{note}}}}}\nspec: {{{spec}}}\n"))
    };
    let (container, process) =
        ("containers: [{name: a, image: b}]", "runtimeClassName: process, containers: [{name: a, command: [b]}]");
    assert_eq!(judged("docker/default", container), "Accepted Pod/p\n");
    assert_eq!(judged("runtime/default", container), "Accepted Pod/p\n");
    assert!(judged("localhost/own.json", container).starts_with("Rejected"));
    assert!(judged("runtime/default", process).contains("is for containers and not kept for host processes"));
}
