//! The controller's end of the links.

use super::convert::{self, ConvertError};
use super::enrolment::{JoinAnswer, JoinAsk, Registrar};
use super::held::Held;
use super::io::{Caller, Incoming, Io};
use super::logs::{LogDesk, LogError, LogStream};
use super::messages::{FromAgent, LogRequest, ToAgent, Version};
use super::outbox::ControllerOutbox;
use super::proto::agents_server::{Agents, AgentsServer};
use super::relay::RelayDesk;
use super::tls::Gate;
use super::{HEARTBEAT, MESSAGE_BYTES_MAX, PROTOCOL, SILENCE, WireError, proto};
use crate::model::{Assignment, Epoch, Hello, JoinRefusal, NodeName, Roll};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Messages of one link that are ready for the network.
const SENDING_MAX: usize = 4;

/// Why nobody is answered before a reign; its own log says more than a stranger may hear.
pub const WAITS_FOR_REPOSITORY: &str =
    "it waits for its repository, which cannot be reached or has no commit yet; the controller's log says more";

/// How long the last word to a peer may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How the controller wants its links.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Its reign, told in the welcome. Until there is one, agents wait; who asks to join is answered by whoever hears the events.
    pub epoch: watch::Receiver<Epoch>,
    /// How often it must hear from an agent.
    pub heartbeat: Duration,
    /// After so long without a word a link is lost.
    pub silence: Duration,
    /// Whom to let in with a certificate. Links of others are ended as soon as it says so.
    pub roll: watch::Receiver<Arc<Roll>>,
    /// Where certificates come from; `None` if nobody comes in with one.
    pub gate: Option<Gate>,
}

impl ServerSettings {
    /// The usual times, and links within this machine only.
    #[must_use]
    pub fn new(epoch: watch::Receiver<Epoch>) -> Self {
        let roll = watch::channel(Arc::default()).1;
        Self { epoch, heartbeat: HEARTBEAT, silence: SILENCE, roll, gate: None }
    }
}

/// Numbers the links of one server. A later link of a node has the higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(u64);

/// What happens on the links. Events of a link that a newer one of the same node has replaced may still arrive: compare `link`.
#[derive(Debug)]
pub enum LinkEvent {
    /// A host wants to be a node, or a node its next certificate.
    Join {
        /// Who, and what it shows.
        ask: JoinAsk,
        /// Where to say whether it may.
        answer: JoinAnswer,
    },
    /// An agent has said hello. It takes the place of an older link of the same node.
    Connected {
        /// The node.
        node: NodeName,
        /// Its hello.
        hello: Box<Hello>,
        /// Where to answer.
        link: Link,
    },
    /// An agent says something; never a hello or logs.
    Message {
        /// The node.
        node: NodeName,
        /// The link it came over.
        link: LinkId,
        /// What.
        message: FromAgent,
    },
    /// A link is lost or closed.
    Closed {
        /// The node.
        node: NodeName,
        /// The link.
        link: LinkId,
    },
}

/// The way to one agent.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: LinkId,
    node: NodeName,
    caller: Caller,
    outbox: ControllerOutbox,
    logs: LogDesk,
    superseded: CancellationToken,
}

impl Link {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.0.id
    }

    /// Sends a message; never waits. Only the newest assignment, and the newest endpoints of a Service, are kept for a slow agent.
    pub fn send(&self, message: ToAgent) {
        self.0.outbox.push(message);
    }

    /// Asks for logs; `request.id` is chosen here. Dropping the stream ends the request.
    ///
    /// # Errors
    /// The link is lost, or has too many readers.
    pub fn logs(&self, request: LogRequest) -> Result<LogStream, LogError> {
        let (id, stream) = self.0.logs.open(self.clone())?;
        self.send(ToAgent::Logs(LogRequest { id, ..request }));
        Ok(stream)
    }

    pub(super) fn log_desk(&self) -> &LogDesk {
        &self.0.logs
    }
}

