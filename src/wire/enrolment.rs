//! How a host becomes a node, and a node gets its next certificate: the one thing that needs no certificate.

use super::proto::enrolment_client::EnrolmentClient;
use super::proto::enrolment_server::{Enrolment, EnrolmentServer};
use super::server::LinkEvent;
use super::tls::{self, Gate, Verdict};
use super::{PROTOCOL, Version, WireError, client, proto};
use crate::clock;
use crate::model::{JoinRefusal, KeyFingerprint, Moment, NodeName};
use crate::trust::{self, Credentials, Membership, NodeIdentity, Request as Signed, Token, TokenSecret, TrustError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status};

/// A request is small: a name, a key, a token.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How long the controller may take to write down who has joined.
const DECISION: Duration = Duration::from_secs(10);

/// Clocks may differ by so much.
const CLOCK_MAX: Duration = Duration::from_secs(300);

/// A host wants to be a node, or a node wants its next certificate. It has proven that it has the key.
#[derive(Debug)]
pub struct JoinAsk {
    /// The name that it wants.
    pub node: NodeName,
    /// Its key.
    pub key: KeyFingerprint,
    /// What it shows if its key is not on record.
    pub token: Option<TokenSecret>,
}

/// Where the answer to a [`JoinAsk`] goes.
pub type JoinAnswer = oneshot::Sender<Result<(), JoinRefusal>>;

/// The controller's side.
#[derive(Debug, Clone)]
pub(super) struct Registrar {
    gate: Gate,
    events: mpsc::Sender<LinkEvent>,
}

impl Registrar {
    pub(super) fn service(gate: Gate, events: mpsc::Sender<LinkEvent>) -> EnrolmentServer<Self> {
        EnrolmentServer::new(Self { gate, events }).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn decide(&self, request: proto::JoinRequest) -> Result<Credentials, JoinRefusal> {
        let signed = Signed::read(&request.request).map_err(|error| JoinRefusal::NotNow(error.to_string()))?;
        check_clock(Moment(request.clock_ms), clock::wall())?;
        let node = NodeName::new(request.node);
        if !node.is_label() {
            return Err(JoinRefusal::BadName);
        }
        let token = request.token.map(|token| TokenSecret::new(token.id, token.secret));
        let ending = || JoinRefusal::NotNow("it is ending".to_owned());
        let (answer, answered) = oneshot::channel();
        let ask = JoinAsk { node: node.clone(), key: signed.key(), token };
        self.events.send(LinkEvent::Join { ask, answer }).await.map_err(|_| ending())?;
        timeout(DECISION, answered)
            .await
            .map_err(|_| JoinRefusal::NotNow("it did not decide in time".to_owned()))?
            .map_err(|_| ending())??;
        self.gate.issue(&node, &signed).map_err(|error| {
            tracing::error!(%node, error = %error, "no certificate could be made");
            JoinRefusal::NotNow("it could not make a certificate".to_owned())
        })
    }
}

#[tonic::async_trait]
impl Enrolment for Registrar {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::JoinAnswer>, Status> {
        let request = request.into_inner();
        let theirs = request.version.map_or(Version { major: 0, minor: 0 }, Version::from);
        super::server::check_version(theirs).map_err(Status::failed_precondition)?;
        let node = request.node.clone();
        let answer = match self.decide(request).await {
            Ok(credentials) => proto::join_answer::Answer::Certificate(certificate_to_proto(&credentials)),
            Err(refusal) => {
                tracing::warn!(node, "a host was not let in: {refusal}");
                proto::join_answer::Answer::Refusal(proto::Refusal {
                    message: refusal.to_string(),
                    hint: refusal.hint().unwrap_or_default(),
                    temporary: refusal.may_pass(),
                })
            }
        };
        Ok(Response::new(proto::JoinAnswer { answer: Some(answer) }))
    }
}

fn check_clock(theirs: Moment, ours: Moment) -> Result<(), JoinRefusal> {
    let by = Duration::from_millis(theirs.0.abs_diff(ours.0));
    if by > CLOCK_MAX { Err(JoinRefusal::Clock { by, ahead: theirs > ours }) } else { Ok(()) }
}

fn certificate_to_proto(credentials: &Credentials) -> proto::Certificate {
    let bytes = |certificates: &[CertificateDer<'_>]| certificates.iter().map(|one| one.to_vec()).collect();
    proto::Certificate { chain: bytes(&credentials.chain), roots: bytes(&credentials.roots) }
}

/// Why a host was not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The controller is not there, or cannot answer yet: worth trying again.
    #[error("the controller at {address} cannot be reached")]
    Away {
        /// Where it was looked for.
        address: String,
        /// Why.
        #[source]
        source: WireError,
    },
    /// The controller says no: its words.
    #[error("the controller does not let this host in: {message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: String,
        /// Whether it may change its mind by itself.
        temporary: bool,
    },
    /// The clocks differ too much.
    #[error("the controller's certificate is not valid now: {0}")]
    Clock(JoinRefusal),
    /// Another controller than the one that made the token answers there.
    #[error("the controller at {address} is not the one that the token was made by: its certificate authority is another one")]
    WrongAuthority {
        /// Where it was looked for.
        address: String,
    },
    /// Key or certificate cannot be used.
    #[error("the identity of this node cannot be used")]
    Trust(#[from] TrustError),
}

impl JoinError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            JoinError::Away { .. } => Some("is `driftless controller` running there, and port 7781 open between the hosts?".to_owned()),
            JoinError::Refused { hint, .. } => Some(hint.clone()).filter(|hint| !hint.is_empty()),
            JoinError::Clock(refusal) => refusal.hint(),
            JoinError::WrongAuthority { .. } => Some(
                "check --controller; if it is right, make a new token on that very machine (`driftless token create`): this one is of \
                 another cluster, or of before its state was lost"
                    .to_owned(),
            ),
            JoinError::Trust(error) => error.hint(),
        }
    }

    /// Whether it is worth trying again without doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, JoinError::Away { .. } | JoinError::Refused { temporary: true, .. })
    }
}

