use super::{ClusterNames, Folders, LaunchError, LaunchInput, SandboxInput, ServiceAddress, needs_sandbox, resolve};
use crate::agent::runtime::{
    ContainerId, ContainerLaunch, EnvValue, LookUp, NameServer, PodNetwork, PullPolicy, Role, Seccomp, VolumeKind,
};
use crate::model::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn snapshot(spec: Value) -> PodSnapshot {
    let mut template: PodTemplate = serde_json::from_value(json!({ "spec": spec })).expect("a template");
    template.metadata.labels.insert("app".to_owned(), "web".to_owned());
    let mut config = ConfigSnapshot::default();
    let map: BTreeMap<String, Vec<u8>> =
        [("colour", &b"green"[..]), ("binary", &[0xff]), ("a.conf", b"listen")].map(|(k, v)| (k.to_owned(), v.to_vec())).into();
    config.config_maps.insert("settings".to_owned(), map);
    let numbers = [("1st", &b"a"[..]), ("ok", b"b")].map(|(k, v)| (k.to_owned(), v.to_vec())).into();
    config.config_maps.insert("numbers".to_owned(), numbers);
    let secret = [("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))].into();
    config.secrets.insert("db".to_owned(), secret);
    let login = [(".dockerconfigjson".to_owned(), SecretBytes::new(b"{\"auths\":{}}".to_vec()))].into();
    config.secrets.insert("registry".to_owned(), login);
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
        leases: BTreeSet::new(),
        allows: Allows::default(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        kernel: "6.1".to_owned(),
        engine: None,
        agent_version: "0.1.0".to_owned(),
        address: "127.0.0.1".to_owned(),
        tunnel: Vec::new(),
        ingress: false,
    }
}

fn launch(spec: Value) -> Result<ContainerLaunch, LaunchError> {
    launch_of(0, spec)
}

fn run_of(snapshot: &PodSnapshot) -> PodRun {
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let uid = PodUid::derive("test", &workload, 0, &snapshot.hash, Incarnation { epoch: Epoch(1), counter: 1 });
    let (name, hash, revision) = ("web-1".to_owned(), snapshot.hash.clone(), Revision::new("c0ffee"));
    PodRun { uid, name, workload, slot: 0, hash, revision, images: BTreeMap::new() }
}

/// Launches one container, in a sandbox if the pod needs one.
fn launch_of(index: usize, spec: Value) -> Result<ContainerLaunch, LaunchError> {
    launch_on(&facts(), index, spec)
}

fn launch_on(facts: &NodeFacts, index: usize, spec: Value) -> Result<ContainerLaunch, LaunchError> {
    let sandbox = ContainerId("f1257".to_owned());
    let snapshot = snapshot(spec);
    let run = run_of(&snapshot);
    let sandbox = needs_sandbox(&snapshot.template.spec).then_some(&sandbox);
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
        role: Role::Main,
        attempt: 0,
        image_digest: None,
        ports: &[(8080, 21000), (9090, 21001)].into(),
        services: &services,
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        pod_address: match (process, sandbox) {
            (true, _) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            (false, Some(_)) => Some(IpAddr::V4(Ipv4Addr::new(172, 20, 0, 2))),
            (false, None) => None,
        },
        sandbox,
        names: NAMES,
    })
}

/// Nobody answers the names of the cluster.
const NAMES: ClusterNames<'static> = ClusterNames { domain: "cluster.local", server: None };

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
    assert_eq!(env_of(one(json!({ "env": env }))), "IP=172.20.0.2", "the sandbox has it before the first container");
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
        .flat_map(|volume| match &volume.kind {
            VolumeKind::Files(files) => files.clone(),
            VolumeKind::Scratch { .. } | VolumeKind::Claim | VolumeKind::Host { .. } => BTreeMap::new(),
        })
        .map(|(path, file)| format!("{path} {:o} {}", file.mode, file.bytes.expose().len()))
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
fn the_sandbox_publishes_the_host_ports_of_all_since_they_share_its_network() {
    let spec = json!({ "containers": [
        { "name": "web", "image": "a", "ports": [{ "containerPort": 8080 }] },
        { "name": "dns", "image": "b", "ports": [{ "containerPort": 53, "hostPort": 5353, "protocol": "UDP" }, { "containerPort": 9 }] }
    ] });
    let ports = |launch: &ContainerLaunch| {
        launch.ports.iter().map(|port| (port.container_port, port.protocol, port.host_port)).collect::<Vec<_>>()
    };
    let second = launch_of(1, spec.clone()).expect("launches");
    assert_eq!(ports(&second), [(53, Protocol::Udp, None), (9, Protocol::Tcp, None)]);
    let snapshot = snapshot(spec);
    let run = run_of(&snapshot);
    let node = NodeName::new("n1");
    let input = SandboxInput { cluster: "test", node: &node, run: &run, snapshot: &snapshot, attempt: 0, names: NAMES };
    let sandbox = super::sandbox(&input).expect("launches");
    assert_eq!(ports(&sandbox), [(8080, Protocol::Tcp, None), (53, Protocol::Udp, Some(5353)), (9, Protocol::Tcp, None)]);
}