/// Serves agents until `shutdown`; what happens goes to `events`.
///
/// # Errors
/// The server cannot run at all; trouble of one connection is logged and ends that connection only.
pub async fn serve(
    incoming: Incoming,
    settings: ServerSettings,
    events: mpsc::Sender<LinkEvent>,
    shutdown: CancellationToken,
) -> Result<(), WireError> {
    let pings = settings.silence / 2;
    let gate = settings.gate.clone();
    let registrar = gate.clone().map(|gate| Registrar::service(gate, events.clone()));
    let doorkeeper = Doorkeeper::new(&settings, shutdown.clone());
    let links: Arc<Links> = Arc::default();
    let relay = RelayDesk::service(doorkeeper.clone(), Arc::clone(&links));
    let desk = Desk { settings, doorkeeper, events, shutdown: shutdown.clone(), links };
    let service =
        AgentsServer::new(desk).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .http2_keepalive_interval(Some(pings))
        .http2_keepalive_timeout(Some(pings))
        .add_service(service)
        .add_optional_service(registrar)
        .add_service(relay)
        .serve_with_incoming_shutdown::<_, Io, std::io::Error, _, _>(incoming, shutdown.cancelled_owned());
    tokio::select! {
        served = served => served.map_err(WireError::Transport),
        () = tend(gate) => Ok(()),
    }
}

/// Looks after the gate, if there is one. Never ends.
async fn tend(gate: Option<Gate>) {
    match gate {
        Some(gate) => gate.tend().await,
        None => std::future::pending().await,
    }
}

/// The newest link of each node.
#[derive(Debug, Default)]
pub(super) struct Links {
    last_id: AtomicU64,
    newest: Mutex<BTreeMap<NodeName, Link>>,
}

impl Links {
    /// A new link of `node`; an older one is told that it is replaced.
    fn open(&self, node: NodeName, caller: Caller) -> Link {
        let id = LinkId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let link = Link(Arc::new(Shared {
            id,
            node: node.clone(),
            caller,
            outbox: ControllerOutbox::default(),
            logs: LogDesk::default(),
            superseded: CancellationToken::new(),
        }));
        let older = self.newest.lock().unwrap_or_else(PoisonError::into_inner).insert(node, link.clone());
        if let Some(older) = older {
            older.0.superseded.cancel();
        }
        link
    }

    /// The newest link of a node, if it is heard.
    pub(super) fn newest(&self, node: &NodeName) -> Option<Link> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    fn close(&self, link: &Link) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(&link.0.node).is_some_and(|current| current.id() == link.id()) {
            newest.remove(&link.0.node);
        }
    }
}

/// Says who is let in, and who no longer.
#[derive(Debug, Clone)]
pub(super) struct Doorkeeper {
    roll: watch::Receiver<Arc<Roll>>,
    epoch: watch::Receiver<Epoch>,
    patience: Duration,
    shutdown: CancellationToken,
}

impl Doorkeeper {
    fn new(settings: &ServerSettings, shutdown: CancellationToken) -> Self {
        // The peer hears a reason before it gives up.
        let patience = settings.silence / 10 * 9;
        Self { roll: settings.roll.clone(), epoch: settings.epoch.clone(), patience, shutdown }
    }

    /// Whether somebody is let in. Before a reign nobody knows, and it is waited for.
    pub(super) async fn check(&self, caller: &Caller) -> Result<(), Status> {
        match caller {
            Caller::Local => self.reigning().await,
            Caller::Stranger => {
                Err(Status::unauthenticated("only nodes with a certificate are heard here; a host joins with a token"))
            }
            Caller::Node { node, key } => {
                self.reigning().await?;
                let judged = self.roll.borrow().judge(node, key);
                judged.map_err(|refusal| {
                    tracing::warn!(%node, "an agent was refused: {refusal}");
                    Status::permission_denied(with_hint(&refusal))
                })
            }
        }
    }

    /// Waits for a reign that can answer.
    async fn reigning(&self) -> Result<(), Status> {
        let mut epoch = self.epoch.clone();
        let begun = tokio::select! {
            begun = timeout(self.patience, epoch.wait_for(|epoch| *epoch > Epoch::default())) => begun,
            () = self.shutdown.cancelled() => return Err(Status::unavailable("the controller is ending")),
        };
        match begun {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("the controller is ending")),
            Err(_) => Err(Status::unavailable(WAITS_FOR_REPOSITORY)),
        }
    }

    /// Waits until somebody who was let in is not any more.
    pub(super) async fn dismissed(&self, caller: &Caller) -> JoinRefusal {
        let Caller::Node { node, key } = caller else { return std::future::pending().await };
        let mut roll = self.roll.clone();
        let refused = roll.wait_for(|roll| roll.judge(node, key).is_err()).await.map(|roll| roll.judge(node, key));
        match refused {
            Ok(Err(refusal)) => refusal,
            // Whoever sets the roll has ended, and the server with it.
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }
}

