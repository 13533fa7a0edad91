//! Where pods go and have to go: cordons, taints, labels from git, priorities, disruption budgets.

use super::world::{World, key, node};
use super::*;

impl World {
    /// `n1: db web*2`: what every agent runs that it was not told to stop.
    pub(super) fn layout(&self) -> String {
        let places = self.agents.iter().map(|(name, agent)| {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for pod in agent.pods.values().filter(|pod| pod.stopping.is_none()) {
                *counts.entry(pod.run.workload.name.as_str()).or_default() += 1;
            }
            let pods =
                counts.iter().map(|(name, count)| if *count == 1 { (*name).to_owned() } else { format!("{name}*{count}") });
            format!("{name}: {}", pods.collect::<Vec<_>>().join(" "))
        });
        places.collect::<Vec<_>>().join(", ")
    }

    /// Pushes, lets time pass, and says where pods are.
    pub(super) fn after(&mut self, text: &str, seconds: u64) -> String {
        self.push(text);
        self.seconds(seconds);
        self.layout()
    }

    fn waits_for(&self, workload: &str) -> String {
        let progress = self.progress(workload);
        if let Progress::Waiting(WaitingOn::Placement(refusals)) = progress { refusals } else { format!("{progress:?}") }
    }

    pub(super) fn bodies(&self) -> String {
        self.records.iter().map(|record| record.body.clone()).collect()
    }
}

#[test]
fn a_cordoned_node_takes_no_new_pod_and_keeps_what_runs_there() {
    let mut world = World::new(&["n1", "n2"]);
    assert_eq!(world.after("deployment web a 2", 10), "n1: web, n2: web");
    assert_eq!(world.after("node n1 cordoned\ndeployment web a 4", 10), "n1: web, n2: web*3");
    assert!(world.core.view().nodes[&node("n1")].marks.unschedulable);
    assert_eq!(world.after("deployment web a 6", 10), "n1: web*3, n2: web*3");
}

#[test]
fn what_waits_for_a_node_goes_there_as_soon_as_git_lets_it() {
    let mut world = World::new(&["n1"]);
    assert_eq!(world.after("node n1 taint=team:NoSchedule\ndeployment web a 1", 10), "n1: ");
    assert_eq!(world.waits_for("web"), "0/1 nodes fit: had untolerated taint {team: } on 1");
    assert_eq!(world.after("node n1\ndeployment web a 1", 10), "n1: web");
    assert_eq!(world.after("deployment web a 1\ndeployment db a 1 zone=x", 10), "n1: web");
    assert_eq!(world.waits_for("db"), "0/1 nodes fit: label zone=x missing on 1");
    assert_eq!(world.after("node n1 zone=x\ndeployment web a 1\ndeployment db a 1 zone=x", 10), "n1: db web");
    assert_eq!(
        world.core.view().nodes[&node("n1")].facts.as_ref().map(|facts| facts.labels["zone"].clone()),
        Some("x".to_owned())
    );
}

#[test]
fn a_taint_that_lets_nobody_stay_moves_pods_and_is_recorded() {
    let mut world = World::new(&["n1", "n2"]);
    assert_eq!(world.after("deployment web a 2\nservice web\ndeployment db a 1 tolerates=gone", 10), "n1: db web, n2: web");
    world.outcomes();
    let text = "node n1 taint=gone:NoExecute\ndeployment web a 2\nservice web\ndeployment db a 1 tolerates=gone";
    assert_eq!(world.after(text, 30), "n1: db, n2: web*2");
    assert_eq!(world.progress("web"), Progress::Done);
    assert!(world.bodies().contains("leaves n1: it does not tolerate the taint {gone: }"), "{}", world.bodies());
    let before = world.assigns;
    world.seconds(60);
    assert_eq!(world.assigns, before, "then nothing moves any more");
}

