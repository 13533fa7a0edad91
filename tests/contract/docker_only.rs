//! What only an Engine can do right or wrong.

use crate::docker::{self, docker, engine, socket};
use crate::play;
use crate::stage::{Stage, hear, own_cluster, read_all, until, within};
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, NetworkCreateRequest};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use driftless::agent::net::{ExtraAddress, Proxy, Setup};
use driftless::agent::runtime::{
    ContainerId, ContainerLaunch, Labels, LaunchPort, Limits, LogOptions, LogRetention, Mount, PullPolicy, Role, RunState,
    Runtime, RuntimeError, SANDBOX,
};
use driftless::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, ObjectKey, Protocol};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const FOREVER: &str = "echo ready; while true; do sleep 1; done";

async fn inspect(name: &str) -> ContainerInspectResponse {
    engine().inspect_container(name, None).await.unwrap()
}

/// The labels as the design has them ★, written out.
fn labels(launch: &ContainerLaunch) -> Vec<(&'static str, String)> {
    let labels = &launch.labels;
    vec![
        ("driftless.dev/cluster", labels.cluster.clone()),
        ("driftless.dev/node", labels.node.to_string()),
        ("driftless.dev/pod-uid", labels.uid.to_string()),
        ("driftless.dev/pod", labels.pod.clone()),
        ("driftless.dev/namespace", "shop".to_owned()),
        ("driftless.dev/container", "main".to_owned()),
        ("driftless.dev/template-hash", "7d4b9c00".to_owned()),
        ("driftless.dev/revision", "0123456789abcdef".to_owned()),
        ("driftless.dev/workload", "Deployment/web".to_owned()),
        ("driftless.dev/slot", "3".to_owned()),
        ("driftless.dev/attempt", "0".to_owned()),
        ("driftless.dev/role", "main".to_owned()),
        ("driftless.dev/ports", "[]".to_owned()),
    ]
}

fn tcp_port(container_port: u16, host_port: Option<u16>) -> LaunchPort {
    LaunchPort { name: String::new(), container_port, protocol: Protocol::Tcp, host_port, host_ip: None }
}

/// Makes a container past the runtime.
async fn create(name: &str, image: &str, labels: Vec<(&'static str, String)>) -> String {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(["sh", "-c", FOREVER].map(str::to_owned).into()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..ContainerCreateBody::default()
    };
    engine().create_container(Some(options), body).await.unwrap().id
}

on_docker! {
    name_and_labels_are_as_designed,
    it_says_where_its_images_and_containers_are,
    a_container_that_was_made_and_not_started_is_finished,
    a_foreign_container_with_our_name_is_refused_and_left_alone,
    a_foreign_container_is_never_stopped_or_removed,
    an_image_that_is_not_there_is_an_image_error,
    a_missing_mount_source_is_refused_and_not_made,
    a_read_only_mount_cannot_be_written,
    limits_reach_the_engine_even_above_what_the_host_has,
    a_followed_log_goes_on_over_a_rotation,
    page_cache_is_not_among_the_memory_in_use,
    containers_in_a_sandbox_talk_over_localhost_and_its_network_survives_their_restart,
    containers_of_a_sandbox_see_each_others_processes_only_if_they_share_them,
    a_sandbox_reaps_what_is_left_to_it_and_ends_when_told,
    the_image_of_sandboxes_is_made_once,
    a_host_port_leads_to_its_container,
    a_container_reaches_a_service_at_the_gateway,
    a_network_removed_behind_our_back_is_made_again,
    an_engine_that_goes_away_is_unavailable_and_then_lists_again,
}

async fn name_and_labels_are_as_designed(stage: &Stage) {
    let launch = stage.launch("web", FOREVER);
    let started = stage.start(&launch).await;
    let found = inspect(&format!("shop_{}_main", launch.labels.pod)).await;
    assert_eq!(found.id.as_deref(), Some(started.id.0.as_str()));
    let config = found.config.unwrap();
    let written = config.labels.unwrap();
    for (key, value) in labels(&launch) {
        assert_eq!(written.get(key), Some(&value), "{key}");
    }
    assert_eq!(config.hostname.as_deref(), Some(launch.labels.pod.as_str()));
    assert_eq!(stage.runtime.engine().unwrap().split_once("://").unwrap().0, "docker");
}

