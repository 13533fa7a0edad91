//! What only host processes can do right or wrong.

use crate::play;
use crate::process::{runtime, stage};
use crate::stage::{Stage, read_all, until, within};
use driftless::agent::runtime::{
    ContainerId, EnvValue, LaunchPort, LogOptions, LogRetention, LookUp, Resolver, RunState, Runtime, RuntimeError, RuntimeEvent,
    Security,
};
use driftless::model::{DnsConfig, Exit, Protocol, SecretBytes};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal};
use std::fs;
use std::path::Path;
use std::time::Duration;

const FOREVER: &str = "echo ready; while true; do sleep 1; done";

/// The pid in an id of `pid:start time`.
fn pid_of(id: &ContainerId) -> i32 {
    id.0.split(':').next().and_then(|pid| pid.parse().ok()).unwrap()
}

fn kill(pid: i32) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// The fields of `/proc/PID/stat` after the name.
fn stat(pid: i32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(line.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent_of(pid: i32) -> i32 {
    stat(pid).unwrap()[1].parse().unwrap()
}

fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

async fn gone(what: &str, pid: i32) {
    until(&format!("{what} ({pid}) is gone"), async || if is_alive(pid) { Err(stat(pid)) } else { Ok(()) }).await;
}

async fn number_in_log(stage: &Stage, id: &ContainerId, name: &str) -> i32 {
    until(&format!("{name} in the log"), async || {
        let log = stage.log(id, None).await;
        let number = log.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        number.ok_or(log)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grandchild_in_a_session_of_its_own_dies_with_its_process() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let script = "setsid sh -c 'echo child $$; trap \"\" TERM HUP; while true; do sleep 1; done' & exec sleep 1000";
            let started = stage.start(&stage.launch("web", script)).await;
            let grandchild = number_in_log(stage, &started.id, "child ").await;
            within("the stop", stage.runtime.stop(&started.id, Duration::from_secs(20))).await.unwrap();
            gone("the grandchild", grandchild).await;
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_asks_whom_it_is_told_to_ask_and_the_host_asks_whom_it_asked_before() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let before = fs::read_to_string("/etc/resolv.conf").unwrap();
            let mut launch = stage.launch("web", "cat /etc/resolv.conf; echo end; sleep 1000");
            let config = DnsConfig {
                nameservers: vec!["127.53.1.2".to_owned()],
                searches: vec!["shop.svc.cluster.local".to_owned()],
                options: Vec::new(),
            };
            launch.network.resolver = Some(Resolver { first: LookUp::Nowhere, config });
            let started = stage.start(&launch).await;
            stage.says(&started.id, "end").await;
            let log = stage.log(&started.id, None).await;
            if rustix::process::geteuid().is_root() {
                assert_eq!(log, "nameserver 127.53.1.2\nsearch shop.svc.cluster.local\nend\n");
            } else {
                assert_eq!(log, format!("{before}end\n"), "who may not mount starts all the same");
            }
            assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), before);
            within("the stop", stage.runtime.stop(&started.id, Duration::from_secs(20))).await.unwrap();
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_takes_its_children_along_and_is_reported_with_137() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let mut events = stage.runtime.watch();
            let started = stage.start(&stage.launch("web", "sleep 1000 & echo child $!; wait")).await;
            let child = number_in_log(stage, &started.id, "child ").await;
            kill(pid_of(&started.id));
            let event = within("the end is reported", events.next()).await;
            let exit = Exit { code: 137, reason: "Error".to_owned() };
            assert_eq!(event, Some(RuntimeEvent::Exited { id: started.id, exit }));
            gone("the child", child).await;
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_outlives_its_agent_and_a_new_one_learns_how_it_ended() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let launch = stage.launch("web", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done");
            let id = {
                let first = runtime(&stage.cluster, &stage.node, stage.folder.path());
                first.start(&launch).await.unwrap().id
            };
            stage.says(&id, "ready").await;
            assert!(is_alive(pid_of(&id)));
            // Nobody is there to see it end.
            rustix::process::kill_process(Pid::from_raw(pid_of(&id)).unwrap(), Signal::TERM).unwrap();
            gone("the process", pid_of(&id)).await;
            let other = runtime(&stage.cluster, &stage.node, stage.folder.path());
            let state = until("its end is known", async || {
                let listed = other.list().await.unwrap();
                match listed.into_iter().find(|status| status.id == id).unwrap().state {
                    RunState::Exited(exit) => Ok(exit),
                    state @ (RunState::Created | RunState::Running | RunState::Dead) => Err(state),
                }
            })
            .await;
            assert_eq!(state, Exit { code: 5, reason: "Error".to_owned() });
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_shim_a_process_is_killed_before_another_copy_starts() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let mut events = stage.runtime.watch();
            let mut launch = stage.launch("web", FOREVER);
            let first = stage.start(&launch).await;
            let pid = pid_of(&first.id);
            kill(parent_of(pid));
            let event = within("the end is reported", events.next()).await;
            assert!(matches!(&event, Some(RuntimeEvent::Exited { exit, .. }) if exit.reason == "ShimLost"), "{event:?}");
            assert!(!is_alive(pid), "reported as ended while it runs");
            launch.labels.attempt = 1;
            let second = stage.start(&launch).await;
            assert!(is_alive(pid_of(&second.id)));
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_died_while_no_agent_was_there_is_noticed_by_the_next() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let launch = stage.launch("web", FOREVER);
            let id = runtime(&stage.cluster, &stage.node, stage.folder.path()).start(&launch).await.unwrap().id;
            let pid = pid_of(&id);
            kill(parent_of(pid));
            let other = runtime(&stage.cluster, &stage.node, stage.folder.path());
            until("it is listed as ended", async || {
                let listed = other.list().await.unwrap();
                let lost = matches!(&listed[0].state, RunState::Exited(exit) if exit.reason == "ShimLost");
                if lost { Ok(()) } else { Err(listed) }
            })
            .await;
            assert!(!is_alive(pid));
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_on_no_command_line_and_in_no_file() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let value = "s3cr3t-0f-this-test-alone";
            let mut launch = stage.launch("web", FOREVER);
            launch.env = vec![("TOKEN".to_owned(), EnvValue::Secret(SecretBytes::new(value.as_bytes().to_vec())))];
            let started = stage.start(&launch).await;
            stage.says(&started.id, "ready").await;
            let pid = pid_of(&started.id);
            for process in [pid, parent_of(pid)] {
                let line = fs::read(format!("/proc/{process}/cmdline")).unwrap();
                assert!(!String::from_utf8_lossy(&line).contains(value));
            }
            let shim = fs::read(format!("/proc/{}/environ", parent_of(pid))).unwrap();
            assert!(!String::from_utf8_lossy(&shim).contains(value), "the shim needs no environment");
            let own = fs::read(format!("/proc/{pid}/environ")).unwrap();
            assert!(String::from_utf8_lossy(&own).contains(value), "or this test shows nothing");
            assert_eq!(files_with(stage.folder.path(), &[value, "czNjcjN0LTBmLXRoaXMtdGVzdC1hbG9uZQ"]), Vec::<String>::new());
        })
    })
    .await;
}