#[test]
fn a_pod_that_needs_more_than_its_host_allows_is_not_launched() {
    let spec = json!({ "hostPID": true, "containers": [{ "name": "web", "image": "a" }] });
    let refused = launch(spec.clone()).expect_err("refused").to_string();
    assert_eq!(refused, "n1 does not allow host-pid; if it should, start its agent with --allow host-pid");
    let generous = NodeFacts { allows: [Grant::HostPid].into_iter().collect(), ..facts() };
    assert!(launch_on(&generous, 0, spec).is_ok());
}

#[test]
fn keys_that_cannot_be_variables_are_passed_over_with_a_note_unless_a_prefix_mends_them() {
    let mut snapshot = json!({ "envFrom": [{ "configMapRef": { "name": "numbers" } }] });
    let launched = launch(one(snapshot.clone())).expect("launches");
    let names = |launch: &ContainerLaunch| launch.env.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&launched), ["ok"]);
    let said = "keys that cannot be variables were passed over: 1st";
    assert_eq!(launched.notes, [("InvalidEnvironmentVariableNames", said.to_owned())]);
    snapshot["envFrom"][0]["prefix"] = json!("N_");
    let launched = launch(one(snapshot)).expect("launches");
    assert_eq!((names(&launched), launched.notes), (vec!["N_1st".to_owned(), "N_ok".to_owned()], vec![]));
}

#[test]
fn amounts_are_told_in_units_of_their_divisor_rounded_up() {
    let resources = json!({ "limits": { "cpu": "1500m", "memory": "64Mi" }, "requests": { "memory": "1000001" } });
    let cases = [
        ("limits.cpu", json!(null), "2"),
        ("limits.cpu", json!("1m"), "1500"),
        ("limits.memory", json!("1Mi"), "64"),
        ("requests.memory", json!("1M"), "2"),
        ("requests.memory", json!("0"), "1000001"),
        ("requests.cpu", json!("1m"), "1500"),
    ];
    for (resource, divisor, expected) in cases {
        let source = json!({ "resourceFieldRef": { "resource": resource, "divisor": divisor } });
        let spec = one(json!({ "resources": resources, "env": [{ "name": "A", "valueFrom": source }] }));
        assert_eq!(env_of(spec), format!("A={expected}"), "{resource} in {divisor}");
    }
}

#[test]
fn a_limit_that_is_not_set_is_what_the_node_can_give_and_a_request_is_nothing() {
    let variable = |name: &str, resource: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "containerName": "web" } } });
    let env = json!([variable("C", "limits.cpu"), variable("M", "limits.memory"), variable("R", "requests.cpu")]);
    assert_eq!(env_of(one(json!({ "env": env }))), format!("C=2 M={} R=0", 3_u64 << 30));
}

