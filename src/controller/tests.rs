//! The core as a whole, with agents that do as they are told.

mod claims;
mod crons;
mod jobs;
mod placement;
mod sets;
mod world;

use crate::model::*;
use std::collections::BTreeMap;
use std::time::Duration;
use world::{World, hash, key, node};

const SHOP: &str = "deployment web a 3\nservice web";

fn shop() -> World {
    let mut world = World::new(&["n1"]);
    world.push(SHOP);
    world.seconds(10);
    world
}

#[test]
fn a_first_revision_runs_and_is_told_twice() {
    let mut world = shop();
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.behind("web"), "aaa");
    assert_eq!(world.progress("web"), Progress::Done);
    let subjects = world.subjects();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(world.files.contains_key("current/shop/Deployment/web.yaml"), "{:?}", world.files.keys());
}

#[test]
fn an_unchanged_revision_and_one_that_changes_no_object_tell_nobody_anything() {
    let mut world = shop();
    world.seconds(60);
    world.outcomes();
    let before = (world.assigns, world.endpoint_effects, world.core.view().counters.records);
    world.push(SHOP);
    world.push(SHOP);
    world.seconds(60);
    assert_eq!((world.assigns, world.endpoint_effects, world.core.view().counters.records), before);
}

#[test]
fn a_new_template_rolls_within_the_budget() {
    let mut world = shop();
    world.outcomes();
    world.most_told.clear();
    world.push("deployment web b 3\nservice web");
    for _ in 0..120 {
        world.run(world::TICK);
        assert!(world.behind("web").len() >= 3 || world.running("web").len() >= 3);
        assert!(!world.behind("web").contains('?'), "a Service leads to a pod that is gone");
    }
    assert_eq!(world.running("web"), "bbb");
    assert_eq!(world.most_told[&key("web")], 4);
    assert_eq!(world.outcomes(), "planned converged");
}

#[test]
fn the_subject_names_the_image() {
    let mut world = shop();
    world.subjects();
    world.push("deployment web b 3\nservice web");
    world.seconds(60);
    let subjects = world.subjects();
    assert_eq!(subjects[0], "shop/web: rolling out 3 pods, nginx:a → b");
    assert_eq!(subjects[1], "shop/web: rolled out 3 pods, nginx:a → b");
}

#[test]
fn an_old_pod_stops_only_after_the_endpoints_without_it_were_acknowledged() {
    let mut world = shop();
    world.agents.get_mut(&node("n1")).unwrap().acknowledges = false;
    world.push("deployment web b 3\nservice web");
    world.seconds(120);
    assert_eq!(world.running("web"), "aaab", "nothing stops while nobody acknowledges");
    assert_eq!(world.behind("web"), "aab", "and it is out of the Service");
    assert_eq!(world.progress("web"), Progress::Waiting(WaitingOn::Drain));
    world.agents.get_mut(&node("n1")).unwrap().acknowledges = true;
    world.seconds(60);
    assert_eq!(world.running("web"), "bbb");
}

#[test]
fn a_broken_release_keeps_the_old_one_and_is_undone_at_once() {
    let mut world = shop();
    world.broken.insert('b');
    world.outcomes();
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(60);
    assert_eq!(world.behind("web"), "aaa");
    assert_eq!(world.progress("web"), Progress::Stalled(StalledBy::Deadline("readiness probe fails".to_owned())));
    assert_eq!(world.outcomes(), "planned failed");
    world.kill_one("web");
    world.seconds(30);
    assert_eq!(world.behind("web"), "aaa", "an old replica that vanishes comes back as it was");
    world.push("deployment web a 3\nservice web");
    world.seconds(10);
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.progress("web"), Progress::Done);
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(5);
    assert_eq!(world.progress("web"), Progress::Stalled(StalledBy::Quarantined(hash("web", 'b'))));
    world.push("deployment web c 3 deadline=30\nservice web");
    world.seconds(60);
    assert_eq!(world.running("web"), "ccc");
}

