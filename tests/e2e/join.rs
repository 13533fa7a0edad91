//! A second host, as its own process with its own state: it joins with a token, and a commit removes it.

use super::harness::{Cluster, driftless, free_port};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// Ends with the test.
struct Agent {
    child: Child,
    log: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start(cluster: &Cluster, port: u16, node: &str, token: &Path) -> Self {
        let folder = cluster.dir.path();
        let log = folder.join(format!("{node}.log"));
        let written = File::create(&log).expect("a log file");
        let child = driftless()
            .args(["agent", "--runtime", "process", "--node", node, "--cluster", &cluster.name, "--tunnel-listen", "none"])
            .args(["--controller", &format!("127.0.0.1:{port}"), "--token-file"])
            .arg(token)
            .arg("--state-dir")
            .arg(folder.join(node))
            .stdin(Stdio::null())
            .stdout(written.try_clone().expect("a second handle"))
            .stderr(written)
            .spawn()
            .expect("driftless starts");
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The labels of a node that is ready.
fn ready_node(cluster: &Cluster, name: &str) -> Result<String, String> {
    let node = cluster.json(&format!("/api/v1/nodes/{name}"))?;
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if ready { Ok(node["metadata"]["labels"].to_string()) } else { Err(node.to_string()) }
}

/// What every process of this machine shows of itself.
fn command_lines() -> String {
    let read = |entry: fs::DirEntry| {
        let of = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&[of("cmdline"), of("environ")].concat()).into_owned()
    };
    fs::read_dir("/proc").expect("procfs").flatten().map(read).collect()
}

fn removed(node: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {node}\n  annotations: {{driftless.dev/removed: \"true\"}}\n")
}

#[test]
fn a_host_that_joins_before_the_first_commit_hears_what_is_waited_for() {
    let mut cluster = Cluster::new("process");
    let port = free_port();
    cluster.agents = Some(port);
    cluster.start();
    let made = driftless().args(["token", "create", "--state-dir"]).arg(cluster.state_dir()).output().expect("driftless runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = cluster.dir.path().join("token");
    fs::write(&token, &made.stdout).expect("written");

    let agent = Agent::start(&cluster, port, "n2", &token);
    cluster.wait_for("n2 hears why it waits", || {
        let log = agent.log();
        if log.contains("cannot join yet") { Ok(()) } else { Err(log) }
    });
    let words = agent.log();
    assert!(words.contains("it waits for its repository") && !words.contains("the connection broke"), "{words}");

    cluster.push("a shop", &[("shop/ns.yaml", Some("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"))]);
    cluster.wait_for("n2 is a node", || ready_node(&cluster, "n2").map_err(|why| format!("{why}\n{}", agent.log())));
}

#[test]
fn a_second_host_joins_with_a_token_that_nobody_sees_and_a_commit_removes_it() {
    let mut cluster = Cluster::new("process");
    let port = free_port();
    cluster.agents = Some(port);
    cluster.push("a shop", &[("shop/ns.yaml", Some("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"))]);
    cluster.start();
    let made = driftless().args(["token", "create", "--labels", "tier=edge", "--state-dir"]).arg(cluster.state_dir()).output();
    let made = made.expect("driftless runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = cluster.dir.path().join("token");
    fs::write(&token, &made.stdout).expect("written");
    let text = String::from_utf8(made.stdout).expect("a line");
    let secret = text.split('.').nth(2).expect("a secret");

    let first = Agent::start(&cluster, port, "n2", &token);
    let labels = cluster.wait_for("n2 is a node", || ready_node(&cluster, "n2").map_err(|why| format!("{why}\n{}", first.log())));
    assert!(labels.contains("\"tier\":\"edge\""), "{labels}");
    assert!(!command_lines().contains(secret), "the token is in the view of other users");
    cluster.wait_for("the join is on record", || cluster.audited(&["node n2 joins the cluster"]));

    let mut second = Agent::start(&cluster, port, "n3", &token);
    let ended = cluster.wait_for("n3 gives up", || second.child.try_wait().ok().flatten().ok_or_else(|| second.log()));
    assert!(!ended.success());
    let words = second.log();
    assert!(words.contains("the token is used up") && words.contains("hint: make one with `driftless token create`"), "{words}");

    cluster.push("n2 is gone", &[("shop/n2.yaml", Some(&removed("n2")))]);
    cluster.wait_for("n2 is no node any more", || match cluster.get("/api/v1/nodes/n2") {
        Ok(node) => Err(node),
        Err(_) => Ok(()),
    });
    cluster.wait_for("n2 is told", || {
        let log = first.log();
        if log.contains("removed by a commit") { Ok(()) } else { Err(log) }
    });
    for log in [first.log(), second.log(), cluster.log()] {
        assert!(!log.contains(secret), "the token is in a log");
    }
}
