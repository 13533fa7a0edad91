//! What the settings of a template do to a real container: from the template to what the program inside sees.

use crate::play;
use crate::stage::{Stage, until, within};
use driftless::agent::launch::{Folders, LaunchInput, resolve};
use driftless::agent::runtime::docker::{Docker, DockerSettings};
use driftless::agent::runtime::{ContainerLaunch, Role, Runtime, RuntimeError};
use driftless::agent::shell::prepare;
use driftless::model::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

macro_rules! on_docker {
    ($($name:ident),* $(,)?) => {
        mod tests {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::play(crate::docker::stage().await, |stage| Box::pin(super::$name(stage))).await;
                }
            )*
        }
    };
}

on_docker! {
    user_and_groups_are_seen_by_the_program_and_own_its_volumes,
    an_image_of_root_is_not_started_where_root_is_forbidden,
    rights_that_were_dropped_are_not_there,
    rights_that_were_added_are_there,
    kernel_parameters_are_set,
    names_and_lookups_are_in_the_pods_files,
    a_pod_in_the_hosts_namespaces_sees_the_host,
    files_of_every_source_have_their_modes,
    parts_of_volumes_and_host_folders_are_mounted,
    a_tmpfs_with_a_size_is_full_when_it_is,
    variables_tell_of_the_pod,
    a_port_is_published_at_one_address_only,
    a_terminal_is_a_terminal,
}

/// A host that allows these grants.
fn facts(stage: &Stage, grants: &[&str]) -> NodeFacts {
    NodeFacts {
        name: stage.node.clone(),
        labels: BTreeMap::new(),
        capacity: Amounts::default(),
        allocatable: Amounts { cpu_milli: 2000, memory_bytes: 1 << 30 },
        runtimes: [RuntimeKind::Docker].into(),
        allows: grants.iter().map(|grant| grant.parse::<Grant>().unwrap()).collect(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        kernel: String::new(),
        engine: None,
        agent_version: String::new(),
        address: "127.0.0.1".to_owned(),
    }
}

fn config() -> ConfigSnapshot {
    let mut config = ConfigSnapshot::default();
    let settings =
        [("colour", "green"), ("app.conf", "listen 80")].map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    config.config_maps.insert("settings".to_owned(), settings.into());
    let secret = [("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))];
    config.secrets.insert("db".to_owned(), secret.into());
    config
}

/// The launch of the container of a pod whose spec is `more`, with `container` in its container, that runs a script.
fn launch(stage: &Stage, grants: &[&str], more: Value, container: Value, script: &str) -> ContainerLaunch {
    let model = stage.launch("web", script);
    let mut only = json!({ "name": "main", "image": model.image, "imagePullPolicy": "Never", "command": model.command });
    only.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut spec = json!({ "enableServiceLinks": false, "containers": [only] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({ "labels": { "app": "web", "tier": "front" }, "annotations": { "note": "a \"b\"" } });
    let template: PodTemplate = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
    let snapshot = PodSnapshot { hash: model.labels.hash.clone(), template, config: Arc::new(config()) };
    let folder = stage.folder.path();
    let mut launch = resolve(&LaunchInput {
        cluster: &stage.cluster,
        facts: &facts(stage, grants),
        folders: &Folders { run: folder.join("run"), state: folder.join("state") },
        run: &PodRun {
            uid: model.labels.uid,
            name: model.labels.pod.clone(),
            workload: model.labels.workload.clone(),
            slot: 0,
            hash: model.labels.hash.clone(),
            revision: model.labels.revision.clone(),
        },
        snapshot: &snapshot,
        container: &snapshot.template.spec.containers[0],
        attempt: 0,
        ports: &BTreeMap::new(),
        services: &[],
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        pod_address: None,
        role: Role::Main,
        sandbox: None,
    })
    .unwrap();
    prepare(&mut launch).unwrap();
    launch
}

/// Starts it, waits for the line `end`, and gives the lines before it.
async fn lines(stage: &Stage, launch: &ContainerLaunch) -> Vec<String> {
    let started = stage.start(launch).await;
    stage.says(&started.id, "end").await;
    stage.log(&started.id, None).await.lines().take_while(|line| *line != "end").map(|line| line.trim_end().to_owned()).collect()
}

async fn run(stage: &Stage, grants: &[&str], more: Value, container: Value, script: &str) -> Vec<String> {
    lines(stage, &launch(stage, grants, more, container, &format!("{script}; echo end"))).await
}

async fn user_and_groups_are_seen_by_the_program_and_own_its_volumes(stage: &Stage) {
    let pod = json!({
        "securityContext": { "runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000], "fsGroup": 4000 },
        "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "key", "secret": { "secretName": "db", "defaultMode": 0o400 } }]
    });
    let mounts = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }, { "name": "key", "mountPath": "/key" }] });
    let script = "busybox id -u; busybox id -g; busybox id -G; touch /data/x; stat -c '%g %a' /data; stat -c %g /data/x; \
                  cat /key/password; echo; stat -L -c '%u %g %a' /key/password";
    let seen = run(stage, &[], pod, mounts, script).await;
    assert_eq!(seen, ["1000", "2000", "2000 3000 4000", "4000 2777", "4000", "hunter2", "0 4000 440"]);
}

async fn an_image_of_root_is_not_started_where_root_is_forbidden(stage: &Stage) {
    let refused = launch(stage, &[], json!({ "securityContext": { "runAsNonRoot": true } }), json!({}), "true");
    let error = stage.runtime.start(&refused).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Config { message } if message.contains("runs as root")), "{error:?}");
    assert_eq!(error.reason(), "CreateContainerConfigError");
    let pod = json!({ "securityContext": { "runAsNonRoot": true, "runAsUser": 65534 } });
    assert_eq!(run(stage, &[], pod, json!({}), "busybox id -u").await, ["65534"]);
}

