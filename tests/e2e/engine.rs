//! Docker Engines of a test's own: each with folders, a socket and a containerd of its own, in the network of the thread that starts it. The
//! one of the machine is neither touched nor seen.

use crate::harness::{PATIENCE, kill_where, poll};
use crate::namespace::{Namespace, ip};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// An Engine whose `dockerd` can be killed and started. It leaves nothing behind.
pub struct Engine {
    folder: TempDir,
    /// Whether it keeps its containers while it is away.
    live_restore: bool,
    dockerd: Option<Child>,
    containerd: Option<Child>,
}

impl Engine {
    /// One that runs and has the test image.
    pub fn start(live_restore: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("driftless-engine-").tempdir().expect("a temporary folder");
        let mut engine = Self { folder, live_restore, dockerd: None, containerd: None };
        engine.run();
        crate::docker::import_image_to(Some(&engine.host()));
        engine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The cgroup of its containers.
    fn group(&self) -> String {
        self.folder.path().file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// As in `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.at("docker.sock").display())
    }

    /// Starts what of it does not run, and waits until it answers.
    pub fn run(&mut self) {
        if self.containerd.is_none() {
            self.containerd = Some(self.run_containerd());
        }
        // What was killed left the file, and its number may be another program's by now.
        let _ = fs::remove_file(self.at("pid"));
        let mut dockerd = Command::new("dockerd");
        for (flag, name) in
            [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid"), ("--containerd", "containerd.sock")]
        {
            dockerd.arg(flag).arg(self.at(name));
        }
        dockerd.args(["--host", &self.host(), "--cgroup-parent", &self.group()]);
        dockerd.args(self.live_restore.then_some("--live-restore"));
        self.dockerd = Some(self.spawn(dockerd));
        let answers = poll("dockerd answers", PATIENCE, || self.docker(&["version"]));
        answers.unwrap_or_else(|error| panic!("{error}\n{}", fs::read_to_string(self.at("log")).unwrap_or_default()));
    }

    fn run_containerd(&self) -> Child {
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n",
            self.at("containerd"),
            self.at("containerd-state"),
            self.at("containerd.sock")
        );
        fs::write(self.at("containerd.toml"), config).expect("a configuration");
        let mut containerd = Command::new("containerd");
        containerd.arg("--config").arg(self.at("containerd.toml"));
        self.spawn(containerd)
    }

    fn spawn(&self, mut program: Command) -> Child {
        let log = File::options().create(true).append(true).open(self.at("log")).expect("a log file");
        program.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        program.spawn().unwrap_or_else(|error| panic!("{program:?}: {error} (Debian: `apt-get install docker.io`)"))
    }

    /// `dockerd` gets a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.dockerd.as_ref().map(Child::id).expect("dockerd runs");
        let status = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill {signal} {pid}");
    }

    /// `kill -9` of `dockerd`.
    pub fn kill(&mut self) {
        end(&mut self.dockerd);
    }

    /// What the loss of power does to its host: it, its containers and whoever was told of its socket end at once. Its disk stays.
    pub fn cut_power(&mut self) {
        let (folder, group) = (self.folder.path().to_string_lossy().into_owned(), self.group());
        kill_where(|process| {
            let has = |file: &str, word: &str| {
                String::from_utf8_lossy(&fs::read(process.join(file)).unwrap_or_default()).contains(word)
            };
            has("cmdline", &folder) || has("environ", &folder) || has("cgroup", &group)
        });
        end(&mut self.dockerd);
        end(&mut self.containerd);
        let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&folder)) {
            let _ = Command::new("umount").args(["--lazy", mount]).output();
        }
        for in_memory in ["exec", "containerd-state"] {
            let _ = fs::remove_dir_all(self.at(in_memory));
        }
    }

    pub fn docker(&self, args: &[&str]) -> Result<String, String> {
        let out = Command::new("docker").args(["--host", &self.host()]).args(args).output().expect("docker runs");
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    }

    /// The pods of one container each that run, by name; a pod that runs twice fails.
    pub fn running(&self) -> Result<BTreeSet<String>, String> {
        let format = "{{.Label \"driftless.dev/pod\"}}";
        let listed = self.docker(&["ps", "--filter", "label=driftless.dev/pod", "--format", format])?;
        let pods: Vec<String> = listed.lines().map(str::to_owned).collect();
        let each: BTreeSet<String> = pods.iter().cloned().collect();
        assert_eq!(each.len(), pods.len(), "a pod runs twice: {pods:?}");
        Ok(each)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.cut_power();
        let controllers = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for group in controllers.chain(["/sys/fs/cgroup".into()]).map(|controller| controller.join(self.group())) {
            let _ = poll("its cgroups are empty", PATIENCE, || remove_group(&group).map_err(|error| error.to_string()));
        }
    }
}

/// Removes a cgroup and those in it, if it is there.
fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn end(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        // It may have ended by itself.
        let _ = process.kill();
        process.wait().expect("an end");
    }
}

/// A host with an Engine: a network namespace that is plugged into that of another.
pub struct Host {
    pub name: &'static str,
    pub engine: Engine,
    pub network: Namespace,
}

impl Host {
    /// The host with that number at the `hub`, a bridge of the center.
    pub fn start(name: &'static str, number: u8, center: &Namespace, hub: &str) -> Self {
        let network = Namespace::new(&format!("e2e-{name}"));
        let (own, plug) = (network.0.as_str(), format!("to-{name}"));
        ip(&["link", "add", "eth0", "netns", own, "type", "veth", "peer", "name", &plug, "netns", &center.0]);
        ip(&["-n", &center.0, "link", "set", &plug, "master", hub, "up"]);
        ip(&["-n", own, "address", "add", &format!("10.215.0.{number}/24"), "dev", "eth0"]);
        ip(&["-n", own, "link", "set", "eth0", "up"]);
        let engine = network.play(|| Engine::start(false));
        Self { name, engine, network }
    }
}
