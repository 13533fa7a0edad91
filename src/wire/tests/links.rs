//! Links over the in-memory transport.

use super::samples::{assignment, hash, hello, pod, report, uid, web};
use crate::causes::in_full;
use crate::model::*;
use crate::wire::client::{self, Client};
use crate::wire::messages::{FromAgent, ToAgent, Version};
use crate::wire::outbox::AgentOutbox;
use crate::wire::server::{self, Link, LinkEvent, ServerSettings};
use crate::wire::{Connector, PROTOCOL, local};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes; reached only if it never happens.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) struct Controller {
    pub(super) connector: Connector,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    shutdown: CancellationToken,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) struct Agent {
    pub(super) outgoing: mpsc::Sender<FromAgent>,
    pub(super) incoming: mpsc::Receiver<ToAgent>,
    shutdown: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn settings(epoch: Epoch) -> ServerSettings {
    ServerSettings::new(watch::channel(epoch).1)
}

fn controller_with(settings: ServerSettings, events_max: usize) -> Controller {
    let (connector, incoming) = local();
    let (sender, events) = mpsc::channel(events_max);
    let shutdown = CancellationToken::new();
    tokio::spawn(server::serve(incoming, settings, sender, shutdown.clone()));
    Controller { connector, events, shutdown }
}

pub(super) fn controller() -> Controller {
    controller_with(ServerSettings { heartbeat: Duration::from_millis(50), ..settings(Epoch(3)) }, 64)
}

pub(super) fn agent(controller: &Controller, hello: Hello) -> Agent {
    let (outgoing, from_agent) = mpsc::channel(16);
    let (to_agent, incoming) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let connector = controller.connector.clone();
    tokio::spawn(client::run(connector, move || hello.clone(), from_agent, to_agent, shutdown.clone()));
    Agent { outgoing, incoming, shutdown }
}

impl Controller {
    async fn event(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("the server runs")
    }

    pub(super) async fn connected(&mut self) -> (Box<Hello>, Link) {
        loop {
            if let LinkEvent::Connected { hello, link, .. } = self.event().await {
                return (hello, link);
            }
        }
    }

    async fn report(&mut self) -> Report {
        loop {
            if let LinkEvent::Message { message: FromAgent::Report(report), .. } = self.event().await {
                return *report;
            }
        }
    }
}

impl Agent {
    pub(super) async fn told(&mut self) -> ToAgent {
        timeout(DEADLINE, self.incoming.recv()).await.expect("a message in time").expect("the client runs")
    }

    async fn assigned(&mut self) -> Arc<Assignment> {
        loop {
            if let ToAgent::Assign(assignment) = self.told().await {
                return assignment;
            }
        }
    }
}

#[tokio::test]
async fn the_first_words_are_hello_and_welcome() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (said, _) = controller.connected().await;
    assert_eq!(*said, hello("n1"));
    assert_eq!(agent.told().await, ToAgent::Welcome { epoch: Epoch(3), heartbeat: Duration::from_millis(50) });
}

#[tokio::test]
async fn only_templates_that_the_agent_lacks_travel() {
    let mut controller = controller();
    let mut agent = agent(&controller, Hello { templates: BTreeMap::from([(hash("aa"), "v1".to_owned())]), ..hello("n1") });
    let (_, link) = controller.connected().await;
    link.send(ToAgent::Assign(assignment(1, &["aa", "bb"])));
    let first = agent.assigned().await;
    assert_eq!(first.run.len(), 2);
    assert_eq!(first.templates.keys().collect::<Vec<_>>(), [&hash("bb")]);
    assert_eq!(first.templates[&hash("bb")], super::samples::snapshot("bb"));
    link.send(ToAgent::Assign(assignment(2, &["bb"])));
    assert!(agent.assigned().await.templates.is_empty());
    // It may have dropped `aa` since: a release that is undone sends it again.
    link.send(ToAgent::Assign(assignment(3, &["aa"])));
    assert_eq!(agent.assigned().await.templates.keys().collect::<Vec<_>>(), [&hash("aa")]);
}

#[tokio::test]
async fn a_template_travels_again_when_its_configuration_is_another() {
    let mut controller = controller();
    let mut agent = agent(&controller, Hello { templates: BTreeMap::from([(hash("aa"), "v0".to_owned())]), ..hello("n1") });
    let (_, link) = controller.connected().await;
    link.send(ToAgent::Assign(assignment(1, &["aa"])));
    assert_eq!(agent.assigned().await.templates[&hash("aa")].config.version, "v1");
    link.send(ToAgent::Assign(assignment(2, &["aa"])));
    assert!(agent.assigned().await.templates.is_empty());
}

