//! The whole agent on a small runtime of its own, with a controller at the other end of a real wire in memory.

use super::{Options, run};
use crate::agent::core::Settings;
use crate::agent::launch::Folders;
use crate::agent::net::dns::{NameLimits, NamesSettings, Resolvers};
use crate::agent::runtime::{
    Call, ContainerId, ContainerLaunch, ContainerStatus, ExecResult, LogOptions, RunState, Runtime, RuntimeError, RuntimeEvent,
    Started, Usage,
};
use crate::model::*;
use crate::wire::server::{self, LinkEvent, ServerSettings};
use crate::wire::{Connector, FromAgent, ToAgent, local};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Containers that exist in memory, and outlive the agent.
#[derive(Clone, Default)]
struct Memory {
    containers: Arc<Mutex<BTreeMap<ContainerId, ContainerStatus>>>,
    changes: Arc<Mutex<Vec<&'static str>>>,
}

impl Memory {
    fn note(&self, call: &'static str) {
        self.changes.lock().unwrap().push(call);
    }
}

impl Runtime for Memory {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn engine(&self) -> Option<String> {
        None
    }

    fn gateway(&self) -> Option<IpAddr> {
        None
    }

    fn list(&self) -> Call<'_, Vec<ContainerStatus>> {
        Box::pin(async { Ok(self.containers.lock().unwrap().values().cloned().collect()) })
    }

    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started> {
        Box::pin(async {
            self.note("start");
            let id = ContainerId(format!("{}#{}", launch.labels.pod, launch.labels.attempt));
            let address = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let status = ContainerStatus {
                id: id.clone(),
                runtime: RuntimeKind::Process,
                labels: launch.labels.clone(),
                state: RunState::Running,
                age: Duration::ZERO,
                address,
                ports: launch.ports.clone(),
                image_digest: None,
                lease: None,
            };
            self.containers.lock().unwrap().insert(id.clone(), status);
            Ok(Started { id, address, image_digest: None })
        })
    }

    fn stop<'a>(&'a self, id: &'a ContainerId, _grace: Duration) -> Call<'a, Exit> {
        Box::pin(async {
            self.note("stop");
            let exit = Exit { code: 0, reason: "Completed".to_owned() };
            let mut containers = self.containers.lock().unwrap();
            let container = containers.get_mut(id).ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
            container.state = RunState::Exited(exit.clone());
            Ok(exit)
        })
    }

    fn renew<'a>(&'a self, _: &'a BTreeMap<ContainerId, BootMoment>) -> Call<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Call<'a, ()> {
        Box::pin(async {
            self.note("remove");
            self.containers.lock().unwrap().remove(id);
            Ok(())
        })
    }

    fn exec<'a>(&'a self, _: &'a ContainerId, _: &'a [String], _: Duration) -> Call<'a, ExecResult> {
        Box::pin(async { Ok(ExecResult { code: Some(0), output: String::new() }) })
    }

    fn logs<'a>(&'a self, _: &'a ContainerId, _: LogOptions) -> Call<'a, BoxStream<'static, Result<Bytes, RuntimeError>>> {
        Box::pin(async { Ok(futures_util::stream::iter([Ok(Bytes::from_static(b"hello\n"))]).boxed()) })
    }

    fn usage<'a>(&'a self, _: &'a ContainerId) -> Call<'a, Usage> {
        Box::pin(async { Ok(Usage::default()) })
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        futures_util::stream::pending().boxed()
    }
}

