//! What stands beside leased containers, when that itself is at stake.

use crate::docker::{self, folders};
use crate::process::{runtime, stage};
use crate::stage::{Stage, until};
use bollard::query_parameters::StartContainerOptions;
use driftless::agent::runtime::{ContainerId, ContainerLaunch, LaunchLease, RunState, RuntimeError, Started};
use driftless::clock;
use driftless::model::{BootMoment, Exit, LEASE_EXPIRED};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const FOREVER: &str = "trap '' TERM; echo ready; while true; do sleep 0.05; done";

/// Longer than an Engine takes to start a container while much else goes on.
const SOON: Duration = Duration::from_secs(10);

on_docker! {
    a_guard_that_is_killed_is_started_again_by_the_next_renewal,
    a_container_that_comes_up_after_its_lease_has_run_out_is_ended_again,
}

fn lease(after: Duration) -> LaunchLease {
    LaunchLease { until: clock::boot() + after, grace: Duration::from_secs(1) }
}

async fn has_ended(stage: &Stage, id: &ContainerId) -> Exit {
    until("it has ended", async || match stage.listed(id).await.map(|status| status.state) {
        Some(RunState::Exited(exit)) => Ok(exit),
        other => Err(other),
    })
    .await
}

async fn leased(stage: &Stage, lease: LaunchLease) -> Started {
    let started = stage.start(&ContainerLaunch { lease: Some(lease), ..stage.launch("web", FOREVER) }).await;
    stage.says(&started.id, "ready").await;
    started
}

/// The guard of a stage's cluster: it works in the folder of the leases.
fn guard_of(stage: &Stage) -> Option<i32> {
    let folder = folders(&stage.cluster).run.join("leases");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut ours = pids.filter(|pid| fs::read_link(PathBuf::from(format!("/proc/{pid}/cwd"))).is_ok_and(|cwd| cwd == folder));
    ours.find(|pid| !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z "))
}

async fn a_guard_that_is_killed_is_started_again_by_the_next_renewal(stage: &Stage) {
    let first = lease(Duration::from_secs(60));
    let started = leased(stage, first).await;
    let guard = guard_of(stage).expect("a guard");
    kill_process(Pid::from_raw(guard).unwrap(), Signal::KILL).unwrap();
    until("the guard is gone", async || if guard_of(stage) == Some(guard) { Err(guard) } else { Ok(()) }).await;
    let soon: BootMoment = first.until + Duration::from_millis(1);
    stage.runtime.renew(&[(started.id.clone(), soon)].into()).await.unwrap();
    assert!(guard_of(stage).is_some_and(|other| other != guard));
}

async fn a_container_that_comes_up_after_its_lease_has_run_out_is_ended_again(stage: &Stage) {
    let started = leased(stage, lease(SOON)).await;
    // No agent looks: once it knows of the end, the guard is done.
    let ended = async || {
        let state = docker::engine().inspect_container(&started.id.0, None).await.unwrap().state.unwrap();
        if state.running == Some(true) { Err(state) } else { Ok(()) }
    };
    until("it has ended", ended).await;
    // As a start does that hung in the Engine; it may be ended before that has said that it runs.
    let _ = docker::engine().start_container(&started.id.0, None::<StartContainerOptions>).await;
    until("it has ended again", ended).await;
    assert_eq!(has_ended(stage, &started.id).await.reason, LEASE_EXPIRED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_lease_has_run_out_is_not_started() {
    crate::play(stage().await, |stage| {
        Box::pin(async move {
            let over = LaunchLease { until: clock::boot(), grace: Duration::from_secs(1) };
            let launch = ContainerLaunch { lease: Some(over), ..stage.launch("web", FOREVER) };
            let refused = RuntimeError::Refused { message: "its lease has run out".to_owned() };
            assert_eq!(stage.runtime.start(&launch).await, Err(refused));
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_forks_into_sessions_of_its_own_ends_whole_when_its_lease_does() {
    crate::play(stage().await, |stage| {
        Box::pin(async move {
            let script = "setsid sh -c 'trap \"\" TERM; echo child $$; while true; do sleep 0.05; done' & exec sleep 1000";
            let launch = ContainerLaunch { lease: Some(lease(SOON)), ..stage.launch("web", script) };
            let started = stage.start(&launch).await;
            stage.says(&started.id, "child").await;
            let log = stage.log(&started.id, None).await;
            let child: i32 = log.trim().rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(has_ended(stage, &started.id).await.reason, LEASE_EXPIRED);
            assert!(Pid::from_raw(child).is_some_and(|pid| rustix::process::test_kill_process(pid).is_err()), "{child} lives on");
            // Another agent, as after a restart, finds how it ended.
            let other = runtime(&stage.cluster, &stage.node, stage.folder.path());
            let found = driftless::agent::runtime::Runtime::list(&other).await.unwrap();
            assert!(matches!(&found[0].state, RunState::Exited(exit) if exit.reason == LEASE_EXPIRED), "{found:?}");
        })
    })
    .await;
}
