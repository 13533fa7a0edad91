//! Jobs: they run to completion once, whatever happens to the controller.

use super::world::{World, key, node};
use crate::model::*;
use std::time::Duration;

fn done(world: &World, job: &str) -> Option<JobOutcome> {
    world.core.view().workloads[&key(job)].job.clone().unwrap().outcome
}

#[test]
fn a_job_runs_to_completion_and_is_told_twice() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 3 parallel=2");
    world.seconds(5);
    assert_eq!(world.job_pods("Job/sum"), "2 v0 x0");
    for _ in 0..3 {
        world.end_one("Job/sum", true);
        world.seconds(5);
    }
    assert_eq!(world.job_pods("Job/sum"), "0 v3 x0");
    assert_eq!(world.progress("Job/sum"), Progress::Done);
    assert_eq!(
        world.subjects(),
        ["shop/sum: running 3 pods to completion, nginx:a", "shop/sum: ran 3 pods to completion, nginx:a"]
    );
    let file = &world.files["current/shop/Job/sum.yaml"];
    assert!(file.contains("succeeded: 3") && file.contains("complete: true"), "{file}");
    let before = world.assigns;
    world.seconds(100_000);
    assert_eq!((world.job_pods("Job/sum").as_str(), world.assigns), ("0 v3 x0", before));
}

#[test]
fn a_job_that_fails_too_often_is_recorded_as_failed() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1 limit=1");
    world.seconds(5);
    world.end_one("Job/sum", false);
    world.seconds(5);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x1", "the next one waits");
    world.seconds(10);
    assert_eq!(world.job_pods("Job/sum"), "1 v0 x1");
    world.end_one("Job/sum", false);
    world.seconds(60);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x2");
    assert_eq!(world.outcomes(), "planned failed");
    let events = world.core.view().events.clone();
    assert!(events.iter().any(|event| event.warning && event.reason == "BackoffLimitExceeded"), "{events:?}");
}

#[test]
fn a_finished_job_never_runs_again_whatever_was_lost() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1");
    world.seconds(5);
    world.end_one("Job/sum", true);
    world.seconds(5);
    for (wiped_controller, wiped_agent) in [(false, false), (true, false), (false, true)] {
        world.restart(wiped_controller);
        if wiped_agent {
            world.wipe("n1");
        }
        world.push("job sum a 1");
        world.greet();
        world.seconds(120);
        let found = world.job_pods("Job/sum");
        assert!(found.starts_with("0 "), "after losing ({wiped_controller}, {wiped_agent}): {found}");
        assert!(done(&world, "Job/sum").is_some_and(|outcome| outcome.complete));
    }
}

#[test]
fn a_job_whose_end_nobody_remembers_is_held_until_its_template_changes() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1");
    world.seconds(5);
    world.wipe("n1");
    world.restart(false);
    world.push("job sum a 1");
    world.greet();
    world.seconds(120);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x0");
    let Progress::Stalled(StalledBy::Forgotten(why)) = world.progress("Job/sum") else { panic!("it is not held") };
    assert!(why.contains("n1"), "{why}");
    world.push("job sum b 1");
    world.seconds(5);
    assert_eq!(world.job_pods("Job/sum"), "1 v0 x0");
}

#[test]
fn a_job_is_held_where_the_memory_is_gone_and_no_agent_knows_it() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1 ttl=5\ndeployment web a 1");
    world.seconds(5);
    world.end_one("Job/sum", true);
    world.seconds(20);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x0", "its pods were kept for their time");
    world.restart(true);
    world.push("job sum a 1 ttl=5\ndeployment web a 1");
    world.greet();
    world.seconds(60);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x0");
    assert!(matches!(world.progress("Job/sum"), Progress::Stalled(StalledBy::Forgotten(_))), "{:?}", world.progress("Job/sum"));
}