#[test]
fn who_tolerates_a_taint_for_a_while_leaves_when_that_is_over_and_stays_if_it_is_lifted_before() {
    let mut world = World::new(&["n1"]);
    let web = "deployment web a 1 tolerates=gone:30";
    assert_eq!(world.after(web, 10), "n1: web");
    assert_eq!(world.after(&format!("node n1 taint=gone:NoExecute\n{web}"), 25), "n1: web");
    let first = world.uids();
    assert_eq!(world.after(web, 25), "n1: web");
    assert_eq!(world.uids(), first);
    assert_eq!(world.after(&format!("node n1 taint=gone:NoExecute\n{web}"), 25), "n1: web");
    assert_eq!(world.uids(), first);
    world.seconds(20);
    assert_ne!(world.uids(), first, "its time is over, and another one comes that tolerates the taint as long");
}

#[test]
fn a_pod_that_leaves_for_a_taint_is_not_taken_back_into_its_service() {
    let mut world = World::new(&["n1", "n2"]);
    world.after("deployment web a 2 surge=0 unavailable=1\nservice web", 10);
    for agent in world.agents.values_mut() {
        agent.acknowledges = false;
    }
    let text = "node n1 taint=gone:NoExecute\ndeployment web a 2 surge=0 unavailable=1\nservice web";
    assert_eq!(world.after(text, 30), "n1: web, n2: web", "nobody has acknowledged that n1 is out of use");
    for agent in world.agents.values_mut() {
        agent.acknowledges = true;
    }
    world.seconds(60);
    assert_eq!(world.layout(), "n1: , n2: web*2");
}

#[test]
fn a_silent_node_is_sent_no_order_for_a_taint_until_it_is_heard() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.after("deployment web a 3", 10);
    world.agents.get_mut(&node("n1")).unwrap().up = false;
    world.seconds(15);
    assert_eq!(world.after("node n1 taint=gone:NoExecute\ndeployment web a 3", 15), "n1: web, n2: web, n3: web");
    world.agents.get_mut(&node("n1")).unwrap().up = true;
    world.hello(&node("n1"));
    world.seconds(30);
    assert!(world.layout().starts_with("n1: , "), "{}", world.layout());
}

#[test]
fn marks_are_in_force_again_after_a_restart() {
    let mut world = World::new(&["n1", "n2"]);
    let text = "node n1 cordoned\ndeployment web a 2";
    assert_eq!(world.after(text, 10), "n1: , n2: web*2");
    world.restart(false);
    world.greet();
    assert_eq!(world.after(text, 10), "n1: , n2: web*2");
    assert_eq!(world.after("node n1 cordoned\ndeployment web a 3", 10), "n1: , n2: web*3");
}

#[test]
fn a_node_of_git_that_has_not_joined_is_said_and_harmless() {
    let mut world = World::new(&["n1"]);
    world.after("node elsewhere cordoned\ndeployment web a 1", 10);
    let view = world.core.view();
    assert!(view.problems.iter().any(|problem| problem.about == "node elsewhere"), "{:?}", view.problems);
}

#[test]
fn the_higher_class_is_placed_first_whatever_its_name() {
    let mut world = World::new(&["n1"]);
    let text = "class high 1000\ndeployment a a 1 cpu=3000\ndeployment z a 1 cpu=3000 class=high";
    assert_eq!(world.after(text, 10), "n1: z");
    assert!(world.waits_for("a").starts_with("0/1 nodes fit: insufficient cpu on 1"), "{}", world.waits_for("a"));
}

#[test]
fn a_higher_pod_takes_the_room_of_lower_ones_and_gives_it_back() {
    let mut world = World::new(&["n1"]);
    let low = "class high 1000\ndeployment low a 3 cpu=1000\nservice low";
    assert_eq!(world.after(low, 10), "n1: low*3");
    world.outcomes();
    assert_eq!(world.after(&format!("{low}\ndeployment high a 1 cpu=2000 class=high"), 30), "n1: high low*2");
    world.seconds(150);
    assert!(world.bodies().contains("makes room on n1 for shop/high of priority 1000"), "{}", world.bodies());
    assert!(world.waits_for("low").starts_with("0/1 nodes fit: insufficient cpu"), "{}", world.waits_for("low"));
    let before = world.assigns;
    world.seconds(60);
    assert_eq!(world.assigns, before);
    assert_eq!(world.after(low, 30), "n1: low*3");
}