/// A line of `/proc/self/status`, without its name.
const STATUS: &str = "status() { busybox sed -n \"s/^$1:[[:space:]]*//p\" /proc/self/status; }";

async fn rights_that_were_dropped_are_not_there(stage: &Stage) {
    let context = json!({ "securityContext": {
        "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] }, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false
    } });
    let script = format!("{STATUS}; status CapEff; status NoNewPrivs; status Seccomp; touch /x 2>&1; touch /tmp/x 2>&1");
    let seen = run(stage, &[], json!({}), context, &script).await;
    // CAP_NET_BIND_SERVICE is bit 10; Seccomp 2 is a filter.
    assert_eq!(seen[..3], ["0000000000000400", "1", "2"]);
    assert!(seen.len() == 5 && seen[3..].iter().all(|line| line.contains("Read-only file system")), "{seen:?}");
}

async fn rights_that_were_added_are_there(stage: &Stage) {
    let script = format!("{STATUS}; status CapEff; status Seccomp");
    let plain = run(stage, &[], json!({}), json!({}), &script).await;
    let profile = json!({ "type": "Unconfined" });
    let context = json!({ "seccompProfile": profile, "capabilities": { "add": ["SYS_ADMIN", "CAP_SYS_TIME"] } });
    let container = json!({ "name": "open", "securityContext": context });
    let added = run(stage, &["unconfined", "capabilities"], json!({}), container, &script).await;
    // CAP_SYS_ADMIN is bit 21, CAP_SYS_TIME bit 25.
    let both = |text: &str| u64::from_str_radix(text, 16).unwrap() & (1 << 21 | 1 << 25);
    assert_eq!((both(&plain[0]), plain[1].as_str()), (0, "2"));
    assert_eq!((both(&added[0]), added[1].as_str()), (1 << 21 | 1 << 25, "0"));
}

async fn kernel_parameters_are_set(stage: &Stage) {
    let sysctls =
        json!([{ "name": "net.ipv4.tcp_fin_timeout", "value": "31" }, { "name": "kernel.shm_rmid_forced", "value": "1" }]);
    let pod = json!({ "securityContext": { "sysctls": sysctls } });
    let script = "cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(run(stage, &[], pod, json!({}), script).await, ["31", "1"]);
}

async fn names_and_lookups_are_in_the_pods_files(stage: &Stage) {
    let pod = json!({
        "hostname": "db-0", "subdomain": "db",
        "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["a.example", "b.example"] }],
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["1.2.3.4"], "searches": ["shop.example"], "options": [{ "name": "ndots", "value": "2" }] }
    });
    let launch = launch(stage, &[], pod, json!({}), "hostname; cat /etc/hosts; cat /etc/resolv.conf; echo end");
    let seen = lines(stage, &launch).await;
    let words: Vec<Vec<&str>> = seen.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["db-0"]);
    let address = |line: &Vec<&str>| line.first().is_some_and(|word| word.parse::<IpAddr>().is_ok());
    let own = words.iter().filter(|line| address(line)).find(|line| line.contains(&"db-0"));
    assert_eq!(own.map(|line| &line[1..]), Some(&["db-0.db.shop.svc.cluster.local", "db-0"][..]), "{seen:?}");
    for expected in [["10.1.2.3", "a.example"], ["10.1.2.3", "b.example"], ["search", "shop.example"]] {
        assert!(words.iter().any(|line| line[..] == expected), "{expected:?} is not in {seen:?}");
    }
    assert!(words.iter().any(|line| line.first() == Some(&"options") && line.contains(&"ndots:2")), "{seen:?}");
}