#[test]
fn a_new_revision_overtakes_an_unfinished_one() {
    let mut world = shop();
    world.broken.insert('b');
    world.outcomes();
    world.push("deployment web b 3\nservice web");
    world.seconds(10);
    world.push("deployment web c 3\nservice web");
    world.seconds(60);
    assert_eq!(world.running("web"), "ccc");
    assert_eq!(world.outcomes(), "planned superseded planned converged");
}

#[test]
fn recreate_has_no_old_and_new_at_once() {
    let mut world = World::new(&["n1"]);
    world.push("recreate job a 2");
    world.seconds(10);
    world.push("recreate job b 2");
    for _ in 0..60 {
        world.run(world::TICK);
        let letters: std::collections::BTreeSet<char> =
            world.agents[&node("n1")].pods.values().map(|pod| pod.run.hash.as_str().chars().next().unwrap()).collect();
        assert!(letters.len() <= 1, "{letters:?}");
    }
    assert_eq!(world.running("job"), "bb");
}

#[test]
fn blue_green_switches_at_once_and_the_old_set_goes_after_the_delay() {
    let mut world = World::new(&["n1"]);
    let api = |letter: char, rest: &str| format!("rollout api {letter} 2 delay=30 {rest}\nservice api\nservice api-preview");
    world.push(&api('a', ""));
    world.seconds(10);
    assert_eq!(world.behind("api"), "aa");
    world.push(&api('b', ""));
    let mut seen = Vec::new();
    for _ in 0..40 {
        world.run(world::TICK);
        let behind = world.behind("api");
        if seen.last() != Some(&behind) {
            seen.push(behind);
        }
    }
    assert_eq!(seen, ["aa", "bb"]);
    assert_eq!(world.running("Rollout/api"), "aabb");
    world.seconds(40);
    assert_eq!(world.running("Rollout/api"), "bb");
    assert_eq!(world.progress("Rollout/api"), Progress::Done);
}

#[test]
fn manual_promotion_waits_for_a_commit_that_names_the_template() {
    let mut world = World::new(&["n1"]);
    let api = |rest: &str| format!("rollout api {rest}\nservice api\nservice api-preview");
    world.push(&api("a 2 manual"));
    world.seconds(10);
    assert_eq!(world.behind("api"), "aa", "the first release needs no promotion");
    world.push(&api("b 2 manual"));
    world.seconds(60);
    assert_eq!((world.behind("api"), world.behind("api-preview")), ("aa".into(), "bb".into()));
    assert_eq!(world.progress("Rollout/api"), Progress::Waiting(WaitingOn::Promotion(hash("api", 'b'))));
    world.push(&api("b 2 manual promote=bbbbbb"));
    world.seconds(5);
    assert_eq!(world.behind("api"), "bb");
    world.push(&api("c 2 manual promote=bbbbbb"));
    world.seconds(120);
    assert_eq!((world.behind("api"), world.behind("api-preview")), ("bb".into(), "cc".into()), "a stale value promotes nothing");
}

#[test]
fn a_killed_pod_is_replaced_and_recorded_once() {
    let mut world = shop();
    world.outcomes();
    world.kill_one("web");
    world.seconds(30);
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].trigger, Trigger::Drift);
    assert_eq!(world.core.view().counters.drift, 1);
}

#[test]
fn drift_that_is_only_reported_is_left_alone() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 3 drift=report");
    world.seconds(10);
    world.kill_one("web");
    world.seconds(60);
    assert_eq!(world.running("web"), "aa");
    world.push("deployment web b 3 drift=report");
    world.seconds(60);
    assert_eq!(world.running("web"), "bbb", "a new release brings all back");
}

#[test]
fn a_restart_with_its_memory_restarts_nothing_and_records_nothing() {
    let mut world = shop();
    world.outcomes();
    let pods = world.uids();
    world.restart(false);
    world.push(SHOP);
    assert_eq!(world.core.view().health, Health::Holding("waiting for n1 to say hello".to_owned()));
    world.greet();
    assert_eq!(world.core.view().health, Health::Acting);
    world.seconds(60);
    assert_eq!(world.uids(), pods);
    assert_eq!(world.outcomes(), "");
    assert_eq!(world.behind("web"), "aaa");
}

