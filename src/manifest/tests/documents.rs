//! Documents: accepted, ignored, rejected, and the words for it.

use super::*;
use proptest::prelude::*;

/// The status and the problems of every document of a text.
fn judge(text: &str) -> String {
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

pub(super) fn check(text: &str, expected: &str) {
    let judged = judge(text);
    let trim = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(trim(&judged), trim(expected), "\n{text}");
}

/// A Deployment whose pod spec has some more lines, at the depth of a container field.
fn check_container(more: &str, expected: &str) {
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
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer, selector: {a: b}, ports: [{port: 80}]}\n",
        "Rejected Service/s
         4:14: error: spec.type LoadBalancer is not supported (there is no load balancer; put your own proxy in front, or publish a port with hostPort)",
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
        "sessionAffinity: None",
        "publishNotReadyAddresses: false",
        "ipFamilyPolicy: SingleStack",
    ] {
        assert!(judged(good).starts_with("Accepted"), "{}", judged(good));
    }
    for (bad, expected) in [
        ("type: NodePort", "NodePort is not supported (Services are reached from inside; publish a port with hostPort)"),
        ("type: ExternalName", "ExternalName is not supported (names outside the cluster are not served; use the name itself)"),
        ("type: ClusterIp", "must be ClusterIP, not \"ClusterIp\" (did you mean ClusterIP?)"),
        ("clusterIP: 10.0.0.1", "must be None, not \"10.0.0.1\" (leave it out: addresses are allotted by Driftless)"),
        ("sessionAffinity: ClientIP", "ClientIP is not supported"),
        ("publishNotReadyAddresses: true", "true is not supported (only ready pods are behind a Service; leave it out)"),
        (
            "loadBalancerSourceRanges: [10.0.0.0/8]",
            "is not supported: there is no load balancer, and nothing would keep others out",
        ),
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
    let document::Verdict::Accepted(draft) = &file.documents()[0].verdict else { panic!("accepted") };
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

/// A set with the fields of its spec beside selector and template, and the expected judgement.
fn check_set(kind: &str, more: &str, expected: &str) {
    let text = format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{more}  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: 'nginx:1'}}]}}\n"
    );
    check(&text, expected);
}

#[test]
fn sets_are_accepted_and_their_contradictions_are_not() {
    check_set("ReplicaSet", "  replicas: 2\n", "Accepted ReplicaSet/web");
    check_set(
        "ReplicaSet",
        "  strategy: {}\n",
        "Rejected ReplicaSet/web\n5:3: error: spec.strategy is not a known field (strategy is a field of DeploymentSpec: is the indentation right?)",
    );
    check_set("StatefulSet", "  serviceName: web\n  podManagementPolicy: Parallel\n", "Accepted StatefulSet/web");
    check_set(
        "StatefulSet",
        "  replicas: 2\n",
        "Accepted StatefulSet/web\n4:1: warning: the StatefulSet has no serviceName (a headless Service gives its pods their names in DNS: write one, and its name here)",
    );
    check_set(
        "StatefulSet",
        "  serviceName: web\n  updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}\n",
        "Rejected StatefulSet/web\n6:36: error: spec.updateStrategy.rollingUpdate must not be there when the type is OnDelete",
    );
    check_set("DaemonSet", "  updateStrategy: {rollingUpdate: {maxSurge: 1}}\n", "Accepted DaemonSet/web");
    check_set(
        "DaemonSet",
        "  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}\n",
        "Rejected DaemonSet/web\n5:20: error: spec.updateStrategy.rollingUpdate must have one of maxSurge and maxUnavailable, not both (with maxSurge the new pod of a node comes first, with maxUnavailable the old one goes first)",
    );
    check_set(
        "DaemonSet",
        "  replicas: 2\n",
        "Rejected DaemonSet/web\n5:3: error: spec.replicas is not a known field (replicas is a field of DeploymentSpec: is the indentation right?)",
    );
}

