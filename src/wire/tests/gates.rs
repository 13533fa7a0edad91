//! Links over TCP and TLS, with a real authority.

use super::samples::{hello, pod, report};
use crate::model::*;
use crate::trust::{Authorities, Membership, NodeIdentity, Token, TokenSecret};
use crate::wire::client;
use crate::wire::messages::{FromAgent, ToAgent};
use crate::wire::proto::agents_client::AgentsClient;
use crate::wire::server::{self, Link, LinkEvent, ServerSettings};
use crate::wire::{Applicant, Connector, Dialer, Gate, GateSettings, JoinAsk, JoinError, bind, keep_fresh, tls};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;

const DEADLINE: Duration = Duration::from_secs(20);

/// The secret that lets anybody in here.
const SECRET: &[u8] = b"open sesame";

/// A controller at a port of this host, that lets in who has the secret.
pub(super) struct Controller {
    gate: Gate,
    address: String,
    authority: [u8; 32],
    pub(super) roll: watch::Sender<Arc<Roll>>,
    links: mpsc::Receiver<(Box<Hello>, Link)>,
    messages: mpsc::Receiver<FromAgent>,
    shutdown: CancellationToken,
    asked: Arc<Mutex<usize>>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) async fn controller(folder: &Path, life: Duration) -> Controller {
    let settings = GateSettings { identity_dir: folder.to_owned(), cluster_id: "c1".into(), advertised: vec![], life };
    let gate = Gate::open(settings).expect("an authority");
    let listener = bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let incoming = gate.listen(listener).expect("usable");
    let (roll, watched) = watch::channel(Arc::new(Roll::default()));
    let usual = ServerSettings::new(watch::channel(Epoch(3)).1);
    let settings = ServerSettings { heartbeat: Duration::from_millis(50), roll: watched, gate: Some(gate.clone()), ..usual };
    let (events, happened) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    tokio::spawn(server::serve(incoming, settings, events, shutdown.clone()));
    let (opened, links) = mpsc::channel(64);
    let (said, messages) = mpsc::channel(1024);
    let asked = Arc::new(Mutex::new(0));
    tokio::spawn(reign(happened, roll.clone(), opened, said, Arc::clone(&asked)));
    let authority = Authorities::load(folder).expect("readable").expect("made").fingerprint();
    Controller { gate, address, authority, roll, links, messages, shutdown, asked }
}

/// Decides as a controller does, but for tokens.
async fn reign(
    mut happened: mpsc::Receiver<LinkEvent>,
    roll: watch::Sender<Arc<Roll>>,
    opened: mpsc::Sender<(Box<Hello>, Link)>,
    said: mpsc::Sender<FromAgent>,
    asked: Arc<Mutex<usize>>,
) {
    while let Some(event) = happened.recv().await {
        match event {
            LinkEvent::Join { ask, answer } => {
                *asked.lock().expect("whole") += 1;
                let _ = answer.send(admit(&roll, ask));
            }
            LinkEvent::Connected { hello, link, .. } => drop(opened.send((hello, link)).await),
            LinkEvent::Message { message, .. } => drop(said.send(message).await),
            LinkEvent::Closed { .. } => {}
        }
    }
}

fn admit(roll: &watch::Sender<Arc<Roll>>, ask: JoinAsk) -> Result<(), JoinRefusal> {
    let judged = roll.borrow().judge(&ask.node, &ask.key);
    match judged {
        Err(JoinRefusal::NoToken(_)) if ask.token.as_ref().is_some_and(|token| token.expose() == SECRET) => {
            roll.send_modify(|roll| drop(Arc::make_mut(roll).keys.insert(ask.node, ask.key)));
            Ok(())
        }
        Err(JoinRefusal::NoToken(_)) if ask.token.is_some() => Err(JoinRefusal::TokenUnknown),
        judged => judged,
    }
}

impl Controller {
    fn applicant(&self, folder: &Path, node: &str, secret: &[u8]) -> Applicant {
        let token = Token { secret: TokenSecret::new("ab".into(), secret.to_vec()), authority: self.authority };
        let membership = Membership::open(&folder.join(node)).expect("a key");
        let addresses = vec![self.address.clone()];
        Applicant { node: NodeName::new(node), membership, addresses, token: Some(token) }
    }

    pub(super) async fn member(&self, folder: &Path, node: &str) -> (Applicant, NodeIdentity) {
        let applicant = self.applicant(folder, node, SECRET);
        applicant.join(None).await.expect("let in");
        let identity = applicant.membership.identity().expect("readable").expect("joined");
        (applicant, identity)
    }