async fn a_pod_in_the_hosts_namespaces_sees_the_host(stage: &Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"from the host\n").await.unwrap();
    });
    let pod = json!({ "hostNetwork": true, "hostPID": true, "hostIPC": true });
    let script = format!("nc 127.0.0.1 {port} < /dev/null; cat /proc/{}/comm; hostname; echo end", std::process::id());
    let launch = launch(stage, &["host-network", "host-pid", "host-ipc"], pod, json!({}), &format!("{script}; sleep 1000"));
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    let log = stage.log(&started.id, None).await;
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(log, format!("from the host\n{own}{host}end\n"));
    assert_eq!(started.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(stage.listed(&started.id).await.unwrap().address, started.address);
}

async fn files_of_every_source_have_their_modes(stage: &Stage) {
    let volumes = json!({ "volumes": [
        { "name": "conf", "configMap": { "name": "settings", "items": [{ "key": "app.conf", "path": "conf.d/app", "mode": 0o600 }] } },
        { "name": "all", "projected": { "defaultMode": 0o444, "sources": [
            { "configMap": { "name": "settings", "items": [{ "key": "colour", "path": "colour" }] } },
            { "secret": { "name": "db", "items": [{ "key": "password", "path": "password", "mode": 0o400 }] } },
            { "configMap": { "name": "absent", "optional": true } },
            { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.labels['tier']" } }] } }
        ] } },
        { "name": "pod", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "notes", "fieldRef": { "fieldPath": "metadata.annotations" } },
            { "path": "memory", "resourceFieldRef": { "containerName": "main", "resource": "limits.memory", "divisor": "1Mi" } }
        ] } }
    ] });
    let mount = |name: &str| json!({ "name": name, "mountPath": format!("/{name}") });
    let container = json!({
        "volumeMounts": [mount("conf"), mount("all"), mount("pod")], "resources": { "limits": { "memory": "32Mi" } }
    });
    let script = "for f in /conf/conf.d/app /all/colour /all/password /all/name /pod/labels /pod/notes /pod/memory; do \
                  echo $(stat -L -c %a $f) $f $(cat $f); done; touch /all/x 2>&1";
    let seen = run(stage, &[], volumes, container, script).await;
    let expected = [
        "600 /conf/conf.d/app listen 80",
        "444 /all/colour green",
        "400 /all/password hunter2",
        "444 /all/name front",
        "644 /pod/labels app=\"web\" tier=\"front\"",
        "644 /pod/notes note=\"a \\\"b\\\"\"",
        "644 /pod/memory 32",
    ];
    assert_eq!(seen[..7], expected);
    assert!(seen[7].contains("Read-only file system"), "{seen:?}");
}

async fn parts_of_volumes_and_host_folders_are_mounted(stage: &Stage) {
    let host = std::fs::canonicalize(stage.folder.path()).unwrap().join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("greeting"), "hello").unwrap();
    let pod = json!({ "volumes": [
        { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "conf", "configMap": { "name": "settings" } },
        { "name": "host", "hostPath": { "path": host, "type": "Directory" } },
        { "name": "made", "hostPath": { "path": host.join("logs/web"), "type": "DirectoryOrCreate" } }
    ] });
    let container = json!({
        "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "volumeMounts": [
            { "name": "data", "mountPath": "/data", "subPathExpr": "logs/$(POD)" },
            { "name": "conf", "mountPath": "/etc/app.conf", "subPath": "app.conf" },
            { "name": "host", "mountPath": "/host", "readOnly": true },
            { "name": "made", "mountPath": "/made" }
        ]
    });
    let script =
        "echo kept > /data/x; cat /etc/app.conf; echo; cat /host/greeting; echo; touch /host/x 2>&1; touch /made/y && echo made";
    let grant = format!("host-path={}", host.display());
    let seen = run(stage, &[&grant], pod, container, script).await;
    assert_eq!((&seen[..2], seen[3].as_str()), (&["listen 80".to_owned(), "hello".to_owned()][..], "made"));
    assert!(seen[2].contains("Read-only file system"), "{seen:?}");
    let pod_name = stage.launch("web", "").labels.pod;
    let kept = stage.folder.path().join("state/volumes/shop_data/logs").join(pod_name).join("x");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n");
    assert!(host.join("logs/web/y").exists());
}

