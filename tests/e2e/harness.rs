//! A cluster of one in a temporary folder: a bare repo, a clone to push from, and `driftless up` as a child process.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a loaded machine; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub dir: TempDir,
    pub name: String,
    pub runtime: &'static str,
    pub port: u16,
    /// `--service-cidr`; nothing is asked for where it is empty. The rules of this machine's kernel are left alone: tests of virtual
    /// addresses have namespaces of their own.
    pub service_cidr: &'static str,
    /// Where agents of other hosts come in, if they may.
    pub agents: Option<u16>,
    /// The network namespace that status listens in; our own if `None`.
    pub network: Option<PathBuf>,
    /// Further options of `driftless up`.
    pub options: Vec<String>,
    /// As in `DOCKER_HOST`, for an Engine that is not the machine's.
    pub docker_host: Option<String>,
    up: Option<Child>,
}

impl Cluster {
    /// An empty bare repo and a clone of it; nothing runs yet.
    pub fn new(runtime: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("driftless-e2e-").tempdir().expect("a temporary folder");
        let name = format!(
            "e2e-{}",
            dir.path().file_name().expect("a name").to_string_lossy().rsplit('-').next().expect("a tail").to_lowercase()
        );
        let (service_cidr, options) = ("loopback", Vec::new());
        let (agents, network, docker_host) = (None, None, None);
        let cluster =
            Self { dir, name, runtime, port: free_port(), service_cidr, agents, network, options, docker_host, up: None };
        git(cluster.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "repo.git"]);
        git(cluster.dir.path(), &["clone", "--quiet", "repo.git", "clone"]);
        git(&cluster.clone_dir(), &["checkout", "--quiet", "-B", "main"]);
        cluster
    }

    pub fn clone_dir(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo.git")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes, commits and pushes: `None` removes a file. Returns the commit.
    pub fn push(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        let clone = self.clone_dir();
        for (path, text) in files {
            let file = clone.join(path);
            match text {
                Some(text) => {
                    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
                    fs::write(&file, text).expect("a written file");
                }
                None => fs::remove_file(&file).expect("a removed file"),
            }
        }
        git(&clone, &["add", "--all"]);
        git(&clone, &["commit", "--quiet", "--allow-empty", "--message", message]);
        git(&clone, &["push", "--quiet", "origin", "main"]);
        git(&clone, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// The arguments of `driftless up` for this cluster.
    pub fn up_args(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let asked = Some(self.service_cidr).filter(|range| !range.is_empty());
        let range = asked.into_iter().flat_map(|range| ["--service-cidr".to_owned(), range.to_owned()]);
        let agents = self.agents.iter().flat_map(|port| ["--agents".to_owned(), format!("127.0.0.1:{port}")]);
        let args = [
            "up".to_owned(),
            "--repo".to_owned(),
            text(self.repo()),
            "--cluster".to_owned(),
            self.name.clone(),
            "--state-dir".to_owned(),
            text(self.state_dir()),
            "--listen".to_owned(),
            format!("127.0.0.1:{}", self.port),
            "--runtime".to_owned(),
            self.runtime.to_owned(),
        ];
        args.into_iter().chain(range).chain(agents).chain(self.options.iter().cloned()).collect()
    }

    /// Starts `driftless up` and waits until its status answers.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let child = driftless()
            .args(self.up_args())
            .envs(self.docker_host.iter().map(|host| ("DOCKER_HOST", host)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("driftless starts");
        self.up = Some(child);
        self.wait_for("status answers", || self.get("/healthz").map(|_| ()));
    }

    /// `kill -9` of driftless itself.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.up.take() {
            child.kill().expect("a kill");
            child.wait().expect("an end");
        }
    }

    /// Ends driftless in order.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.up.take() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
            kill_process(pid, Signal::TERM).expect("a signal");
            child.wait().expect("an end");
        }
    }

    /// The process id of driftless.
    pub fn up_pid(&self) -> u32 {
        self.up.as_ref().map(Child::id).expect("driftless runs")
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("up.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// GET from the status port; the body of a 200 answer.
    pub fn get(&self, path: &str) -> Result<String, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        match within(self.network.as_deref(), || http_get(address, path)) {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(format!("{path}: {status} {body}")),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    pub fn json(&self, path: &str) -> Result<Value, String> {
        serde_json::from_str(&self.get(path)?).map_err(|error| format!("{path}: {error}"))
    }

    /// The pods of a namespace, by name.
    pub fn pods(&self, namespace: &str) -> Result<BTreeMap<String, Value>, String> {
        let list = self.json(&format!("/api/v1/namespaces/{namespace}/pods"))?;
        let items = list["items"].as_array().ok_or("no items")?;
        Ok(items.iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap_or("").to_owned(), pod.clone())).collect())
    }

    /// Pods whose name starts with `prefix` and that are ready; an error names what is missing.
    pub fn ready_pods(&self, namespace: &str, prefix: &str, count: usize) -> Result<BTreeMap<String, Value>, String> {
        let pods = self.pods(namespace)?;
        let ours: BTreeMap<_, _> = pods.into_iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        let ready = ours.values().filter(|pod| is_ready(pod)).count();
        if ready == count && ours.len() == count {
            Ok(ours)
        } else {
            Err(format!("{ready} of {} pods {prefix}* ready, {count} wanted: {}", ours.len(), brief(&ours)))
        }
    }

    /// `host:port` of a Service's first port.
    pub fn service(&self, namespace: &str, name: &str) -> Result<SocketAddr, String> {
        let service = self.json(&format!("/api/v1/namespaces/{namespace}/services/{name}"))?;
        let address = service["spec"]["clusterIP"].as_str().ok_or("no clusterIP")?;
        let port = &service["spec"]["ports"][0]["port"];
        format!("{address}:{port}").parse().map_err(|error| format!("{address}:{port}: {error}"))
    }

    /// What a Service answers at `/`.
    pub fn ask(&self, namespace: &str, name: &str) -> Result<String, String> {
        let address = self.service(namespace, name)?;
        match within(self.network.as_deref(), || http_get(address, "/")) {
            Ok((200, body)) => Ok(body),
            other => Err(format!("{other:?}")),
        }
    }

    /// Where this cluster is recorded.
    pub fn audit_branch(&self) -> String {
        format!("driftless/audit-{}", self.name)
    }

    /// The audit branch's subjects, newest first, and their bodies with trailers.
    pub fn audit(&self) -> Vec<String> {
        let branch = self.audit_branch();
        let out = Command::new("git")
            .args(["--git-dir"])
            .arg(self.repo())
            .args(["log", "--format=%B%x00", &branch])
            .output()
            .expect("git runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.split('\0').map(|message| message.trim().to_owned()).filter(|message| !message.is_empty()).collect()
    }

    /// An audit record whose message contains every one of `parts`.
    pub fn audited(&self, parts: &[&str]) -> Result<String, String> {
        let records = self.audit();
        let found = records.iter().find(|record| parts.iter().all(|part| record.contains(part)));
        found.cloned().ok_or_else(|| format!("no audit record with {parts:?} among:\n{}", records.join("\n---\n")))
    }

    /// Polls until `check` succeeds; fails with its last error and the end of the log.
    pub fn wait_for<T>(&self, what: &str, check: impl FnMut() -> Result<T, String>) -> T {
        self.wait_within(PATIENCE, what, check)
    }

    /// The same, for what takes longer by its nature.
    pub fn wait_within<T>(&self, patience: Duration, what: &str, check: impl FnMut() -> Result<T, String>) -> T {
        poll(what, patience, check).unwrap_or_else(|error| {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            panic!("{error}\n--- the end of driftless' log:\n{}", tail.join("\n"))
        })
    }
}

impl Drop for Cluster {
    /// Leaves nothing running: everything is pruned by a commit if driftless still runs, and killed by its label if not.
    fn drop(&mut self) {
        self.kill();
        kill_processes_of(&self.state_dir());
        // An Engine of the test's own takes its containers with it.
        if self.runtime == "docker" && self.docker_host.is_none() {
            remove_containers(&self.name);
        }
        for entry in fs::read_dir("/run/driftless").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.name)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// `driftless` with an environment of its own.
pub fn driftless() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_driftless"));
    let mut path = program.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.env("PATH", path).env("NO_COLOR", "1");
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("DRIFTLESS_") {
            command.env_remove(key);
        }
    }
    command
}