#[test]
fn a_restart_in_the_middle_of_a_rollout_goes_on_and_tells_its_end() {
    let mut world = shop();
    world.push("deployment web b 3\nservice web");
    world.seconds(4);
    assert_eq!(world.running("web"), "aab");
    world.outcomes();
    world.restart(false);
    world.greet();
    world.load(world::desired("deployment web b 3\nservice web", &Revision::new(format!("{:040}", 2))), &[]);
    world.seconds(60);
    assert_eq!(world.running("web"), "bbb");
    assert_eq!(world.subjects(), ["shop/web: finished the rollout that was under way"]);
}

#[test]
fn a_failed_template_stays_failed_over_a_restart() {
    let mut world = shop();
    world.broken.insert('b');
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(60);
    world.outcomes();
    let pods = world.uids();
    world.restart(false);
    world.greet();
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(60);
    assert_eq!(world.progress("web"), Progress::Stalled(StalledBy::Quarantined(hash("web", 'b'))));
    assert_eq!((world.uids(), world.outcomes()), (pods, String::new()));
}

#[test]
fn a_restart_without_memory_restarts_nothing() {
    let mut world = shop();
    let pods = world.uids();
    world.restart(true);
    world.greet();
    world.push(SHOP);
    world.seconds(60);
    assert_eq!(world.uids(), pods);
    assert_eq!(world.progress("web"), Progress::Done);
}

#[test]
fn pods_of_an_unknown_workload_are_kept_and_shown() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\ndeployment other a 1");
    world.seconds(10);
    world.restart(true);
    world.greet();
    world.push("deployment web a 2");
    world.seconds(60);
    assert_eq!(world.running("other"), "a");
    assert!(world.core.view().problems.iter().any(|problem| problem.message.contains("unclaimed")));
    world.push("deployment web a 2\ndeployment other a 1");
    world.seconds(10);
    assert!(!world.core.view().problems.iter().any(|problem| problem.message.contains("unclaimed")));
    assert_eq!(world.running("other"), "a");
}

#[test]
fn deleting_everything_is_held_back_until_a_commit_approves_it() {
    let mut world = shop();
    world.outcomes();
    world.push("");
    world.seconds(30);
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.outcomes(), "blocked");
    assert!(world.files["current/shop/Deployment/web.yaml"].contains("deletionBlocked: true"));
    world.restart(false);
    world.greet();
    world.push("");
    world.seconds(30);
    assert_eq!(world.outcomes(), "", "the same block is not told twice");
    assert_eq!(world.running("web"), "aaa");
    world.push_with("", &[("Driftless-Allow-Prune", "all")]);
    world.seconds(30);
    assert_eq!(world.running("web"), "");
    assert!(!world.files.keys().any(|path| path.contains("/shop/")), "{:?}", world.files.keys());
    assert_eq!(world.outcomes(), "planned converged");
}

#[test]
fn an_approval_does_not_reach_what_a_later_commit_of_the_push_deletes() {
    let mut world = shop();
    world.outcomes();
    world.push_both("deployment web a 3", &[("Driftless-Allow-Prune", "all")], "");
    world.seconds(30);
    assert_eq!((world.running("web"), world.outcomes().starts_with("blocked")), ("aaa".to_owned(), true));
    world.push_both("", &[("Driftless-Allow-Prune", "all")], "");
    world.seconds(30);
    assert_eq!(world.running("web"), "");
}

#[test]
fn a_blocked_deletion_still_lets_the_rest_out() {
    let mut world = World::new(&["n1"]);
    let many: Vec<String> = (0..8).map(|index| format!("deployment w{index} a 1")).collect();
    world.push(&many.join("\n"));
    world.seconds(10);
    world.outcomes();
    world.push("deployment w0 b 1");
    world.seconds(60);
    assert_eq!((world.running("w0"), world.running("w5")), ("b".to_owned(), "a".to_owned()));
    assert_eq!(world.outcomes(), "blocked planned converged");
}

