//! The connection: where the Engine is, which version of its API we speak, and what its errors mean.

use super::network;
use super::wire::{self, ReadError};
use crate::agent::runtime::{Bridge, RuntimeError, RuntimeEvent};
use crate::causes::in_full;
use crate::model::{Cidr, RuntimeKind};
use bollard::errors::Error as BollardError;
use bollard::{BollardRequest, ClientVersion, Docker as Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, broadcast};

/// To whoever watches.
pub(super) type Warnings = broadcast::Sender<RuntimeEvent>;

/// Where the Engine listens unless `DOCKER_HOST` says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The oldest version that has what we use (Engine 20.10).
const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// The version that we speak where the Engine lets us: the oldest one that Engine 29 still answers.
const PREFERRED: ApiVersion = ApiVersion { major: 1, minor: 44 };

/// Seconds until the Engine must have begun to answer, unless a call says otherwise.
pub(super) const ANSWER_SECONDS: u64 = 120;

/// The socket that `DOCKER_HOST` (or its absence) means.
///
/// # Errors
/// [`RuntimeError::Unavailable`] if it names another transport than a Unix socket.
pub fn socket_of(docker_host: Option<&str>) -> Result<PathBuf, RuntimeError> {
    match docker_host.map(str::trim) {
        None | Some("") => Ok(PathBuf::from(DEFAULT_SOCKET)),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
            _ => Err(unavailable(format!(
                "DOCKER_HOST is {host}, and only Unix sockets (unix:///path) are supported, since an agent must be on the host of \
                 its containers; run the agent there, or unset DOCKER_HOST"
            ))),
        },
    }
}

/// A version of the Engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion {
    major: usize,
    minor: usize,
}

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// What to put before every path.
    fn prefix(self) -> String {
        format!("/v{}.{}", self.major, self.minor)
    }
}

/// `GET /version`, as far as we read it.
#[derive(Debug, Deserialize)]
struct EngineVersion {
    #[serde(rename = "Version", default)]
    version: String,
    #[serde(rename = "ApiVersion")]
    api: String,
    #[serde(rename = "MinAPIVersion", default)]
    api_min: String,
}

/// `GET /info`, as far as we read it.
#[derive(Debug, Deserialize)]
struct Info {
    #[serde(rename = "SecurityOptions", default)]
    security: Option<Vec<String>>,
    #[serde(rename = "DockerRootDir", default)]
    data: PathBuf,
}

/// An agreed connection.
#[derive(Debug)]
pub(super) struct Session {
    /// For calls that change something, and for streams.
    pub(super) client: Client,
    pub(super) engine_version: String,
    /// Our network, or why it is not there: what runs can be seen without it.
    pub(super) network: Result<Bridge, RuntimeError>,
    socket: PathBuf,
    api: ApiVersion,
}

impl Session {
    /// The Engine's address on our network.
    pub(super) fn gateway(&self) -> Option<IpAddr> {
        self.network.as_ref().ok().and_then(|bridge| bridge.gateway)
    }

    /// The version of the API that is spoken, as `1.44`.
    pub(super) fn api(&self) -> String {
        format!("{}.{}", self.api.major, self.api.minor)
    }

    /// Reads leniently. `path` is without version.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ReadError> {
        wire::get(&self.socket, &format!("{}{path}", self.api.prefix())).await
    }
}

