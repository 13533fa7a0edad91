//! Documents: accepted, ignored, rejected, and the words for it.

use super::*;
use crate::model::{Kind, Lease, ObjectKey};

/// The status and the problems of every document of a text.
pub(super) fn judge(text: &str) -> String {
    let report = validate(&[("f.yaml".to_owned(), text.as_bytes().to_vec())], false);
    let mut judged = String::new();
    for document in report.documents {
        judged += &format!("{:?} {}/{}\n", document.status, document.kind, document.name);
        for problem in document.problems {
            let word = if problem.severity == crate::model::Severity::Error { "error" } else { "warning" };
            let hint = problem.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            judged += &format!("  {}:{}: {word}: {}{hint}\n", problem.line, problem.column, problem.message);
        }
    }
    judged
}

/// Whether the documents of a text are judged as expected.
pub(super) fn check(text: &str, expected: &str) {
    let judged = judge(text);
    let trim = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(trim(&judged), trim(expected), "\n{text}");
}

/// A Deployment whose pod spec has some more lines, at the depth of a container field.
pub(super) fn check_container(more: &str, expected: &str) {
    let expected =
        if expected.is_empty() { "Accepted Deployment/web".to_owned() } else { format!("Rejected Deployment/web\n{expected}") };
    check(&deployment("web", more), &expected);
}

#[test]
fn a_plain_deployment_is_accepted() {
    check_container("", "");
}

#[test]
fn a_misspelt_field_is_named_with_its_place_and_what_was_meant() {
    check_container(
        "        imagePullPolcy: Always\n",
        "12:9: error: spec.template.spec.containers[0].imagePullPolcy is not a known field (did you mean imagePullPolicy?)",
    );
    check_container(
        "        replicas: 3\n",
        "12:9: error: spec.template.spec.containers[0].replicas is not a known field (replicas is a field of DeploymentSpec: is the indentation right?)",
    );
}

#[test]
fn a_value_of_the_wrong_type_says_what_is_wanted() {
    check_container(
        "        command: sleep\n",
        "12:18: error: spec.template.spec.containers[0].command must be a list, not a text",
    );
    check_container(
        "        env: [{name: A, value: yes}]\n",
        "12:32: error: spec.template.spec.containers[0].env[0].value must be a text, not a boolean \
         (put it in quotes: yes, no, on, off, true and false are booleans in YAML)",
    );
    check_container(
        "        env: [{name: A, value: 8080}]\n",
        "12:32: error: spec.template.spec.containers[0].env[0].value must be a text, not a number (put it in quotes)",
    );
    check_container(
        "        ports: [{containerPort: \"80\"}]\n",
        "12:33: error: spec.template.spec.containers[0].ports[0].containerPort must be a port from 1 to 65535, not a text (write it without quotes)",
    );
    check_container(
        "        resources: {requests: {cpu: 1 core}}\n",
        "12:37: error: spec.template.spec.containers[0].resources.requests.cpu must be an amount such as 500m, 0.5 or 1.5Gi, not \"1 core\"",
    );
}

#[test]
fn unsupported_fields_and_values_say_so_and_what_to_do() {
    check_container(
        "        securityContext: {windowsOptions: {}}\n",
        "12:27: error: spec.template.spec.containers[0].securityContext.windowsOptions is not supported: nodes run Linux (leave it out)",
    );
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {a: b}, ports: [{port: 80, protocol: SCTP}]}\n",
        "Rejected Service/s
         4:55: error: spec.ports[0].protocol SCTP is not supported (SCTP is not proxied)",
    );
}

#[test]
fn the_fields_of_a_service_are_sorted() {
    let judged = |field: &str| {
        judge(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{{field}, selector: {{a: b}}, ports: [{{port: 80}}]}}\n"
        ))
    };
    for good in [
        "type: ClusterIP",
        "clusterIP: None",
        "clusterIP: 10.96.0.20",
        "type: NodePort, externalTrafficPolicy: Local",
        "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8], allocateLoadBalancerNodePorts: false",
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
        "internalTrafficPolicy: Local",
        "publishNotReadyAddresses: true",
        "ipFamilyPolicy: SingleStack",
    ] {
        assert!(judged(good).starts_with("Accepted"), "{}", judged(good));
    }
    for (bad, expected) in [
        (
            "type: ClusterIp",
            "must be ClusterIP or NodePort or LoadBalancer or ExternalName, not \"ClusterIp\" (did you mean ClusterIP?)",
        ),
        ("type: ExternalName", "spec.externalName is required with type: ExternalName"),
        ("type: NodePort, clusterIP: None", "spec.clusterIP must not be None with type: NodePort"),
        ("clusterIP: 10.96.0.300", "spec.clusterIP must be None or an IPv4 address"),
        ("externalName: db.example.org", "spec.externalName is for type: ExternalName only"),
        ("externalTrafficPolicy: Local", "spec.externalTrafficPolicy is for type: NodePort and LoadBalancer only"),
        ("sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}", "is for sessionAffinity: ClientIP only"),
        ("allocateLoadBalancerNodePorts: false", "is for type: LoadBalancer only"),
        ("loadBalancerSourceRanges: [10.0.0.0/8]", "is for type: LoadBalancer only"),
        ("type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1/8]", "must be a range of IPv4 addresses"),
        ("externalIPs: [192.0.2.1]", "is not supported: whoever writes them could take another's traffic"),
        ("type: LoadBalancer, loadBalancerIP: 192.0.2.1", "is not supported: a load balancer has the addresses of its nodes"),
    ] {
        assert!(judged(bad).starts_with("Rejected") && judged(bad).contains(expected), "{}", judged(bad));
    }
}