#[tokio::test]
async fn an_agent_comes_back_when_the_controller_does_and_says_hello_again() {
    let (connector, incoming) = local();
    let mut first = controller_with(settings(Epoch(1)), 64);
    // The agent dials a door whose server is replaced: forward what comes in to whichever runs.
    let (swap, mut doors) = mpsc::unbounded_channel::<Connector>();
    swap.send(first.connector.clone()).expect("open");
    let relay = tokio::spawn(async move {
        use futures_util::StreamExt;
        let (mut incoming, mut door) = (incoming, doors.recv().await.expect("a door"));
        while let Some(Ok(mut io)) = incoming.next().await {
            while let Ok(newer) = doors.try_recv() {
                door = newer;
            }
            let Ok(mut other) = door.connect().await else { continue };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut io, &mut other).await });
        }
    });
    let behind = Controller { connector, events: mpsc::channel(1).1, shutdown: CancellationToken::new() };
    let mut agent = agent(&behind, hello("n1"));
    first.connected().await;
    assert!(matches!(agent.told().await, ToAgent::Welcome { epoch: Epoch(1), .. }));
    drop(first);
    let mut second = controller_with(settings(Epoch(2)), 64);
    swap.send(second.connector.clone()).expect("open");
    let (said, _) = second.connected().await;
    assert_eq!(said.facts.name, NodeName::new("n1"));
    assert!(matches!(agent.told().await, ToAgent::Welcome { epoch: Epoch(2), .. }));
    relay.abort();
}

#[tokio::test]
async fn what_happened_without_a_connection_arrives_after_the_hello() {
    let (connector, incoming) = local();
    let waiting = Controller { connector, events: mpsc::channel(1).1, shutdown: CancellationToken::new() };
    let agent = agent(&waiting, hello("n1"));
    let event = PodEvent { pod: None, warning: true, reason: "BackOff".into(), message: "it ends".into() };
    let told = Report { gone: vec![uid(1)], events: vec![event.clone()], ..report(vec![pod(2, PodPhase::Running)]) };
    agent.outgoing.send(FromAgent::Report(Box::new(told))).await.expect("taken in without a connection");
    let (sender, events) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    // The hello is said when the connection stands; what was reported before is in it, but for ends and events.
    tokio::spawn(server::serve(incoming, settings(Epoch(3)), sender, shutdown.clone()));
    let mut controller = Controller { connector: waiting.connector.clone(), events, shutdown };
    let heard = controller.report().await;
    assert_eq!((heard.gone, heard.events, heard.assignment), (vec![uid(1)], vec![event], hello("n1").assignment));
}

#[tokio::test]
async fn a_slow_agent_gets_the_newest_assignment_and_endpoints_only() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let last = 5_000;
    for n in 1..=last {
        link.send(ToAgent::Assign(assignment(n, &["aa"])));
        let set = EndpointSet::empty(web(), n);
        link.send(ToAgent::Endpoints(Arc::new(set)));
    }
    let (mut assignments, mut generation, mut version) = (0, 0, 0);
    while generation < last || version < last {
        match agent.told().await {
            ToAgent::Assign(assignment) => {
                assert!(assignment.generation.0 > generation, "never an older one");
                generation = assignment.generation.0;
                assignments += 1;
            }
            ToAgent::Endpoints(set) => version = set.version,
            other @ (ToAgent::Welcome { .. }
            | ToAgent::Network(_)
            | ToAgent::Called { .. }
            | ToAgent::Ingress(_)
            | ToAgent::Renewed(_)
            | ToAgent::Logs(_)
            | ToAgent::CancelLogs(_)) => {
                assert!(matches!(other, ToAgent::Welcome { .. }));
            }
        }
    }
    assert!(assignments < last / 2, "{assignments} of {last} were sent");
}

