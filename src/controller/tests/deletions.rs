//! What a revision has no more: the prune brake, renames, and units that cannot be read.

use super::world::{self, World};
use super::{SHOP, shop};
use crate::model::*;
use std::collections::BTreeMap;

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
