use super::{Folders, LaunchError, LaunchInput, ServiceAddress, resolve};
use crate::agent::runtime::{ContainerId, ContainerLaunch, EnvValue, PullPolicy};
use crate::model::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn snapshot(spec: Value) -> PodSnapshot {
    let mut template: PodTemplate = serde_json::from_value(json!({ "spec": spec })).expect("a template");
    template.metadata.labels.insert("app".to_owned(), "web".to_owned());
    let mut config = ConfigSnapshot::default();
    let map: BTreeMap<String, Vec<u8>> =
        [("colour", &b"green"[..]), ("binary", &[0xff]), ("a.conf", b"listen")].map(|(k, v)| (k.to_owned(), v.to_vec())).into();
    config.config_maps.insert("settings".to_owned(), map);
    let secret = [("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))].into();
    config.secrets.insert("db".to_owned(), secret);
    PodSnapshot { hash: TemplateHash::new("a".repeat(40)), template, config: Arc::new(config) }
}

/// A node that allows nothing.
fn facts() -> NodeFacts {
    NodeFacts {
        name: NodeName::new("n1"),
        labels: BTreeMap::new(),
        capacity: Amounts::default(),
        allocatable: Amounts { cpu_milli: 1500, memory_bytes: 3 << 30 },
        runtimes: [RuntimeKind::Docker, RuntimeKind::Process].into(),
        allows: Allows::default(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        kernel: "6.1".to_owned(),
        engine: None,
        agent_version: "0.1.0".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

fn launch(spec: Value) -> Result<ContainerLaunch, LaunchError> {
    launch_of(0, spec)
}

/// Launches one container; all but the first in the network of the first.
fn launch_of(index: usize, spec: Value) -> Result<ContainerLaunch, LaunchError> {
    launch_on(&facts(), index, spec)
}

fn launch_on(facts: &NodeFacts, index: usize, spec: Value) -> Result<ContainerLaunch, LaunchError> {
    let first = ContainerId("f1257".to_owned());
    let snapshot = snapshot(spec);
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let uid = PodUid::derive("test", &workload, 0, &snapshot.hash, Incarnation { epoch: Epoch(1), counter: 1 });
    let run = PodRun {
        uid,
        name: "web-1".to_owned(),
        workload,
        slot: 0,
        hash: snapshot.hash.clone(),
        revision: Revision::new("c0ffee"),
    };
    let process = snapshot.template.spec.is_process();
    let services = [ServiceAddress {
        name: "my-api".to_owned(),
        host: IpAddr::V4(Ipv4Addr::new(127, 64, 0, 9)),
        ports: vec![("http".to_owned(), 80), ("grpc-web".to_owned(), 81)],
    }];
    resolve(&LaunchInput {
        cluster: "test",
        facts,
        folders: &Folders { run: "/run/d".into(), state: "/state".into() },
        run: &run,
        snapshot: &snapshot,
        container: &snapshot.template.spec.containers[index],
        attempt: 0,
        ports: &[(8080, 21000), (9090, 21001)].into(),
        services: &services,
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        pod_address: process.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        network_of: (index > 0 && !process).then_some(&first),
    })
}

fn one(fields: Value) -> Value {
    let mut container = json!({ "name": "web", "image": "app:1" });
    container.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    json!({ "enableServiceLinks": false, "containers": [container] })
}

/// `A=b` lines, secrets as `A=(secret b)`.
fn env_of(spec: Value) -> String {
    let launch = launch(spec).expect("launches");
    let show = |(name, value): &(String, EnvValue)| match value {
        EnvValue::Plain(text) => format!("{name}={text}"),
        EnvValue::Secret(bytes) => format!("{name}=(secret {})", String::from_utf8_lossy(bytes.expose())),
    };
    launch.env.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn references_expand_as_kubernetes_does() {
    let cases = [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$$", "$"),
        ("$(B)", "<1>"),
    ];
    for (word, expected) in cases {
        let env = json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "<$(A)>" }]);
        let launch = launch(one(json!({ "env": env, "args": [word] }))).expect("launches");
        assert_eq!(launch.args, [expected], "{word}");
    }
}

#[test]
fn a_value_sees_only_variables_before_it() {
    let env = json!([{ "name": "A", "value": "$(B)" }, { "name": "B", "value": "2" }]);
    assert_eq!(env_of(one(json!({ "env": env }))), "A=$(B) B=2");
}

#[test]
fn env_wins_over_env_from_and_a_prefix_is_put_before_every_key() {
    let fields = json!({
        "envFrom": [
            { "prefix": "CFG_", "configMapRef": { "name": "settings" } },
            { "secretRef": { "name": "db" } },
            { "configMapRef": { "name": "none", "optional": true } }
        ],
        "env": [{ "name": "CFG_colour", "value": "red" }]
    });
    assert_eq!(env_of(one(fields)), "CFG_a.conf=listen CFG_colour=red password=(secret hunter2)");
}

#[test]
fn a_value_that_contains_a_secret_is_a_secret() {
    let env = json!([
        { "name": "P", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } },
        { "name": "URL", "value": "pg://u:$(P)@h" }
    ]);
    let spec = one(json!({ "env": env }));
    assert_eq!(env_of(spec.clone()), "P=(secret hunter2) URL=(secret pg://u:hunter2@h)");
    let launch = launch(spec).expect("launches");
    assert!(!format!("{launch:?}").contains("hunter2"), "a launch may be logged");
}

#[test]
fn a_secret_may_not_become_an_argument() {
    let fields = json!({
        "env": [{ "name": "P", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } }],
        "args": ["--password=$(P)"]
    });
    assert_eq!(launch(one(fields)).map(|_| ()), Err(LaunchError::SecretInArguments { variable: "P".to_owned() }));
}

#[test]
fn optional_references_that_are_missing_are_left_out_and_others_are_errors() {
    let reference = |optional: bool, key: &str| {
        let selector = json!({ "name": "settings", "key": key, "optional": optional });
        one(json!({ "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": selector } }] }))
    };
    assert_eq!(env_of(reference(true, "none")), "");
    let error = launch(reference(false, "none")).expect_err("missing").to_string();
    assert_eq!(error, "ConfigMap \"settings\" has no key \"none\", which variable A refers to");
    let error = launch(reference(false, "binary")).expect_err("not text").to_string();
    assert!(error.contains("cannot be the variable A"), "{error}");
}