#[test]
fn a_small_deletion_goes_out_and_its_file_goes_after_its_pods() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 1\ndeployment api a 1\nservice api");
    world.seconds(10);
    assert_eq!(world.behind("api"), "a");
    world.push("deployment web a 1\nservice api");
    assert_eq!(world.running("api"), "a", "told to stop while requests may still come");
    world.seconds(1);
    assert!(world.files.contains_key("current/shop/Deployment/api.yaml"), "{:?}", world.files.keys());
    world.seconds(30);
    assert_eq!(world.running("api"), "");
    assert!(!world.files.contains_key("current/shop/Deployment/api.yaml"));
}

#[test]
fn a_renamed_workload_is_ready_before_the_old_one_goes() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 1\ndeployment old a 2 app=shared");
    world.seconds(10);
    world.push("deployment web a 1\ndeployment new a 2 app=shared");
    for _ in 0..30 {
        world.run(world::TICK);
        assert!(world.running("old").len() + world.running("new").len() >= 2);
        assert!(world.running("old").len() == 2 || world.progress("new") == Progress::Done);
    }
    assert_eq!((world.running("old"), world.running("new")), (String::new(), "aa".to_owned()));
}

#[test]
fn pods_of_a_lost_node_are_replaced_and_the_surplus_goes_when_it_returns() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    assert_eq!(world.agents[&node("n2")].pods.len(), 2);
    world.outcomes();
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.seconds(50);
    assert_eq!(world.agents[&node("n1")].pods.len(), 2, "it is waited for");
    assert_eq!(world.behind("web").len(), 2, "but nobody is sent there");
    world.seconds(30);
    assert_eq!(world.agents[&node("n1")].pods.len(), 4);
    world.agents.get_mut(&node("n2")).unwrap().up = true;
    world.hello(&node("n2"));
    world.seconds(60);
    assert_eq!(world.running("web").len(), 4);
    assert!(world.records.iter().any(|record| record.trigger == Trigger::Node), "{:?}", world.subjects());
}

#[test]
fn with_one_node_nothing_is_moved() {
    let mut world = shop();
    let pods = world.uids();
    world.agents.get_mut(&node("n1")).unwrap().up = false;
    world.seconds(300);
    world.agents.get_mut(&node("n1")).unwrap().up = true;
    world.hello(&node("n1"));
    world.seconds(30);
    assert_eq!(world.uids(), pods);
}

#[test]
fn when_most_nodes_vanish_at_once_nothing_is_replaced() {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    for name in ["n2", "n3", "n4"] {
        world.agents.get_mut(&node(name)).unwrap().up = false;
    }
    world.seconds(300);
    assert_eq!(world.agents[&node("n1")].pods.len(), 1);
    assert_eq!(world.behind("web").len(), 4, "endpoints stay as they were");
}

#[test]
fn when_most_nodes_vanish_one_after_the_other_endpoints_lead_to_all_again() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.push("deployment web a 3\nservice web");
    world.seconds(10);
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.seconds(20);
    assert_eq!(world.behind("web").len(), 2);
    world.agents.get_mut(&node("n3")).unwrap().up = false;
    world.seconds(20);
    assert_eq!(world.behind("web").len(), 3, "it is probably us who are cut off");
}