async fn a_tmpfs_with_a_size_is_full_when_it_is(stage: &Stage) {
    let pod = json!({ "volumes": [{ "name": "fast", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }] });
    let container = json!({ "volumeMounts": [{ "name": "fast", "mountPath": "/fast" }] });
    let script =
        "busybox dd if=/dev/zero of=/fast/x bs=4096 count=512 2>/dev/null || echo full; stat -c %s /fast/x; stat -f -c %T /fast";
    let launch = launch(stage, &[], pod, container, &format!("{script}; echo end"));
    let seen = lines(stage, &launch).await;
    let folder = launch.mounts[0].source.clone();
    rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(seen, ["full", "1048576", "tmpfs"]);
}

async fn variables_tell_of_the_pod(stage: &Stage) {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let amount = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let container = json!({
        "resources": { "limits": { "cpu": "0.5" } },
        "env": [
            field("A", "metadata.namespace"), field("B", "metadata.labels['app']"), field("C", "metadata.annotations['note']"),
            field("D", "spec.nodeName"), field("E", "status.hostIPs"),
            amount("F", "limits.cpu", "1m"), amount("G", "limits.memory", "1Mi"),
            { "name": "H", "value": "$(A)/$$(B)/$(NONE)" }
        ]
    });
    let script = "for v in A B C D E F G H; do env | busybox sed -n \"s/^$v=//p\"; done";
    let seen = run(stage, &[], json!({}), container, script).await;
    assert_eq!(seen, ["shop", "web", "a \"b\"", "node-1", "127.0.0.1", "500", "1024", "shop/$(B)/$(NONE)"]);
}

/// Reads all that a server says.
async fn hear(address: (Ipv4Addr, u16)) -> Result<String, String> {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    if text.is_empty() { Err("nothing was said".to_owned()) } else { Ok(text) }
}

async fn a_port_is_published_at_one_address_only(stage: &Stage) {
    let named = Ipv4Addr::new(127, 0, 0, 2);
    let port = TcpListener::bind((named, 0)).await.unwrap().local_addr().unwrap().port();
    let container = json!({ "ports": [{ "containerPort": 8080, "hostPort": port, "hostIP": named.to_string() }] });
    let launch = launch(stage, &[], json!({}), container, "while true; do echo hello | nc -l -p 8080; done");
    stage.start(&launch).await;
    assert_eq!(until("an answer at that address", async || hear((named, port)).await).await, "hello\n");
    hear((Ipv4Addr::LOCALHOST, port)).await.expect_err("nobody answers at another");
}

async fn a_terminal_is_a_terminal(stage: &Stage) {
    let script = "[ -t 1 ] && echo terminal; read -t 1 line; echo $?";
    assert_eq!(run(stage, &[], json!({}), json!({ "stdin": true, "tty": true }), script).await[0], "terminal");
    let without = run(stage, &[], json!({}), json!({ "name": "plain" }), script).await;
    assert_eq!(without, ["1"], "the end of input, at once");
}

/// A registry that wants a login, and tells which it was given.
async fn registry() -> (u16, tokio::task::JoinHandle<()>, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let given: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&given);
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let login = text.lines().find_map(|line| line.strip_prefix("Authorization: Basic ")).map(str::to_owned);
            if let Some(login) = login {
                let mut noted = noted.lock().unwrap();
                if noted.last() != Some(&login) {
                    noted.push(login);
                }
            }
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, task, given)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_of_the_pod_are_tried_before_those_of_the_host() {
    play(crate::docker::stage().await, |stage| {
        Box::pin(async move {
            let (port, task, given) = registry().await;
            let auths = |pair: &str| {
                use base64::Engine;
                let auth = base64::engine::general_purpose::STANDARD.encode(pair);
                (auth.clone(), json!({ "auths": { format!("localhost:{port}"): { "auth": auth } } }).to_string())
            };
            let (first, second, host) = (auths("pod:1"), auths("pod:2"), auths("host:3"));
            let file = stage.folder.path().join("config.json");
            std::fs::write(&file, &host.1).unwrap();
            let settings = DockerSettings {
                socket: crate::docker::socket(),
                cluster: stage.cluster.clone(),
                node: stage.node.clone(),
                program: "/nowhere".into(),
            };
            let runtime = Docker::with_logins(settings, Some(file));
            let mut launch = stage.launch("web", "true");
            launch.image = Some(format!("localhost:{port}/shop/web:1"));
            launch.pull = driftless::agent::runtime::PullPolicy::Always;
            launch.logins = [first.1, second.1].map(|text| SecretBytes::new(text.into_bytes())).into();
            let error = within("the refusal", runtime.start(&launch)).await.unwrap_err();
            task.abort();
            assert!(matches!(error, RuntimeError::Image { .. }), "{error:?}");
            assert_eq!(*given.lock().unwrap(), [first.0, second.0, host.0]);
        })
    })
    .await;
}
