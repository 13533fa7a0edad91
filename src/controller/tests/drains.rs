//! Nodes that a commit empties.

use super::world::{World, key, node};
use crate::model::*;
use std::time::Duration;

/// What a drain says of each pod that is left, by the pod's name.
fn left(world: &World, name: &str) -> Vec<String> {
    let view = world.core.view();
    let drain = view.nodes[&node(name)].drain.as_ref().expect("a drain");
    drain.left.iter().map(|(_, why)| why.to_string()).collect()
}

/// Lets so many seconds pass, and counts the fewest and the most pods that run and serve meanwhile.
fn watch(world: &mut World, service: &str, seconds: u32) -> (usize, usize, usize) {
    let (mut fewest, mut most, mut serving) = (usize::MAX, 0, usize::MAX);
    for _ in 0..seconds * 2 {
        world.run(Duration::from_millis(500));
        let running = world.running(service).len();
        (fewest, most) = (fewest.min(running), most.max(running));
        serving = serving.min(world.behind(service).len());
    }
    (fewest, most, serving)
}

#[test]
fn a_drained_node_is_left_by_one_pod_after_the_other_each_replaced_before() {
    let mut world = World::new(&["n1", "n2"]);
    assert_eq!(world.after("deployment web a 4\nservice web", 10), "n1: web*2, n2: web*2");
    world.outcomes();
    world.push("node n1 drained\ndeployment web a 4\nservice web");
    assert_eq!(watch(&mut world, "web", 40), (4, 5, 4), "four always serve, and never more than one is made ahead");
    assert_eq!(world.layout(), "n1: , n2: web*4");
    assert_eq!(world.progress("web"), Progress::Done);
    assert!(left(&world, "n1").is_empty());
    assert!(world.bodies().contains("leaves n1, which is being drained"), "{}", world.bodies());
    assert!(world.records.iter().any(|record| record.trigger == Trigger::Node));
    let before = world.assigns;
    world.seconds(60);
    assert_eq!(world.assigns, before, "then nothing moves any more");
}

#[test]
fn a_drain_that_is_called_off_leaves_what_is_still_there() {
    let mut world = World::new(&["n1", "n2"]);
    world.after("deployment web a 6\nservice web", 10);
    world.after("node n1 drained\ndeployment web a 6\nservice web", 3);
    world.after("deployment web a 6\nservice web", 60);
    assert!(world.layout().starts_with("n1: web"), "{}", world.layout());
    assert_eq!(world.running("web").len(), 6);
    assert!(world.core.view().nodes[&node("n1")].drain.is_none());
}

#[test]
fn a_set_moves_number_by_number_and_one_with_data_stays_and_says_so() {
    let mut world = World::new(&["n1", "n2"]);
    let text = "stateful db a 2\nstateful disk a 2 claim=own\ndaemon logs a";
    world.after(text, 20);
    world.after(&format!("node n1 drained\n{text}"), 60);
    assert_eq!(world.layout(), "n1: disk logs, n2: db*2 disk logs");
    assert_eq!(left(&world, "n1"), ["the data of shop/disk is on its disk, so it stays"]);
    let said: Vec<String> = world.core.view().problems.iter().map(|problem| problem.message.clone()).collect();
    assert!(said.contains(&"drain of n1 waits: the data of shop/disk is on its disk, so it stays".to_owned()), "{said:?}");
}

#[test]
fn a_budget_that_allows_nothing_is_waited_for() {
    let mut world = World::new(&["n1", "n2"]);
    let set = "budget db 2\nstateful db a 2";
    world.after(set, 20);
    world.after(&format!("node n1 drained\n{set}"), 60);
    assert_eq!(world.layout(), "n1: db, n2: db");
    assert_eq!(left(&world, "n1"), ["budget shop/db allows no disruption now"]);
    let events = world.core.view().events.clone();
    let told = events.iter().filter(|event| event.message == "drain of n1 waits: budget shop/db allows no disruption now");
    assert_eq!(told.map(|event| event.count).collect::<Vec<_>>(), [1], "it is told once");
    world.after("node n1 drained\nbudget db 1\nstateful db a 2", 60);
    assert_eq!(world.layout(), "n1: , n2: db*2", "and goes on when a commit allows one");
}