fn settings(at: &Path) -> Settings {
    Settings {
        cluster: "test".to_owned(),
        facts: NodeFacts {
            name: NodeName::new("n1"),
            labels: BTreeMap::new(),
            capacity: Amounts::default(),
            allocatable: Amounts::default(),
            runtimes: BTreeSet::from([RuntimeKind::Process]),
            leases: BTreeSet::new(),
            allows: Allows::default(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel: String::new(),
            engine: None,
            agent_version: String::new(),
            address: "127.0.0.1".to_owned(),
            tunnel: Vec::new(),
            ingress: false,
        },
        folders: Folders { run: at.join("run"), state: at.join("state") },
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: 20000..=20100,
        sample_every: None,
        list_every: Duration::from_secs(60),
        names: None,
    }
}

/// A controller's end of the wire.
struct Controller {
    connector: Connector,
    events: mpsc::Receiver<LinkEvent>,
    /// Ends with the test.
    _epoch: watch::Sender<Epoch>,
}

impl Controller {
    fn new(shutdown: &CancellationToken) -> Self {
        let (connector, incoming) = local();
        let (sender, events) = mpsc::channel(64);
        let (epoch, reigning) = watch::channel(Epoch(1));
        tokio::spawn(server::serve(incoming, ServerSettings::new(reigning), sender, shutdown.clone()));
        Self { connector, events, _epoch: epoch }
    }

    async fn next(&mut self) -> LinkEvent {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await.expect("in time").expect("goes on")
    }

    async fn connected(&mut self) -> (server::Link, Hello) {
        loop {
            if let LinkEvent::Connected { hello, link, .. } = self.next().await {
                return (link, *hello);
            }
        }
    }

    /// The first thing that a message of the agent says, in the eyes of `look`.
    async fn hears<T>(&mut self, mut look: impl FnMut(&FromAgent) -> Option<T>) -> T {
        loop {
            if let LinkEvent::Message { message, .. } = self.next().await
                && let Some(found) = look(&message)
            {
                return found;
            }
        }
    }
}

fn assignment(generation: u64) -> (Assignment, PodUid) {
    let template: PodTemplate = serde_json::from_value(serde_json::json!({
        "spec": { "runtimeClassName": "process", "containers": [{ "name": "web", "command": ["web"] }] }
    }))
    .expect("a template");
    let hash = TemplateHash::new("ab".repeat(20));
    let snapshot = Arc::new(PodSnapshot { hash: hash.clone(), template, config: Arc::default() });
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let uid = PodUid::derive("test", &workload, 0, &hash, Incarnation { epoch: Epoch(1), counter: 1 });
    let (name, revision, images) = ("web-1".to_owned(), Revision::new("c0"), BTreeMap::new());
    let run = PodRun { uid, name, workload, slot: 0, hash: hash.clone(), revision, images };
    let assignment = Assignment {
        epoch: Epoch(1),
        generation: Generation(generation),
        run: BTreeMap::from([(uid, run)]),
        stop: BTreeMap::new(),
        erase: BTreeSet::new(),
        templates: BTreeMap::from([(hash, snapshot)]),
    };
    (assignment, uid)
}

fn is_ready(message: &FromAgent, uid: PodUid) -> Option<()> {
    match message {
        FromAgent::Report(report) => report.pods.iter().any(|pod| pod.uid == uid && pod.ready).then_some(()),
        FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::LogChunk { .. } => None,
    }
}

#[tokio::test]
async fn a_pod_is_run_survives_its_agent_and_is_stopped_by_order() {
    let at = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    let all = CancellationToken::new();
    let mut controller = Controller::new(&all);
    let agent = |token: &CancellationToken, connector: &Connector| {
        let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(memory.clone())];
        tokio::spawn(run(settings(at.path()), runtimes, connector.clone(), Options::default(), token.clone()))
    };

    let first = CancellationToken::new();
    let running = agent(&first, &controller.connector);
    let (link, hello) = controller.connected().await;
    assert!(hello.pods.is_empty());
    let (mut told, uid) = assignment(1);
    link.send(ToAgent::Assign(Arc::new(told.clone())));
    controller.hears(|message| is_ready(message, uid)).await;
    first.cancel();
    running.await.expect("no panic").expect("an orderly end");
    assert_eq!(*memory.changes.lock().unwrap(), ["start"], "the end of an agent stops nothing");

    let second = CancellationToken::new();
    let running = agent(&second, &controller.connector);
    let (link, hello) = controller.connected().await;
    assert_eq!(hello.assignment, (Epoch(1), Generation(1)));
    assert_eq!(hello.pods.iter().map(|pod| (pod.uid, pod.ready)).collect::<Vec<_>>(), [(uid, true)]);
    assert_eq!(hello.templates.len(), 1, "it need not be sent again");
    let order = StopOrder { uid, reason: StopReason::ScaledDown, commit: None };
    (told.generation, told.run, told.stop) = (Generation(2), BTreeMap::new(), BTreeMap::from([(uid, order)]));
    link.send(ToAgent::Assign(Arc::new(told)));
    controller
        .hears(|message| match message {
            FromAgent::Report(report) => report.gone.contains(&uid).then_some(()),
            FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::LogChunk { .. } => None,
        })
        .await;
    assert_eq!(*memory.changes.lock().unwrap(), ["start", "stop", "remove"]);
    second.cancel();
    running.await.expect("no panic").expect("an orderly end");
    all.cancel();
}

/// What a message says is wrong with Services, if it says anything of it.
fn service_problems(message: &FromAgent) -> Option<Vec<ServiceProblem>> {
    match message {
        FromAgent::Report(report) => report.service_problems.clone(),
        FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::LogChunk { .. } => None,
    }
}

