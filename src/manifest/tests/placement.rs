//! Where pods run, as documents say it.

use super::documents::check;
use super::*;

/// A Deployment whose pod spec has some more lines.
fn check_pod(more: &str, expected: &str) {
    let verdict = if expected.is_empty() { "Accepted" } else { "Rejected" };
    check(&deployment("web", more), &format!("{verdict} Deployment/web\n{expected}"));
}

#[test]
fn all_of_kubernetes_words_for_places_are_accepted() {
    check_pod(
        "      nodeName: n1
      priorityClassName: system-node-critical
      tolerations: [{key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 30}, {operator: Exists}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [pod-template-hash], nodeAffinityPolicy: Honor, nodeTaintsPolicy: Ignore}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: gen, operator: Gt, values: ['3']}], matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}
          preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: disk, operator: Exists}]}}]
        podAffinity:
          requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {}, namespaces: [a], namespaceSelector: {}}]
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}}]
",
        "",
    );
    check(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: x}}\nspec: {unschedulable: true, taints: [{key: a, value: b, effect: NoSchedule}]}\n",
        "Accepted Node/n1",
    );
    check(
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\nglobalDefault: true\npreemptionPolicy: Never\ndescription: x\n",
        "Accepted PriorityClass/high",
    );
    check(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {maxUnavailable: 25%, selector: {matchLabels: {app: web}}}\n",
        "Accepted PodDisruptionBudget/web\n3:18: warning: PodDisruptionBudget default/web selects no pods (no workload of the namespace has these labels on its template)",
    );
}

#[test]
fn what_cannot_be_meant_is_refused_at_its_place() {
    check_pod(
        "      tolerations: [{value: x}]\n",
        "12:21: error: spec.template.spec.tolerations[0] must have a key, or the operator Exists",
    );
    check_pod(
        "      tolerations: [{key: a, operator: Exists, value: b}]\n",
        "12:55: error: spec.template.spec.tolerations[0].value must not be there with the operator Exists",
    );
    check_pod(
        "      tolerations: [{key: a, tolerationSeconds: 5}]\n",
        "12:49: error: spec.template.spec.tolerations[0].tolerationSeconds needs effect: NoExecute beside it",
    );
    check_pod(
        "      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: [x]}]}]}}}\n",
        "12:122: error: spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0] must have one whole number with the operator Gt",
    );
    check_pod(
        "      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 2}]\n",
        "12:114: error: spec.template.spec.topologySpreadConstraints[0].minDomains needs whenUnsatisfiable: DoNotSchedule beside it",
    );
    check(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {taints: [{key: a, effect: NoSchedule}, {key: a, value: b, effect: NoSchedule}]}\n",
        "Rejected Node/n1\n4:47: error: spec.taints[1] has the key and effect of another taint",
    );
    check(
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: system-mine}\nvalue: 1\n",
        "Rejected PriorityClass/system-mine\n3:18: error: metadata.name must not begin with system- (choose another name)",
    );
}

#[test]
fn a_request_that_no_machine_can_hold_is_said() {
    check(
        &deployment("web", "        resources: {requests: {cpu: 5000, memory: 1Pi}}\n"),
        "Accepted Deployment/web
         12:37: warning: no node has 5000 cores (a thousandth of a core is written as 1m)
         12:51: warning: no node has 1024Ti of memory (a mebibyte is written as 1Mi)",
    );
}

/// The problems of a tree of one file.
fn problems(text: &str) -> String {
    all_problems(&loaded(&tree("r1", &[("shop/a.yaml", text)]), &Good::new()))
}

#[test]
fn a_class_that_is_not_there_is_an_error_and_the_built_in_ones_always_are() {
    let of = |class: &str| deployment("web", &format!("      priorityClassName: {class}\n"));
    assert_eq!(
        problems(&of("high")),
        "shop/a.yaml:12:26: error: PriorityClass high does not exist (commit it, or correct the name)\n"
    );
    assert_eq!(problems(&of("system-cluster-critical")), "");
    let class =
        "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 5\nglobalDefault: true\n";
    assert_eq!(problems(&format!("{}{class}", of("high"))), "");
    let two = format!("{}{class}{}", of("high"), class.replace("high", "other"));
    assert_eq!(
        problems(&two),
        "shop/a.yaml:22:18: error: PriorityClass high is the default already (one class can be the default)\n"
    );
}

#[test]
fn a_budget_that_allows_nothing_or_selects_nobody_is_warned_about() {
    let budget = |spec: &str| {
        format!(
            "{}---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: b, namespace: shop}}\nspec: {{{spec}}}\n",
            deployment("web", "").replace("spec:\n  selector", "spec:\n  replicas: 2\n  selector")
        )
    };
    let web = "selector: {matchLabels: {app: web}}";
    for never in ["maxUnavailable: 0", "maxUnavailable: 0%", "minAvailable: 100%", "minAvailable: 2"] {
        let found = problems(&budget(&format!("{never}, {web}")));
        assert!(found.contains("warning: PodDisruptionBudget shop/b never allows a disruption"), "{never}: {found}");
    }
    for sound in ["maxUnavailable: 1", "minAvailable: 50%", "minAvailable: 1", "minAvailable: 0"] {
        assert_eq!(problems(&budget(&format!("{sound}, {web}"))), "", "{sound}");
    }
    for nobody in ["selector: {matchLabels: {app: wbe}}", "maxUnavailable: 1"] {
        assert!(problems(&budget(nobody)).contains("PodDisruptionBudget shop/b selects no pods"), "{nobody}");
    }
}

#[test]
fn wanting_to_be_near_pods_that_nobody_runs_is_warned_about() {
    let near = |app: &str| {
        deployment(
            "web",
            &format!(
                "      affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: zone, labelSelector: {{matchLabels: {{app: {app}}}}}}}]}}}}\n"
            ),
        )
    };
    assert!(
        problems(&near("db"))
            .contains("warning: Deployment shop/web wants to be near pods that no workload of the namespace runs")
    );
    assert_eq!(problems(&near("web")), "");
}