#[test]
fn a_containers_own_rights_win_over_those_of_its_pod() {
    let mut spec = one(json!({ "securityContext": {
        "runAsUser": 7, "capabilities": { "drop": ["all"], "add": ["cap_chown"] }, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "seccompProfile": { "type": "Localhost", "localhostProfile": "web.json" }
    } }));
    spec["securityContext"] = json!({
        "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4, 3], "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
        "sysctls": [{ "name": "net/ipv4/tcp_fin_timeout", "value": "30" }, { "name": "kernel.shm_rmid_forced", "value": "1" }]
    });
    let launch = launch(spec.clone()).expect("launches");
    let security = launch.security;
    assert_eq!((security.user, security.group, security.groups, security.non_root), (Some(7), Some(2), vec![4, 3], true));
    assert_eq!((security.drop, security.add), (vec!["ALL".to_owned()], vec!["CHOWN".to_owned()]));
    assert!(security.no_new_privileges && security.read_only_root && !security.privileged);
    assert_eq!(security.seccomp, Seccomp::Profile("/state/seccomp/web.json".into()));
    assert_eq!(security.sysctls.keys().collect::<Vec<_>>(), ["kernel.shm_rmid_forced"]);
    assert_eq!(launch.network.sysctls.keys().collect::<Vec<_>>(), ["net.ipv4.tcp_fin_timeout"]);
    spec["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    let refused = self::launch(spec).expect_err("refused").to_string();
    assert_eq!(refused, "container \"web\" has runAsNonRoot, and runAsUser 0 is root");
}

#[test]
fn a_pod_is_named_as_kubernetes_names_it() {
    let network = |more: Value| {
        let mut spec = one(json!({}));
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        launch(spec).map(|launch| launch.network)
    };
    let names = |more: Value| {
        let PodNetwork { hostname, domain, .. } = network(more).expect("launches");
        (hostname, domain.unwrap_or_default())
    };
    let pair = |name: &str, domain: &str| (name.to_owned(), domain.to_owned());
    assert_eq!(names(json!({})), pair("web-1", ""));
    assert_eq!(names(json!({ "hostname": "db-0", "subdomain": "db" })), pair("db-0", "db.shop.svc.cluster.local"));
    let full = json!({ "hostname": "db-0", "subdomain": "db", "setHostnameAsFQDN": true });
    assert_eq!(names(full), pair("db-0.db.shop.svc.cluster.local", ""));
    assert_eq!(names(json!({ "hostname": format!("{}-b", "a".repeat(62)) })), pair(&"a".repeat(62), ""), "cut without its dash");
    let long = network(json!({ "hostname": "a".repeat(60), "subdomain": "db", "setHostnameAsFQDN": true }));
    assert!(long.expect_err("too long").to_string().contains("more than 64 characters"));
}

#[test]
fn a_pod_of_an_indexed_job_is_named_by_its_index() {
    let mut spec = one(json!({}));
    spec["hostname"] = json!("other");
    let snapshot = snapshot(spec);
    let uid = run_of(&snapshot).uid;
    let named = |index: Option<u32>| {
        let workload = ObjectKey::new(Kind::Job, "shop", "sum");
        let run = PodRun { name: PodRun::job_pod_name("sum", index, &uid), workload, ..run_of(&snapshot) };
        super::network::resolve(&snapshot.template.spec, &run, NAMES).expect("fits").hostname
    };
    assert_eq!((named(Some(4)).as_str(), named(None).as_str()), ("sum-4", "other"));
}

#[test]
fn names_are_looked_up_as_the_policy_says() {
    let config = json!({ "nameservers": ["1.2.3.4"] });
    let check = |server: Option<NameServer>, policy: Option<&str>, host: bool, config: &Value, expected: Option<LookUp>| {
        let mut spec = one(json!({}));
        spec["dnsPolicy"] = json!(policy);
        spec["dnsConfig"] = config.clone();
        spec["hostNetwork"] = json!(host);
        let snapshot = snapshot(spec);
        let names = ClusterNames { domain: "example.local", server };
        let network = super::network::resolve(&snapshot.template.spec, &run_of(&snapshot), names).expect("resolves");
        let servers = network.resolver.as_ref().map(|resolver| resolver.config.nameservers.clone()).unwrap_or_default();
        assert_eq!(servers.is_empty(), config.is_null() || expected.is_none());
        assert_eq!(network.resolver.map(|resolver| resolver.first), expected, "{server:?} {policy:?} {host} {config}");
    };
    let none = Value::Null;
    let cluster = || {
        let searches = ["shop.svc.example.local", "svc.example.local", "example.local"];
        Some(LookUp::Cluster { server: NameServer::Gateway, searches: searches.map(str::to_owned).into() })
    };
    let told = Some(NameServer::Gateway);
    for config in [&none, &config] {
        check(told, None, false, config, cluster());
        check(told, Some("ClusterFirst"), false, config, cluster());
        check(told, Some("ClusterFirstWithHostNet"), true, config, cluster());
        check(told, Some("None"), false, config, Some(LookUp::Nowhere));
        let host = (!config.is_null()).then_some(LookUp::Host);
        check(told, Some("ClusterFirst"), true, config, host.clone());
        check(told, Some("Default"), false, config, host.clone());
        // Where nobody answers there is nothing else to ask.
        check(None, None, false, config, host.clone());
        check(None, Some("ClusterFirstWithHostNet"), true, config, host);
    }
}

#[test]
fn several_sources_are_put_together_and_a_later_one_wins() {
    let spec = json!({
        "containers": [{ "name": "web", "image": "a", "volumeMounts": [{ "name": "all", "mountPath": "/all" }],
            "resources": { "limits": { "memory": "8Mi" } } }],
        "volumes": [{ "name": "all", "projected": { "defaultMode": 0o440, "sources": [
            { "configMap": { "name": "settings", "items": [{ "key": "colour", "path": "a" }, { "key": "colour", "path": "b" }] } },
            { "secret": { "name": "db", "items": [{ "key": "password", "path": "b", "mode": 0o400 }] } },
            { "secret": { "name": "none", "optional": true } },
            { "downwardAPI": { "items": [
                { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
                { "path": "memory", "resourceFieldRef": { "containerName": "web", "resource": "limits.memory", "divisor": "1Mi" } }
            ] } }
        ] } }]
    });
    let launch = launch(spec).expect("launches");
    let VolumeKind::Files(files) = &launch.volumes[0].kind else { panic!("files") };
    let show = |(path, file): (&String, &crate::agent::runtime::VolumeFile)| {
        format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(file.bytes.expose()))
    };
    let files: Vec<String> = files.iter().map(show).collect();
    assert_eq!(files, ["a 440 green", "b 400 hunter2", "labels 440 app=\"web\"", "memory 440 8"]);
}

#[test]
fn a_part_of_a_volume_may_be_named_by_a_variable_that_is_there_and_no_secret() {
    let launched = |expression: &str| {
        let spec = json!({
            "containers": [{ "name": "web", "image": "a",
                "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                        { "name": "P", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } },
                        { "name": "UP", "value": "../x" }],
                "volumeMounts": [{ "name": "d", "mountPath": "/d", "subPathExpr": expression }] }],
            "volumes": [{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }]
        });
        launch(spec).map(|launch| launch.mounts[0].source.display().to_string())
    };
    assert_eq!(launched("logs/$(POD)"), Ok("/state/volumes/shop_data/logs/web-1".to_owned()));
    assert!(matches!(launched("$(NONE)"), Err(LaunchError::NoVariable { .. })));
    assert!(matches!(launched("$(P)"), Err(LaunchError::SecretInArguments { .. })));
    assert!(matches!(launched("$(UP)"), Err(LaunchError::Escapes { .. })));
}

#[test]
fn a_digest_takes_the_place_of_the_tag() {
    let cases = [
        ("nginx", "nginx@sha256:1"),
        ("nginx:1.27", "nginx@sha256:1"),
        ("localhost:5000/shop/web", "localhost:5000/shop/web@sha256:1"),
        ("localhost:5000/shop/web:v2", "localhost:5000/shop/web@sha256:1"),
        ("nginx:1.27@sha256:2", "nginx:1.27@sha256:2"),
    ];
    for (image, expected) in cases {
        assert_eq!(super::pinned(image, Some("sha256:1")), expected);
        assert_eq!(super::pinned(image, None), image);
    }
}

#[test]
fn logins_of_registries_come_in_order_and_a_missing_one_is_passed_over() {
    let mut spec = one(json!({}));
    spec["imagePullSecrets"] = json!([{ "name": "none" }, { "name": "registry" }, { "name": "db" }]);
    let launch = launch(spec).expect("launches");
    assert_eq!(
        launch.logins.iter().map(|login| login.content.expose().to_vec()).collect::<Vec<_>>(),
        [b"{\"auths\":{}}".to_vec()]
    );
}