#[tokio::test]
async fn a_slow_controller_gets_merged_reports_and_holds_up_no_agent() {
    let patient = ServerSettings { silence: DEADLINE, ..settings(Epoch(3)) };
    let mut controller = controller_with(patient, 1);
    let agent = agent(&controller, hello("n1"));
    controller.connected().await;
    let padding = "x".repeat(10_000);
    let last = 2_000_u32;
    for n in 0..=last {
        let pods = vec![PodReport { message: padding.clone(), ..pod(n % 7, PodPhase::Running) }];
        let told = Report { assignment: (Epoch(3), Generation(n.into())), ..report(pods) };
        let told = agent.outgoing.send(FromAgent::Report(Box::new(told)));
        timeout(DEADLINE, told).await.expect("the agent is not held up").expect("the client runs");
    }
    let mut reports = 0;
    loop {
        let heard = controller.report().await;
        reports += 1;
        assert!(heard.pods.len() <= 7, "one state per pod");
        if heard.assignment.1 == Generation(last.into()) {
            break;
        }
    }
    assert!(reports < last / 2, "{reports} of {last} were sent");
}

#[tokio::test]
async fn the_newest_connection_of_a_node_wins() {
    let mut controller = controller();
    let _older = agent(&controller, hello("n1"));
    let (_, first) = controller.connected().await;
    let mut newer = agent(&controller, hello("n1"));
    let (_, second) = controller.connected().await;
    assert!(second.id() > first.id());
    loop {
        if let LinkEvent::Closed { link, .. } = controller.event().await {
            assert_eq!(link, first.id());
            break;
        }
    }
    second.send(ToAgent::Assign(assignment(1, &[])));
    assert_eq!(newer.assigned().await.generation, Generation(1));
}

#[tokio::test]
async fn a_silent_link_is_lost() {
    // The agent is told to be heard every 3 s and the controller's patience is 200 ms.
    let impatient = ServerSettings { silence: Duration::from_millis(200), ..settings(Epoch(3)) };
    let mut controller = controller_with(impatient, 64);
    let _agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    loop {
        if let LinkEvent::Closed { link: closed, .. } = controller.event().await {
            assert_eq!(closed, link.id());
            return;
        }
    }
}

#[tokio::test]
async fn before_a_reign_an_agent_waits_and_hears_what_for() {
    let (epochs, epoch) = watch::channel(Epoch::default());
    let impatient = ServerSettings { silence: Duration::from_millis(200), ..ServerSettings::new(epoch) };
    let mut controller = controller_with(impatient, 64);
    let (_outgoing, from_agent) = mpsc::channel(1);
    let (incoming, _told) = mpsc::channel(1);
    let failure = timeout(DEADLINE, attempt(&controller, from_agent, incoming, PROTOCOL).failure()).await;
    let failure = in_full(&failure.expect("an answer in time"));
    assert!(failure.contains("waits for its repository"), "{failure}");
    assert!(controller.events.try_recv().is_err(), "nobody to answer it heard of it");
    epochs.send_replace(Epoch(3));
    let mut agent = agent(&controller, hello("n1"));
    assert!(matches!(agent.told().await, ToAgent::Welcome { epoch: Epoch(3), .. }));
}

/// An agent that makes one attempt at a time.
fn attempt(
    controller: &Controller,
    outgoing: mpsc::Receiver<FromAgent>,
    incoming: mpsc::Sender<ToAgent>,
    version: Version,
) -> Client<impl Fn() -> Hello> {
    let (connector, hello) = (controller.connector.clone(), || hello("n1"));
    Client { connector, hello, outgoing, incoming, outbox: AgentOutbox::default(), version }
}

#[tokio::test]
async fn an_agent_with_too_old_a_protocol_is_told_to_upgrade() {
    let controller = controller();
    let (_outgoing, from_agent) = mpsc::channel(1);
    let (incoming, mut told) = mpsc::channel(1);
    let mut client = attempt(&controller, from_agent, incoming, Version { major: 0, minor: 9 });
    let refusal = timeout(DEADLINE, client.refusal()).await.expect("an answer in time");
    assert_eq!(refusal, "the agent speaks protocol 0.9, the controller 1.1: upgrade driftless on the agent's host");
    assert!(told.try_recv().is_err(), "no welcome");
}

#[tokio::test]
async fn an_agent_of_the_next_minor_version_is_welcome() {
    let mut controller = controller();
    let (_outgoing, from_agent) = mpsc::channel(1);
    let (incoming, mut told) = mpsc::channel(8);
    let mut client = Client {
        connector: controller.connector.clone(),
        hello: || hello("n1"),
        outgoing: from_agent,
        incoming,
        outbox: AgentOutbox::default(),
        version: Version { minor: PROTOCOL.minor + 1, ..PROTOCOL },
    };
    let running = tokio::spawn(async move { client.run().await });
    controller.connected().await;
    assert!(matches!(timeout(DEADLINE, told.recv()).await, Ok(Some(ToAgent::Welcome { .. }))));
    running.abort();
}
