//! The demo's cluster: `driftless up` as a process of its own, looked at through its read-only API.

use super::DemoArgs;
use super::load;
use super::narrator::Narrator;
use super::repo::DemoRepo;
use crate::agent::launch::Folders;
use crate::agent::runtime::docker::{Docker, DockerSettings, socket_of};
use crate::cli::client::{Client, Form, ServerArgs};
use crate::cli::{CliError, CliResult, node};
use crate::clock;
use crate::model::NodeName;
use bollard::query_parameters::KillContainerOptionsBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long a step may take: reached only if something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where status listens unless somebody else does.
const USUAL_PORT: u16 = 7780;

/// The running cluster.
pub(super) struct Cluster {
    child: Child,
    log: PathBuf,
    state: PathBuf,
    server: ServerArgs,
    name: String,
    client: Client,
    docker_host: Option<String>,
}

/// What the API says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodSeen {
    pub(super) name: String,
    pub(super) ready: bool,
    pub(super) restarts: u64,
    /// `process://pid:start` or `docker://id`
    pub(super) container: String,
}

impl Cluster {
    /// Starts `driftless up` on the demo's repo and waits for its status to answer.
    pub(super) async fn start(folder: &Path, repo: &DemoRepo, args: &DemoArgs) -> CliResult<Self> {
        let failed = |what: &'static str| move |error: std::io::Error| CliError::with_source(what, error);
        let program = std::env::current_exe().map_err(failed("cannot find this program"))?;
        let (log, state) = (folder.join("driftless.log"), folder.join("state"));
        let output = File::create(&log).map_err(failed("cannot write the log"))?;
        let server = ServerArgs { server: format!("127.0.0.1:{}", free_port()?) };
        let name = format!("demo-{}", std::process::id());
        let child = Command::new(&program)
            .arg("up")
            .arg("--repo")
            .arg(repo.bare_dir())
            .args(["--cluster", &name, "--listen", &server.server, "--runtime", args.runtime.as_str()])
            .arg("--state-dir")
            .arg(&state)
            // It leaves nothing behind, and so no rules of the kernel.
            .args(["--service-cidr", "loopback"])
            .env("PATH", path_with(&program))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed("cannot write the log"))?)
            .stderr(output)
            .spawn()
            .map_err(failed("cannot start driftless up"))?;
        let client = Client::new(&server);
        let cluster = Self { child, log, state, server, name, client, docker_host: args.docker_host.clone() };
        cluster.wait("status answers", async || cluster.get("/driftless/v1/status").await).await?;
        Ok(cluster)
    }

    /// Where its page is.
    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// Its audit branch.
    pub(super) fn audit_branch(&self) -> String {
        format!("driftless/audit-{}", self.name)
    }

    /// What the API says at this path.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        self.client.get(path, Form::Json).await.map_err(|error| error.to_string())
    }

    /// The pods of the shop whose name starts with `prefix`.
    pub(super) async fn pods(&self, prefix: &str) -> Result<Vec<PodSeen>, String> {
        let list = self.get("/api/v1/namespaces/shop/pods").await?;
        let items = list["items"].as_array().ok_or("the list of pods has no items")?;
        Ok(items.iter().map(pod_seen).filter(|pod| pod.name.starts_with(prefix)).collect())
    }

    /// Exactly `count` pods whose name starts with `prefix`, all ready.
    pub(super) async fn ready_pods(&self, prefix: &str, count: usize) -> Result<Vec<PodSeen>, String> {
        let pods = self.pods(prefix).await?;
        let ready = pods.iter().filter(|pod| pod.ready).count();
        if ready == count && pods.len() == count {
            return Ok(pods);
        }
        let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        Err(format!("{ready} of {} pods of {prefix} are ready, {count} wanted: {}", pods.len(), names.join(" ")))
    }

    /// The URL of a Service of the shop.
    pub(super) async fn service_url(&self, name: &str) -> Result<String, String> {
        let service = self.get(&format!("/api/v1/namespaces/shop/services/{name}")).await?;
        let address = service["spec"]["clusterIP"].as_str().ok_or_else(|| format!("{name} has no address yet"))?;
        Ok(format!("http://{address}:{}/", service["spec"]["ports"][0]["port"]))
    }

    /// What a Service of the shop answers.
    pub(super) async fn ask(&self, service: &str) -> Result<String, String> {
        let url = self.service_url(service).await?;
        load::ask_once(&url).await
    }

    /// Polls until `check` succeeds; the error has the last state and the end of the log.
    pub(super) async fn wait<T>(&self, what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> CliResult<T> {
        let start = clock::now();
        loop {
            match check().await {
                Ok(value) => return Ok(value),
                Err(state) if clock::now().since(start) > PATIENCE => {
                    let error = CliError::with_source(format!("not seen within {} s: {what}", PATIENCE.as_secs()), state);
                    return Err(error.hint(format!("the end of the log:\n{}", self.log_tail())));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Kills the only container of a pod, as a crash would.
    pub(super) async fn kill(&self, pod: &PodSeen) -> CliResult<()> {
        if let Some(id) = pod.container.strip_prefix("docker://") {
            return kill_container(self.docker_host.as_deref(), id).await;
        }
        let pid = pod
            .container
            .strip_prefix("process://")
            .and_then(|rest| rest.split(':').next()?.parse().ok())
            .and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| CliError::new(format!("no process id in {:?}", pod.container)))?;
        kill_process(pid, Signal::KILL).map_err(|error| CliError::with_source(format!("cannot kill {}", pod.container), error))
    }

    /// Ends `driftless up`; pods are left as they are.
    pub(super) async fn stop(&mut self) -> CliResult<()> {
        let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap_or(0))) else { return Ok(()) };
        let ended = match kill_process(pid, Signal::TERM) {
            Ok(()) => tokio::time::timeout(PATIENCE, self.child.wait()).await.is_ok(),
            Err(_) => false,
        };
        if !ended {
            self.child.kill().await.map_err(|error| CliError::with_source("cannot end driftless up", error))?;
        }
        Ok(())
    }

    /// Removes the folder on tmpfs that pods of this cluster had their Secrets in. They and `driftless up` must be gone.
    pub(super) fn remove_run_folder(&self) -> CliResult<()> {
        let run = node::folders(&self.name, &self.state.join("agent"))?.run;
        std::fs::remove_dir_all(&run).map_err(|error| CliError::with_source(format!("cannot remove {}", run.display()), error))
    }

    /// Removes the network that the cluster's containers were on. They and `driftless up` must be gone.
    pub(super) async fn remove_network(&self) -> CliResult<()> {
        let socket = socket(self.docker_host.as_deref())?;
        let removed = Docker::new(settings(socket, &self.name)).remove_network().await;
        removed.map_err(|error| CliError::with_source("cannot remove the demo's network", error))
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn pod_seen(pod: &Value) -> PodSeen {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let conditions = pod["status"]["conditions"].as_array();
    let container = &pod["status"]["containerStatuses"][0];
    PodSeen {
        name: text(&pod["metadata"]["name"]),
        ready: conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")),
        restarts: container["restartCount"].as_u64().unwrap_or(0),
        container: text(&container["containerID"]),
    }
}

/// The search path with the folder of this program before it, so that the shop's processes find `driftless`.
fn path_with(program: &Path) -> OsString {
    let mut path = program.parent().map(OsString::from).unwrap_or_default();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// The usual port, or one that is free.
fn free_port() -> CliResult<u16> {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
    let address = bind(USUAL_PORT).or_else(|_| bind(0));
    address.map(|address| address.port()).map_err(|error| CliError::with_source("no free port on loopback", error))
}

/// Makes the shop's image of this program and imports it, so that no registry is needed.
pub(super) async fn import_image(docker_host: Option<&str>, narrator: &mut Narrator) -> CliResult<()> {
    let failed = |error| {
        CliError::with_source("cannot make the demo's image", error).hint("is a Docker Engine running? `docker version` tells")
    };
    let program = std::env::current_exe().map_err(|error| CliError::with_source("cannot find this program", error))?;
    let docker = Docker::new(settings(socket(docker_host)?, "demo"));
    let version = env!("CARGO_PKG_VERSION");
    docker.import_program("driftless/demo", version, &program).await.map_err(failed)?;
    narrator.saw(&format!("made and imported the image driftless/demo:{version} from this program"))
}

/// `docker kill`: as a crash, and not through the runtime that would know of it.
async fn kill_container(docker_host: Option<&str>, id: &str) -> CliResult<()> {
    let failed = |error| CliError::with_source(format!("cannot kill the container {id}"), error);
    let socket = socket(docker_host)?;
    let docker =
        bollard::Docker::connect_with_unix(&socket.to_string_lossy(), 10, bollard::API_DEFAULT_VERSION).map_err(failed)?;
    let options = KillContainerOptionsBuilder::new().signal("KILL").build();
    docker.kill_container(id, Some(options)).await.map_err(failed)
}

/// For images and the network alone: no container is started, and so no file is written.
fn settings(socket: PathBuf, cluster: &str) -> DockerSettings {
    let (cluster, name) = (cluster.to_owned(), NodeName::new("demo"));
    let folders = Folders { run: PathBuf::new(), state: PathBuf::new() };
    DockerSettings { socket, cluster, node: name, program: node::own_program(), folders }
}

fn socket(docker_host: Option<&str>) -> CliResult<PathBuf> {
    socket_of(docker_host).map_err(|error| CliError::with_source("there is no socket of a Docker Engine to use", error))
}
