//! What befalls a host: an announced absence, a reboot while the controller is away.

use crate::harness::{Cluster, driftless};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// `driftless agent leave` for the agent of a cluster.
fn leave(cluster: &Cluster, args: &[&str]) -> Output {
    let mut command = driftless();
    command.args(["agent", "leave", "--cluster", &cluster.name, "--state-dir"]).arg(cluster.state_dir());
    command.args(args).output().expect("driftless runs")
}

/// The folder on tmpfs of this cluster's agent: the one that it holds.
fn run_folder(cluster: &Cluster) -> PathBuf {
    let bases = ["/run/driftless", "/dev/shm/driftless-0"];
    let folders = bases.iter().flat_map(|base| fs::read_dir(base).into_iter().flatten().flatten()).map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let is_named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{}-", cluster.name)));
        is_named && path.join("agent.lock").exists()
    };
    folders.into_iter().find(ours).expect("a folder on tmpfs")
}

#[test]
fn an_announced_absence_reaches_the_controller_and_can_be_taken_back() {
    let mut cluster = Cluster::new("process");
    cluster.push("nothing", &[("README.md", Some("words\n"))]);
    let nobody = leave(&cluster, &["--for", "10m"]);
    assert!(!nobody.status.success(), "no agent runs yet");
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("could not be announced"), "{nobody:?}");
    cluster.start();
    cluster.wait_for("the agent can announce it", || {
        let said = leave(&cluster, &["--for", "10m"]);
        if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
    });
    let heard = |words: &str| {
        cluster.wait_for(words, || {
            let events = cluster.get("/api/v1/events")?;
            if events.contains(words) { Ok(()) } else { Err(events) }
        });
    };
    heard("may be away for 10 min, and is waited for");
    let socket = fs::metadata(run_folder(&cluster).join("agent.sock")).expect("a socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let back = leave(&cluster, &["--cancel"]);
    assert!(back.status.success(), "{back:?}");
    heard(" stays");
}

/// A half of driftless, ended when it is dropped.
pub struct Half(Child);

impl Half {
    pub fn start(cluster: &Cluster, args: &[&str]) -> Self {
        Self::run(cluster, driftless(), args)
    }

    /// The same, as the holder of a lock.
    fn start_locked(cluster: &Cluster, lock: &Path, args: &[&str]) -> Self {
        let mut flock = Command::new("flock");
        flock.arg("--no-fork").arg(lock).arg(env!("CARGO_BIN_EXE_driftless"));
        Self::run(cluster, flock, args)
    }