#[test]
fn jobs_and_bare_pods_are_told_and_left_alone() {
    let mut world = World::new(&["n1", "n2"]);
    world.after("job sum a 2 parallel=2", 3);
    world.after("node n1 drained\njob sum a 2 parallel=2", 30);
    assert_eq!(left(&world, "n1"), ["shop/sum runs to its end"]);
    world.after("node n2 drained\nnode n1 drained\njob sum a 2 parallel=2\ndeployment web a 1", 30);
    assert_eq!(world.running("web"), "", "nothing new goes to a node that is being drained");
}

#[test]
fn where_no_other_node_has_room_a_pod_stays_and_serves() {
    let mut world = World::new(&["n1"]);
    world.after("deployment web a 2\nservice web", 10);
    world.after("node n1 drained\ndeployment web a 2\nservice web", 30);
    assert_eq!(world.behind("web"), "aa");
    let why = left(&world, "n1");
    assert!(why[0].starts_with("no other node can take a pod of shop/web: 0/1 nodes fit: unschedulable on 1"), "{why:?}");
    assert_eq!(world.progress("web"), Progress::Done, "and nothing is asked for that finds no place");
}

#[test]
fn a_rollout_goes_first_and_places_its_pods_elsewhere() {
    let mut world = World::new(&["n1", "n2"]);
    world.after("deployment web a 4\nservice web", 10);
    world.push("node n1 drained\ndeployment web b 4\nservice web");
    world.seconds(2);
    assert_eq!(left(&world, "n1")[0], "a rollout of shop/web is under way");
    world.seconds(60);
    assert_eq!(world.layout(), "n1: , n2: web*4");
    assert_eq!(world.running("web"), "bbbb");
}

#[test]
fn a_rollout_that_begins_while_a_pod_moves_does_not_count_the_one_made_ahead_as_wanted() {
    let mut world = World::new(&["n1", "n2"]);
    world.after("deployment web a 4\nservice web", 10);
    world.push("node n1 drained\ndeployment web a 4\nservice web");
    for _ in 0..100 {
        world.run(Duration::from_millis(100));
        if world.uids().len() == 5 {
            break;
        }
    }
    assert_eq!(world.running("web"), "aaaaa", "one is made ahead");
    world.push("node n1 drained\ndeployment web b 4\nservice web");
    let mut most = 0;
    for _ in 0..400 {
        world.run(Duration::from_millis(100));
        // Those that are stopping are there too.
        most = most.max(world.uids().len());
    }
    assert_eq!(most, 5, "of 4 and a surge of 1");
    assert_eq!((world.running("web"), world.layout()), ("bbbb".to_owned(), "n1: , n2: web*4".to_owned()));
}

#[test]
fn a_controller_that_starts_in_the_middle_of_a_drain_goes_on_with_it() {
    let mut world = World::new(&["n1", "n2"]);
    let text = "node n1 drained\ndeployment web a 4\nservice web";
    world.after("deployment web a 4\nservice web", 10);
    world.after(text, 4);
    world.restart(false);
    world.greet();
    world.push(text);
    let (fewest, most, _) = watch(&mut world, "web", 60);
    assert_eq!((world.layout().as_str(), fewest >= 4, most <= 5), ("n1: , n2: web*4", true, true));
}

#[test]
fn a_replacement_that_never_gets_ready_holds_its_own_pod_back_alone() {
    let mut world = World::new(&["n1", "n2"]);
    let text = "deployment api a 1\ndeployment web a 1\nservice api";
    world.after("node n2 cordoned\ndeployment api a 1\ndeployment web a 1\nservice api", 10);
    world.broken.insert('a');
    world.after(&format!("node n1 drained\n{text}"), 30);
    assert_eq!(world.behind("api"), "a", "the old pod goes on serving");
    assert_eq!(left(&world, "n1")[0], "shop/api has to be ready elsewhere first");
    assert_eq!(left(&world, "n1")[1], "another pod goes first");
    world.seconds(150);
    assert_eq!(left(&world, "n1")[1], "shop/web has to be ready elsewhere first");
    assert_eq!(world.core.view().workloads[&key("api")].replicas, 1);
}