#[test]
fn the_items_of_a_list_are_documents_of_their_own() {
    check(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {nme: b}}\n",
        "Accepted Namespace/a
         Rejected Namespace/
         5:37: error: items[1].metadata.name is required
         5:48: error: items[1].metadata.nme is not a known field (did you mean name?)",
    );
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
fn a_list_of_a_kind_tells_its_items_what_they_are() {
    check(
        "apiVersion: v1\nkind: ConfigMapList\nmetadata: {resourceVersion: '7'}\nitems:\n- metadata: {name: a}\n  data: {k: v}\n- metadata: {name: b}\n  date: {}\n",
        "Accepted ConfigMap/a
         Rejected ConfigMap/b
         8:3: error: items[1].date is not a known field (did you mean data?)",
    );
    check("apiVersion: v1\nkind: List\nmetadata: {}\nitems: []\n", "");
    check("apiVersion: v1\nkind: List\nitems:\n", "");
    check(
        "apiVersion: v1\nkind: List\nitms: []\nitems: 5\n",
        "Rejected List/
         3:1: error: itms is not a known field of a List (did you mean items?)
         4:8: error: items must be a list",
    );
    check(
        "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: x}\nspec: {}\n",
        "Rejected AllowList/x
         2:7: error: kind AllowList.example.com is not a kind that Driftless knows \
         (to pass it over, list AllowList.example.com in ignoreKinds in driftless.yaml)",
    );
}

#[test]
fn the_values_of_a_secret_in_a_list_are_not_quoted_either() {
    for list in ["List", "SecretList"] {
        for body in [
            "stringData: {p: [hunter2]}",
            "data: {p: 'hunter2!'}",
            "stringData: {p: '{{ hunter2 }}', p: hunter2}",
            "data: hunter2",
        ] {
            let item = if list == "List" { "apiVersion: v1, kind: Secret, " } else { "" };
            let judged = judge(&format!("apiVersion: v1\nkind: {list}\nitems:\n- {{{item}metadata: {{name: s}}, {body}}}\n"));
            assert!(judged.starts_with("Rejected") && !judged.contains("hunter2"), "{body}: {judged}");
        }
    }
}

#[test]
fn rules_that_a_schema_cannot_say() {
    for (more, expected) in [
        (
            "        livenessProbe: {}\n",
            "12:9: error: spec.template.spec.containers[0].livenessProbe must have exactly one of httpGet, tcpSocket, exec, grpc",
        ),
        (
            "        readinessProbe: {httpGet: {port: web}}\n",
            "12:42: error: spec.template.spec.containers[0].readinessProbe.httpGet.port names no port of its container \
          (add a port with name: web to the container, or write the number)",
        ),
        (
            "        volumeMounts: [{name: v, mountPath: /v}]\n",
            "12:31: error: spec.template.spec.containers[0].volumeMounts[0].name names no volume of the pod (add a volume with name: v)",
        ),
        (
            "        resources: {requests: {cpu: 2}, limits: {cpu: 1}}\n",
            "12:37: error: spec.template.spec.containers[0].resources.requests.cpu must not exceed the limit",
        ),
        (
            "        env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n",
            "12:15: error: spec.template.spec.containers[0].env[0] must have value or valueFrom, not both",
        ),
        ("      restartPolicy: Never\n", "12:22: error: spec.template.spec.restartPolicy must be Always in a Deployment"),
        (
            "      runtimeClassName: gvisor\n",
            "12:25: error: spec.template.spec.runtimeClassName is not a known runtime (write process for host processes, or leave it out for containers)",
        ),
        (
            "      runtimeClassName: process\n",
            "10:9: error: spec.template.spec.containers[0].command is required for a host process (runtimeClassName: process)",
        ),
        (
            "      - {name: main, image: x}\n",
            "12:16: error: spec.template.spec.containers[1].name is the name of another container",
        ),
        (
            "      initContainers: [{name: i, image: x, livenessProbe: {exec: {command: [a]}}}]\n",
            "12:44: error: spec.template.spec.initContainers[0].livenessProbe must not be set for an init container, which runs to its \
          end (restartPolicy: Always makes it a sidecar, which may have it)",
        ),
        (
            "      initContainers: [{name: main, image: x}]\n",
            "10:15: error: spec.template.spec.containers[0].name is the name of another container",
        ),
        (
            "        restartPolicy: Always\n",
            "12:24: error: spec.template.spec.containers[0].restartPolicy is for init containers only (set restartPolicy of the pod, or \
          move the container to initContainers)",
        ),
        (
            "        readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 3}\n",
            "12:80: error: spec.template.spec.containers[0].readinessProbe.terminationGracePeriodSeconds must not be set for a \
          readiness probe, which stops nothing",
        ),
        (
            "        lifecycle: {preStop: {httpGet: {port: web}}}\n",
            "12:47: error: spec.template.spec.containers[0].lifecycle.preStop.httpGet.port names no port of its container \
          (add a port with name: web to the container, or write the number)",
        ),
        (
            "      activeDeadlineSeconds: 5\n",
            "12:30: error: spec.template.spec.activeDeadlineSeconds must not be set in a Deployment, whose pods run for ever",
        ),
        (
            "      volumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]\n",
            "12:17: error: spec.template.spec.volumes[0] must have at most one of configMap, secret, emptyDir, hostPath, persistentVolumeClaim, projected, downwardAPI",
        ),
    ] {
        check_container(more, expected);
    }
}