#[test]
fn fields_of_the_pod_are_variables() {
    let paths = ["metadata.name", "metadata.namespace", "spec.nodeName", "status.hostIP", "metadata.labels['app']"];
    let field = |(index, path): (usize, &&str)| json!({ "name": format!("F{index}"), "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let env: Vec<Value> = paths.iter().enumerate().map(field).collect();
    assert_eq!(env_of(one(json!({ "env": env }))), "F0=web-1 F1=shop F2=n1 F3=127.0.0.1 F4=web");
    let env = json!([{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }]);
    let error = launch(one(json!({ "env": env }))).expect_err("unknown before the start").to_string();
    assert!(error.starts_with("variable IP: status.podIP is not known"), "{error}");
}

#[test]
fn services_of_the_namespace_are_variables_as_kubernetes_writes_them() {
    let spec = json!({ "containers": [{ "name": "web", "image": "a" }] });
    assert_eq!(
        env_of(spec),
        "MY_API_SERVICE_HOST=127.64.0.9 MY_API_SERVICE_PORT=80 MY_API_SERVICE_PORT_HTTP=80 MY_API_SERVICE_PORT_GRPC_WEB=81"
    );
}

#[test]
fn a_host_process_is_told_its_ports_which_win_over_what_is_written() {
    let spec = json!({
        "runtimeClassName": "process", "enableServiceLinks": false,
        "containers": [{
            "name": "web", "command": ["web", "--port=$(PORT)"], "env": [{ "name": "PORT", "value": "8080" }],
            "ports": [{ "containerPort": 8080, "name": "http" }, { "containerPort": 9090 }]
        }]
    });
    assert_eq!(env_of(spec.clone()), "HOST=127.0.0.1 PORT=21000 PORT_HTTP=21000 PORT_9090=21001");
    let launch = launch(spec).expect("launches");
    assert_eq!(launch.command, ["web", "--port=21000"]);
    assert_eq!(launch.ports.iter().map(|port| port.host_port).collect::<Vec<_>>(), [Some(21000), Some(21001)]);
}

#[test]
fn volumes_become_files_on_tmpfs_and_folders_on_disk() {
    let spec = json!({
        "containers": [{ "name": "web", "image": "a", "volumeMounts": [
            { "name": "conf", "mountPath": "/etc/app" },
            { "name": "key", "mountPath": "/key", "subPath": "password" },
            { "name": "data", "mountPath": "/data", "subPath": "a/b" },
            { "name": "fast", "mountPath": "/fast", "readOnly": true }
        ]}],
        "volumes": [
            { "name": "conf", "configMap": { "name": "settings", "items": [{ "key": "a.conf", "path": "conf.d/a", "mode": 0o600 }] } },
            { "name": "key", "secret": { "secretName": "db", "defaultMode": 0o400 } },
            { "name": "data", "emptyDir": {} },
            { "name": "fast", "emptyDir": { "medium": "Memory" } },
            { "name": "unused", "secret": { "secretName": "absent" } }
        ]
    });
    let launch = launch(spec).expect("launches");
    let uid = launch.labels.uid;
    let mounts: Vec<String> = launch
        .mounts
        .iter()
        .map(|mount| {
            let source = mount.source.display().to_string().replace(&uid.to_string(), "UID");
            format!("{source} {} {}", mount.target, if mount.read_only { "ro" } else { "rw" })
        })
        .collect();
    assert_eq!(
        mounts,
        [
            "/run/d/pods/UID/volumes/conf /etc/app ro",
            "/run/d/pods/UID/volumes/key/password /key ro",
            "/state/pods/UID/volumes/data/a/b /data rw",
            "/run/d/pods/UID/volumes/fast /fast ro",
        ]
    );
    let files: Vec<String> = launch
        .volumes
        .iter()
        .flat_map(|volume| {
            volume.files.iter().map(|(path, file)| format!("{path} {:o} {}", file.mode, file.bytes.expose().len()))
        })
        .collect();
    assert_eq!(files, ["conf.d/a 600 6", "password 400 7"]);
}

#[test]
fn a_path_may_not_leave_its_volume() {
    for path in ["../up", "/etc/passwd", "a/../../b"] {
        let spec = json!({
            "containers": [{ "name": "web", "image": "a", "volumeMounts": [{ "name": "d", "mountPath": "/d", "subPath": path }] }],
            "volumes": [{ "name": "d", "emptyDir": {} }]
        });
        assert!(matches!(launch(spec), Err(LaunchError::Escapes { .. })), "{path}");
    }
}

#[test]
fn images_are_pulled_as_kubernetes_does() {
    let cases = [
        ("nginx", None, PullPolicy::Always),
        ("nginx:latest", None, PullPolicy::Always),
        ("registry:5000/nginx", None, PullPolicy::Always),
        ("nginx:1.27", None, PullPolicy::IfNotPresent),
        ("nginx@sha256:00", None, PullPolicy::IfNotPresent),
        ("nginx", Some("Never"), PullPolicy::Never),
        ("nginx:1.27", Some("Always"), PullPolicy::Always),
    ];
    for (image, policy, expected) in cases {
        let launch = launch(one(json!({ "image": image, "imagePullPolicy": policy }))).expect("launches");
        assert_eq!(launch.pull, expected, "{image} {policy:?}");
    }
}

#[test]
fn limits_come_from_resources_and_the_request_falls_back_to_the_limit() {
    let launch = launch(one(json!({ "resources": { "limits": { "cpu": "500m", "memory": "64Mi" } } }))).expect("launches");
    let limits = launch.limits;
    assert_eq!((limits.cpu_milli, limits.memory_bytes, limits.cpu_request_milli), (Some(500), Some(64 << 20), Some(500)));
}

#[test]
fn the_first_container_publishes_the_host_ports_of_all_since_the_others_share_its_network() {
    let spec = json!({ "containers": [
        { "name": "web", "image": "a", "ports": [{ "containerPort": 8080 }] },
        { "name": "dns", "image": "b", "ports": [{ "containerPort": 53, "hostPort": 5353, "protocol": "UDP" }, { "containerPort": 9 }] }
    ] });
    let ports = |index| {
        let launch = launch_of(index, spec.clone()).expect("launches");
        launch.ports.iter().map(|port| (port.container_port, port.protocol, port.host_port)).collect::<Vec<_>>()
    };
    assert_eq!(ports(0), [(8080, Protocol::Tcp, None), (53, Protocol::Udp, Some(5353))]);
    assert_eq!(ports(1), [(53, Protocol::Udp, None), (9, Protocol::Tcp, None)]);
}

#[test]
fn a_pod_that_needs_more_than_its_host_allows_is_not_launched() {
    let spec = json!({ "hostPID": true, "containers": [{ "name": "web", "image": "a" }] });
    let refused = launch(spec.clone()).expect_err("refused").to_string();
    assert_eq!(refused, "n1 does not allow host-pid; if it should, start its agent with --allow host-pid");
    let generous = NodeFacts { allows: [Grant::HostPid].into_iter().collect(), ..facts() };
    assert!(launch_on(&generous, 0, spec).is_ok());
}