pub fn git(dir: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Does something in another network namespace.
pub fn within<T: Send>(network: Option<&Path>, work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd;
    let Some(path) = network else { return work() };
    let namespace = File::open(path).expect("a namespace");
    // A namespace belongs to a thread.
    let there = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join().expect("the thread ends well"))
}

/// A port that was free a moment ago, outside the ephemeral range's usual start.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A plain HTTP/1.0 GET: no keep-alive, no chunks.
pub fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    http_get_on(stream, &address.to_string(), path)
}

/// The same on a stream that is there, for a host.
pub fn http_get_on(mut stream: impl Read + Write, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("not an HTTP answer: {answer:?}")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

pub fn poll<T>(what: &str, patience: Duration, mut check: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(state) if start.elapsed() > patience => {
                return Err(format!("not within {patience:?}: {what}; last state: {state}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// `name=phase/containerID` for messages.
pub fn brief(pods: &BTreeMap<String, Value>) -> String {
    pods.iter()
        .map(|(name, pod)| format!("{name}={}/{}", pod["status"]["phase"], pod["status"]["containerStatuses"][0]["containerID"]))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Each pod's container id: what must not change when nothing restarts.
pub fn container_ids(pods: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    pods.iter()
        .map(|(name, pod)| (name.clone(), pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or("").to_owned()))
        .collect()
}

/// The process id in `process://PID:START`.
pub fn pid_of(pod: &Value) -> i32 {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or("");
    let pid = id.strip_prefix("process://").and_then(|rest| rest.split(':').next()).and_then(|pid| pid.parse().ok());
    pid.unwrap_or_else(|| panic!("no pid in {id:?}"))
}

pub fn kill_9(pid: i32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -9 {pid}");
}

/// Ends every process whose environment or command line names the state directory: shims first, then what they ran.
fn kill_processes_of(state_dir: &Path) {
    let needle = state_dir.to_string_lossy().into_owned();
    kill_where(|process| {
        let of = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let text = [of("cmdline"), of("environ")].concat();
        let cwd = fs::read_link(process.join("cwd")).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(&needle) || cwd.starts_with(state_dir)
    });
}

/// Kills every process of which it is true, by its folder below `/proc`: three times over, for what is born meanwhile.
pub fn kill_where(is_one: impl Fn(&Path) -> bool) {
    for _ in 0..3 {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            if is_one(&entry.path()) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
    }
}

fn remove_containers(cluster: &str) {
    let out = Command::new("docker")
        .args(["ps", "-aq", "--filter", &format!("label=driftless.dev/cluster={cluster}")])
        .output()
        .expect("docker runs");
    let ids = String::from_utf8_lossy(&out.stdout).into_owned();
    for id in ids.split_whitespace() {
        let _ = Command::new("docker").args(["rm", "-f", id]).output();
    }
    let _ = Command::new("docker").args(["network", "rm", &format!("driftless-{cluster}")]).output();
}

/// The time of day in UTC, as logs have it.
fn moment() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let (seconds, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A constant load of HTTP requests from a few threads, each request on a connection of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// How many requests are under way at once.
    pub const CLIENTS: usize = 4;

    /// GET `/` from an address.
    pub fn start(address: SocketAddr) -> Self {
        Self::start_in(None, address)
    }

    /// The same from another network namespace.
    pub fn start_in(network: Option<&Path>, address: SocketAddr) -> Self {
        Self::of(network, move || http_get(address, "/"))
    }

    /// Whatever `ask` asks for, from there.
    pub fn of(network: Option<&Path>, ask: impl Fn() -> std::io::Result<(u16, String)> + Send + Sync + 'static) -> Self {
        let (ask, network) = (Arc::new(ask), network.map(Path::to_owned));
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let failures = Arc::new(std::sync::Mutex::new(Vec::new()));
        let threads = (0..Self::CLIENTS)
            .map(|_| {
                let (ask, stop, done, failures) = (ask.clone(), stop.clone(), done.clone(), failures.clone());
                let network = network.clone();
                let load = move || {
                    while !stop.load(Ordering::Relaxed) {
                        match ask() {
                            Ok((200, _)) => {
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                            // With its time, to be found in the logs.
                            other => failures.lock().expect("a lock").push(format!("{} {other:?}", moment())),
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                };
                std::thread::spawn(move || within(network.as_deref(), load))
            })
            .collect();
        Self { stop, done, failures, threads }
    }

    pub fn answered(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the load: how many requests were answered, and every failure.
    pub fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a load thread");
        }
        let failures = self.failures.lock().expect("a lock").clone();
        (self.done.load(Ordering::Relaxed), failures)
    }
}
