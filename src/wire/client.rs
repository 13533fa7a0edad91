//! The agent's end of the link: dials, says hello, and comes back whenever the link is lost.

use super::convert::{self, Told};
use super::io::{Connector, Io};
use super::messages::{FromAgent, ToAgent, Version};
use super::outbox::AgentOutbox;
use super::proto::agents_client::AgentsClient;
use super::{HEARTBEAT, MESSAGE_BYTES_MAX, PROTOCOL, SILENCE, WireError, proto};
use crate::causes::in_full;
use crate::clock;
use crate::model::{Assignment, Hello, PodSnapshot, TemplateHash};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// The first pause between two attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// The pause after a refusal that only an upgrade or a person can end.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// After so many attempts in vain it may be us: a certificate that has ended is refused without words.
const DOUBTED_AT: u32 = 2;

/// Messages that are ready for the network.
const SENDING_MAX: usize = 4;

/// Keeps a link to the controller until `shutdown`, or until the agent drops its end of `outgoing`.
///
/// `hello` is asked at the start of every connection and must hold the whole state; whatever of `outgoing` came before is then
/// dropped, but for events and ends of pods. Messages of the controller go to `incoming`; an assignment holds the templates that
/// travelled with it.
pub async fn run<H>(
    connector: Connector,
    hello: H,
    outgoing: mpsc::Receiver<FromAgent>,
    incoming: mpsc::Sender<ToAgent>,
    shutdown: CancellationToken,
) where
    H: Fn() -> Hello + Send,
{
    let mut client = Client { connector, hello, outgoing, incoming, outbox: AgentOutbox::default(), version: PROTOCOL };
    tokio::select! {
        () = client.run() => {}
        () = shutdown.cancelled() => {}
    }
}

pub(super) struct Client<H> {
    pub(super) connector: Connector,
    pub(super) hello: H,
    pub(super) outgoing: mpsc::Receiver<FromAgent>,
    pub(super) incoming: mpsc::Sender<ToAgent>,
    pub(super) outbox: AgentOutbox,
    /// What the hello says; another version in tests only.
    pub(super) version: Version,
}

/// Why a connection ended.
enum SessionEnd {
    /// The agent is ending.
    Done,
    /// The link is lost, or was never there.
    Lost {
        error: WireError,
        /// Whether the controller had said welcome.
        welcomed: bool,
    },
}

impl From<WireError> for SessionEnd {
    fn from(error: WireError) -> Self {
        SessionEnd::Lost { error, welcomed: false }
    }
}