/// Where agents come in.
#[derive(Debug, Clone)]
struct Desk {
    settings: ServerSettings,
    doorkeeper: Doorkeeper,
    events: mpsc::Sender<LinkEvent>,
    shutdown: CancellationToken,
    links: Arc<Links>,
}

#[tonic::async_trait]
impl Agents for Desk {
    type ConnectStream = ReceiverStream<Result<proto::ToAgent, Status>>;

    async fn connect(&self, request: Request<Streaming<proto::FromAgent>>) -> Result<Response<Self::ConnectStream>, Status> {
        // Who it is comes first: nothing that a stranger sends is read.
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Stranger);
        self.doorkeeper.check(&caller).await?;
        let mut inbound = request.into_inner();
        let (hello, version) = self.hear_hello(&mut inbound).await?;
        check_name(&caller, &hello)?;
        let (sender, receiver) = mpsc::channel(SENDING_MAX);
        let welcome = ToAgent::Welcome { epoch: *self.settings.epoch.borrow(), heartbeat: self.settings.heartbeat };
        let gone = |_| Status::unavailable("the controller is ending");
        sender.send(Ok(convert::to_agent_to_proto(&welcome, PROTOCOL))).await.map_err(gone)?;
        let link = self.links.open(hello.facts.name.clone(), caller);
        let writer = Writer { held: Held::from_hello(&hello.templates), version, sender };
        let event = LinkEvent::Connected { node: hello.facts.name.clone(), hello: Box::new(hello), link: link.clone() };
        self.events.send(event).await.map_err(|_| Status::unavailable("the controller is ending"))?;
        tokio::spawn(self.clone().run(link, inbound, writer));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// How a link ends.
enum LinkEnd {
    Silent,
    Closed,
    Failed(Status),
    Misread(ConvertError),
    Superseded,
    Dismissed(JoinRefusal),
    Shutdown,
}

impl Desk {
    async fn hear_hello(&self, inbound: &mut Streaming<proto::FromAgent>) -> Result<(Hello, Version), Status> {
        let silent = |_| Status::deadline_exceeded("no hello came");
        let first = timeout(self.settings.silence, inbound.message()).await.map_err(silent)??;
        let Some(proto::FromAgent { message: Some(proto::from_agent::Message::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let theirs = hello.version.map_or(Version { major: 0, minor: 0 }, Version::from);
        check_version(theirs).map_err(|refusal| {
            tracing::warn!(node = hello.facts.as_ref().map_or("", |facts| facts.name.as_str()), "{refusal}");
            Status::failed_precondition(refusal)
        })?;
        let hello = convert::hello(*hello).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok((hello, theirs))
    }

    /// One link, from its hello to its end.
    async fn run(self, link: Link, inbound: Streaming<proto::FromAgent>, mut writer: Writer) {
        let end = tokio::select! {
            end = self.read(&link, inbound) => end,
            () = writer.write(&link) => LinkEnd::Closed,
            () = link.0.superseded.cancelled() => LinkEnd::Superseded,
            refusal = self.doorkeeper.dismissed(&link.0.caller) => LinkEnd::Dismissed(refusal),
            () = self.shutdown.cancelled() => LinkEnd::Shutdown,
        };
        link.0.logs.close();
        self.links.close(&link);
        writer.last_word(&link.0.node, end).await;
        // Without a receiver the controller has ended, and nobody needs to know.
        let _ = self.events.send(LinkEvent::Closed { node: link.0.node.clone(), link: link.id() }).await;
    }

    async fn read(&self, link: &Link, mut inbound: Streaming<proto::FromAgent>) -> LinkEnd {
        loop {
            let message = match timeout(self.settings.silence, inbound.message()).await {
                Err(_) => return LinkEnd::Silent,
                Ok(Err(status)) => return LinkEnd::Failed(status),
                Ok(Ok(None)) => return LinkEnd::Closed,
                Ok(Ok(Some(message))) => message,
            };
            let message = match convert::from_agent(message) {
                Ok(message) => message,
                Err(error) => return LinkEnd::Misread(error),
            };
            match message {
                FromAgent::LogChunk { id, data, end } => {
                    if !link.0.logs.deliver(id, data, end) {
                        link.send(ToAgent::CancelLogs(id));
                    }
                }
                FromAgent::Hello(_) => return LinkEnd::Misread(convert::invalid("message", "expected after the hello")),
                message @ (FromAgent::Report(_) | FromAgent::Heartbeat { .. }) => {
                    let event = LinkEvent::Message { node: link.0.node.clone(), link: link.id(), message };
                    if self.events.send(event).await.is_err() {
                        return LinkEnd::Shutdown;
                    }
                }
            }
        }
    }
}

/// An agent speaks for the node of its certificate, and for no other.
fn check_name(caller: &Caller, hello: &Hello) -> Result<(), Status> {
    match caller {
        Caller::Node { node, .. } if *node != hello.facts.name => {
            let refusal = format!("the certificate is for node {node}, and the agent says that it is {}", hello.facts.name);
            tracing::warn!("{refusal}");
            Err(Status::permission_denied(refusal))
        }
        Caller::Node { .. } | Caller::Local | Caller::Stranger => Ok(()),
    }
}

fn with_hint(refusal: &JoinRefusal) -> String {
    refusal.hint().map_or_else(|| refusal.to_string(), |hint| format!("{refusal}; {hint}"))
}

/// Whether we understand a peer, else what to tell it.
pub(super) fn check_version(theirs: Version) -> Result<(), String> {
    if PROTOCOL.understands(theirs) {
        return Ok(());
    }
    let upgrade = if theirs < PROTOCOL { "agent" } else { "controller" };
    Err(format!("the agent speaks protocol {theirs}, the controller {PROTOCOL}: upgrade driftless on the {upgrade}'s host"))
}

/// The sending half of a link.
struct Writer {
    held: Held,
    /// What the peer speaks.
    version: Version,
    sender: mpsc::Sender<Result<proto::ToAgent, Status>>,
}

impl Writer {
    /// Sends what waits in the outbox until the connection is gone.
    async fn write(&mut self, link: &Link) {
        loop {
            let message = link.0.outbox.next().await;
            if message.since() > self.version {
                continue;
            }
            if let ToAgent::Assign(assignment) = &message
                && !self.write_templates(assignment).await
            {
                return;
            }
            if self.sender.send(Ok(convert::to_agent_to_proto(&message, PROTOCOL))).await.is_err() {
                return;
            }
        }
    }

    /// False if the connection is gone.
    async fn write_templates(&mut self, assignment: &Assignment) -> bool {
        for snapshot in self.held.lacking(assignment) {
            let template = match convert::template_to_proto(&snapshot) {
                Ok(template) if template.encoded_len() < MESSAGE_BYTES_MAX => template,
                Ok(_) => {
                    tracing::error!(hash = %snapshot.hash, "a template and its configuration exceed {MESSAGE_BYTES_MAX} bytes: its pods cannot start");
                    continue;
                }
                Err(error) => {
                    tracing::error!(hash = %snapshot.hash, %error, "a template cannot be sent: its pods cannot start");
                    continue;
                }
            };
            let message = proto::ToAgent { message: Some(proto::to_agent::Message::Template(template)) };
            if self.sender.send(Ok(message)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Tells the peer (and the log) why its link ends.
    async fn last_word(&self, node: &NodeName, end: LinkEnd) {
        let status = match end {
            LinkEnd::Closed | LinkEnd::Shutdown => return,
            LinkEnd::Silent => Status::deadline_exceeded("the controller has not heard from this agent"),
            LinkEnd::Failed(status) => {
                tracing::debug!(%node, %status, "a link failed");
                return;
            }
            LinkEnd::Misread(error) => Status::invalid_argument(error.to_string()),
            LinkEnd::Dismissed(refusal) => Status::permission_denied(with_hint(&refusal)),
            LinkEnd::Superseded => Status::aborted(format!("a newer agent said hello as node {node}")),
        };
        tracing::warn!(%node, reason = status.message(), "a link was ended");
        // The peer may be gone, which is why the link ends.
        let _ = timeout(LAST_WORD, self.sender.send(Err(status))).await;
    }
}
