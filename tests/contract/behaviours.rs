//! What the agent relies on, in the words of the `Runtime` trait.

use crate::stage::{Stage, read_all, until, within};
use driftless::agent::runtime::{
    ContainerLaunch, EnvValue, LaunchLease, LaunchPort, LogOptions, Mount, RunState, RuntimeError, RuntimeEvent, Started,
};
use driftless::clock;
use driftless::model::{Exit, LEASE_EXPIRED, Moment, NodeName, Protocol, SecretBytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A program that runs until it is asked to end, and then ends with 3.
const POLITE: &str = "trap 'echo bye; exit 3' TERM; echo ready; while true; do sleep 0.05; done";

/// A program that does not listen.
const STUBBORN: &str = "trap '' TERM; echo ready; while true; do sleep 0.05; done";

const LONG: Duration = Duration::from_secs(30);

pub(crate) async fn a_started_container_is_listed_as_it_was_launched(stage: &Stage) {
    let mut launch = stage.launch("web", POLITE);
    launch.ports = vec![LaunchPort {
        name: "http".to_owned(),
        container_port: 8080,
        protocol: Protocol::Tcp,
        host_port: None,
        host_ip: None,
    }];
    let started = stage.start(&launch).await;
    let status = stage.listed(&started.id).await.expect("it is listed");
    assert_eq!(status.state, RunState::Running);
    assert_eq!(status.labels, launch.labels);
    assert_eq!(status.ports, launch.ports);
    assert_eq!(status.runtime, launch.runtime);
    assert_eq!(status.address, started.address);
    assert!(started.address.is_some(), "the first container of a pod has an address");
}

pub(crate) async fn starting_twice_gives_the_same_container(stage: &Stage) {
    let launch = stage.launch("web", POLITE);
    let first = stage.start(&launch).await;
    let second = stage.start(&launch).await;
    assert_eq!(first, second);
    assert_eq!(stage.runtime.list().await.unwrap().len(), 1);
}

pub(crate) async fn the_environment_is_what_was_launched(stage: &Stage) {
    let mut launch = stage.launch("web", "env; echo end");
    launch.env = vec![
        ("GREETING".to_owned(), EnvValue::Plain("hello  'world' $HOME".to_owned())),
        ("TOKEN".to_owned(), EnvValue::Secret(SecretBytes::new(b"s3cr3t".to_vec()))),
    ];
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    let log = stage.log(&started.id, None).await;
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.contains(&"GREETING=hello  'world' $HOME"), "{log}");
    assert!(lines.contains(&"TOKEN=s3cr3t"), "{log}");
}

pub(crate) async fn mounted_files_are_seen_with_their_modes(stage: &Stage) {
    let source = stage.folder.path().join("config");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("app.conf"), "colour=blue\n").unwrap();
    std::fs::set_permissions(source.join("app.conf"), PermissionsExt::from_mode(0o640)).unwrap();
    // A host process finds its mounts below its own folder, which is where it starts; a container at the root.
    let script = if stage.is_docker() { "cd /; " } else { "" };
    let mut launch = stage.launch("web", &format!("{script}cat etc/shop/app.conf; stat -L -c %a etc/shop/app.conf; echo end"));
    launch.mounts = vec![Mount { source, target: "/etc/shop".to_owned(), read_only: true, ..Mount::default() }];
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    assert_eq!(stage.log(&started.id, None).await, "colour=blue\n640\nend\n");
}

pub(crate) async fn an_exit_code_is_reported_and_listed(stage: &Stage) {
    let mut events = stage.runtime.watch();
    let started = stage.start(&stage.launch("web", "exit 7")).await;
    let exit = within("the end is reported", async {
        loop {
            match events.next().await.expect("the stream goes on") {
                RuntimeEvent::Exited { id, exit } if id == started.id => return exit,
                RuntimeEvent::Exited { .. }
                | RuntimeEvent::Removed { .. }
                | RuntimeEvent::Resync
                | RuntimeEvent::Warning { .. } => {}
            }
        }
    })
    .await;
    assert_eq!((exit.code, exit.reason.as_str()), (7, "Error"));
    assert_eq!(stage.listed(&started.id).await.expect("it is still listed").state, RunState::Exited(exit));
}

pub(crate) async fn a_stop_lets_the_program_end_by_itself(stage: &Stage) {
    let started = stage.start(&stage.launch("web", POLITE)).await;
    stage.says(&started.id, "ready").await;
    let exit = within("the stop", stage.runtime.stop(&started.id, LONG)).await.unwrap();
    assert_eq!(exit.code, 3);
}