impl<H: Fn() -> Hello + Send> Client<H> {
    /// Connects again and again, until the agent ends.
    pub(super) async fn run(&mut self) {
        let mut attempt = 0;
        loop {
            let (error, welcomed) = match self.session().await {
                SessionEnd::Done => return,
                SessionEnd::Lost { error, welcomed } => (error, welcomed),
            };
            attempt = if welcomed { 0 } else { attempt + 1 };
            let refused = matches!(error, WireError::Refused(_));
            self.tell(&error, welcomed, refused, attempt);
            if refused || attempt == DOUBTED_AT {
                self.connector.doubt();
            }
            let pause = if refused { jitter(REFUSED_PAUSE) } else { pause(attempt) };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.absorb() => return,
            }
        }
    }

    /// One line per outage, not one per attempt.
    fn tell(&self, error: &WireError, welcomed: bool, refused: bool, attempt: u32) {
        let reason = in_full(error);
        if refused {
            tracing::error!(reason, "the controller refuses this agent");
        } else if welcomed {
            tracing::warn!(reason, "lost the controller; what runs goes on, and restarts when it crashes");
        } else if attempt == 3 {
            tracing::warn!(reason, "cannot reach the controller; trying on");
        } else {
            tracing::debug!(reason, attempt, "cannot reach the controller");
        }
    }

    /// Takes in what the agent says while there is no connection, so that it never waits for one. Ends if the agent does.
    async fn absorb(&mut self) {
        while let Some(message) = self.outgoing.recv().await {
            self.outbox.push(message);
            self.outbox.drop_logs();
        }
    }

    async fn session(&mut self) -> SessionEnd {
        match self.greet().await {
            Ok((sender, inbound, heartbeat)) => self.converse(sender, inbound, heartbeat).await,
            Err(end) => end,
        }
    }

    /// Dials and exchanges hello and welcome.
    async fn greet(&mut self) -> Result<(mpsc::Sender<proto::FromAgent>, Streaming<proto::ToAgent>, Duration), SessionEnd> {
        let connector = self.connector.clone();
        let channel = tokio::select! {
            channel = timeout(SILENCE, dial(connector)) => channel.map_err(|_| silent())??,
            () = self.absorb() => return Err(SessionEnd::Done),
        };
        while let Ok(message) = self.outgoing.try_recv() {
            self.outbox.push(message);
        }
        let hello = (self.hello)();
        self.outbox.begin_with(&hello);
        let (sender, receiver) = mpsc::channel(SENDING_MAX);
        let first = proto::from_agent::Message::Hello(Box::new(convert::hello_to_proto(&hello, self.version)));
        sender.send(proto::FromAgent { message: Some(first) }).await.map_err(|_| WireError::Closed)?;
        let mut agents =
            AgentsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answer = async move {
            let mut inbound =
                agents.connect(ReceiverStream::new(receiver)).await.map_err(|status| refusal(&status))?.into_inner();
            let first = inbound.message().await.map_err(|status| refusal(&status))?;
            Ok::<_, WireError>((inbound, first.ok_or(WireError::Closed)?))
        };
        let (inbound, first) = tokio::select! {
            answer = timeout(SILENCE, answer) => answer.map_err(|_| silent())??,
            () = self.absorb() => return Err(SessionEnd::Done),
        };
        let Told::Message(welcome @ ToAgent::Welcome { heartbeat, .. }) = convert::to_agent(first).map_err(WireError::from)?
        else {
            return Err(WireError::Refused("the controller's first word was not a welcome".to_owned()).into());
        };
        tracing::info!("connected to the controller");
        self.incoming.send(welcome).await.map_err(|_| SessionEnd::Done)?;
        Ok((sender, inbound, heartbeat.clamp(Duration::from_millis(10), HEARTBEAT)))
    }

    /// Both directions at once, until one of them ends.
    async fn converse(
        &mut self,
        sender: mpsc::Sender<proto::FromAgent>,
        inbound: Streaming<proto::ToAgent>,
        heartbeat: Duration,
    ) -> SessionEnd {
        let version = self.version;
        let (outgoing, outbox, incoming) = (&mut self.outgoing, &mut self.outbox, &self.incoming);
        tokio::select! {
            end = read(inbound, incoming) => end,
            end = write(outgoing, outbox, &sender, heartbeat, version) => end,
        }
    }
}

/// Hands on what the controller says, with the templates put into the assignment that they came before.
async fn read(mut inbound: Streaming<proto::ToAgent>, incoming: &mpsc::Sender<ToAgent>) -> SessionEnd {
    let lost = |error| SessionEnd::Lost { error, welcomed: true };
    let mut templates: BTreeMap<TemplateHash, Arc<PodSnapshot>> = BTreeMap::new();
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return lost(WireError::Closed),
            Err(status) => return lost(refusal(&status)),
        };
        let message = match convert::to_agent(message) {
            Err(error) => return lost(error.into()),
            Ok(Told::Template(snapshot)) => {
                templates.insert(snapshot.hash.clone(), Arc::from(snapshot));
                continue;
            }
            Ok(Told::Message(ToAgent::Assign(assignment))) => {
                let templates = std::mem::take(&mut templates);
                ToAgent::Assign(Arc::new(Assignment { templates, ..Arc::unwrap_or_clone(assignment) }))
            }
            Ok(Told::Message(message)) => message,
        };
        if incoming.send(message).await.is_err() {
            return SessionEnd::Done;
        }
    }
}

