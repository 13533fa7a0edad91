//! What a plan does to what is observed.

use super::*;

#[test]
fn an_estimate_counts_what_runs_and_says_so() {
    let (old, new) = (World::at("a").web("web:1", 3).scaled("web", 2, 9), World::at("b").web("web:2", 3).scaled("web", 2, 9));
    let nodes = BTreeMap::from([(NodeName::new("a"), 4), (NodeName::new("b"), 1)]);
    let set = CurrentSet { nodes, ..CurrentSet::default() };
    let pods = CurrentPods { sets: BTreeMap::from([("h".to_owned(), set)]), autoscaled: Some(5), ..CurrentPods::default() };
    let current = CurrentObject { pods: Some(pods), ..CurrentObject::default() };
    let observed = Observed::from_current(&BTreeMap::from([(ObjectKey::new(Kind::Deployment, "shop", "web"), current)]));
    let mut plan = plan(&old, &new);
    estimate(&mut plan, &old.0, &new.0, &observed);
    let effect = &plan.changes[0].effect;
    assert_eq!((effect.starts, effect.stops, effect.estimate), (5, 5, true));
    assert!(effect.order.ends_with("(now 4 on a, 1 on b)"), "{}", effect.order);
}

impl World {
    fn node(self, marks: &NodeSpec) -> Self {
        let written = json!({"kind": "Node", "metadata": {"annotations": {"driftless.dev/drain": marks.drain}}, "spec": marks});
        self.with(Kind::Node, "a", written, Body::Node(marks.clone()))
    }
}

#[test]
fn a_change_of_a_node_says_who_moves_and_who_stays() {
    let taint = |effect: &str| Taint { key: "gone".into(), value: String::new(), effect: effect.into() };
    let web = |world: World| world.web("web:1", 3);
    let nodes = BTreeMap::from([(NodeName::new("a"), 2), (NodeName::new("b"), 1)]);
    let seen = ObservedPods { nodes, autoscaled: None };
    let observed = Observed { workloads: BTreeMap::from([(ObjectKey::new(Kind::Deployment, "shop", "web"), seen)]) };
    let says = |before: &NodeSpec, after: &NodeSpec| {
        let (old, new) = (web(World::at("a")).node(before), web(World::at("b")).node(after));
        let mut plan = plan(&old, &new);
        let intent = plan.changes[0].effect.order.clone();
        estimate(&mut plan, &old.0, &new.0, &observed);
        let effect = &plan.changes[0].effect;
        format!("{intent}\n{}\n{} stop", effect.order, effect.stops)
    };
    let open = NodeSpec::default();
    let cordoned = NodeSpec { unschedulable: true, ..NodeSpec::default() };
    let tainted = NodeSpec { taints: vec![taint("NoExecute")], ..NodeSpec::default() };
    insta::assert_snapshot!(says(&open, &cordoned), @r"
    takes no new pods; what runs there stays
    takes no new pods; what runs there stays; 2 pods there now
    0 stop
    ");
    insta::assert_snapshot!(says(&open, &tainted), @r"
    the taint {gone: } sends pods away that do not tolerate it; they are replaced elsewhere
    the taint {gone: } sends pods away that do not tolerate it; they are replaced elsewhere; now 2 of Deployment shop/web
    2 stop
    ");
    let drained = NodeSpec { unschedulable: true, drain: true, ..NodeSpec::default() };
    insta::assert_snapshot!(says(&cordoned, &drained), @r"
    takes no new pods and sends its own away one by one, each once another is ready elsewhere where that is possible, as budgets allow
    takes no new pods and sends its own away one by one, each once another is ready elsewhere where that is possible, as budgets allow; now 2 of Deployment shop/web
    2 stop
    ");
    insta::assert_snapshot!(says(&drained, &cordoned), @r"
    is drained no more; what has left does not come back for it
    is drained no more; what has left does not come back for it
    0 stop
    ");
    insta::assert_snapshot!(says(&tainted, &open), @r"
    the taint {gone: }:NoExecute is lifted
    the taint {gone: }:NoExecute is lifted
    0 stop
    ");
}

#[test]
fn a_removal_says_what_is_lost_with_the_node() {
    let seen = ObservedPods { nodes: BTreeMap::from([(NodeName::new("a"), 2)]), autoscaled: None };
    let observed = Observed { workloads: BTreeMap::from([(ObjectKey::new(Kind::Deployment, "shop", "web"), seen)]) };
    let (old, mut new) = (World::at("a").web("web:1", 3), World::at("b").web("web:1", 3).node(&NodeSpec::default()));
    let node = Arc::make_mut(new.0.objects.get_mut(&ObjectKey::new(Kind::Node, "shop", "a")).expect("the node"));
    node.meta.annotations.insert(NodeSpec::REMOVED.to_owned(), "true".to_owned());
    let mut plan = plan(&old, &new);
    estimate(&mut plan, &old.0, &new.0, &observed);
    let effect = &plan.changes[0].effect;
    assert!(
        effect.order.starts_with("its key counts no more") && effect.order.ends_with("now 2 of Deployment shop/web"),
        "{}",
        effect.order
    );
    assert_eq!((effect.stops, effect.estimate), (2, true));
}

#[test]
fn a_drain_says_who_stays_and_why() {
    let daemon = Strategy::Daemon(DaemonUpdate::OnDelete);
    let world = |at: &str| World::at(at).web("web:1", 3).runs(Kind::DaemonSet, "logs", "logs:1", 1, daemon.clone());
    let seen = |count| ObservedPods { nodes: BTreeMap::from([(NodeName::new("a"), count)]), autoscaled: None };
    let key = |kind, name: &str| ObjectKey::new(kind, "shop", name);
    let pods =
        [(key(Kind::Deployment, "web"), seen(2)), (key(Kind::DaemonSet, "logs"), seen(1)), (key(Kind::Job, "sum"), seen(1))];
    let observed = Observed { workloads: BTreeMap::from(pods) };
    let marks = NodeSpec { unschedulable: true, drain: true, ..NodeSpec::default() };
    let (old, new) = (world("a").node(&NodeSpec::default()), world("b").node(&marks));
    let mut plan = plan(&old, &new);
    estimate(&mut plan, &old.0, &new.0, &observed);
    let effect = &plan.changes[0].effect;
    let ends = "now 2 of Deployment shop/web; it keeps 1 of DaemonSet shop/logs (on every node), 1 of Job shop/sum (to its end)";
    assert!(effect.order.ends_with(ends), "{}", effect.order);
    assert_eq!((effect.starts, effect.stops, effect.estimate), (2, 2, true));
}

#[test]
fn the_controllers_picture_counts_pods_that_are_told_or_reported_and_not_stopping() {
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let incarnation = |counter| Incarnation { epoch: Epoch(1), counter };
    let hash = TemplateHash::new("h");
    let pod = |counter, node: &str, stopping| {
        let uid = PodUid::derive("test", &workload, 0, &hash, incarnation(counter));
        let (name, revision) = (String::new(), Revision::new("r"));
        let (workload, hash, images) = (workload.clone(), hash.clone(), BTreeMap::new());
        let told = PodRun { uid, name, workload, slot: 0, hash, revision, images };
        PodView { node: NodeName::new(node), told: Some(told), stopping, report: None, since: Moment(0), usage: None }
    };
    let pods = vec![pod(1, "a", None), pod(2, "a", None), pod(3, "b", Some(StopReason::Replaced))];
    let observed = Observed::from_view(&View { pods, ..View::default() });
    assert_eq!(observed.workloads[&workload].nodes, BTreeMap::from([(NodeName::new("a"), 2)]));
}