#[test]
fn a_stop_that_a_node_cannot_hear_is_decided_again_when_it_is_back() {
    let mut world = shop();
    let pods = world.uids();
    world.agents.get_mut(&node("n1")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n1") });
    world.push("deployment web a 2\nservice web");
    world.seconds(5);
    world.push("deployment web a 4\nservice web");
    world.push(SHOP);
    world.agents.get_mut(&node("n1")).unwrap().up = true;
    world.hello(&node("n1"));
    world.seconds(20);
    assert_eq!(world.uids(), pods, "none was stopped, and the fourth was never told");
    assert_eq!(world.core.view().counters.drift, 0);
}

#[test]
fn a_node_that_never_had_a_service_does_not_hold_its_pods_up() {
    let mut world = World::new(&["n1", "n2"]);
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.push("deployment web a 2\nservice web\ndeployment other a 2");
    world.seconds(5);
    world.push("deployment other a 2");
    world.seconds(1);
    world.hello(&node("n2"));
    world.seconds(30);
    assert_eq!(world.running("web"), "");
    assert_eq!(world.running("other"), "aa");
}

#[test]
fn a_deleted_workload_that_is_wanted_again_keeps_the_pods_that_were_not_told_to_stop() {
    let mut world = shop();
    world.push("deployment web a 3\nservice web\ndeployment other a 1\ndeployment third a 1");
    world.seconds(10);
    let pods = world.uids();
    world.push("deployment other a 1\ndeployment third a 1");
    world.push("deployment web a 3\nservice web\ndeployment other a 1\ndeployment third a 1");
    world.seconds(20);
    assert_eq!(world.uids(), pods);
    assert_eq!(world.behind("web"), "aaa");
}

#[test]
fn a_unit_that_cannot_be_read_and_whose_last_good_state_is_lost_deletes_nothing() {
    let mut world = shop();
    let pods = world.uids();
    let revision = Revision::new(format!("{:040}", 2));
    let mut desired = world::desired("deployment other a 1", &revision);
    let other = UnitName::new("other");
    for object in desired.objects.values_mut() {
        std::sync::Arc::make_mut(object).source.unit = other.clone();
    }
    let held = UnitState::Held { at: None, failed: revision, problems: Vec::new() };
    desired.units.insert(UnitName::new("."), held);
    world.load(desired, &[("Driftless-Allow-Prune", "all")]);
    world.seconds(20);
    assert!(pods.is_subset(&world.uids()), "{:?}", world.subjects());
    assert_eq!((world.behind("web"), world.running("other")), ("aaa".into(), "a".into()));
}

#[test]
fn a_node_that_returns_is_asked_whether_it_still_uses_a_pod_before_that_stops() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 2\nservice web");
    world.seconds(10);
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.seconds(15);
    world.push("deployment web a 1\nservice web");
    world.seconds(15);
    world.agents.get_mut(&node("n2")).unwrap().up = true;
    world.hello(&node("n2"));
    let stopping = |world: &World| world.agents[&node("n2")].pods.values().filter(|pod| pod.stopping.is_some()).count();
    assert_eq!(stopping(&world), 0, "it has not heard yet that its pod left the Service");
    world.seconds(10);
    assert_eq!((world.agents[&node("n2")].pods.len(), world.behind("web")), (0, "a".into()));
}

#[test]
fn a_pod_that_no_node_can_take_waits_with_the_reason_and_goes_out_when_there_is_room() {
    let mut world = World::new(&["n1"]);
    world.capacity.cpu_milli = 250;
    world.greet();
    world.push("deployment web a 3");
    world.seconds(10);
    assert_eq!(world.running("web"), "aa");
    let Progress::Waiting(WaitingOn::Placement(why)) = world.progress("web") else { panic!("{:?}", world.progress("web")) };
    assert_eq!(why, "0/1 nodes fit: insufficient cpu on 1");
    world.capacity.cpu_milli = 4000;
    world.greet();
    world.seconds(10);
    assert_eq!(world.running("web"), "aaa");
}

#[test]
fn the_autoscaler_scales_and_a_commit_does_not_undo_it() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\nhpa web 1 6");
    world.seconds(30);
    world.outcomes();
    let pods: Vec<PodUid> = world.uids().into_iter().collect();
    world.agents.get_mut(&node("n1")).unwrap().cpu = pods.iter().map(|uid| (*uid, 100)).collect();
    world.seconds(60);
    let running = world.running("web").len();
    assert!(running > 2, "{running}");
    assert!(world.records.iter().any(|record| record.trigger == Trigger::Scale));
    world.agents.get_mut(&node("n1")).unwrap().cpu.clear();
    world.push("deployment web a 2\nhpa web 1 6\nconfig x 1");
    world.seconds(20);
    assert_eq!(world.running("web").len(), running);
}

#[test]
fn a_config_map_that_nobody_uses_makes_one_record_and_no_assignment() {
    let mut world = shop();
    world.outcomes();
    let assigns = world.assigns;
    world.push("deployment web a 3\nservice web\nconfig settings x");
    world.seconds(30);
    assert_eq!(world.outcomes(), "converged");
    assert_eq!(world.assigns, assigns);
}