async fn it_says_where_its_images_and_containers_are(stage: &Stage) {
    let info = engine().info().await.unwrap();
    assert_eq!(stage.runtime.data(), info.docker_root_dir.map(PathBuf::from));
}

async fn a_container_that_was_made_and_not_started_is_finished(stage: &Stage) {
    let launch = stage.launch("web", FOREVER);
    let id = create(&launch.labels.container_name(), stage.image.as_deref().unwrap(), labels(&launch)).await;
    let id = ContainerId(id);
    assert_eq!(stage.listed(&id).await.unwrap().state, RunState::Created);
    assert_eq!(stage.start(&launch).await.id, id);
    assert_eq!(stage.listed(&id).await.unwrap().state, RunState::Running);
}

async fn a_foreign_container_with_our_name_is_refused_and_left_alone(stage: &Stage) {
    let launch = stage.launch("web", FOREVER);
    let name = launch.labels.container_name();
    let id = create(&name, stage.image.as_deref().unwrap(), vec![(docker::FOREIGN, stage.cluster.clone())]).await;
    let error = stage.runtime.start(&launch).await.unwrap_err();
    let name_now = inspect(&id).await.name;
    assert!(matches!(&error, RuntimeError::Refused { message } if message.contains("not ours")), "{error:?}");
    assert_eq!(name_now, Some(format!("/{name}")));
}

async fn a_foreign_container_is_never_stopped_or_removed(stage: &Stage) {
    let label = vec![(docker::FOREIGN, stage.cluster.clone())];
    let id = create(&format!("{}-foreign", stage.cluster), stage.image.as_deref().unwrap(), label).await;
    engine().start_container(&id, None).await.unwrap();
    let ours = ContainerId(id.clone());
    let stopped = stage.runtime.stop(&ours, std::time::Duration::ZERO).await;
    let removed = stage.runtime.remove(&ours).await;
    let running = inspect(&id).await.state.unwrap().running;
    assert!(matches!(stopped, Err(RuntimeError::Refused { .. })), "{stopped:?}");
    assert!(matches!(removed, Err(RuntimeError::Refused { .. })), "{removed:?}");
    assert_eq!(running, Some(true));
}

async fn an_image_that_is_not_there_is_an_image_error(stage: &Stage) {
    let mut launch = stage.launch("web", FOREVER);
    // Nobody listens at port 1.
    launch.image = Some("localhost:1/none:v1".to_owned());
    for (pull, reason, said) in [
        (PullPolicy::Never, "ErrImageNeverPull", "imagePullPolicy Never"),
        (PullPolicy::IfNotPresent, "ErrImagePull", "localhost:1"),
        (PullPolicy::Always, "ErrImagePull", "localhost:1"),
    ] {
        launch.pull = pull;
        let error = within("the refusal", stage.runtime.start(&launch)).await.unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("image localhost:1/none:v1") && told.contains(said), "{pull:?}: {told}");
        assert_eq!(error.reason(), reason);
    }
    assert_eq!(stage.runtime.list().await.unwrap(), []);
}

async fn a_missing_mount_source_is_refused_and_not_made(stage: &Stage) {
    let mut launch = stage.launch("web", FOREVER);
    let source = stage.folder.path().join("absent");
    launch.mounts = vec![Mount { source: source.clone(), target: "/data".to_owned(), read_only: false, ..Mount::default() }];
    let error = stage.runtime.start(&launch).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Refused { message } if message.contains("absent")), "{error:?}");
    assert!(!source.exists());
}

async fn a_read_only_mount_cannot_be_written(stage: &Stage) {
    let mut launch = stage.launch("web", "touch /ro/x && echo wrote ro; touch /rw/x && echo wrote rw; echo end");
    let source = stage.folder.path().to_owned();
    let mount =
        |target: &str, read_only| Mount { source: source.clone(), target: target.to_owned(), read_only, ..Mount::default() };
    launch.mounts = vec![mount("/ro", true), mount("/rw", false)];
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    let log = stage.log(&started.id, None).await;
    assert!(log.contains("wrote rw") && !log.contains("wrote ro"), "{log}");
}

