//! Autoscalers in the core as a whole.

use super::world::{World, key, node};
use crate::model::*;

impl World {
    /// From now on every pod that runs on `n1` uses so many millicores and bytes.
    fn use_up(&mut self, cpu_milli: u64, memory_bytes: u64) {
        let usage = ContainerUsage { cpu_milli: Some(cpu_milli), memory_bytes };
        let agent = self.agents.get_mut(&node("n1")).unwrap();
        agent.usage = agent.pods.keys().map(|uid| (*uid, [("main".to_owned(), usage)].into_iter().collect())).collect();
    }

    /// Goes on for so long under such a load, of new pods as of old ones.
    fn under_load(&mut self, seconds: u64, cpu_milli: u64, memory_bytes: u64) {
        for _ in 0..seconds {
            self.use_up(cpu_milli, memory_bytes);
            self.seconds(1);
        }
    }

    /// What the autoscaler of this name says.
    fn autoscaler(&self, name: &str) -> AutoscalerView {
        let key = ObjectKey::new(Kind::HorizontalPodAutoscaler, "shop", name);
        self.core.view().autoscalers[&key].clone()
    }

    fn names_of(&self, workload: &str) -> Vec<String> {
        let wanted = key(workload);
        let pods = self.agents.values().flat_map(|agent| agent.pods.values());
        let mut names: Vec<String> =
            pods.filter(|pod| pod.run.workload == wanted && pod.stopping.is_none()).map(|pod| pod.run.name.clone()).collect();
        names.sort_unstable();
        names
    }
}

#[test]
fn the_autoscaler_scales_and_a_commit_does_not_undo_it() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\nhpa web 1 6");
    world.seconds(30);
    world.outcomes();
    world.under_load(60, 100, 0);
    assert_eq!(world.running("web").len(), 6);
    let scaled: Vec<_> = world.records.iter().filter(|record| record.trigger == Trigger::Scale).collect();
    assert!(scaled[0].body.contains("scaled 2 → 4 by its autoscaler: cpu: 100%/50%"), "{}", scaled[0].body);
    let events = world.core.view().events.clone();
    let event = events.iter().find(|event| event.about.kind == Kind::HorizontalPodAutoscaler).expect("an event");
    assert_eq!((event.reason.as_str(), event.message.as_str()), ("SuccessfulRescale", "New size: 4; reason: cpu: 100%/50%"));
    world.agents.get_mut(&node("n1")).unwrap().usage.clear();
    world.push("deployment web a 2\nhpa web 1 6\nconfig x 1");
    world.seconds(20);
    assert_eq!(world.running("web").len(), 6);
}

#[test]
fn a_stateful_set_grows_and_shrinks_by_its_numbers() {
    let mut world = World::new(&["n1"]);
    world.push("stateful db a 2\nhpa db 1 4 of=StatefulSet window=0");
    world.seconds(30);
    world.under_load(60, 100, 0);
    assert_eq!(world.names_of("StatefulSet/db"), ["db-0", "db-1", "db-2", "db-3"]);
    world.under_load(60, 25, 0);
    assert_eq!(world.names_of("StatefulSet/db"), ["db-0"]);
}

#[test]
fn a_replica_set_is_scaled_as_well() {
    let mut world = World::new(&["n1"]);
    world.push("replicas rs a 1\nhpa rs 1 3 of=ReplicaSet window=0");
    world.seconds(30);
    world.under_load(60, 200, 0);
    assert_eq!(world.names_of("ReplicaSet/rs").len(), 3);
    world.under_load(60, 0, 0);
    assert_eq!(world.names_of("ReplicaSet/rs").len(), 1);
}

#[test]
fn memory_alone_scales_out_and_both_metrics_must_agree_to_scale_in() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 1\nhpa web 1 5 memory=100 window=0");
    world.seconds(30);
    world.under_load(60, 0, 250);
    assert_eq!(world.running("web").len(), 5);
    let decision = world.autoscaler("web").decision.expect("a look");
    assert_eq!((decision.basis, decision.limit), (ScaleBasis::Metric(1), Some(ScaleLimit::Maximum)));
    world.under_load(40, 100, 10);
    assert_eq!(world.running("web").len(), 5, "cpu still wants them");
    world.under_load(40, 10, 10);
    assert_eq!(world.running("web").len(), 1);
}

#[test]
fn without_fresh_samples_nothing_changes_and_the_view_says_why() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\nhpa web 1 6 window=0");
    world.under_load(30, 50, 0);
    assert_eq!(world.autoscaler("web").decision.expect("a look").basis, ScaleBasis::Metric(0));
    world.agents.get_mut(&node("n1")).unwrap().usage.clear();
    world.seconds(120);
    let view = world.autoscaler("web");
    let decision = view.decision.expect("a look");
    assert_eq!((decision.replicas, decision.basis), (2, ScaleBasis::Silence(0)));
    assert_eq!(decision.readings, [MetricReading { usage: None, wish: Err(NoReading::NoSamples) }]);
    assert_eq!((view.target, view.last_scale), (key("web"), None));
}

#[test]
fn what_an_autoscaler_decided_by_other_rules_is_not_shown_as_if_by_the_new_ones() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\nhpa web 1 6");
    world.under_load(30, 50, 0);
    world.push("deployment web a 2\nhpa web 1 6 memory=100");
    world.seconds(1);
    assert_eq!(world.autoscaler("web").decision, None);
    world.under_load(30, 50, 50);
    assert_eq!(world.autoscaler("web").decision.expect("a look").readings.len(), 2);
    world.push("deployment web a 2");
    world.seconds(1);
    assert!(world.core.view().autoscalers.is_empty());
}