    fn run(cluster: &Cluster, mut command: Command, args: &[&str]) -> Self {
        let log = fs::File::options().create(true).append(true).open(cluster.log_file()).expect("a log file");
        command.args(args).args(["--cluster", &cluster.name, "--state-dir"]).arg(cluster.state_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("driftless starts"))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The controller of a cluster, for the agent of this very machine: tests beside each other have no port in common.
fn controller(cluster: &Cluster) -> Half {
    let agents = format!("unix:{}", cluster.state_dir().join("run/agents.sock").display());
    let (repo, listen) = (cluster.repo().to_string_lossy().into_owned(), format!("127.0.0.1:{}", cluster.port));
    Half::start(cluster, &["controller", "--repo", &repo, "--listen", &listen, "--agents", &agents])
}

/// A host process that notes each of its starts, with the value of a Secret if it has one.
fn noting(name: &str, file: &Path, secret: bool) -> String {
    let env = if secret { "\n        env: [{name: WORD, valueFrom: {secretKeyRef: {name: words, key: word}}}]" } else { "" };
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      runtimeClassName: process
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        command: [sh, -c, 'echo start $WORD >>{}; exec sleep 100000']{env}
",
        file.display()
    )
}

fn starts(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

fn expect_starts(cluster: &Cluster, file: &Path, count: usize) {
    cluster.wait_for(&format!("{} was started {count} times", file.display()), || {
        let found = starts(file);
        if found == count { Ok(()) } else { Err(format!("{found} times")) }
    });
}

/// What a power cut does to a host: every process ends, and what is on tmpfs is gone.
fn reboot(cluster: &Cluster, agent: &mut Half) {
    agent.kill();
    for entry in fs::read_dir("/proc").expect("a proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let of = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let text = String::from_utf8_lossy(&[of("cmdline"), of("environ")].concat()).into_owned();
        let state = cluster.state_dir().join("agent");
        if cwd.starts_with(&state) || text.contains(&*state.to_string_lossy()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
    fs::remove_dir_all(run_folder(cluster)).expect("a wiped tmpfs");
}

/// Pushes two programs, of which one has a Secret. Where each notes its starts.
fn push_two_programs(cluster: &Cluster) -> (PathBuf, PathBuf) {
    let (plain, secret) = (cluster.dir.path().join("plain"), cluster.dir.path().join("secret"));
    let words = "apiVersion: v1\nkind: Secret\nmetadata: {name: words, namespace: shop}\nstringData: {word: hunter2}\n";
    cluster.push(
        "two programs",
        &[
            ("shop/plain.yaml", Some(&noting("plain", &plain, false))),
            ("shop/secret.yaml", Some(&noting("secret", &secret, true))),
            ("shop/words.yaml", Some(words)),
        ],
    );
    (plain, secret)
}

#[test]
fn a_rebooted_host_starts_its_pods_while_the_controller_is_away_but_for_those_with_secrets() {
    let cluster = Cluster::new("process");
    let (plain, secret) = push_two_programs(&cluster);
    let agent = || Half::start(&cluster, &["agent", "--runtime", "process"]);
    let (mut first, mut host) = (controller(&cluster), agent());
    for name in ["plain", "secret"] {
        cluster.wait_for(&format!("{name} is ready"), || cluster.ready_pods("shop", name, 1));
    }
    let pods = cluster.pods("shop").expect("pods");
    assert_eq!((starts(&plain), starts(&secret)), (1, 1));

    first.kill();
    reboot(&cluster, &mut host);
    let mut host = agent();

    expect_starts(&cluster, &plain, 2);
    assert_eq!(starts(&secret), 1, "its secret was on tmpfs, so it waits");

    let _second = controller(&cluster);
    expect_starts(&cluster, &secret, 2);
    let after = cluster.wait_for("both are ready", || cluster.ready_pods("shop", "", 2));
    assert_eq!(after.keys().collect::<Vec<_>>(), pods.keys().collect::<Vec<_>>(), "they are the pods that they were");
    host.kill();
}

/// A file with a key that seals secrets: of these bytes.
fn key_file(cluster: &Cluster, name: &str, byte: u8) -> String {
    let path = cluster.dir.path().join(name);
    fs::write(&path, format!("{byte:02x}").repeat(32)).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    path.to_string_lossy().into_owned()
}

/// The files below a folder that have one of these texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let has = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_with(&path, texts));
        } else if has(&path) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_rebooted_host_that_seals_secrets_starts_their_pods_too_if_it_has_the_key() {
    let cluster = Cluster::new("process");
    let (plain, secret) = push_two_programs(&cluster);
    let (key, other) = (key_file(&cluster, "key", 1), key_file(&cluster, "other-key", 2));
    let agent = |key: &str| {
        let sealed = ["--secrets-at-rest", "sealed", "--secrets-key-file", key];
        Half::start(&cluster, &[["agent", "--runtime", "process"].as_slice(), &sealed].concat())
    };
    let (mut controller, mut host) = (controller(&cluster), agent(&key));
    for name in ["plain", "secret"] {
        cluster.wait_for(&format!("{name} is ready"), || cluster.ready_pods("shop", name, 1));
    }
    controller.kill();

    reboot(&cluster, &mut host);
    let state = cluster.state_dir().join("agent");
    assert!(!files_with(&state, &["driftless sealed secrets"]).is_empty(), "something is sealed");
    let in_clear = files_with(&state, &["hunter2", "aHVudGVyMg"]);
    assert!(in_clear.is_empty(), "{in_clear:?}");
    let mut host = agent(&key);
    expect_starts(&cluster, &plain, 2);
    expect_starts(&cluster, &secret, 2);

    reboot(&cluster, &mut host);
    let mut host = agent(&other);
    expect_starts(&cluster, &plain, 3);
    assert_eq!(starts(&secret), 2, "it has another key, so it waits");
    assert!(cluster.log().contains("sealed with another key"), "{}", cluster.log());

    host.kill();
    let mut host = agent(&key);
    expect_starts(&cluster, &secret, 3);
    assert_eq!(fs::read_to_string(&secret).expect("its starts"), "start hunter2\n".repeat(3));
    host.kill();
}

#[test]
fn a_lock_that_an_agent_was_started_with_ends_with_it_though_its_pods_run_on() {
    let cluster = Cluster::new("process");
    let (plain, _) = push_two_programs(&cluster);
    let lock = cluster.dir.path().join("lock");
    let is_free = || Command::new("flock").arg("--nonblock").arg(&lock).arg("true").status().expect("flock runs").success();
    let _controller = controller(&cluster);
    let mut host = Half::start_locked(&cluster, &lock, &["agent", "--runtime", "process"]);
    cluster.wait_for("plain is ready", || cluster.ready_pods("shop", "plain", 1));
    assert!(!is_free(), "the agent has it");
    host.kill();
    cluster.wait_for("the lock is free", || if is_free() { Ok(()) } else { Err("it is held".to_owned()) });
    assert_eq!(starts(&plain), 1);
    let _next = Half::start_locked(&cluster, &lock, &["agent", "--runtime", "process"]);
    cluster.wait_for("plain is ready", || cluster.ready_pods("shop", "plain", 1));
    assert_eq!(starts(&plain), 1, "it ran on");
}