async fn page_cache_is_not_among_the_memory_in_use(stage: &Stage) {
    let writes = "dd if=/dev/zero of=/file bs=1M count=96 2>/dev/null; echo written; while true; do sleep 1; done";
    let started = stage.start(&stage.launch("web", writes)).await;
    stage.says(&started.id, "written").await;
    let used = stage.runtime.usage(&started.id).await.unwrap().memory_bytes;
    assert!(used > 0 && used < 48 << 20, "{used}");
}

async fn limits_reach_the_engine_even_above_what_the_host_has(stage: &Stage) {
    let mut launch = stage.launch("web", FOREVER);
    launch.limits = Limits { cpu_milli: Some(500_000), memory_bytes: Some(64 << 20), cpu_request_milli: Some(250) };
    let started = stage.start(&launch).await;
    let host = inspect(&started.id.0).await.host_config.unwrap();
    assert_eq!((host.cpu_quota, host.cpu_period), (Some(50_000_000), Some(100_000)), "500 cores");
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!(host.cpu_shares, Some(256));
    let log = host.log_config.unwrap();
    assert_eq!((log.typ.as_deref(), log.config.unwrap().get("max-file").map(String::as_str)), (Some("json-file"), Some("3")));
}

async fn a_followed_log_goes_on_over_a_rotation(stage: &Stage) {
    let mut launch = stage.launch("web", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.002; done");
    // The Engine's own encoding makes a line of ours about ninety bytes long.
    launch.log = LogRetention { file_bytes_max: 8 * 1024, files_max: 9 };
    let started = stage.start(&launch).await;
    let chunks = stage.runtime.logs(&started.id, LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let log = within("the end of the log", read_all(chunks)).await;
    let mut numbers: Vec<u32> = log.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    // Engine 20.10 repeats a few of the lines that it has sent when it turns a file. None is lost.
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>(), "{log}");
    let path = PathBuf::from(inspect(&started.id.0).await.log_path.unwrap());
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let rotated = names.filter(|name| name.to_string_lossy().contains("-json.log.")).count();
    assert!(rotated > 1, "the Engine has rotated: {rotated}");
}

/// The sandbox of the pod of `launch`, with these ports.
fn sandbox_of(launch: &ContainerLaunch, ports: Vec<LaunchPort>) -> ContainerLaunch {
    let labels = Labels { container: SANDBOX.to_owned(), role: Role::Sandbox, ..launch.labels.clone() };
    ContainerLaunch { labels, image: None, command: Vec::new(), ports, ..launch.clone() }
}

/// A container of the same pod, in its sandbox.
fn in_sandbox(stage: &Stage, sandbox: &ContainerId, name: &str, script: &str) -> ContainerLaunch {
    let mut launch = stage.launch("web", script);
    launch.labels.container = name.to_owned();
    launch.sandbox = Some(sandbox.clone());
    launch
}

async fn containers_in_a_sandbox_talk_over_localhost_and_its_network_survives_their_restart(stage: &Stage) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sandbox = stage.start(&sandbox_of(&stage.launch("web", ""), vec![tcp_port(8080, Some(free))])).await;
    let address = sandbox.address.expect("an address of its own");
    let mut server = in_sandbox(stage, &sandbox.id, "server", "while true; do echo from the server | nc -l -p 8080; done");
    let first = stage.start(&server).await;
    assert_eq!(first.address, None, "it is reached at the sandbox");
    let ask = "until nc 127.0.0.1 8080 < /dev/null; do sleep 0.1; done; hostname; echo end";
    let client = stage.start(&in_sandbox(stage, &sandbox.id, "client", ask)).await;
    stage.says(&client.id, "end").await;
    let log = stage.log(&client.id, None).await;
    assert!(log.contains("from the server") && log.contains(&stage.launch("web", "").labels.pod), "{log}");

    stage.runtime.stop(&first.id, std::time::Duration::ZERO).await.unwrap();
    server.labels.attempt = 1;
    stage.start(&server).await;
    for place in [SocketAddr::new(address, 8080), SocketAddr::from(([127, 0, 0, 1], free))] {
        let said = until("an answer after the restart", async || hear(place).await).await;
        assert_eq!(said, "from the server\n", "{place}");
    }
    assert_eq!(stage.listed(&sandbox.id).await.unwrap().state, RunState::Running);
}