#[test]
fn a_pod_on_a_lost_node_counts_as_failed_after_its_time_only() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("job sum a 1");
    world.seconds(5);
    let on = |world: &World, name: &str| !world.agents[&node(name)].pods.is_empty();
    let (home, other) = if on(&world, "n1") { ("n1", "n2") } else { ("n2", "n1") };
    world.agents.get_mut(&node(home)).unwrap().up = false;
    world.seconds(40);
    assert!(!on(&world, other), "it is waited for");
    world.seconds(60);
    assert!(on(&world, other), "it is replaced");
    assert_eq!(world.core.view().workloads[&key("Job/sum")].job.as_ref().map(|run| run.failed), Some(1));
    world.agents.get_mut(&node(home)).unwrap().up = true;
    world.hello(&node(home));
    world.seconds(10);
    assert!(!on(&world, home), "the one that came back is one too many");
}

#[test]
fn a_restarted_controller_counts_every_pod_once() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 3 parallel=3");
    world.seconds(5);
    world.end_one("Job/sum", true);
    world.seconds(5);
    world.restart(false);
    world.push("job sum a 3 parallel=3");
    world.greet();
    world.seconds(5);
    assert_eq!(world.job_pods("Job/sum"), "2 v1 x0", "none is started again");
    world.end_one("Job/sum", true);
    world.seconds(5);
    assert_eq!(done(&world, "Job/sum"), None);
    world.end_one("Job/sum", true);
    world.seconds(30);
    assert!(done(&world, "Job/sum").is_some_and(|outcome| outcome.complete));
    let file = &world.files["current/shop/Job/sum.yaml"];
    assert!(file.contains("complete: true"), "its end is recorded, though no reconcile was open: {file}");
}

#[test]
fn pods_that_have_ended_hold_no_capacity() {
    let mut world = World::new(&["n1"]);
    world.capacity = Amounts { cpu_milli: 100, memory_bytes: 8 << 30 };
    world.greet();
    world.push("job one a 1\njob two a 1");
    world.seconds(5);
    assert_eq!((world.job_pods("Job/one"), world.job_pods("Job/two")), ("1 v0 x0".to_owned(), "0 v0 x0".to_owned()));
    world.end_one("Job/one", true);
    world.seconds(5);
    assert_eq!((world.job_pods("Job/one"), world.job_pods("Job/two")), ("0 v1 x0".to_owned(), "1 v0 x0".to_owned()));
}

#[test]
fn pods_of_jobs_are_named_as_kubernetes_names_them() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 2 parallel=2 indexed\njob one a 1");
    world.seconds(5);
    let mut names: Vec<String> = world.core.view().pods.iter().filter_map(|pod| Some(pod.told.as_ref()?.name.clone())).collect();
    names.sort();
    let stems: Vec<&str> = names.iter().map(|name| name.rsplit_once('-').unwrap().0).collect();
    assert_eq!(stems, ["one", "sum-0", "sum-1"]);
}

#[test]
fn a_deleted_job_stops_and_a_newer_revision_does_not_disturb_one_that_runs() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1");
    world.seconds(5);
    let before = world.uids();
    world.push("job sum a 1\nconfig settings x");
    world.seconds(5);
    assert_eq!(world.uids(), before);
    world.push("config settings x");
    world.seconds(10);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x0");
    assert!(!world.files.contains_key("current/shop/Job/sum.yaml"));
}

#[test]
fn a_job_that_its_deadline_ends_stops_its_pod() {
    let mut world = World::new(&["n1"]);
    world.push("job sum a 1 deadline=30");
    world.run(Duration::from_secs(29));
    assert_eq!(world.job_pods("Job/sum"), "1 v0 x0");
    world.seconds(5);
    assert_eq!(world.job_pods("Job/sum"), "0 v0 x0");
    assert_eq!(done(&world, "Job/sum").map(|outcome| outcome.reason), Some("DeadlineExceeded".to_owned()));
}