#[test]
fn a_node_port_is_of_its_range_and_of_one_port_and_of_a_service_that_has_them() {
    let judged = |kind: &str, ports: &str| {
        judge(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{type: {kind}, selector: {{a: b}}, ports: [{ports}]}}\n"
        ))
    };
    assert!(judged("NodePort", "{port: 80, nodePort: 30080}").starts_with("Accepted"));
    for (kind, ports, expected) in [
        ("NodePort", "{port: 80, nodePort: 8080}", "must be a port from 30000 to 32767"),
        ("ClusterIP", "{port: 80, nodePort: 30080}", "is for type: NodePort and LoadBalancer only"),
        (
            "NodePort",
            "{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}",
            "is the node port of another entry with the same protocol",
        ),
    ] {
        let found = judged(kind, ports);
        assert!(found.starts_with("Rejected") && found.contains(expected), "{found}");
    }
}

#[test]
fn an_external_name_needs_neither_pods_nor_ports() {
    let judged = |spec: &str| {
        judge(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{type: ExternalName, {spec}}}\n"))
    };
    assert!(judged("externalName: db.example.org").starts_with("Accepted"));
    for (bad, expected) in [
        ("externalName: 192.0.2.1", "must be a name, not an address"),
        ("externalName: db.example.org, clusterIP: None", "must be absent with type: ExternalName"),
    ] {
        assert!(judged(bad).starts_with("Rejected") && judged(bad).contains(expected), "{}", judged(bad));
    }
}

#[test]
fn ignored_fields_are_summed_up_in_one_warning() {
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, uid: x}\nspec:\n  serviceAccountName: a\n  containers: [{name: a, image: b, terminationMessagePath: /x}]\n",
        "Accepted Pod/p
         3:26: warning: without effect here: metadata.uid, spec.containers[0].terminationMessagePath, spec.serviceAccountName",
    );
}

#[test]
fn nulls_are_absent_and_empty_volumes_are_empty_dirs() {
    check_container("        command:\n        resources: null\n        env: ~\n", "");
    let text = deployment("web", "      volumes: [{name: v}, {name: w, emptyDir: }]\n");
    check(&text, "Accepted Deployment/web");
    let file = parse("f.yaml", "b", text.as_bytes());
    let verdict::Verdict::Accepted(draft) = &file.documents()[0].verdict else { panic!("accepted") };
    let workload = draft.workload().expect("a workload");
    assert!(workload.template.spec.volumes.iter().all(|volume| volume.empty_dir.is_some()));
}

#[test]
fn kinds_are_sorted() {
    for (api_version, kind, expected) in [
        (
            "v1",
            "ServiceAccount",
            "Ignored ServiceAccount/x\n2:7: warning: ServiceAccount is without effect here: pods have no API server to talk to",
        ),
        (
            "v1",
            "ReplicationController",
            "Rejected ReplicationController/x\n2:7: error: kind ReplicationController is not supported yet (write a Deployment)",
        ),
        (
            "extensions/v1beta1",
            "Deployment",
            "Rejected Deployment/x\n1:13: error: apiVersion extensions/v1beta1 was removed from Kubernetes for Deployment (write apps/v1)",
        ),
        (
            "apps/v2",
            "Deployment",
            "Rejected Deployment/x\n1:13: error: apiVersion apps/v2 is not known for Deployment (write apps/v1)",
        ),
        ("v1", "Deployment", "Rejected Deployment/x\n1:13: error: apiVersion v1 is not known for Deployment (write apps/v1)"),
        (
            "apps/v1",
            "Deploymnet",
            "Rejected Deploymnet/x\n2:7: error: kind Deploymnet is not a kind of apps/v1 (did you mean Deployment?)",
        ),
        (
            "cert-manager.io/v1",
            "Certificate",
            "Rejected Certificate/x\n2:7: error: kind Certificate.cert-manager.io is not a kind that Driftless knows \
          (to pass it over, list Certificate.cert-manager.io in ignoreKinds in driftless.yaml)",
        ),
    ] {
        check(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n"), expected);
    }
    check("hello: world\n", "Ignored /\n1:1: warning: no apiVersion and kind: not a manifest, passed over");
    check("kind: Pod\n", "Rejected Pod/\n1:1: error: apiVersion is required");
}

#[test]
fn a_key_that_is_there_twice_is_an_error_unless_both_say_the_same() {
    let text = |second: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: v}}\n{second}\n");
    check(
        &text("data: {k: w}"),
        "Rejected ConfigMap/a\n5:1: error: the key \"data\" is there twice, first on line 4 (keep one of them)",
    );
    check(
        &text("data: {k: v}"),
        "Accepted ConfigMap/a\n5:1: warning: the key \"data\" is there twice, first on line 4, with the same value (keep one of them)",
    );
}