async fn containers_of_a_sandbox_see_each_others_processes_only_if_they_share_them(stage: &Stage) {
    let sandbox = stage.start(&sandbox_of(&stage.launch("web", ""), Vec::new())).await;
    for (name, share) in [("alone", false), ("together", true)] {
        // Process 1 is the sandbox' where processes are shared.
        let mut launch = in_sandbox(stage, &sandbox.id, name, "cat /proc/1/cmdline; echo; echo end");
        launch.share_processes = share;
        let started = stage.start(&launch).await;
        stage.says(&started.id, "end").await;
        let log = stage.log(&started.id, None).await;
        assert_eq!(log.contains("pause"), share, "{name}: {log}");
    }
}

async fn a_sandbox_reaps_what_is_left_to_it_and_ends_when_told(stage: &Stage) {
    let sandbox = stage.start(&sandbox_of(&stage.launch("web", ""), Vec::new())).await;
    // The subshell ends at once and leaves its child to process 1, which has to see it off.
    let script = "(sleep 0.2 & echo $! > /tmp/orphan); until ! test -e /proc/$(cat /tmp/orphan); do sleep 0.1; done; echo gone; sleep 1000";
    let mut launch = in_sandbox(stage, &sandbox.id, "main", script);
    launch.share_processes = true;
    let started = stage.start(&launch).await;
    stage.says(&started.id, "gone").await;
    let exit = stage.runtime.stop(&sandbox.id, std::time::Duration::from_secs(50)).await.unwrap();
    assert_eq!(exit.code, 0, "it ended by itself: {exit:?}");
}

async fn the_image_of_sandboxes_is_made_once(stage: &Stage) {
    let id = async || engine().inspect_image("driftless/sandbox:1").await.map(|image| image.id);
    stage.start(&sandbox_of(&stage.launch("web", ""), Vec::new())).await;
    let before = id().await.expect("made by the first sandbox");
    stage.start(&sandbox_of(&stage.launch("other", ""), Vec::new())).await;
    assert_eq!(id().await.expect("still there"), before);
}

async fn a_host_port_leads_to_its_container(stage: &Stage) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut launch = stage.launch("web", "while true; do echo hello | nc -l -p 8080; done");
    launch.ports = vec![tcp_port(8080, Some(free))];
    let started = stage.start(&launch).await;
    let at_host = until("an answer at the host port", async || hear(([127, 0, 0, 1], free).into()).await).await;
    let address = started.address.unwrap();
    let direct = until("an answer at its own address", async || hear((address, 8080).into()).await).await;
    assert_eq!((at_host.as_str(), direct.as_str()), ("hello\n", "hello\n"));
    let mut second = stage.launch("other", FOREVER);
    second.ports = vec![tcp_port(8080, Some(free))];
    let error = stage.runtime.start(&second).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Refused { message } if message.contains(&free.to_string())), "{error:?}");
    assert_eq!(stage.runtime.list().await.unwrap().len(), 1, "what could not be started is taken away");
}

async fn a_container_reaches_a_service_at_the_gateway(stage: &Stage) {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend_port = backend.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = backend.accept().await.unwrap();
        stream.write_all(b"from the service\n").await.unwrap();
    });
    let gateway = stage.runtime.gateway().expect("a gateway, once connected");
    let port = TcpListener::bind((gateway, 0)).await.unwrap().local_addr().unwrap().port();
    let service = ObjectKey::new(Kind::Service, "shop", "api");
    let backends = vec![Backend {
        pod: stage.launch("x", "").labels.uid,
        node: NodeName::new("host-1"),
        address: IpAddr::from([127, 0, 0, 1]),
        port: backend_port,
    }];
    let ports = vec![EndpointPort { name: String::new(), port: 80, protocol: Protocol::Tcp, node_port: None, backends }];
    let proxy = Proxy::new(Setup::alone(NodeName::new("host-1")));
    let extra = ExtraAddress { service_port: 80, protocol: Protocol::Tcp, address: (gateway, port).into() };
    proxy.apply(&EndpointSet { ports, ..EndpointSet::empty(service, 1) }, &[extra]);
    let started = stage.start(&stage.launch("web", &format!("nc {gateway} {port} < /dev/null; echo end"))).await;
    stage.says(&started.id, "from the service").await;
    served.await.unwrap();
}