    pub(super) async fn connected(&mut self) -> (Box<Hello>, Link) {
        timeout(DEADLINE, self.links.recv()).await.expect("in time").expect("it runs")
    }
}

pub(super) fn dialer(controller: &Controller, identity: &NodeIdentity, doubt: Arc<Notify>) -> Connector {
    Connector::Tls(Arc::new(Dialer::new(vec![controller.address.clone()], identity.clone(), doubt)))
}

/// An agent that says hello as `node`.
pub(super) struct Agent {
    outgoing: mpsc::Sender<FromAgent>,
    pub(super) incoming: mpsc::Receiver<ToAgent>,
    shutdown: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) fn agent(connector: Connector, node: &str) -> Agent {
    let (outgoing, from_agent) = mpsc::channel(16);
    let (to_agent, incoming) = mpsc::channel(16);
    let (shutdown, said) = (CancellationToken::new(), hello(node));
    tokio::spawn(client::run(connector, move || said.clone(), from_agent, to_agent, shutdown.clone()));
    Agent { outgoing, incoming, shutdown }
}

/// One attempt of an agent, and the words that it is refused with.
async fn refusal(connector: Connector, node: &str) -> String {
    let (_outgoing, from_agent) = mpsc::channel(16);
    let (to_agent, _incoming) = mpsc::channel(16);
    let said = hello(node);
    let mut client = client::Client {
        connector,
        hello: move || said.clone(),
        outgoing: from_agent,
        incoming: to_agent,
        outbox: Default::default(),
        version: crate::wire::PROTOCOL,
    };
    timeout(DEADLINE, client.refusal()).await.expect("in time")
}

#[tokio::test]
async fn a_host_joins_with_a_token_and_speaks_as_its_node_from_then_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    let (applicant, identity) = controller.member(folder.path(), "n1").await;
    let mut agent = agent(dialer(&controller, &identity, Arc::default()), "n1");
    assert_eq!(controller.connected().await.0.facts.name, NodeName::new("n1"));
    let welcome = timeout(DEADLINE, agent.incoming.recv()).await.expect("in time");
    assert!(matches!(welcome, Some(ToAgent::Welcome { epoch: Epoch(3), .. })), "{welcome:?}");
    let later = Applicant { token: None, ..applicant };
    later.join(Some(&identity)).await.expect("its key is on record: no token is needed");
}

#[tokio::test]
async fn without_a_certificate_there_is_nothing_but_the_question_to_join() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    let config = crate::trust::pinned_config(controller.authority).expect("usable");
    let io = tls::dial(&controller.address, Arc::new(config)).await.expect("a handshake");
    let channel = client::channel(io).await.expect("HTTP/2");
    // Nothing is sent: the refusal does not wait for a first word.
    let silence = tokio_stream::pending();
    let refused = timeout(DEADLINE, AgentsClient::new(channel).connect(silence)).await.expect("in time").expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

#[tokio::test]
async fn only_so_many_strangers_are_heard_at_once_and_nodes_come_in_beside_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    let (_, identity) = controller.member(folder.path(), "n1").await;
    let config = Arc::new(crate::trust::pinned_config(controller.authority).expect("usable"));
    let mut crowd = Vec::new();
    for _ in 0..tls::STRANGERS.0 + 1 {
        crowd.push(tls::dial(&controller.address, Arc::clone(&config)).await.expect("a handshake"));
    }
    // One of them was closed again, without a word.
    let closed = crowd.iter_mut().map(|io| {
        use tokio::io::AsyncReadExt;
        Box::pin(async move {
            let mut first = [0; 64];
            while io.read(&mut first).await.is_ok_and(|count| count > 0) {}
        })
    });
    let long_before_its_time = Duration::from_secs(10);
    timeout(long_before_its_time, futures_util::future::select_all(closed)).await.expect("closed at once");
    let _agent = agent(dialer(&controller, &identity, Arc::default()), "n1");
    controller.connected().await;
}

#[tokio::test]
async fn an_agent_cannot_speak_for_another_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    let (_, identity) = controller.member(folder.path(), "n1").await;
    controller.member(folder.path(), "n2").await;
    let words = refusal(dialer(&controller, &identity, Arc::default()), "n2").await;
    assert!(words.contains("certificate is for node n1"), "{words}");
    assert!(controller.links.try_recv().is_err(), "the core hears nothing of it");
}