pub(crate) async fn a_program_that_ignores_the_signal_is_killed(stage: &Stage) {
    let started = stage.start(&stage.launch("web", STUBBORN)).await;
    stage.says(&started.id, "ready").await;
    let exit = within("the kill", stage.runtime.stop(&started.id, Duration::from_secs(1))).await.unwrap();
    assert_eq!(exit.code, 137, "128 + SIGKILL");
}

pub(crate) async fn a_second_stop_with_a_shorter_grace_shortens_the_first(stage: &Stage) {
    let started = stage.start(&stage.launch("web", STUBBORN)).await;
    stage.says(&started.id, "ready").await;
    let patient = stage.runtime.stop(&started.id, Duration::from_secs(3600));
    let impatient = stage.runtime.stop(&started.id, Duration::from_secs(1));
    let (first, second) = within("both stops", futures_util::future::join(patient, impatient)).await;
    assert_eq!((first.unwrap().code, second.unwrap().code), (137, 137));
}

/// A lease that runs out in so long, and leaves so much grace. It counts from before the start, which takes its time where much else
/// goes on.
fn lease(seconds: u64, grace: u64) -> LaunchLease {
    LaunchLease { until: clock::boot() + Duration::from_secs(seconds), grace: Duration::from_secs(grace) }
}

/// How a container ends that nobody stops; `events` were watched before it started.
async fn ends_by_itself(mut events: BoxStream<'static, RuntimeEvent>, started: &Started) -> Exit {
    within("the end is reported", async {
        loop {
            if let RuntimeEvent::Exited { id, exit } = events.next().await.expect("the stream goes on")
                && id == started.id
            {
                return exit;
            }
        }
    })
    .await
}

pub(crate) async fn a_lease_that_is_not_renewed_ends_its_container_though_nobody_asks(stage: &Stage) {
    let events = stage.runtime.watch();
    let lease = lease(10, 30);
    let launch = ContainerLaunch { lease: Some(lease), ..stage.launch("web", POLITE) };
    let started = stage.start(&launch).await;
    stage.says(&started.id, "ready").await;
    assert_eq!(stage.listed(&started.id).await.and_then(|status| status.lease), Some(lease.until));
    let exit = Exit { code: 3, reason: LEASE_EXPIRED.to_owned() };
    assert_eq!(ends_by_itself(events, &started).await, exit);
    assert_eq!(stage.listed(&started.id).await.map(|status| status.state), Some(RunState::Exited(exit)));
    let late = (stage.connect)(&stage.node).renew(&[(started.id.clone(), lease.until + LONG)].into()).await;
    assert_eq!(late, Ok(()), "what has ended is passed over");
}

pub(crate) async fn a_program_that_ignores_the_end_of_its_lease_is_killed_after_its_grace(stage: &Stage) {
    let events = stage.runtime.watch();
    let launch = ContainerLaunch { lease: Some(lease(10, 1)), ..stage.launch("web", STUBBORN) };
    let started = stage.start(&launch).await;
    stage.says(&started.id, "ready").await;
    assert_eq!(ends_by_itself(events, &started).await, Exit { code: 137, reason: LEASE_EXPIRED.to_owned() });
}

pub(crate) async fn a_lease_that_is_renewed_runs_on_until_its_new_end(stage: &Stage) {
    let events = stage.runtime.watch();
    let first = lease(10, 30);
    let launch = ContainerLaunch { lease: Some(first), ..stage.launch("web", POLITE) };
    let started = stage.start(&launch).await;
    let later = first.until + Duration::from_secs(3);
    stage.runtime.renew(&[(started.id.clone(), later)].into()).await.unwrap();
    assert_eq!(stage.listed(&started.id).await.and_then(|status| status.lease), Some(later));
    assert_eq!(ends_by_itself(events, &started).await.reason, LEASE_EXPIRED);
    assert!(!stage.runs_programs || clock::boot() >= later, "it ran on");
}

pub(crate) async fn what_has_no_lease_is_never_ended_by_one(stage: &Stage) {
    let started = stage.start(&stage.launch("web", POLITE)).await;
    stage.runtime.renew(&[(started.id.clone(), clock::boot())].into()).await.unwrap();
    let status = stage.listed(&started.id).await.expect("it is listed");
    assert_eq!((status.state, status.lease), (RunState::Running, None));
}

