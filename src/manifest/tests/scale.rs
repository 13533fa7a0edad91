//! HorizontalPodAutoscalers of both versions: what they mean, and what is refused.

use super::*;
use crate::model::{
    Autoscaler, Kind, MetricTarget, ObjectKey, ScaleChange, ScaleMetric, ScalePolicy, ScaleRules, ScaledResource, SelectPolicy,
};

/// An autoscaler of Deployment shop/web, with some more lines in its spec.
fn hpa(version: &str, spec: &str) -> String {
    format!(
        "apiVersion: autoscaling/{version}
kind: HorizontalPodAutoscaler
metadata: {{name: web, namespace: shop}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  maxReplicas: 5
{spec}"
    )
}

/// `line: severity: message` of everything that is wrong with the autoscaler above and a Deployment below it.
fn problems(version: &str, spec: &str, deployment: &str) -> Vec<String> {
    let text = format!("{}---\n{deployment}", hpa(version, spec));
    let report = validate(&[("f.yaml".to_owned(), text.into_bytes())], false);
    let line = |problem: ProblemReport| {
        let word = if problem.severity == crate::model::Severity::Error { "error" } else { "warning" };
        format!("{}: {word}: {}", problem.line, problem.message)
    };
    report.documents.into_iter().flat_map(|document| document.problems).map(line).collect()
}

fn check(version: &str, spec: &str, expected: &[&str]) {
    let requests = "        resources: {requests: {cpu: 100m, memory: 64Mi}}\n";
    assert_eq!(problems(version, spec, &deployment("web", requests)), expected, "\n{spec}");
}

fn read(version: &str, spec: &str) -> Autoscaler {
    let text = format!("{}---\n{}", hpa(version, spec), deployment("web", ""));
    let loaded = loaded(&tree("r", &[("f.yaml", &text)]), &Good::new());
    let key = ObjectKey::new(Kind::HorizontalPodAutoscaler, "shop", "web");
    loaded.desired.objects[&key].autoscaler().expect("an autoscaler").clone()
}

#[test]
fn without_metrics_both_versions_look_at_cpu_and_want_eighty_percent() {
    let plain = read("v2", "");
    assert_eq!(plain.metrics, [ScaleMetric::cpu(80)]);
    assert_eq!((plain.min_replicas, plain.max_replicas), (1, 5));
    assert_eq!((&plain.scale_up, &plain.scale_down), (&ScaleRules::up(), &ScaleRules::down()));
    assert_eq!(read("v2", "  metrics: []\n"), plain);
    assert_eq!(read("v1", ""), plain);
    assert_eq!(read("v1", "  targetCPUUtilizationPercentage: 80\n"), plain);
    assert_eq!(read("v1", "  targetCPUUtilizationPercentage: 30\n").metrics, [ScaleMetric::cpu(30)]);
}

#[test]
fn metrics_are_of_pods_or_of_one_container_in_percent_or_amounts() {
    let spec = "  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1.5}}}
  - {type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 70}}}
  - {type: ContainerResource, containerResource: {name: memory, container: main, target: {type: AverageValue, averageValue: 64Mi}}}
";
    let metric =
        |resource, container: Option<&str>, target| ScaleMetric { resource, container: container.map(str::to_owned), target };
    assert_eq!(
        read("v2", spec).metrics,
        [
            metric(ScaledResource::Cpu, None, MetricTarget::AverageValue(1500)),
            metric(ScaledResource::Memory, None, MetricTarget::Utilization(70)),
            metric(ScaledResource::Memory, Some("main"), MetricTarget::AverageValue(64 << 20)),
        ]
    );
    check("v2", spec, &[]);
}

#[test]
fn what_behavior_leaves_out_is_as_kubernetes_has_it() {
    let spec = "  behavior:
    scaleUp: {stabilizationWindowSeconds: 30, tolerance: 0.05}
    scaleDown: {selectPolicy: Min, policies: [{type: Pods, value: 2, periodSeconds: 60}, {type: Percent, value: 10, periodSeconds: 1800}]}
";
    let found = read("v2", spec);
    assert_eq!(found.scale_up, ScaleRules { window_seconds: 30, tolerance_milli: 50, ..ScaleRules::up() });
    let policies = vec![
        ScalePolicy { change: ScaleChange::Pods(2), period_seconds: 60 },
        ScalePolicy { change: ScaleChange::Percent(10), period_seconds: 1800 },
    ];
    assert_eq!(found.scale_down, ScaleRules { select: SelectPolicy::Min, policies, ..ScaleRules::down() });
    let disabled = read("v2", "  behavior: {scaleDown: {selectPolicy: Disabled}}\n").scale_down;
    assert_eq!(disabled.select, SelectPolicy::Disabled);
}

#[test]
fn a_metric_has_the_one_source_and_the_one_target_that_its_types_name() {
    let metric = |text: &str| format!("  metrics:\n  - {{{text}}}\n");
    let at = "8: error: spec.metrics[0]";
    for (text, expected) in [
        ("type: Resource", "is required when the type is Resource"),
        ("type: ContainerResource", "is required when the type is ContainerResource"),
    ] {
        let field = if text == "type: Resource" { "resource" } else { "containerResource" };
        check("v2", &metric(text), &[&format!("{at}.{field} {expected}")]);
    }
    let half = "target: {type: Utilization, averageUtilization: 50}";
    let both = format!("type: Resource, resource: {{name: cpu, {half}}}, containerResource: {{name: cpu, container: a, {half}}}");
    check("v2", &metric(&both), &[&format!("{at}.containerResource must not be there when the type is Resource")]);
    for (target, wanted) in [
        ("type: Utilization", "averageUtilization alone when the type is Utilization"),
        ("type: Utilization, averageValue: 1", "averageUtilization alone when the type is Utilization"),
        ("type: AverageValue, averageUtilization: 1", "averageValue above 0 alone when the type is AverageValue"),
        ("type: AverageValue, averageValue: 0", "averageValue above 0 alone when the type is AverageValue"),
    ] {
        let text = format!("type: Resource, resource: {{name: cpu, target: {{{target}}}}}");
        check("v2", &metric(&text), &[&format!("{at}.resource.target must have {wanted}")]);
    }
}