#[test]
fn a_selector_must_match_its_own_template() {
    check(
        &deployment("web", "").replace("labels: {app: web}", "labels: {app: api}"),
        "Rejected Deployment/web
         5:3: error: spec.selector does not match the labels of its own template (every label of the selector must be among spec.template.metadata.labels)",
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
            "['seccomp.security.alpha.kubernetes.io/pod'] is not supported: seccomp profiles are not applied",
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

const MARKER: &str = "hunter2";

#[test]
fn no_problem_of_a_secret_quotes_a_value() {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let encoded = "aHVudGVyMg";
    let bad = [
        format!("data: {{p: '{MARKER}!'}}\n"),
        format!("data: {{p: {encoded}=x}}\n"),
        format!("data: [{MARKER}]\n"),
        format!("data: {MARKER}\n"),
        format!("stringData: {{p: [{MARKER}]}}\n"),
        "stringData: {p: 31337}\n".to_owned(),
        format!("stringData: {{p: '{MARKER}', p: '{MARKER}!'}}\n"),
        format!("type: [{MARKER}]\n"),
        format!("stringData:\n  p: *{MARKER}\n"),
        format!("stringData:\n  p: !{MARKER} x\n"),
        format!("stringData:\n  p: \"{MARKER}\n"),
        format!("stringData:\n\tp: {MARKER}\n"),
        format!("stringData: {{p: {{{{ {MARKER} }}}}}}\n"),
        format!("metadata: {MARKER}\n"),
    ];
    for text in bad {
        let judged = judge(&format!("{head}{text}"));
        assert!(judged.starts_with("Rejected"), "{text}: {judged}");
        for leaked in [MARKER, encoded, "31337"] {
            assert!(!judged.contains(leaked), "{text}: {judged}");
        }
    }
}

#[test]
fn what_is_shown_of_a_secret_has_no_value() {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations: {{kubectl.kubernetes.io/last-applied-configuration: {MARKER}}}\n\
         data: {{a: aHVudGVyMg==}}\nstringData: {{b: {MARKER}}}\n"
    );
    let loaded = loaded(&tree("r1", &[("a/s.yaml", &text)]), &Good::new());
    let object = loaded.desired.objects.values().next().expect("a Secret");
    let crate::model::Body::Secret(data) = &object.body else { panic!("a Secret") };
    assert_eq!(data["a"].expose(), MARKER.as_bytes());
    let shown = format!("{:?} {loaded:?}", object.written);
    assert!(!shown.contains(MARKER) && !shown.contains("aHVudGVyMg"), "{shown}");
    assert_eq!(object.written["data"]["a"], "<redacted>");
}

#[test]
fn the_table_page_is_the_table() {
    let page = include_str!("../../../docs/manifests.md");
    assert!(page.trim_end() == reference_markdown().trim_end(), "run: driftless schema --markdown > docs/manifests.md");
}

#[test]
fn every_supported_kind_has_a_schema_that_accepts_its_own_documents() {
    for (kind, api_version) in supported_kinds() {
        let schema = json_schema(kind).expect("a schema");
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(schema["$defs"][kind]["properties"]["apiVersion"]["const"], api_version);
    }
    let document = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}});
    let schema = json_schema("ConfigMap").expect("a schema");
    assert!(jsonschema::is_valid(&schema, &document));
    assert!(!jsonschema::is_valid(
        &schema,
        &serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})
    ));
}