#[tokio::test]
async fn a_port_of_a_service_that_another_program_has_is_reported_until_it_is_free() {
    let at = tempfile::tempdir().expect("a folder");
    let all = CancellationToken::new();
    let mut controller = Controller::new(&all);
    let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(Memory::default())];
    let running = tokio::spawn(run(settings(at.path()), runtimes, controller.connector.clone(), Options::default(), all.clone()));
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port();
    let (link, _) = controller.connected().await;
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let ports = vec![EndpointPort { name: String::new(), port, protocol: Protocol::Tcp, node_port: None, backends: Vec::new() }];
    let address = Some(Ipv4Addr::LOCALHOST);
    let set = EndpointSet { address, ports, ..EndpointSet::empty(service.clone(), 1) };
    link.send(ToAgent::Endpoints(Arc::new(set)));
    let said = controller.hears(|message| service_problems(message).filter(|problems| !problems.is_empty())).await;
    let message = format!("cannot listen on 127.0.0.1:{port}: another program has the port; `ss -ltnup` says which");
    assert_eq!(said, [ServiceProblem { service, message }]);
    drop(other);
    controller.hears(|message| service_problems(message).filter(Vec::is_empty)).await;
    all.cancel();
    running.await.expect("no panic").expect("an orderly end");
}

/// What a message says is wrong with the host, if it says anything of it.
fn node_problems(message: &FromAgent) -> Option<Vec<NodeProblem>> {
    match message {
        FromAgent::Report(report) => report.node_problems.clone(),
        FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::LogChunk { .. } => None,
    }
}

/// The address that DNS has for a name, as soon as it is asked there.
async fn address_of(name: &str, at: SocketAddr) -> String {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    let config = ResolverConfig::from_name_servers(vec![server]);
    let client = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().expect("a client");
    let found = async {
        loop {
            match client.ipv4_lookup(name).await {
                Ok(found) => return found.answers()[0].data.to_string(),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("an answer")
}

#[tokio::test]
async fn names_are_answered_with_and_without_a_controller_and_it_is_said_when_they_cannot_be() {
    let at = tempfile::tempdir().expect("a folder");
    let all = CancellationToken::new();
    let mut controller = Controller::new(&all);
    // Taken, as a port of ours may be; and no other test can have it.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = other.local_addr().expect("an address");
    let names = NamesSettings { host, resolvers: Resolvers::Given(Vec::new()), limits: NameLimits::default() };
    let settings = Settings { names: Some(names), ..settings(at.path()) };
    let connector = controller.connector.clone();
    let start = |end: CancellationToken| {
        let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(Memory::default())];
        tokio::spawn(run(settings.clone(), runtimes, connector.clone(), Options::default(), end))
    };
    let first = all.child_token();
    let running = start(first.clone());
    let (link, _) = controller.connected().await;
    let said = controller.hears(|message| node_problems(message).filter(|problems| !problems.is_empty())).await;
    let message = format!("names of the cluster are not answered: cannot listen on {host}: another program has the port");
    assert_eq!(said[0].reason, "DNSUnavailable");
    assert!(said[0].message.starts_with(&message), "{}", said[0].message);
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let address = Some(Ipv4Addr::new(10, 96, 0, 10));
    link.send(ToAgent::Endpoints(Arc::new(EndpointSet { address, ..EndpointSet::empty(service.clone(), 1) })));
    controller
        .hears(|message| match message {
            FromAgent::Report(report) => report.endpoints.get(&service).copied(),
            FromAgent::Hello(_) | FromAgent::Heartbeat { .. } | FromAgent::LogChunk { .. } => None,
        })
        .await;
    drop(other);
    controller.hears(|message| node_problems(message).filter(Vec::is_empty)).await;
    let name = "web.shop.svc.cluster.local.";
    assert_eq!(address_of(name, host).await, "10.96.0.10");
    first.cancel();
    running.await.expect("no panic").expect("an orderly end");
    // Nobody tells this one anything: it has nothing but its ledger.
    let running = start(all.child_token());
    assert_eq!(address_of(name, host).await, "10.96.0.10");
    all.cancel();
    running.await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn one_host_folder_has_one_agent() {
    let at = tempfile::tempdir().expect("a folder");
    let lock = super::lock_folder(&at.path().join("run")).expect("the first");
    let error = super::lock_folder(&at.path().join("run")).expect_err("the second");
    assert!(matches!(error, super::ShellError::Taken { .. }), "{error}");
    drop(lock);
    super::lock_folder(&at.path().join("run")).expect("free again");
}