#[test]
fn our_annotations_are_a_known_set() {
    let with = |annotation: &str| {
        deployment("web", "").replace("namespace: shop}", &format!("namespace: shop, annotations: {{{annotation}}}}}"))
    };
    check(&with("driftless.dev/drift: report"), "Accepted Deployment/web");
    for (annotation, expected) in [
        (
            "driftless.dev/drfit: report",
            "['driftless.dev/drfit'] is not an annotation of Driftless (did you mean driftless.dev/drift?)",
        ),
        ("driftless.dev/drift: maybe", "['driftless.dev/drift'] must be correct or report or ignore"),
        ("driftless.dev/promote: abc", "['driftless.dev/promote'] has no effect on a Deployment (it belongs on Rollout)"),
        ("driftless.dev/config-update: never", "['driftless.dev/config-update'] must be roll or in-place"),
        (
            "seccomp.security.alpha.kubernetes.io/pod: x",
            "['seccomp.security.alpha.kubernetes.io/pod'] is not supported: only securityContext.seccompProfile is read",
        ),
    ] {
        assert!(judge(&with(annotation)).contains(expected), "{}", judge(&with(annotation)));
    }
}

#[test]
fn bytes_that_are_no_manifest_are_refused_with_a_reason() {
    let judge = |bytes: &[u8]| lines(parse("f.yaml", "b", bytes).problems());
    assert_eq!(
        judge(b"a: \xff"),
        "f.yaml:0:0: error: the file is not UTF-8 text (byte 3) (save it as UTF-8, or list it in .driftlessignore)\n"
    );
    assert!(judge(&vec![b' '; FILE_BYTES_MAX + 1]).starts_with("f.yaml:0:0: error: the file is larger than 4 MiB"));
    assert!(judge(b"version https://git-lfs.github.com/spec/v1\noid x\n").contains("git LFS pointer"));
    assert_eq!(judge(b"\xef\xbb\xbfa: 1"), "");
}

#[test]
fn a_template_is_recognised() {
    let judged = judge("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: {{ .Values.a }}\n");
    assert!(judged.contains("this looks like a Helm template: commit what `helm template` prints"), "{judged}");
    let judged = judge("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '${NAME}'}\n");
    assert!(judged.contains("this looks like a placeholder (envsubst, Flux postBuild)"), "{judged}");
}

#[test]
fn a_lease_travels_with_the_template_and_rolls_the_pods_that_get_it() {
    let set = |annotations: &str| {
        let text = deployment("db", "").replace("kind: Deployment", "kind: StatefulSet");
        let text = text.replacen("name: db", &format!("name: db{annotations}"), 1);
        let loaded = loaded(&tree("r", &[("f.yaml", &text)]), &Good::new());
        let object = &loaded.desired.objects[&ObjectKey::new(Kind::StatefulSet, "shop", "db")];
        Arc::clone(object.snapshot().expect("a snapshot"))
    };
    let (without, with) = (set(""), set(", annotations: {driftless.dev/lease: 30s}"));
    assert_eq!(Lease::of(&without.template), None);
    assert_eq!(Lease::of(&with.template).map(|lease| (lease.term.as_secs(), lease.grace.as_secs())), Some((30, 30)));
    assert_ne!(without.hash, with.hash);
    assert_ne!(with.hash, set(", annotations: {driftless.dev/lease: 60s}").hash);
    assert_eq!(without.hash, set(", annotations: {note: x}").hash);
}

#[test]
fn a_pod_of_a_stateful_set_has_its_own_name_in_the_domain_of_the_service() {
    let names = |service: &str, pod: &str| {
        let text = deployment("db", pod).replace("kind: Deployment", "kind: StatefulSet");
        let text = text.replace("spec:\n  selector", &format!("spec:\n  {service}\n  selector"));
        let loaded = loaded(&tree("r", &[("f.yaml", &text)]), &Good::new());
        let object = &loaded.desired.objects[&ObjectKey::new(Kind::StatefulSet, "shop", "db")];
        let snapshot = &object.workload().expect("a workload").snapshot;
        let spec = &snapshot.template.spec;
        (spec.hostname.clone(), spec.subdomain.clone(), snapshot.hash.clone())
    };
    let (hostname, subdomain, hash) = names("serviceName: db", "      hostname: one\n      subdomain: other\n");
    assert_eq!((hostname, subdomain.as_deref()), (None, Some("db")));
    assert_ne!(hash, names("serviceName: store", "").2, "agents keep templates by their hash");
    assert_eq!(names("replicas: 1", "      subdomain: other\n").1.as_deref(), Some("other"));
    assert_eq!(names("serviceName: db", "        command: [db]\n      runtimeClassName: process\n").1, None);
}
