//! CronJobs: Jobs by the clock, neither twice nor left out, whatever happens to the controller.
//!
//! The world begins 16 minutes and 40 seconds after the epoch.

use super::world::{World, key};
use crate::controller::Event;
use crate::model::*;

const EVERY_TEN: &str = "cron tick a */10_*_*_*_*";

/// The Jobs that there are, with their pods: `tick-20 1 v0 x0`.
fn jobs(world: &World) -> Vec<String> {
    let view = world.core.view();
    let jobs = view.workloads.keys().filter(|key| key.kind == Kind::Job);
    jobs.map(|job| format!("{} {}", job.name, world.job_pods(&format!("Job/{}", job.name)))).collect()
}

#[test]
fn a_job_is_made_when_it_is_due_and_only_so_many_are_kept() {
    let mut world = World::new(&["n1"]);
    world.push(EVERY_TEN);
    world.seconds(190);
    assert_eq!(jobs(&world), Vec::<String>::new(), "nothing that was due before is made up for");
    world.seconds(20);
    assert_eq!(jobs(&world), ["tick-20 1 v0 x0"]);
    for minute in [20, 30, 40] {
        world.end_one(&format!("Job/tick-{minute}"), true);
        world.seconds(600);
    }
    assert_eq!(jobs(&world), ["tick-30 0 v1 x0", "tick-40 0 v1 x0", "tick-50 1 v0 x0"]);
    assert_eq!(world.job_pods("Job/tick-20"), "0 v0 x0", "its pods are gone");
    let (cron, job) = (&world.files["current/shop/CronJob/tick.yaml"], &world.files["current/shop/Job/tick-40.yaml"]);
    assert!(cron.contains("last: \"1970-01-01T00:50:00Z\""), "{cron}");
    assert!(job.contains("cronJob: tick") && job.contains("complete: true"), "{job}");
    assert!(!world.files.contains_key("current/shop/Job/tick-20.yaml"));
}

#[test]
fn a_restart_neither_repeats_a_run_nor_leaves_one_out() {
    for (wiped, pause) in [(false, 0), (true, 0), (false, 30)] {
        let mut world = World::new(&["n1"]);
        world.push(EVERY_TEN);
        world.seconds(210 + pause);
        assert_eq!(jobs(&world), ["tick-20 1 v0 x0"]);
        world.restart(wiped);
        world.push(EVERY_TEN);
        world.greet();
        world.seconds(60);
        assert_eq!(jobs(&world), ["tick-20 1 v0 x0"], "after {wiped} {pause}");
        world.end_one("Job/tick-20", true);
        world.seconds(600);
        assert_eq!(jobs(&world), ["tick-20 0 v1 x0", "tick-30 1 v0 x0"], "after {wiped} {pause}");
    }
}

#[test]
fn what_was_due_while_the_controller_was_away_is_made_up_for_once() {
    let mut world = World::new(&["n1"]);
    world.push(EVERY_TEN);
    world.seconds(230);
    world.end_one("Job/tick-20", true);
    world.seconds(30);
    world.wake = None;
    world.now = Moment(65 * 60_000);
    world.restart(false);
    world.push(EVERY_TEN);
    world.greet();
    world.seconds(10);
    assert_eq!(jobs(&world), ["tick-20 0 v1 x0", "tick-60 1 v0 x0"]);
}

#[test]
fn a_job_of_which_nobody_can_tell_whether_it_has_run_holds_up_no_other() {
    let mut world = World::new(&["n1"]);
    let forbid = format!("{EVERY_TEN} Forbid");
    world.push(&forbid);
    world.seconds(230);
    assert_eq!(jobs(&world), ["tick-20 1 v0 x0"]);
    world.wipe("n1");
    world.restart(false);
    world.push(&forbid);
    world.greet();
    world.seconds(60);
    assert_eq!(jobs(&world), ["tick-20 0 v0 x0"], "it may have run, so it does not run again");
    let Progress::Stalled(StalledBy::JobFailed(reason, message)) = world.progress("Job/tick-20") else {
        panic!("it has not failed")
    };
    assert!(reason == "Forgotten" && message.contains("n1"), "{reason}: {message}");
    world.seconds(600);
    assert_eq!(jobs(&world), ["tick-20 0 v0 x0", "tick-30 1 v0 x0"]);
}

#[test]
fn its_jobs_go_with_a_deleted_cron_job() {
    let mut world = World::new(&["n1"]);
    world.push(&format!("{EVERY_TEN}\nconfig settings x"));
    world.seconds(210);
    world.push("config settings x");
    world.seconds(20);
    assert_eq!(jobs(&world), Vec::<String>::new());
    assert!(world.uids().is_empty());
    assert!(world.files.keys().all(|path| !path.contains("tick")), "{:?}", world.files.keys());
    world.seconds(1200);
    assert!(world.uids().is_empty());
}

#[test]
fn a_running_job_forbids_the_next_or_is_replaced_by_it() {
    let mut world = World::new(&["n1"]);
    world.push(&format!("{EVERY_TEN} Forbid"));
    world.seconds(900);
    assert_eq!(jobs(&world), ["tick-20 1 v0 x0"]);
    world.end_one("Job/tick-20", true);
    world.seconds(10);
    assert_eq!(jobs(&world), ["tick-20 0 v1 x0", "tick-30 1 v0 x0"], "the last one that was due is made up for");
    let mut world = World::new(&["n1"]);
    world.push(&format!("{EVERY_TEN} Replace"));
    world.seconds(820);
    assert_eq!(jobs(&world), ["tick-30 1 v0 x0"]);
    assert_eq!(world.job_pods("Job/tick-20"), "0 v0 x0");
}

#[test]
fn schedules_follow_a_clock_that_is_set_and_nothing_else_does() {
    let mut world = World::new(&["n1"]);
    world.push(&format!("{EVERY_TEN}\njob slow a 1 deadline=3600"));
    world.seconds(10);
    world.give(Event::ClockSet { ahead_ms: 3_600_000 });
    world.seconds(5);
    assert_eq!(jobs(&world), ["slow 1 v0 x0", "tick-70 1 v0 x0"], "the last of the missed times");
    world.give(Event::ClockSet { ahead_ms: 0 });
    world.seconds(1800);
    assert_eq!(jobs(&world), ["slow 1 v0 x0", "tick-70 1 v0 x0"], "a clock that is set back repeats nothing");
}

#[test]
fn a_job_of_a_cron_job_goes_when_its_time_to_live_is_over() {
    let mut world = World::new(&["n1"]);
    world.push(&format!("{EVERY_TEN} ttl=30"));
    world.seconds(210);
    world.end_one("Job/tick-20", true);
    world.seconds(20);
    assert_eq!(jobs(&world), ["tick-20 0 v1 x0"]);
    world.seconds(30);
    assert_eq!(jobs(&world), Vec::<String>::new());
    assert!(world.core.view().objects.contains_key(&key("CronJob/tick")));
}