#[test]
fn what_cannot_be_measured_or_scaled_is_refused_with_its_reason() {
    let of = |kind: &str| hpa("v2", "").replace("kind: Deployment, name", &format!("kind: {kind}, name"));
    for (kind, why) in [("DaemonSet", "it has one pod on each node"), ("Job", "its parallelism says how many")] {
        let report = validate(&[("f.yaml".to_owned(), of(kind).into_bytes())], false);
        let problem = &report.documents[0].problems[0];
        assert_eq!(problem.message, format!("spec.scaleTargetRef.kind {kind} is not supported"));
        assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains(why)), "{problem:?}");
    }
    let text = "  metrics:\n  - type: Pods\n    pods: {metric: {name: qps}, target: {type: AverageValue, averageValue: 1}}\n";
    let found = problems("v2", text, &deployment("web", ""));
    assert!(found.iter().any(|line| line.contains("only cpu and memory are measured")), "{found:?}");
    for (spec, expected) in [
        ("  minReplicas: 0\n", "7: error: spec.minReplicas must be a whole number from 1, not 0"),
        ("  minReplicas: 6\n", "7: error: spec.minReplicas must not exceed maxReplicas"),
        (
            "  behavior: {scaleUp: {stabilizationWindowSeconds: 3601}}\n",
            "spec.behavior.scaleUp.stabilizationWindowSeconds must be",
        ),
        ("  behavior: {scaleUp: {policies: []}}\n", "spec.behavior.scaleUp.policies must"),
        ("  behavior: {scaleUp: {policies: [{type: Pods, value: 0, periodSeconds: 1}]}}\n", "policies[0].value must be"),
        (
            "  behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1801}]}}\n",
            "policies[0].periodSeconds must be",
        ),
        ("  targetCPUUtilizationPercentage: 50\n", "spec.targetCPUUtilizationPercentage is not a known field"),
    ] {
        let found = problems("v2", spec, &deployment("web", "        resources: {requests: {cpu: 1}}\n"));
        assert!(found.len() == 1 && found[0].contains(expected), "{spec}{found:?}");
    }
}

#[test]
fn the_first_version_says_what_it_does_not_know_and_the_removed_ones_what_to_write() {
    let found = problems("v1", "  metrics: []\n", &deployment("web", "        resources: {requests: {cpu: 1}}\n"));
    assert_eq!(found, ["7: error: spec.metrics is not a known field"]);
    let annotated = hpa("v1", "").replace(
        "namespace: shop}",
        "namespace: shop, annotations: {autoscaling.alpha.kubernetes.io/behavior: '{}', autoscaling.alpha.kubernetes.io/conditions: '[]'}}",
    );
    let report = validate(&[("f.yaml".to_owned(), annotated.into_bytes())], false);
    let found: Vec<String> = report.documents[0].problems.iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(found, ["metadata.annotations['autoscaling.alpha.kubernetes.io/behavior'] is not read"]);
    for version in ["v2beta1", "v2beta2", "v3"] {
        let report = validate(&[("f.yaml".to_owned(), hpa(version, "").into_bytes())], false);
        let hint = report.documents[0].problems[0].hint.clone();
        assert_eq!(hint.as_deref(), Some("write autoscaling/v2"), "{version}");
    }
}

#[test]
fn a_metric_of_what_the_pods_do_not_have_is_a_warning_at_its_line() {
    let bare = deployment("web", "");
    let spec = "  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: AverageValue, averageValue: 1}}
  - type: Resource
    resource: {name: memory, target: {type: Utilization, averageUtilization: 50}}
  - type: ContainerResource
    containerResource: {name: cpu, container: log, target: {type: Utilization, averageUtilization: 50}}
";
    assert_eq!(
        problems("v2", spec, &bare),
        [
            "11: warning: container main of Deployment shop/web requests no memory, so a percentage of it says nothing",
            "13: warning: Deployment shop/web has no container log, so there is nothing to measure",
        ]
    );
    let cpu = "container main of Deployment shop/web requests no cpu, so a percentage of it says nothing";
    assert_eq!(problems("v2", "", &bare), [format!("5: warning: {cpu}")]);
    assert_eq!(problems("v1", "  targetCPUUtilizationPercentage: 9\n", &bare), [format!("7: warning: {cpu}")]);
    let limited = deployment("web", "        resources: {limits: {cpu: 1}}\n");
    assert_eq!(problems("v2", "", &limited), Vec::<String>::new(), "a limit is a request, too");
}

#[test]
fn one_workload_has_one_autoscaler_whichever_version_and_no_number_of_its_own() {
    let requests = "        resources: {requests: {cpu: 100m}}\n";
    let fixed = deployment("web", requests).replace("spec:\n  selector", "spec:\n  replicas: 2\n  selector");
    assert_eq!(problems("v2", "", &fixed), ["5: warning: Deployment shop/web also sets replicas; the autoscaler decides"]);
    let second = hpa("v1", "").replace("{name: web, namespace", "{name: second, namespace");
    let found = problems("v2", "", &format!("{}---\n{second}", deployment("web", requests)));
    assert!(found.len() == 1 && found[0].contains("scale the same workload"), "{found:?}");
}
