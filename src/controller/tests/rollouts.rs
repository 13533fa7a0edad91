//! New templates and new numbers: in what order pods come and go, and what is told of it.

use super::shop;
use super::world::{self, World, hash, key, node};
use crate::model::*;

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