pub(crate) async fn stopping_what_has_ended_says_how_it_ended(stage: &Stage) {
    let started = stage.start(&stage.launch("web", "exit 9")).await;
    until("it has ended", async || match stage.listed(&started.id).await.map(|status| status.state) {
        Some(RunState::Exited(_)) => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(within("the stop", stage.runtime.stop(&started.id, LONG)).await.unwrap().code, 9);
}

pub(crate) async fn both_streams_are_in_the_log_and_tail_cuts_it(stage: &Stage) {
    let started = stage.start(&stage.launch("web", "echo one; echo two >&2; sleep 0.2; echo three; echo end")).await;
    stage.says(&started.id, "end").await;
    let log = stage.log(&started.id, None).await;
    for line in ["one\n", "two\n", "three\n", "end\n"] {
        assert!(log.contains(line), "{line:?} is not in {log:?}");
    }
    assert_eq!(stage.log(&started.id, Some(2)).await, "three\nend\n");
}

pub(crate) async fn a_followed_log_ends_with_its_container(stage: &Stage) {
    let started = stage.start(&stage.launch("web", "echo first; sleep 0.5; echo last")).await;
    let chunks = stage.runtime.logs(&started.id, LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    assert_eq!(within("the end of the log", read_all(chunks)).await, "first\nlast\n");
}

pub(crate) async fn a_log_is_cut_by_time_and_says_when_its_lines_were_written(stage: &Stage) {
    let started = stage.start(&stage.launch("web", "echo early; sleep 2.1; echo late; echo end")).await;
    stage.says(&started.id, "end").await;
    let read = async |options| read_all(stage.runtime.logs(&started.id, options).await.unwrap()).await;
    let stamped = read(LogOptions { timestamps: true, ..LogOptions::default() }).await;
    let times: Vec<jiff::Timestamp> =
        stamped.lines().map(|line| line.split(' ').next().unwrap().parse().expect("a time")).collect();
    assert_eq!(times.len(), 3, "{stamped}");
    let late = Moment(times[1].as_millisecond().try_into().unwrap());
    assert_eq!(read(LogOptions { since: Some(late - Duration::from_secs(1)), ..LogOptions::default() }).await, "late\nend\n");
    let both = LogOptions { since: Some(late - Duration::from_secs(1)), tail: Some(1), ..LogOptions::default() };
    assert_eq!(read(both).await, "end\n");
}

pub(crate) async fn a_new_client_adopts_what_runs(stage: &Stage) {
    let launch = stage.launch("web", POLITE);
    let started = stage.start(&launch).await;
    stage.says(&started.id, "ready").await;
    let other = (stage.connect)(&stage.node);
    let listed = other.list().await.unwrap();
    assert_eq!(listed.iter().map(|status| (&status.id, &status.labels)).collect::<Vec<_>>(), [(&started.id, &launch.labels)]);
    assert_eq!(other.start(&launch).await.unwrap().id, started.id, "a start of what runs is an adoption");
    let mut events = other.watch();
    let exit = within("the stop", other.stop(&started.id, LONG)).await.unwrap();
    assert_eq!(exit.code, 3, "the exit code of a program that another client started");
    let reported = within("the end is reported", events.next()).await;
    assert_eq!(reported, Some(RuntimeEvent::Exited { id: started.id, exit }));
}

pub(crate) async fn a_command_inside_says_how_it_ended(stage: &Stage) {
    let mut launch = stage.launch("web", POLITE);
    launch.env = vec![("COLOUR".to_owned(), EnvValue::Plain("blue".to_owned()))];
    let started = stage.start(&launch).await;
    stage.says(&started.id, "ready").await;
    let run = async |command: &[&str]| {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        stage.runtime.exec(&started.id, &command, LONG).await.unwrap()
    };
    let result = run(&["sh", "-c", "echo $COLOUR; exit 4"]).await;
    assert_eq!((result.code, result.output.trim()), (Some(4), "blue"));
    assert_eq!(run(&["true"]).await.code, Some(0));
    let missing = run(&["/no/such/program"]).await;
    assert!(missing.code.is_some_and(|code| code != 0), "{missing:?}");
}

pub(crate) async fn a_command_inside_that_takes_too_long_is_given_up(stage: &Stage) {
    let started = stage.start(&stage.launch("web", POLITE)).await;
    stage.says(&started.id, "ready").await;
    let command = ["sh", "-c", "echo waiting; sleep 3600"].map(str::to_owned);
    let result = within("giving up", stage.runtime.exec(&started.id, &command, Duration::from_secs(1))).await.unwrap();
    assert_eq!((result.code, result.output.trim()), (None, "waiting"));
}

pub(crate) async fn removing_twice_succeeds(stage: &Stage) {
    let started = stage.start(&stage.launch("web", POLITE)).await;
    within("the removal", stage.runtime.remove(&started.id)).await.unwrap();
    assert_eq!(stage.listed(&started.id).await, None);
    stage.runtime.remove(&started.id).await.expect("what is gone is gone");
}

pub(crate) async fn a_container_killed_behind_our_back_is_reported(stage: &Stage) {
    let started = stage.start(&stage.launch("web", STUBBORN)).await;
    stage.says(&started.id, "ready").await;
    let mut events = stage.runtime.watch();
    let other = (stage.connect)(&stage.node);
    other.stop(&started.id, Duration::ZERO).await.unwrap();
    let event = within("the kill is reported", events.next()).await;
    assert!(matches!(&event, Some(RuntimeEvent::Exited { id, exit }) if *id == started.id && exit.code == 137), "{event:?}");
}

pub(crate) async fn a_missing_program_is_refused_and_leaves_nothing(stage: &Stage) {
    let mut launch = stage.launch("web", "");
    launch.command = vec!["/no/such/program".to_owned()];
    let error = stage.runtime.start(&launch).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Refused { message } if message.contains("/no/such/program")), "{error:?}");
    assert_eq!(stage.runtime.list().await.unwrap(), []);
}

pub(crate) async fn a_restart_leaves_the_attempt_before(stage: &Stage) {
    let mut launch = stage.launch("web", "echo attempt; exit 1");
    let first = stage.start(&launch).await;
    until("it has ended", async || match stage.listed(&first.id).await.map(|status| status.state) {
        Some(RunState::Exited(_)) => Ok(()),
        other => Err(other),
    })
    .await;
    launch.labels.attempt = 1;
    let second = stage.start(&launch).await;
    assert_ne!(first.id, second.id);
    if stage.runs_programs {
        assert_eq!(stage.log(&first.id, None).await, "attempt\n");
    }
    let mut attempts: Vec<u32> = stage.runtime.list().await.unwrap().iter().map(|status| status.labels.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [0, 1]);
}

pub(crate) async fn usage_counts_the_cpu_that_was_spent(stage: &Stage) {
    let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; while true; do sleep 1; done";
    let started = stage.start(&stage.launch("web", busy)).await;
    stage.says(&started.id, "done").await;
    let usage = stage.runtime.usage(&started.id).await.unwrap();
    assert!(usage.cpu_nanos > 1_000_000, "{usage:?}");
    assert!(usage.memory_bytes > 0, "{usage:?}");
}

pub(crate) async fn usage_tells_the_memory_that_is_held(stage: &Stage) {
    let idle = stage.start(&stage.launch("idle", "echo here; while true; do sleep 1; done")).await;
    stage.says(&idle.id, "here").await;
    let holds = "held=$(head -c 16000000 /dev/zero | tr '\\0' x); echo here; while true; do sleep 1; done";
    let holder = stage.start(&stage.launch("web", holds)).await;
    stage.says(&holder.id, "here").await;
    let used = async |id| stage.runtime.usage(id).await.unwrap().memory_bytes;
    let (idle, holder) = (used(&idle.id).await, used(&holder.id).await);
    assert!(idle > 0 && idle < 16_000_000, "{idle}");
    assert!(holder > 16_000_000 && holder < 160_000_000, "{holder}");
}

pub(crate) async fn a_program_that_takes_more_memory_than_its_limit_is_killed(stage: &Stage) {
    let mut launch = stage.launch("web", "exec busybox dd if=/dev/zero of=/dev/null bs=64M count=1");
    launch.limits.memory_bytes = Some(16 << 20);
    let started = stage.start(&launch).await;
    let exit = until("it is killed", async || match stage.listed(&started.id).await.map(|status| status.state) {
        Some(RunState::Exited(exit)) => Ok(exit),
        other => Err(other),
    })
    .await;
    assert_eq!((exit.code, exit.reason.as_str()), (137, "OOMKilled"));
}

pub(crate) async fn containers_of_another_node_are_not_listed_nor_touched(stage: &Stage) {
    let node = NodeName::new("node-2");
    let other = (stage.connect)(&node);
    let theirs = other.start(&stage.launch_on(&node, "web", POLITE)).await.unwrap();
    assert_eq!(stage.runtime.list().await.unwrap(), []);
    assert!(stage.runtime.stop(&theirs.id, Duration::ZERO).await.is_err());
    assert!(stage.runtime.remove(&theirs.id).await.is_err());
    let listed = other.list().await.unwrap();
    assert_eq!(listed.iter().map(|status| &status.state).collect::<Vec<_>>(), [&RunState::Running]);
}