#[test]
fn room_is_set_aside_until_it_is_free() {
    let mut world = World::new(&["n1"]);
    world.stop = Duration::from_secs(20);
    world.after("class high 1000\ndeployment low a 3 cpu=1200", 10);
    world.push("class high 1000\ndeployment low a 3 cpu=1200\ndeployment high a 1 cpu=1500 class=high");
    world.seconds(5);
    assert!(world.waits_for("high").ends_with("; lower pods make room on n1"), "{}", world.waits_for("high"));
    world.push(
        "class high 1000\ndeployment low a 3 cpu=1200\ndeployment high a 1 cpu=1500 class=high\ndeployment small a 1 cpu=400",
    );
    world.seconds(5);
    assert!(world.waits_for("small").starts_with("0/1 nodes fit: insufficient cpu"), "{}", world.layout());
    world.seconds(40);
    assert_eq!(world.layout(), "n1: high low*2");
}

#[test]
fn several_pods_of_a_workload_ask_for_room_at_once() {
    let mut world = World::new(&["n1", "n2"]);
    let low = "class high 1000\ndeployment low a 4 cpu=2000";
    assert_eq!(world.after(low, 10), "n1: low*2, n2: low*2");
    let text = format!("{low}\ndeployment high a 3 cpu=2000 class=high");
    world.push(&text);
    world.seconds(8);
    let places = world.layout();
    assert!(places.matches("high").count() == 2 && places.contains("high*2"), "{places}");
}

#[test]
fn a_class_that_never_preempts_waits_for_its_turn() {
    let mut world = World::new(&["n1"]);
    let text = "class patient 1000 never\ndeployment low a 1 cpu=3000";
    world.after(text, 10);
    assert_eq!(world.after(&format!("{text}\ndeployment next a 1 cpu=3000 class=patient"), 30), "n1: low");
    assert_eq!(world.after("class patient 1000 never\ndeployment next a 1 cpu=3000 class=patient", 30), "n1: next");
}

#[test]
fn the_default_class_is_that_of_pods_that_name_none() {
    let mut world = World::new(&["n1"]);
    let text = "class usual 100 default\nclass low 10\ndeployment a a 1 cpu=3000 class=low";
    world.after(text, 10);
    assert_eq!(world.after(&format!("{text}\ndeployment b a 1 cpu=3000"), 30), "n1: b");
}

#[test]
fn who_a_budget_protects_goes_last() {
    let mut world = World::new(&["n1"]);
    let text = "class high 1000\nbudget safe 1\ndeployment safe a 1 cpu=2000\ndeployment spare a 1 cpu=2000";
    world.after(text, 10);
    assert_eq!(world.after(&format!("{text}\ndeployment high a 1 cpu=2000 class=high"), 30), "n1: high safe");
}

#[test]
fn a_budget_says_what_it_allows() {
    let mut world = World::new(&["n1"]);
    world.broken.insert('b');
    world.after("budget web 2\ndeployment web a 3\nbudget none 1", 10);
    let of = |world: &World, name: &str| world.core.view().budgets[&key(&format!("PodDisruptionBudget/{name}"))];
    assert_eq!(of(&world, "web"), BudgetView { expected: 3, healthy: 3, desired: 2, allowed: 1 });
    assert_eq!(of(&world, "none"), BudgetView { expected: 0, healthy: 0, desired: 1, allowed: 0 });
    world.after("budget web 2\ndeployment web b 3 surge=0 unavailable=1", 10);
    assert_eq!(of(&world, "web"), BudgetView { expected: 3, healthy: 2, desired: 2, allowed: 0 });
}

#[test]
fn who_waits_for_room_on_a_node_that_falls_silent_looks_elsewhere() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.stop = Duration::from_secs(3000);
    world.after("class high 1000\ndeployment low a 3 cpu=3000", 10);
    let text = "class high 1000\ndeployment low a 3 cpu=3000\ndeployment high a 1 cpu=3000 class=high";
    world.after(text, 5);
    let first = world.waits_for("high");
    let chosen = first.rsplit(' ').next().unwrap().to_owned();
    world.agents.get_mut(&node(&chosen)).unwrap().up = false;
    world.seconds(15);
    let second = world.waits_for("high");
    assert!(second.contains("lower pods make room on") && !second.ends_with(&chosen), "{first} / {second}");
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
