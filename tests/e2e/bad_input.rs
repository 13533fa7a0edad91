//! Bad input and what it gets: a clear message, a retry where it can heal, and no change to what runs.

use crate::harness::{Cluster, container_ids, driftless, git};
use crate::manifests::web;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

fn problem_mentions(cluster: &Cluster, parts: &[&str]) {
    cluster.wait_for(&format!("a problem mentions {parts:?}"), || {
        let problems = cluster.get("/driftless/v1/problems")?;
        if parts.iter().all(|part| problems.contains(part)) { Ok(()) } else { Err(problems) }
    });
}

fn running() -> Cluster {
    let mut cluster = Cluster::new("process");
    cluster.push("first release", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    cluster.start();
    cluster.wait_for("the first release is ready", || cluster.ready_pods("shop", "web", 1));
    cluster
}

fn still_the_same(cluster: &Cluster, before: &std::collections::BTreeMap<String, String>) {
    let now = container_ids(&cluster.ready_pods("shop", "web", 1).expect("still running"));
    assert_eq!(before, &now, "{}\n{}", cluster.get("/api/v1/namespaces/shop/events").unwrap_or_default(), cluster.log());
}

#[test]
fn a_missing_repo_is_named_and_heals_when_it_appears() {
    let mut cluster = Cluster::new("process");
    cluster.push("first release", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    let away = cluster.dir.path().join("away.git");
    fs::rename(cluster.repo(), &away).expect("a rename");
    cluster.start();
    problem_mentions(&cluster, &["repo.git"]);
    fs::rename(&away, cluster.repo()).expect("a rename back");
    cluster.wait_for("it deploys once the repo is there", || cluster.ready_pods("shop", "web", 1));
}

#[test]
fn a_repo_that_goes_away_changes_nothing_and_is_read_again_when_it_is_back() {
    let cluster = running();
    let before = container_ids(&cluster.ready_pods("shop", "web", 1).expect("pods"));
    let away = cluster.dir.path().join("away.git");
    fs::rename(cluster.repo(), &away).expect("a rename");
    problem_mentions(&cluster, &["repo.git"]);
    still_the_same(&cluster, &before);
    fs::rename(&away, cluster.repo()).expect("a rename back");
    cluster.push("web: v2", &[("shop/web.yaml", Some(&web(1, "v2")))]);
    cluster.wait_for("v2 goes out", || {
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_missing_branch_is_named_with_those_that_exist() {
    let cluster = Cluster::new("process");
    cluster.push("first", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    let mut child = driftless()
        .args(cluster.up_args())
        .args(["--branch", "mian"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(cluster.log_file()).expect("a log"))
        .spawn()
        .expect("driftless starts");
    let seen = cluster_log_says(&cluster, &["mian", "main"]);
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert!(seen, "{}", cluster.log());
}

#[test]
fn a_missing_path_is_named() {
    let cluster = Cluster::new("process");
    cluster.push("first", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    let mut child = driftless()
        .args(cluster.up_args())
        .args(["--path", "deploy/prod"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(cluster.log_file()).expect("a log"))
        .spawn()
        .expect("driftless starts");
    let seen = cluster_log_says(&cluster, &["deploy/prod"]);
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert!(seen, "{}", cluster.log());
}

fn cluster_log_says(cluster: &Cluster, parts: &[&str]) -> bool {
    crate::harness::poll("the log says so", crate::harness::PATIENCE, || {
        let log = cluster.log();
        if parts.iter().all(|part| log.contains(part)) { Ok(()) } else { Err(log) }
    })
    .is_ok()
}

#[test]
fn a_hundred_megabyte_file_and_an_alias_bomb_hold_their_units_only() {
    let cluster = running();
    let before = container_ids(&cluster.ready_pods("shop", "web", 1).expect("pods"));
    let huge = "# filler\n".repeat(100 * 1024 * 1024 / 9);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    cluster.push(
        "big and bad",
        &[("big/huge.yaml", Some(&huge)), ("bomb/bomb.yaml", Some(&bomb)), ("text/notes.yaml", Some("just: [words\n"))],
    );
    problem_mentions(&cluster, &["big/huge.yaml", "bomb/bomb.yaml", "text/notes.yaml"]);
    still_the_same(&cluster, &before);
    cluster.push("web: v2", &[("shop/web.yaml", Some(&web(1, "v2")))]);
    cluster.wait_for("the good unit still goes out", || {
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_commit_without_manifests_at_the_start_runs_nothing_and_says_so() {
    let mut cluster = Cluster::new("process");
    cluster.push("words only", &[("README.md", Some("nothing here\n"))]);
    cluster.start();
    cluster.wait_for("it is ready", || cluster.get("/readyz"));
    assert!(cluster.json("/api/v1/pods").expect("a list")["items"].as_array().expect("items").is_empty());
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let cluster = Cluster::new("process");
    let taken = TcpListener::bind(("127.0.0.1", cluster.port)).expect("the port");
    let out = driftless().args(cluster.up_args()).stdin(Stdio::null()).output().expect("driftless runs");
    drop(taken);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&cluster.port.to_string()) && stderr.contains("--listen"), "{stderr}");
}

#[test]
fn a_public_listener_is_refused() {
    let cluster = Cluster::new("process");
    let args: Vec<String> = cluster.up_args().into_iter().map(|arg| arg.replace("127.0.0.1", "0.0.0.0")).collect();
    let out = driftless().args(args).stdin(Stdio::null()).output().expect("driftless runs");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("127.0.0.1"), "{stderr}");
}

#[test]
fn a_full_disk_stops_nothing_and_is_survived() {
    let mut cluster = Cluster::new("process");
    let state = cluster.state_dir();
    fs::create_dir_all(&state).expect("a folder");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&state).status().expect("mount runs");
    assert!(mounted.success(), "this test mounts a small tmpfs and needs root");
    let unmount = Unmount(&state);
    cluster.push("first release", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    cluster.start();
    cluster.wait_for("the first release is ready", || cluster.ready_pods("shop", "web", 1));
    let before = container_ids(&cluster.ready_pods("shop", "web", 1).expect("pods"));
    let filler = state.join("filler");
    fill(&filler);
    // An incompressible blob does not fit into the mirror any more.
    let noise: String = (0_u64..300_000).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    cluster.push("more than fits", &[("shop/web.yaml", Some(&web(1, "v2"))), ("noise.txt", Some(&noise))]);
    cluster.wait_for("the full disk is reported", || {
        let problems = cluster.get("/driftless/v1/problems")?;
        if problems.to_lowercase().contains("space") || cluster.log().to_lowercase().contains("space") {
            Ok(())
        } else {
            Err(problems)
        }
    });
    still_the_same(&cluster, &before);
    fs::remove_file(&filler).expect("space again");
    cluster.wait_for("it goes on by itself", || {
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
    cluster.kill();
    drop(cluster);
    drop(unmount);
}

/// Writes until the disk is full.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    while file.write_all(&[0; 65536]).is_ok() {}
    while file.write_all(&[0; 512]).is_ok() {}
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_rewritten_history_is_followed_only_when_it_stays() {
    let cluster = running();
    git(&cluster.clone_dir(), &["commit", "--quiet", "--amend", "--message", "another first release"]);
    fs::write(cluster.clone_dir().join("shop/web.yaml"), web(1, "v2")).expect("a file");
    git(&cluster.clone_dir(), &["commit", "--quiet", "--all", "--amend", "--message", "rewritten"]);
    git(&cluster.clone_dir(), &["push", "--quiet", "--force", "origin", "main"]);
    cluster.wait_for("the rewritten head goes out", || {
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
}