/// The Engine, connected or not.
#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    cluster: String,
    current: Mutex<Option<Arc<Session>>>,
    /// The addresses that our network is to have.
    range: Mutex<Option<Cidr>>,
    /// What was last said to be wrong with our network.
    trouble: Mutex<Option<String>>,
    /// Where it last said that its images and containers are.
    data: Mutex<Option<PathBuf>>,
    warnings: Warnings,
    /// One at a time connects, so that our network is made once.
    connecting: AsyncMutex<()>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf, cluster: String, warnings: Warnings) -> Self {
        let (current, range, trouble, data) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        Self { socket, cluster, current, range, trouble, data, warnings, connecting: AsyncMutex::new(()) }
    }

    /// Another range makes the next call look at the network again.
    pub(super) fn use_range(&self, range: Cidr) {
        let before = self.range.lock().unwrap_or_else(PoisonError::into_inner).replace(range);
        if before != Some(range) {
            self.forget();
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The session in use, if there is one.
    pub(super) fn current(&self) -> Option<Arc<Session>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The session in use, or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, RuntimeError> {
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let _one = self.connecting.lock().await;
        if let Some(session) = self.current() {
            return Ok(session);
        }
        loop {
            let range = self.range();
            let session = Arc::new(self.connect(range).await?);
            // Another one may have been given meanwhile.
            if self.range() == range {
                self.set(Some(Arc::clone(&session)));
                return Ok(session);
            }
        }
    }

    /// Where its images and containers are, as it last said: an Engine that is away has not moved them.
    pub(super) fn data(&self) -> Option<PathBuf> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn range(&self) -> Option<Cidr> {
        *self.range.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the session: the next call connects anew.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, session: Option<Arc<Session>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    async fn connect(&self, range: Option<Cidr>) -> Result<Session, RuntimeError> {
        let mut session = self.reach().await?;
        session.network = match network::ensure(self, &session, &self.cluster, range).await {
            Err(error @ RuntimeError::Unavailable { .. }) => return Err(error),
            outcome => outcome,
        };
        self.tell_trouble(&session.network);
        if let Ok(info) = session.get::<Info>("/info").await {
            warn_if_rootless(&info);
            *self.data.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.data).filter(|data| data.is_absolute());
        }
        tracing::debug!(engine = session.engine_version, api = ?session.api, "connected to the Docker Engine");
        Ok(session)
    }

    /// The session in use, with our network as it should be: one that is not is looked at again.
    pub(super) async fn session_with_network(&self) -> Result<Arc<Session>, RuntimeError> {
        let session = self.session().await?;
        if session.network.as_ref().is_ok_and(|bridge| bridge.trouble.is_none()) {
            return Ok(session);
        }
        self.forget();
        let session = self.session().await?;
        session.network.as_ref().map_err(RuntimeError::clone)?;
        Ok(session)
    }

    /// Each trouble is said once.
    fn tell_trouble(&self, network: &Result<Bridge, RuntimeError>) {
        let trouble = match network {
            Ok(bridge) => bridge.trouble.clone(),
            Err(error) => Some(error.to_string()),
        };
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = trouble.clone().filter(|_| *told != trouble) {
            tracing::warn!("{message}");
            // Nobody listens where there is no agent.
            let _ = self.warnings.send(RuntimeEvent::Warning { reason: "PodNetworkNotReady", message });
        }
        *told = trouble;
    }

    /// A session of one's own, for calls that need no network: nothing is made for it.
    pub(super) async fn reach(&self) -> Result<Session, RuntimeError> {
        let answer: EngineVersion =
            wire::get(&self.socket, "/version").await.map_err(|error| self.read_failed("asking for its version", error))?;
        let api = agree(&answer)?;
        let client = client(&self.socket, api).map_err(|error| self.failed("connecting", &error))?;
        let network = Err(unavailable("its network was not looked at".to_owned()));
        Ok(Session { client, engine_version: answer.version, network, socket: self.socket.clone(), api })
    }

    pub(super) async fn remove_network(&self) -> Result<(), RuntimeError> {
        let session = self.session().await?;
        network::remove(self, &session, &self.cluster).await?;
        self.forget();
        Ok(())
    }

    /// Sorts an error of a read.
    pub(super) fn read_failed(&self, action: &str, error: ReadError) -> RuntimeError {
        match error {
            ReadError::Connect(error) => self.gone(&error),
            ReadError::Timeout | ReadError::Broken(_) => self.lost(&error.to_string()),
            ReadError::Refused { status, message } => sort(action, status.as_u16(), message),
            ReadError::Answer(_) => RuntimeError::Failed { action: action.to_owned(), message: error.to_string() },
        }
    }

    /// Sorts an error of any other call, and forgets the session if the Engine is gone.
    pub(super) fn failed(&self, action: &str, error: &BollardError) -> RuntimeError {
        if let BollardError::DockerResponseServerError { status_code, message } = error {
            return sort(action, *status_code, message.clone());
        }
        let lost = matches!(
            error,
            BollardError::IOError { .. }
                | BollardError::HyperResponseError { .. }
                | BollardError::HyperLegacyError { .. }
                | BollardError::RequestTimeoutError
                | BollardError::SocketNotFoundError(_)
        );
        if lost {
            self.lost(&in_full(error))
        } else {
            RuntimeError::Failed { action: action.to_owned(), message: in_full(error) }
        }
    }

    fn gone(&self, error: &std::io::Error) -> RuntimeError {
        self.forget();
        let socket = self.socket.display();
        let kind = error.kind();
        unavailable(if kind == ErrorKind::NotFound {
            format!("there is no socket {socket}; is Docker installed and dockerd running? DOCKER_HOST names another socket")
        } else if kind == ErrorKind::PermissionDenied {
            format!("this user may not use {socket}; add it to the group docker (`usermod -aG docker USER`), or run as root")
        } else if kind == ErrorKind::ConnectionRefused {
            format!("nobody answers at {socket}; is dockerd running?")
        } else {
            format!("cannot connect to {socket}: {error}")
        })
    }

    /// It is there, and does not answer.
    pub(super) fn silent(&self) -> RuntimeError {
        unavailable(format!("the Docker Engine at {} does not answer", self.socket.display()))
    }

    fn lost(&self, reason: &str) -> RuntimeError {
        self.forget();
        unavailable(format!("the Docker Engine at {} was lost: {reason}", self.socket.display()))
    }
}

/// A rootless Engine keeps its containers in a network of its own, which this host cannot reach. Pods run there; probes and Services
/// do not work, and that should not have to be found out.
fn warn_if_rootless(info: &Info) {
    if info.security.iter().flatten().any(|option| option.contains("rootless")) {
        tracing::warn!(
            "the Docker Engine is rootless: its containers' addresses cannot be reached from this host, so that Services and \
             network probes will fail; use a rootful Engine"
        );
    }
}

fn unavailable(message: String) -> RuntimeError {
    RuntimeError::Unavailable { runtime: RuntimeKind::Docker, message }
}

/// What a refusal of the Engine means.
fn sort(action: &str, status: u16, message: String) -> RuntimeError {
    if message.contains("no space left on device") {
        // The Engine knows the path, we don't: its data root, by default.
        return RuntimeError::NoSpace { path: "the Docker Engine (usually /var/lib/docker)".to_owned() };
    }
    match status {
        400 | 409 => RuntimeError::Refused { message },
        _ if is_launch_fault(&message) => RuntimeError::Refused { message },
        _ => RuntimeError::Failed { action: action.to_owned(), message },
    }
}

/// Mistakes of a launch that the Engine reports as its own (status 404 or 500).
fn is_launch_fault(message: &str) -> bool {
    [
        "OCI runtime create failed",
        "failed to create task",
        "port is already allocated",
        "address already in use",
        "executable file not found",
    ]
    .iter()
    .any(|fault| message.contains(fault))
}

/// The version to speak: the preferred one, or the nearest that the Engine has.
fn agree(engine: &EngineVersion) -> Result<ApiVersion, RuntimeError> {
    let newest = ApiVersion::parse(&engine.api).ok_or_else(|| {
        unavailable(format!("what listens there calls its API version {:?}; is it a Docker Engine?", engine.api))
    })?;
    if newest < OLDEST {
        let version = &engine.version;
        return Err(unavailable(format!("Docker Engine {version} is too old (API {}); 20.10 or newer is needed", engine.api)));
    }
    let oldest = ApiVersion::parse(&engine.api_min).unwrap_or(OLDEST);
    Ok(newest.min(PREFERRED.max(oldest)))
}

/// bollard keeps a version and does not send it (its issue 736): its paths are absolute, and joining them to the base drops the
/// version. An Engine 29 then takes a request as of its own newest version. So every path gets it here.
fn client(socket: &Path, api: ApiVersion) -> Result<Client, BollardError> {
    let version = ClientVersion { major_version: api.major, minor_version: api.minor };
    let client = Client::connect_with_unix(&socket.to_string_lossy(), ANSWER_SECONDS, &version)?;
    Ok(client.with_request_modifier(move |request| with_version(request, &api.prefix())))
}

fn with_version(mut request: BollardRequest, prefix: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
    // A bollard that sends the version itself must not get it twice.
    if !path.starts_with("/v1.") {
        // It was a valid path before, and the prefix is plain ASCII.
        parts.path_and_query = format!("{prefix}{path}").parse().ok();
        if let Ok(uri) = hyper::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(api: &str, min: &str) -> Result<String, String> {
        let engine = EngineVersion { version: "x".to_owned(), api: api.to_owned(), api_min: min.to_owned() };
        agree(&engine).map(|version| version.prefix()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_version_is_one_that_both_speak() {
        assert_eq!(agreed("1.41", "1.12").unwrap(), "/v1.41", "Engine 20.10");
        assert_eq!(agreed("1.52", "1.44").unwrap(), "/v1.44", "Engine 29");
        assert_eq!(agreed("1.60", "1.50").unwrap(), "/v1.50", "an Engine to come");
        assert_eq!(agreed("1.41", "").unwrap(), "/v1.41", "Podman names no minimum");
        assert!(agreed("1.40", "1.12").unwrap_err().contains("20.10 or newer"));
        assert!(agreed("banana", "").unwrap_err().contains("is it a Docker Engine?"));
    }

    #[test]
    fn docker_host_names_a_unix_socket() {
        assert_eq!(socket_of(None).unwrap(), PathBuf::from("/var/run/docker.sock"));
        assert_eq!(socket_of(Some("")).unwrap(), PathBuf::from("/var/run/docker.sock"));
        assert_eq!(socket_of(Some("unix:///run/user/1000/docker.sock")).unwrap(), PathBuf::from("/run/user/1000/docker.sock"));
        assert!(socket_of(Some("tcp://10.0.0.1:2375")).unwrap_err().to_string().contains("only Unix sockets"));
    }

    #[test]
    fn the_version_is_put_before_every_path_once() {
        let request = |uri: &str| {
            let request = hyper::Request::get(uri).body(bollard::body_full(bytes::Bytes::new())).unwrap();
            with_version(request, "/v1.41").uri().to_string()
        };
        assert_eq!(request("unix://2f76/containers/create?name=a"), "unix://2f76/v1.41/containers/create?name=a");
        assert_eq!(request("unix://2f76/v1.44/info"), "unix://2f76/v1.44/info");
    }
}