#[tokio::test]
async fn a_node_that_is_struck_off_is_cut_off_at_once_and_told_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    let (applicant, identity) = controller.member(folder.path(), "n1").await;
    let doubt = Arc::new(Notify::new());
    let _agent = agent(dialer(&controller, &identity, Arc::clone(&doubt)), "n1");
    controller.connected().await;
    let removed = Roll { removed: [NodeName::new("n1")].into(), ..Roll::default() };
    controller.roll.send_replace(Arc::new(removed));
    timeout(DEADLINE, doubt.notified()).await.expect("the link ends, and the agent doubts its certificate");
    let words = refusal(dialer(&controller, &identity, Arc::default()), "n1").await;
    assert!(words.contains("removed by a commit") && words.contains("new token"), "{words}");
    let refused = applicant.join(Some(&identity)).await.expect_err("refused");
    assert!(matches!(&refused, JoinError::Refused { temporary: false, .. }), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("annotation")), "{:?}", refused.hint());
}

#[tokio::test]
async fn the_authority_is_exchanged_under_a_running_controller() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = Duration::from_secs(3_600);
    let mut controller = controller(folder.path(), life).await;
    let (applicant, identity) = controller.member(folder.path(), "n1").await;
    let now = crate::clock::wall();
    Authorities::rotate(folder.path(), "c1", life, now).expect("rotated");
    controller.gate.refresh(now).expect("taken over");
    let _before = agent(dialer(&controller, &identity, Arc::default()), "n1");
    controller.connected().await;
    let renewed = applicant.join(Some(&identity)).await.expect("renewed by the new one");
    assert_eq!(renewed.roots.len(), 2, "both count for a while");
    identity.replace(&renewed).expect("usable");
    let _after = agent(dialer(&controller, &identity, Arc::default()), "n1");
    controller.connected().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_join_is_said_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = controller(folder.path(), Duration::from_secs(3_600)).await;
    controller.member(folder.path(), "n1").await;
    let second = tempfile::tempdir().expect("a folder");
    let taken = controller.applicant(second.path(), "n1", SECRET).join(None).await.expect_err("refused");
    assert!(taken.to_string().contains("there is a node n1 already"), "{taken}");
    let unknown = controller.applicant(second.path(), "n2", b"guess").join(None).await.expect_err("refused");
    assert!(unknown.to_string().contains("token is not known"), "{unknown}");
    let bad = controller.applicant(second.path(), "N_3", SECRET).join(None).await.expect_err("refused");
    assert!(bad.to_string().contains("no node can have this name"), "{bad}");
    let mut elsewhere = controller.applicant(second.path(), "n4", SECRET);
    elsewhere.token = Some(Token { authority: [7; 32], ..elsewhere.token.clone().expect("one") });
    let wrong = elsewhere.join(None).await.expect_err("refused");
    assert!(matches!(wrong, JoinError::WrongAuthority { .. }), "{wrong}");
    let nobody = Applicant { addresses: vec!["127.0.0.1:1".into()], ..controller.applicant(second.path(), "n5", SECRET) };
    assert!(nobody.join(None).await.expect_err("nobody there").may_pass());
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_the_stream_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), Duration::from_secs(4)).await;
    let (applicant, identity) = controller.member(folder.path(), "n1").await;
    let first = identity.certificate().expect("one");
    let doubt = Arc::new(Notify::new());
    let agent = agent(dialer(&controller, &identity, Arc::clone(&doubt)), "n1");
    let (_, link) = controller.connected().await;
    let shutdown = CancellationToken::new();
    tokio::spawn(keep_fresh(applicant, identity.clone(), doubt, false, shutdown.clone()));
    let renewed = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while identity.certificate().is_some_and(|now| now.ends <= first.ends) {
            look.tick().await;
        }
    };
    timeout(DEADLINE, renewed).await.expect("renewed in time");
    shutdown.cancel();
    agent.outgoing.send(FromAgent::Report(Box::new(report(vec![pod(1, PodPhase::Running)])))).await.expect("sent");
    let heard = async { while !matches!(controller.messages.recv().await, Some(FromAgent::Report(_)) | None) {} };
    timeout(DEADLINE, heard).await.expect("over the stream of before");
    assert!(controller.links.try_recv().is_err(), "there was no second hello");
    assert!(*controller.asked.lock().expect("whole") >= 2);
    drop(link);
}