async fn a_network_removed_behind_our_back_is_made_again(stage: &Stage) {
    engine().remove_network(&format!("driftless-{}", stage.cluster)).await.unwrap();
    let started = stage.start(&stage.launch("web", FOREVER)).await;
    assert_eq!(stage.listed(&started.id).await.unwrap().state, RunState::Running);
}

async fn an_engine_that_goes_away_is_unavailable_and_then_lists_again(stage: &Stage) {
    use driftless::agent::runtime::RuntimeEvent;
    use driftless::agent::runtime::docker::{Docker, DockerSettings};
    use futures_util::StreamExt;
    let relayed = stage.folder.path().join("docker.sock");
    let runtime = Docker::new(DockerSettings { socket: relayed.clone(), ..docker::settings(&stage.cluster, &stage.node) });
    let absent = runtime.list().await.unwrap_err();
    assert!(matches!(&absent, RuntimeError::Unavailable { message, .. } if message.contains("there is no socket")), "{absent:?}");

    let mut events = runtime.watch();
    let relay = relay(&relayed);
    let started = runtime.start(&stage.launch("web", "sleep 0.2; exit 5")).await.unwrap();
    let mut exited = within("an end is reported", events.next()).await;
    if exited == Some(RuntimeEvent::Resync) {
        // The watch had tried while the Engine was away.
        exited = within("an end is reported", events.next()).await;
    }
    assert!(matches!(&exited, Some(RuntimeEvent::Exited { id, exit }) if *id == started.id && exit.code == 5), "{exited:?}");

    drop(relay);
    std::fs::remove_file(&relayed).unwrap();
    until("its loss is noticed", async || match runtime.list().await {
        Err(RuntimeError::Unavailable { .. }) => Ok(()),
        other => Err(other),
    })
    .await;
    let _relay = self::relay(&relayed);
    assert_eq!(within("the Engine is found again", events.next()).await, Some(RuntimeEvent::Resync));
    assert_eq!(runtime.list().await.unwrap().len(), 1);
}

/// A socket that leads to the Engine until it is dropped, connections and all.
fn relay(at: &std::path::Path) -> tokio::task::JoinSet<()> {
    let listener = tokio::net::UnixListener::bind(at).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut far = tokio::net::UnixStream::connect(socket()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    tasks
}

#[tokio::test]
async fn a_network_of_our_name_that_is_not_ours_is_refused() {
    let cluster = own_cluster();
    let name = format!("driftless-{cluster}");
    engine().create_network(NetworkCreateRequest { name: name.clone(), ..NetworkCreateRequest::default() }).await.unwrap();
    let runtime = docker(&cluster, &NodeName::new("node-1"));
    let outcome = runtime.connect().await;
    engine().remove_network(&name).await.unwrap();
    assert!(matches!(&outcome, Err(RuntimeError::Refused { message }) if message.contains("not ours")), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_connect_at_once_make_one_network() {
    let cluster = own_cluster();
    let name = format!("driftless-{cluster}");
    let agents: Vec<_> = (0..8).map(|index| docker(&cluster, &NodeName::new(format!("node-{index}")))).collect();
    let outcomes = futures_util::future::join_all(agents.iter().map(|agent| agent.connect())).await;
    let networks = engine().list_networks(None).await.unwrap();
    let made: Vec<_> = networks.into_iter().filter(|network| network.name.as_deref() == Some(name.as_str())).collect();
    for network in &made {
        engine().remove_network(network.id.as_deref().unwrap()).await.unwrap();
    }
    assert_eq!(made.len(), 1, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_this_host_runs_in_an_image_made_of_it() {
    play(docker::stage().await, |stage| {
        Box::pin(async move {
            let importer = docker(&stage.cluster, &stage.node);
            // As the demo does it. Where it is linked dynamically, its libraries come along.
            let program = std::path::Path::new(env!("CARGO_BIN_EXE_driftless"));
            importer.import_program("driftless-test/program", "1", program).await.unwrap();
            let mut launch = stage.launch("web", "");
            launch.image = Some("driftless-test/program:1".to_owned());
            launch.command = ["driftless", "--version"].map(str::to_owned).into();
            let started = stage.start(&launch).await;
            stage.says(&started.id, env!("CARGO_PKG_VERSION")).await;
        })
    })
    .await;
}