/// Values of any shape below the fields of real kinds.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "[a-z0-9%$.-]{0,8}".prop_map(serde_json::Value::from),
    ];
    let names = prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "template",
        "containers",
        "env",
        "value",
        "ports",
        "strategy",
        "type",
        "selector",
        "matchLabels",
        "volumes",
        "configMap",
        "resources",
        "limits",
        "cpu",
        "httpGet",
        "port",
        "replicas",
        "data",
        "metrics",
        "blueGreen",
    ]);
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_of_any_kind_gets_a_verdict(value in any_value(), which in 0_usize..8) {
        let (kind, api_version) = supported_kinds()[which];
        let mut document = if value.is_object() { value } else { serde_json::json!({"spec": value}) };
        document["apiVersion"] = api_version.into();
        document["kind"] = kind.into();
        let text = document.to_string();
        let loaded = loaded(&tree("r1", &[("a/x.yaml", &text)]), &Good::new());
        let state = &loaded.desired.units[&unit_of("a/x.yaml")];
        prop_assert!(state.is_held() == state.problems().iter().any(Problem::is_error));
        prop_assert!(state.is_held() != (loaded.desired.objects.len() == 1));
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let report = validate(&[("f.yaml".to_owned(), bytes)], true);
        prop_assert_eq!(report.summary.files, 1);
    }

    #[test]
    fn reading_what_is_shown_gives_the_same_object(replicas in 0_u32..9, seconds in 1_u32..99, port in 1_u16..9999) {
        let text = deployment("web", &format!("        ports: [{{containerPort: {port}}}]\n        livenessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: {seconds}}}\n"))
            .replace("spec:\n  selector", &format!("spec:\n  replicas: {replicas}\n  selector"));
        let first = loaded(&tree("r1", &[("a/x.yaml", &text)]), &Good::new());
        let object = first.desired.objects.values().next().expect("a Deployment");
        let again = loaded(&tree("r1", &[("a/x.yaml", &object.written.to_string())]), &Good::new());
        let other = again.desired.objects.values().next().expect("a Deployment");
        prop_assert_eq!(&object.body, &other.body);
        // Defaults are idempotent: what the typed template prints, in full, has the hash of what was written.
        let printed = serde_json::to_value(&object.snapshot().expect("a snapshot").template).expect("JSON");
        let hash = template_hash(&printed, &ConfigDigests::new());
        prop_assert_eq!(&hash, &object.snapshot().expect("a snapshot").hash);
    }
}

/// A pod with these lines in its spec is rejected with these errors (without their places), or accepted if there are none.
fn check_pod(spec: &str, errors: &[&str]) {
    let judged = judge(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{spec}"));
    let found: Vec<&str> = judged.lines().filter_map(|line| Some(line.split_once("error: ")?.1)).collect();
    assert_eq!(found, errors, "{judged}\n{spec}");
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let container = |more: &str| format!("  containers: [{{name: a, image: b, {more}}}]\n");
    check_pod(
        &container("securityContext: {privileged: true, allowPrivilegeEscalation: false}"),
        &[
            "spec.containers[0].securityContext.allowPrivilegeEscalation cannot be false in a container that is privileged or has SYS_ADMIN",
        ],
    );
    check_pod(
        &format!("  securityContext: {{runAsNonRoot: true, runAsUser: 0}}\n{}", container("tty: true")),
        &["spec.securityContext.runAsUser must not be 0 where runAsNonRoot is true"],
    );
    check_pod(
        &format!("  securityContext: {{sysctls: [{{name: vm.swappiness, value: '1'}}]}}\n{}", container("tty: true")),
        &["spec.securityContext.sysctls[0].name is a parameter of the whole host (set it on the host)"],
    );
    check_pod(
        &container("securityContext: {seccompProfile: {type: Localhost}}"),
        &["spec.containers[0].securityContext.seccompProfile.localhostProfile is required where the type is Localhost"],
    );
    check_pod(
        &format!("  dnsPolicy: None\n{}", container("tty: true")),
        &["spec.dnsConfig.nameservers is required where dnsPolicy is None"],
    );
    let mount = "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional, subPath: a, subPathExpr: b}]";
    check_pod(
        &format!("  volumes: [{{name: v, emptyDir: {{sizeLimit: 1Gi}}}}]\n{}", container(mount)),
        &[
            "spec.volumes[0].emptyDir.sizeLimit is not kept on disk (write medium: Memory with it, or leave it out)",
            "spec.containers[0].volumeMounts[0].mountPropagation Bidirectional is for privileged containers",
            "spec.containers[0].volumeMounts[0].subPathExpr must not be there beside subPath",
        ],
    );
}

#[test]
fn what_only_containers_can_be_held_to_is_refused_for_host_processes() {
    check_pod(
        "  runtimeClassName: process\n  hostNetwork: true\n  containers: [{name: a, command: [b], securityContext: {capabilities: {drop: [ALL]}}}]\n",
        &[
            "spec.hostNetwork is for containers and not kept for host processes (runtimeClassName: process) (leave it out, or run an image)",
            "spec.containers[0].securityContext.capabilities is for containers and not kept for host processes (runtimeClassName: process) (leave it out, or run an image)",
        ],
    );
    check_pod(
        "  runtimeClassName: process\n  containers: [{name: a, command: [b], securityContext: {allowPrivilegeEscalation: false}}]\n",
        &[],
    );
}