#[test]
fn a_held_unit_is_told_once() {
    let mut world = shop();
    world.outcomes();
    let revision = Revision::new("f".repeat(40));
    let mut desired = world::desired(SHOP, &revision);
    let at = Location { file: "all.yaml".to_owned(), line: 3, column: 1 };
    let problem = Problem {
        at,
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message: "not YAML".to_owned(),
        hint: None,
    };
    let held = UnitState::Held { at: Some(Revision::new("1")), failed: revision, problems: vec![problem] };
    desired.units = BTreeMap::from([(UnitName::new("web"), held)]);
    world.load(desired.clone(), &[]);
    world.load(desired, &[]);
    world.seconds(20);
    assert_eq!(world.records[0].subject, "unit web held: it has errors");
    assert!(world.records[0].body.contains("all.yaml:3:1: not YAML"));
    assert_eq!(world.outcomes(), "held");
    assert_eq!(world.running("web"), "aaa");
}

#[test]
fn a_controller_that_stood_down_does_nothing() {
    let mut world = shop();
    world.outcomes();
    world.give(crate::controller::Event::StoodDown(Epoch(9)));
    let assigns = world.assigns;
    world.push("deployment web b 3");
    world.seconds(60);
    assert_eq!((world.assigns, world.outcomes()), (assigns, String::new()));
    assert_eq!(world.running("web"), "aaa");
}

#[test]
fn a_lost_message_is_sent_again() {
    let mut world = shop();
    let before = world.assigns;
    world.push("deployment web b 3\nservice web");
    assert!(world.assigns > before);
    // The agent never got it: it is as before, and says so.
    let agent = world.agents.get_mut(&node("n1")).unwrap();
    agent.pods.retain(|_, pod| pod.run.hash == hash("web", 'a'));
    agent.in_force.1 = Generation(agent.in_force.1.0 - 1);
    agent.dirty = false;
    world.run(Duration::from_secs(60));
    assert_eq!(world.running("web"), "bbb");
}

#[test]
fn a_thousand_workloads_cost_nothing_to_look_at_again() {
    let mut world = World::new(&["n1"]);
    world.capacity = Amounts { cpu_milli: 1_000_000, memory_bytes: 1 << 40 };
    world.greet();
    let many: Vec<String> = (0..200).map(|index| format!("deployment w{index} a 1\nservice w{index}")).collect();
    world.push(&many.join("\n"));
    world.seconds(5);
    let before = (world.assigns, world.endpoint_effects);
    world.push(&many.join("\n"));
    assert_eq!((world.assigns, world.endpoint_effects), before);
}

#[test]
fn what_a_node_cannot_listen_for_is_a_problem_until_it_can_and_happens_once() {
    let mut world = shop();
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let in_use = ServiceProblem { service: service.clone(), message: "cannot listen on 127.64.0.1:80".to_owned() };
    let told = |world: &World| -> Vec<String> {
        let view = world.core.view();
        view.problems.iter().map(|problem| format!("{}: {}", problem.about, problem.message)).collect()
    };
    let report = |problems: &[ServiceProblem]| Report { service_problems: Some(problems.to_vec()), ..Report::default() };
    world.report("n1", report(std::slice::from_ref(&in_use)));
    world.report("n1", report(&[in_use]));
    let expected = "node n1: cannot listen on 127.64.0.1:80";
    assert_eq!(told(&world), [format!("Service shop/web: {expected}")]);
    let view = world.core.view();
    let events: Vec<_> = view.events.iter().filter(|event| event.about == service).collect();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].warning, events[0].count, events[0].message.as_str()), (true, 1, expected));
    world.report("n1", report(&[]));
    assert_eq!(told(&world), Vec::<String>::new());
}

#[test]
fn an_event_of_an_agent_that_is_about_no_pod_is_about_its_node() {
    let mut world = shop();
    let event = PodEvent { pod: None, warning: true, reason: "LedgerNotSaved".into(), message: "no space".into() };
    world.report("n1", Report { events: vec![event], ..Report::default() });
    let view = world.core.view();
    let found = view.events.iter().find(|event| event.reason == "LedgerNotSaved").expect("listed");
    assert_eq!((found.about.name.as_str(), found.pod.as_ref(), found.warning), ("n1", None, true));
}