/// A host that joins a cluster, and later renews its certificate.
#[derive(Debug)]
pub struct Applicant {
    /// Its name.
    pub node: NodeName,
    /// Its key, and where its certificate is kept.
    pub membership: Membership,
    /// Where the controller is looked for (`HOST:PORT`), in this order.
    pub addresses: Vec<String>,
    /// What lets it in the first time.
    pub token: Option<Token>,
}

impl Applicant {
    /// Asks for a certificate at each address until one answers, and keeps it. `known` is the identity that this host has already.
    ///
    /// # Errors
    /// The last address' reason.
    pub async fn join(&self, known: Option<&NodeIdentity>) -> Result<Credentials, JoinError> {
        let mut last = None;
        for address in &self.addresses {
            match self.join_at(address, known).await {
                Ok(credentials) => {
                    self.membership.keep(&credentials)?;
                    return Ok(credentials);
                }
                Err(error) if error.may_pass() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let nowhere = || WireError::Address("no address of a controller is given".to_owned());
        Err(last.unwrap_or_else(|| JoinError::Away { address: String::new(), source: nowhere() }))
    }

    async fn join_at(&self, address: &str, known: Option<&NodeIdentity>) -> Result<Credentials, JoinError> {
        let by_known = known.map(|identity| trust::controller_config(identity, false)).transpose()?;
        let by_token = self.token.as_ref().map(|token| trust::pinned_config(token.authority)).transpose()?;
        let (first, second) = match (by_known, by_token) {
            (Some(known), token) => (known, token),
            (None, Some(token)) => (token, None),
            (None, None) => {
                let refusal = JoinRefusal::NoToken(self.node.clone());
                let hint = refusal.hint().unwrap_or_default();
                return Err(JoinError::Refused { message: refusal.to_string(), hint, temporary: false });
            }
        };
        match (self.ask(address, first).await, second) {
            // The cluster was built anew, and whoever gave us the token vouches for it.
            (Err(JoinError::WrongAuthority { .. }), Some(second)) => self.ask(address, second).await,
            (outcome, _) => outcome,
        }
    }

    async fn ask(&self, address: &str, config: ClientConfig) -> Result<Credentials, JoinError> {
        let address = address.to_owned();
        let io = tls::dial(&address, Arc::new(config)).await.map_err(|source| match tls::verdict(&source) {
            Some(Verdict::Clock(refusal)) => JoinError::Clock(refusal),
            Some(Verdict::WrongAuthority | Verdict::UnknownAuthority) => JoinError::WrongAuthority { address: address.clone() },
            None => JoinError::Away {
                address: address.clone(),
                source: WireError::Io { what: "the way there failed".to_owned(), source },
            },
        })?;
        let away = |source: WireError| JoinError::Away { address: address.clone(), source };
        let channel = client::channel(io).await.map_err(away)?;
        let request = proto::JoinRequest {
            version: Some(PROTOCOL.into()),
            node: self.node.to_string(),
            request: self.membership.request()?,
            token: self
                .token
                .as_ref()
                .map(|token| proto::JoinToken { id: token.secret.id.clone(), secret: token.secret.expose().to_vec() }),
            clock_ms: clock::wall().0,
        };
        let mut enrolment = EnrolmentClient::new(channel);
        let answer = timeout(DECISION * 2, enrolment.join(request)).await;
        let answer = answer.map_err(|_| away(client::silent()))?.map_err(|status| refused_or_away(&status, &away))?;
        read(answer.into_inner())
    }
}

fn refused_or_away(status: &Status, away: &impl Fn(WireError) -> JoinError) -> JoinError {
    let error = client::refusal(status);
    if matches!(error, WireError::Refused(_)) {
        return JoinError::Refused { message: error.to_string(), hint: String::new(), temporary: false };
    }
    away(error)
}

fn read(answer: proto::JoinAnswer) -> Result<Credentials, JoinError> {
    use proto::join_answer::Answer;
    let owned = |bytes: Vec<Vec<u8>>| bytes.into_iter().map(CertificateDer::from).collect();
    match answer.answer {
        Some(Answer::Certificate(certificate)) => {
            Ok(Credentials { chain: owned(certificate.chain), roots: owned(certificate.roots) })
        }
        Some(Answer::Refusal(proto::Refusal { message, hint, temporary })) => {
            Err(JoinError::Refused { message, hint, temporary })
        }
        None => Err(JoinError::Refused { message: "it said nothing".to_owned(), hint: String::new(), temporary: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little_and_more_is_told_in_words() {
        let noon = Moment(1_800_000_000_000);
        let away = Duration::from_secs(299);
        assert_eq!(check_clock(noon + away, noon), Ok(()));
        assert_eq!(check_clock(noon - away, noon), Ok(()));
        let words = |theirs| check_clock(theirs, noon).expect_err("refused").to_string();
        assert_eq!(words(noon + Duration::from_secs(7_200)), "the clock of this host is 2 h ahead of that of the controller");
        assert_eq!(words(noon - Duration::from_secs(600)), "the clock of this host is 10 min behind that of the controller");
    }
}
