//! Several hosts on one machine: a network namespace each, with a `/run` of its own, wires to a common switch, and real processes.

use crate::harness::{Cluster, PATIENCE, driftless, http_get, poll, within};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the controller takes agents in.
const AGENTS_PORT: u16 = 7781;

/// What lets a program see another time, from Debian's package faketime.
fn faketime() -> PathBuf {
    PathBuf::from(format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH))
}

/// A process that does nothing but keep its network and mount namespaces.
struct Holder(Child);

impl Holder {
    fn start() -> Self {
        fs::create_dir_all("/run/driftless").expect("a folder to mount on");
        let script = "mount -t tmpfs tmpfs /run/driftless && echo ready && exec sleep infinity";
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts, as root");
        await_ready(&mut child);
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    /// A command that will run in here.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", "--mount", "--"]).arg(program).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let (program, arguments) = words.split_first().expect("a program");
        let out = self.command(program).args(arguments).output().expect("nsenter runs");
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One host.
struct Host {
    holder: Holder,
    name: String,
    address: Ipv4Addr,
    agent: Option<Child>,
    has_joined: bool,
    /// Where the agent's clock is set, if it is not the machine's.
    clock: Option<PathBuf>,
    engine: Option<Child>,
}

/// The hosts `h1`, `h2` …; the controller runs on the first.
pub struct Lab {
    pub cluster: Cluster,
    switch: Holder,
    hosts: Vec<Host>,
    controller: Option<Child>,
    /// What carries the frames of slow wires.
    slow: Vec<Child>,
    /// More arguments of every agent.
    pub agent_args: Vec<String>,
}

impl Lab {
    /// So many hosts on one wire; nothing runs on them yet.
    pub fn new(count: u8, runtime: &'static str) -> Self {
        let switch = Holder::start();
        switch.run(&["ip", "link", "set", "lo", "up"]);
        switch.run(&["ip", "link", "add", "wire", "type", "bridge"]);
        switch.run(&["ip", "link", "set", "wire", "up"]);
        let hosts: Vec<Host> = (1..=count).map(|number| host(&switch, number)).collect();
        let mut cluster = Cluster::new(runtime);
        cluster.port = 7780;
        cluster.network = hosts.first().map(|host| host.holder.network());
        Self { cluster, switch, hosts, controller: None, slow: Vec::new(), agent_args: Vec::new() }
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    pub fn address(&self, host: usize) -> Ipv4Addr {
        self.hosts[host - 1].address
    }

    /// Does something as a program of that host would, as far as the network goes.
    pub fn within<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        within(Some(&self.network(host)), work)
    }

    /// The namespace of a host's network.
    pub fn network(&self, host: usize) -> PathBuf {
        self.hosts[host - 1].holder.network()
    }

    fn state(&self, who: &str) -> PathBuf {
        self.cluster.state_dir().join(who)
    }

    /// The state directory of the controller.
    pub fn controller_state(&self) -> PathBuf {
        self.state("controller")
    }

    fn log(&self, who: &str) -> File {
        let path = self.cluster.dir.path().join(format!("{who}.log"));
        File::options().create(true).append(true).open(path).expect("a log file")
    }

    fn spawn(&self, host: usize, who: &str, arguments: &[String], environment: &[(String, String)]) -> Child {
        let program = env!("CARGO_BIN_EXE_driftless");
        let path = driftless().get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value.map(ToOwned::to_owned));
        let log = self.log(who);
        self.command(host, program)
            .args(arguments)
            .env("NO_COLOR", "1")
            .env("PATH", path.expect("a path"))
            .envs(environment.iter().cloned())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("nsenter starts")
    }

    /// Starts the controller on the first host, and waits until it answers.
    pub fn start_controller(&mut self) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let arguments = ["controller", "--repo", &text(&self.cluster.repo()), "--cluster", &self.cluster.name, "--state-dir"];
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.push(text(&self.state("controller")));
        self.controller = Some(self.spawn(1, "controller", &arguments, &[]));
        self.wait_for("the controller answers", || self.cluster.get("/healthz").map(|_| ()));
    }

    /// `kill -9` of the controller.
    pub fn kill_controller(&mut self) {
        if let Some(mut child) = self.controller.take() {
            child.kill().expect("a kill");
            child.wait().expect("an end");
        }
    }