/// Name and size of every file.
fn sizes_below(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(sizes_below(&entry.path()));
        } else {
            found.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
        }
    }
    found
}

fn files_with(folder: &Path, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_with(&path, needles));
        } else if let Ok(text) = fs::read(&path) {
            let text = String::from_utf8_lossy(&text).into_owned();
            found.extend(needles.iter().filter(|needle| text.contains(**needle)).map(|_| path.display().to_string()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_has_nothing_but_the_launch_path_and_home() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let mut launch = stage.launch("web", "");
            launch.command = vec!["/usr/bin/env".to_owned()];
            launch.env = vec![("PORT".to_owned(), EnvValue::Plain("21000".to_owned()))];
            let started = stage.start(&launch).await;
            stage.says(&started.id, "PORT").await;
            let log = stage.log(&started.id, None).await;
            let mut names: Vec<&str> = log.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name)).collect();
            names.sort_unstable();
            assert_eq!(names, ["HOME", "PATH", "PORT"], "{log}");
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_rotated_and_read_over_its_files() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let mut launch =
                stage.launch("web", "i=0; while [ $i -lt 6000 ]; do echo line $i; i=$((i+1)); done; echo end; sleep 1000");
            launch.log = LogRetention { file_bytes_max: 32 * 1024, files_max: 3 };
            let started = stage.start(&launch).await;
            stage.says(&started.id, "end").await;
            let log = stage.log(&started.id, None).await;
            let lines: Vec<&str> = log.lines().collect();
            let folder = stage.folder.path().join("state");
            let kept: Vec<u64> =
                sizes_below(&folder).into_iter().filter_map(|(name, size)| name.contains(".log").then_some(size)).collect();
            assert_eq!(kept.len(), 3, "{:?}", sizes_below(&folder));
            assert!(kept.iter().all(|size| *size < 33 * 1024), "a file ends with the line that fills it: {kept:?}");
            assert!(lines.len() < 6001, "the oldest are deleted");
            assert!(lines.len() > 1000, "what is kept is read over all files: {} lines", lines.len());
            let numbers: Vec<u32> = lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is lost or doubled between files");
            assert_eq!(stage.log(&started.id, Some(2000)).await.lines().count(), 2000.min(lines.len()));
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_goes_on_over_a_rotation() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let mut launch = stage.launch("web", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.002; done");
            launch.log = LogRetention { file_bytes_max: 4 * 1024, files_max: 9 };
            let started = stage.start(&launch).await;
            let chunks = stage.runtime.logs(&started.id, LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
            let log = within("the end of the log", read_all(chunks)).await;
            let expected: String = (0..400).map(|index| format!("line {index}\n")).collect();
            assert_eq!(log, expected);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_another_program_is_refused_by_name() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = other.local_addr().unwrap().port();
            let mut launch = stage.launch("web", FOREVER);
            let given = LaunchPort {
                name: String::new(),
                container_port: 80,
                protocol: Protocol::Tcp,
                host_port: Some(port),
                host_ip: None,
            };
            launch.ports = vec![given];
            assert_eq!(stage.runtime.start(&launch).await.unwrap_err(), RuntimeError::PortInUse { port });
            drop(other);
            stage.start(&launch).await;
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_leaves_no_file_and_no_cgroup() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let launch = stage.launch("web", FOREVER);
            let started = stage.start(&launch).await;
            let uid = launch.labels.uid.to_string();
            stage.says(&started.id, "ready").await;
            within("the removal", stage.runtime.remove(&started.id)).await.unwrap();
            assert!(!is_alive(pid_of(&started.id)));
            let groups = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let trees = groups.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
            for tree in trees {
                let group = Path::new(tree).join("driftless").join(format!("{uid}.main.0"));
                assert!(!group.exists(), "{} is left", group.display());
            }
            let shims = stage.folder.path().join("run/pods").join(&uid).join("shims");
            assert_eq!(fs::read_dir(shims).unwrap().count(), 0);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_found_again_after_the_state_folder_was_wiped() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let started = stage.start(&stage.launch("web", FOREVER)).await;
            stage.says(&started.id, "ready").await;
            fs::remove_dir_all(stage.folder.path().join("state")).unwrap();
            let other = runtime(&stage.cluster, &stage.node, stage.folder.path());
            let listed = other.list().await.unwrap();
            assert_eq!(
                listed.iter().map(|status| (&status.id, &status.state)).collect::<Vec<_>>(),
                [(&started.id, &RunState::Running)]
            );
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_gains_no_rights_where_that_is_forbidden() {
    play(stage().await, |stage| {
        Box::pin(async move {
            for (pod, forbidden, expected) in [("held", true, "NoNewPrivs:\t1"), ("free", false, "NoNewPrivs:\t0")] {
                let mut launch = stage.launch(pod, "grep NoNewPrivs /proc/self/status");
                launch.security.no_new_privileges = forbidden;
                let started = stage.start(&launch).await;
                stage.says(&started.id, expected).await;
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_would_not_be_held_to_its_rights_is_refused() {
    play(stage().await, |stage| {
        Box::pin(async move {
            let own = rustix::process::geteuid().as_raw();
            let refused = async |change: fn(&mut Security)| {
                let mut launch = stage.launch("web", FOREVER);
                change(&mut launch.security);
                stage.runtime.start(&launch).await.unwrap_err()
            };
            let other = refused(|security| security.user = Some(rustix::process::geteuid().as_raw() + 1)).await;
            assert!(matches!(&other, RuntimeError::Config { message } if message.contains("runAsUser")), "{other:?}");
            let read_only = refused(|security| security.read_only_root = true).await;
            assert!(matches!(&read_only, RuntimeError::Unsupported(what) if what.contains("readOnly")), "{read_only:?}");
            if own == 0 {
                let root = refused(|security| security.non_root = true).await;
                assert!(matches!(&root, RuntimeError::Config { message } if message.contains("runAsNonRoot")), "{root:?}");
            }
            let mut launch = stage.launch("web", "id -u");
            launch.security.user = Some(own);
            let started = stage.start(&launch).await;
            stage.says(&started.id, &own.to_string()).await;
        })
    })
    .await;
}