/// Sends what the agent says, merged while the network is slower than the agent, and a heartbeat at every period.
async fn write(
    outgoing: &mut mpsc::Receiver<FromAgent>,
    outbox: &mut AgentOutbox,
    sender: &mpsc::Sender<proto::FromAgent>,
    heartbeat: Duration,
    version: Version,
) -> SessionEnd {
    let mut beat = interval(heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = outgoing.recv(), if !outbox.is_full() => match message {
                Some(message) => outbox.push(message),
                None => return SessionEnd::Done,
            },
            _ = beat.tick() => outbox.heartbeat_due = true,
            permit = sender.reserve(), if !outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(message) = outbox.pop(clock::boot()) {
                        permit.send(convert::from_agent_to_proto(&message, version));
                    }
                }
                Err(_) => return SessionEnd::Lost { error: WireError::Closed, welcomed: true },
            },
        }
    }
}

async fn dial(connector: Connector) -> Result<Channel, WireError> {
    let away = |source| WireError::Io { what: "the controller cannot be reached".to_owned(), source };
    channel(connector.connect().await.map_err(away)?).await
}

/// Speaks HTTP/2 over one connection, and notices when it is dead.
pub(super) async fn channel(io: Io) -> Result<Channel, WireError> {
    let pings = SILENCE / 2;
    // The address is never resolved: the connector knows the way.
    let endpoint = Endpoint::from_static("http://controller")
        .http2_keep_alive_interval(pings)
        .keep_alive_timeout(pings)
        .keep_alive_while_idle(true);
    // One connection is one session: a new one begins with a hello.
    let mut io = Some(io);
    let open = tower::service_fn(move |_| {
        let io = io.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        std::future::ready(io.map(TokioIo::new))
    });
    Ok(endpoint.connect_with_connector(open).await?)
}

/// What a status means: words of the controller, or the loss of the connection.
pub(super) fn refusal(status: &Status) -> WireError {
    let words = status.message().to_owned();
    if matches!(
        status.code(),
        Code::FailedPrecondition | Code::InvalidArgument | Code::Aborted | Code::PermissionDenied | Code::Unauthenticated
    ) {
        return WireError::Refused(words);
    }
    WireError::Io { what: "the connection broke".to_owned(), source: std::io::Error::other(words) }
}

pub(super) fn silent() -> WireError {
    WireError::Io { what: "the controller does not answer".to_owned(), source: std::io::ErrorKind::TimedOut.into() }
}

/// The pause before the next attempt: it doubles, and is jittered so that a fleet does not come back in step.
fn pause(attempt: u32) -> Duration {
    let (first, longest) = PAUSES;
    jitter(first.saturating_mul(1 << attempt.min(10)).min(longest))
}

/// Between half of `pause` and all of it.
pub(crate) fn jitter(pause: Duration) -> Duration {
    // The standard library's only source of chance; which bits come is of no consequence.
    let chance = u32::try_from(RandomState::new().hash_one(0) % 1_000).unwrap_or(0);
    pause / 2 + pause / 2 * chance / 1_000
}

#[cfg(test)]
impl<H: Fn() -> Hello + Send> Client<H> {
    /// One attempt, and the words of the refusal that it must meet.
    pub(super) async fn refusal(&mut self) -> String {
        let error = self.failure().await;
        if let WireError::Refused(words) = &error { words.clone() } else { panic!("not refused: {}", in_full(&error)) }
    }

    /// One attempt, and the error that it must end with.
    pub(super) async fn failure(&mut self) -> WireError {
        match self.session().await {
            SessionEnd::Lost { error, .. } => error,
            SessionEnd::Done => panic!("the agent ended"),
        }
    }
}