    /// Runs a command of ours on a host, and returns what it prints.
    pub fn driftless(&self, host: usize, arguments: &[&str]) -> Result<String, String> {
        let out = self.hosts[host - 1].holder.command(env!("CARGO_BIN_EXE_driftless")).args(arguments).output();
        let out = out.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() { Ok(text) } else { Err(text + &String::from_utf8_lossy(&out.stderr)) }
    }

    /// A token for one host, in a file.
    pub fn token(&self) -> PathBuf {
        let state = self.controller_state();
        let token = self.driftless(1, &["token", "create", "--state-dir", &state.to_string_lossy()]).expect("a token");
        let path = tempfile::NamedTempFile::new_in(self.cluster.dir.path()).expect("a file").keep().expect("kept").1;
        fs::write(&path, token).expect("a written token");
        path
    }

    /// Starts the agent of a host. The first time it joins with a token.
    pub fn start_agent(&mut self, host: usize) {
        let name = self.hosts[host - 1].name.clone();
        let state = self.state(&name);
        let mut arguments: Vec<String> = [
            "agent",
            "--controller",
            &format!("{}:{AGENTS_PORT}", self.address(1)),
            "--cluster",
            &self.cluster.name,
            "--node",
            &name,
            "--runtime",
            self.cluster.runtime,
            "--state-dir",
            &state.to_string_lossy(),
        ]
        .into_iter()
        .map(str::to_owned)
        .collect();
        if !std::mem::replace(&mut self.hosts[host - 1].has_joined, true) {
            arguments.extend(["--token-file".to_owned(), self.token().to_string_lossy().into_owned()]);
        }
        arguments.extend(self.agent_args.iter().cloned());
        let mut environment = vec![("DOCKER_HOST".to_owned(), format!("unix://{}", self.engine_socket(host).display()))];
        if let Some(clock) = &self.hosts[host - 1].clock {
            environment.push(("LD_PRELOAD".to_owned(), faketime().to_string_lossy().into_owned()));
            environment.push(("FAKETIME_TIMESTAMP_FILE".to_owned(), clock.to_string_lossy().into_owned()));
            environment.push(("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()));
            environment.push(("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()));
        }
        self.hosts[host - 1].agent = Some(self.spawn(host, &name, &arguments, &environment));
    }

    /// Starts the controller and every agent, and waits until all nodes are ready.
    pub fn start(&mut self) {
        self.start_controller();
        for host in 1..=self.len() {
            self.start_agent(host);
        }
        self.wait_for("every node is ready", || self.ready_nodes(self.len()));
    }

    /// The address of a Service, once it answers on every host.
    pub fn reaches_from_all(&self, namespace: &str, name: &str) -> SocketAddr {
        let address = self.wait_for("the Service has an address", || self.cluster.service(namespace, name));
        for host in 1..=self.len() {
            self.wait_for("the Service answers", || match self.within(host, || http_get(address, "/")) {
                Ok((200, _)) => Ok(()),
                other => Err(format!("on h{host}: {other:?}")),
            });
        }
        address
    }

    /// A command that will run on a host.
    pub fn command(&self, host: usize, program: &str) -> Command {
        self.hosts[host - 1].holder.command(program)
    }

    /// The process of a host's agent, which must run.
    pub fn agent_pid(&self, host: usize) -> u32 {
        self.hosts[host - 1].agent.as_ref().expect("an agent").id()
    }

    /// The nodes that are ready, if there are so many.
    pub fn ready_nodes(&self, count: usize) -> Result<(), String> {
        let nodes = self.cluster.json("/api/v1/nodes")?;
        let items = nodes["items"].as_array().ok_or("no items")?;
        let ready = items.iter().filter(|node| crate::harness::is_ready(node)).count();
        if ready == count { Ok(()) } else { Err(format!("{ready} of {} nodes ready, {count} wanted", items.len())) }
    }

    /// `kill -9` of an agent.
    pub fn kill_agent(&mut self, host: usize) {
        if let Some(mut child) = self.hosts[host - 1].agent.take() {
            child.kill().expect("a kill");
            child.wait().expect("an end");
        }
    }

    /// SIGTERM to an agent, and its end.
    pub fn stop_agent(&mut self, host: usize) {
        let status = Command::new("kill").arg(self.agent_pid(host).to_string()).status().expect("kill runs");
        assert!(status.success());
        let mut child = self.hosts[host - 1].agent.take().expect("an agent");
        child.wait().expect("an end");
    }

    /// Restarts an agent in an orderly way, and waits until the controller hears it again.
    pub fn restart_agent(&mut self, host: usize) {
        let name = self.hosts[host - 1].name.clone();
        let connected = |lab: &Self| lab.log_of(&name).matches("connected to the controller").count();
        let before = connected(self);
        self.stop_agent(host);
        self.start_agent(host);
        self.wait_for("the agent is connected again", || match connected(self) {
            count if count > before => Ok(()),
            count => Err(format!("connected {count} times")),
        });
    }

    fn log_of(&self, who: &str) -> String {
        fs::read_to_string(self.cluster.dir.path().join(format!("{who}.log"))).unwrap_or_default()
    }

    /// Pulls the plug: every process on the host ends at once, and its wire is dead.
    pub fn lose_host(&mut self, host: usize) {
        self.cut(host);
        self.kill_agent(host);
        let network = fs::read_link(self.network(host)).expect("a namespace");
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let is_holder = pid == self.hosts[host - 1].holder.0.id();
            if !is_holder && fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link == network) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
    }

    /// Cuts the wire of a host.
    pub fn cut(&self, host: usize) {
        self.switch.run(&["ip", "link", "set", &port(host), "down"]);
    }

    /// Mends it.
    pub fn mend(&self, host: usize) {
        self.switch.run(&["ip", "link", "set", &port(host), "up"]);
    }

    /// From now on so many percent of the packets from and to a host are lost.
    pub fn lose_packets(&self, host: usize, percent: u8) {
        let wire = port(host);
        self.switch.run(&["nft", "add table bridge faults"]);
        self.switch.run(&["nft", "add chain bridge faults forward { type filter hook forward priority 0; }"]);
        for side in ["iifname", "oifname"] {
            let rule = format!("add rule bridge faults forward {side} {wire} numgen random mod 100 < {percent} drop");
            self.switch.run(&["nft", &rule]);
        }
    }

    /// No packet is lost any more.
    pub fn lose_nothing(&self) {
        self.switch.run(&["nft", "delete table bridge faults"]);
    }

    /// From now on whatever a host sends or is sent is so many milliseconds on the way.
    pub fn delay(&mut self, host: usize, milliseconds: u32) {
        for host in &self.hosts {
            host.holder.run(&["ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off"]);
        }
        let (wire, inner, outer) = (port(host), format!("{}-inner", port(host)), format!("{}-outer", port(host)));
        self.switch.run(&["ip", "link", "add", &inner, "type", "veth", "peer", "name", &outer]);
        self.switch.run(&["ip", "link", "set", &inner, "up"]);
        self.switch.run(&["ip", "link", "set", &outer, "master", "wire", "up"]);
        self.switch.run(&["ip", "link", "set", &wire, "nomaster", "promisc", "on"]);
        self.switch.run(&["ip", "link", "set", &inner, "promisc", "on"]);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/fleet/delay.py");
        let mut command = self.switch.command("python3");
        let child = command.args([script, &wire, &inner, &milliseconds.to_string()]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3 starts");
        await_ready(&mut child);
        self.slow.push(child);
    }

    /// Sets the clock of a host's agent so many seconds ahead of the machine's. The first time before it starts.
    pub fn clock(&mut self, host: usize, ahead_seconds: i64) {
        assert!(faketime().exists(), "{} is missing: install Debian's faketime", faketime().display());
        let path = self.cluster.dir.path().join(format!("clock-{host}"));
        fs::write(&path, format!("{ahead_seconds:+}\n")).expect("a written clock");
        self.hosts[host - 1].clock = Some(path);
    }

    /// Puts the state directory of a host's agent on a disk of this size, before it starts.
    pub fn small_disk(&self, host: usize, size: &str) {
        let state = self.disk(host);
        fs::create_dir_all(&state).expect("a folder");
        let options = format!("size={size}");
        self.hosts[host - 1].holder.run(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", &state.to_string_lossy()]);
    }

    /// Fills that disk to the last byte; returns the file that does.
    pub fn fill_disk(&self, host: usize) -> PathBuf {
        let filler = self.disk(host).join("filler");
        let out = format!("of={}", filler.display());
        let ended = self.hosts[host - 1].holder.command("dd").args(["if=/dev/zero", &out, "bs=64k"]).output().expect("dd runs");
        assert!(!ended.status.success(), "it ends because the disk is full");
        filler
    }

    /// Frees it again.
    pub fn free_disk(&self, host: usize, filler: &Path) {
        self.hosts[host - 1].holder.run(&["rm", &filler.to_string_lossy()]);
    }

    fn disk(&self, host: usize) -> PathBuf {
        self.state(&self.hosts[host - 1].name)
    }

    fn engine_socket(&self, host: usize) -> PathBuf {
        self.cluster.dir.path().join(format!("docker-{host}/docker.sock"))
    }

    /// Starts a Docker Engine of a host's own, and waits until it answers.
    pub fn start_engine(&mut self, host: usize) {
        let socket = self.engine_socket(host);
        let folder = socket.parent().expect("a folder").to_owned();
        fs::create_dir_all(&folder).expect("a folder");
        let log = self.log(&format!("docker-{host}"));
        let holder = &self.hosts[host - 1].holder;
        let folder = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let child = holder
            .command("dockerd")
            .args(["--data-root", &folder("data"), "--exec-root", &folder("exec"), "--pidfile", &folder("pid")])
            .args(["--host", &format!("unix://{}", socket.display())])
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        self.hosts[host - 1].engine = Some(child);
        self.wait_for("the Engine answers", || self.docker(host, &["version"]).map(|_| ()));
    }

    /// `kill -9` of a host's Engine.
    pub fn kill_engine(&mut self, host: usize) {
        if let Some(mut child) = self.hosts[host - 1].engine.take() {
            child.kill().expect("a kill");
            child.wait().expect("an end");
        }
    }

    /// Docker's own command line, against the Engine of a host.
    pub fn docker(&self, host: usize, arguments: &[&str]) -> Result<String, String> {
        let socket = format!("unix://{}", self.engine_socket(host).display());
        let out = Command::new("docker").args(["--host", &socket]).args(arguments).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    }

    /// Polls until `check` succeeds; fails with its last error and the end of every log.
    pub fn wait_for<T>(&self, what: &str, check: impl FnMut() -> Result<T, String>) -> T {
        self.wait_within(PATIENCE, what, check)
    }

    /// The same, for what takes longer by its nature.
    pub fn wait_within<T>(&self, patience: std::time::Duration, what: &str, check: impl FnMut() -> Result<T, String>) -> T {
        poll(what, patience, check).unwrap_or_else(|error| panic!("{error}{}", self.logs()))
    }

    /// The end of every log.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let entries = fs::read_dir(self.cluster.dir.path()).expect("the folder").flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "log")) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            all.push_str(&format!("\n--- the end of {}:\n{}", path.display(), tail.join("\n")));
        }
        all
    }

    /// Where a port of a host is dialled.
    pub fn at(&self, host: usize, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(host), port))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill_controller();
        for host in 1..=self.len() {
            if self.hosts[host - 1].engine.is_some() {
                let ids = self.docker(host, &["ps", "-aq"]).unwrap_or_default();
                let ids: Vec<&str> = ids.split_whitespace().collect();
                let _ = self.docker(host, &[["rm", "-f"].as_slice(), ids.as_slice()].concat());
                self.kill_engine(host);
            }
            self.lose_host(host);
        }
        for child in &mut self.slow {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a helper says that it is ready.
fn await_ready(child: &mut Child) {
    let mut said = String::new();
    let out = child.stdout.take().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).expect("a line");
    assert_eq!(said.trim(), "ready", "a namespace, or what works in one, cannot be had: is this root?");
}

fn port(host: usize) -> String {
    format!("h{host}")
}

/// A host with one wire to the switch.
fn host(switch: &Holder, number: u8) -> Host {
    let holder = Holder::start();
    let name = format!("h{number}");
    let address = Ipv4Addr::new(10, 98, 0, number);
    switch.run(&["ip", "link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &holder.pid()]);
    switch.run(&["ip", "link", "set", &name, "master", "wire", "up"]);
    holder.run(&["ip", "link", "set", "lo", "up"]);
    holder.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
    holder.run(&["ip", "link", "set", "eth0", "up"]);
    holder.run(&["ip", "route", "add", "default", "via", "10.98.0.254"]);
    Host { holder, name, address, agent: None, has_joined: false, clock: None, engine: None }
}
