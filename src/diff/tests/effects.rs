//! What a change does to pods.

use super::*;

fn told(old: &World, new: &World) -> (String, bool) {
    let effect = plan(old, new).changes.remove(0).effect;
    (effect.order, effect.downtime)
}

fn stateful(name: &str, image: &str, replicas: u32, partition: u32) -> World {
    let update = StatefulUpdate::Rolling { partition, max_unavailable: IntOrString::Int(1) };
    let claims = vec![ClaimTemplate { name: "data".to_owned(), ..ClaimTemplate::default() }];
    let spec = Stateful { update, claims, ..Stateful::default() };
    World::at(image).runs(Kind::StatefulSet, name, image, replicas, Strategy::Stateful(spec))
}

#[test]
fn the_effect_says_how_many_pods_go_in_what_order_and_whether_something_stops_serving() {
    let check = |before: u32, after: u32, strategy: &Strategy, downtime: bool, expected: &str| {
        let world = |image, replicas| World::at("a").runs(Kind::Rollout, "x", image, replicas, strategy.clone());
        let plan = plan(&world("x:1", before), &world("x:2", after));
        let effect = &plan.changes[0].effect;
        assert_eq!((effect.order.as_str(), effect.downtime), (expected, downtime));
        assert_eq!((effect.starts, effect.stops), (after, before));
    };
    check(3, 3, &rolling("1", "0"), false, "3 pods replaced, rolling: one at a time, each new pod ready before an old one stops");
    check(1, 1, &rolling("25%", "25%"), false, "1 pod replaced, rolling: the new pod is ready before the old one stops");
    check(
        1,
        1,
        &rolling("0", "1"),
        true,
        "1 pod replaced, rolling: the old pod stops, then the new one starts; nothing serves meanwhile",
    );
    check(8, 8, &rolling("25%", "25%"), false, "8 pods replaced, rolling: 4 at a time, at most 2 fewer than 8 serving");
    check(8, 8, &rolling("50%", "0"), false, "8 pods replaced, rolling: 4 at a time, new pods ready before old ones stop");
    check(
        2,
        4,
        &Strategy::Recreate,
        true,
        "2 pods replaced by 4, recreated: all 2 old ones stop before the new ones start; nothing serves meanwhile",
    );
    check(
        2,
        2,
        &blue_green(true),
        false,
        "2 pods replaced, blue/green: 2 new beside 2 old; Service api switches at once when all are ready; the old set stops 30 s later",
    );
    check(
        2,
        2,
        &blue_green(false),
        false,
        "2 pods replaced, blue/green: 2 new beside 2 old; Service api switches when a commit sets driftless.dev/promote; the old set stops 30 s later",
    );
    check(0, 0, &rolling("1", "0"), false, "no pod runs, so none is replaced");
}

#[test]
fn a_changed_config_map_replaces_the_pods_that_use_it_and_is_named() {
    let old = World::at("a").config("settings", &[("A", "1")]).web("web:1", 3);
    let new = World::at("b").config("settings", &[("A", "2")]).web("web:1", 3);
    let plan = plan(&old, &new);
    assert_eq!(actions(&plan), ["update ConfigMap shop/settings", "replace Deployment shop/web"]);
    assert!(order(&plan, "web").starts_with("ConfigMap settings changed; 3 pods replaced"), "{}", order(&plan, "web"));
    assert_eq!(order(&plan, "settings"), "replaces the pods of Deployment shop/web");
}

#[test]
fn scaling_says_how_many_start_or_stop_and_leaves_the_number_to_an_autoscaler() {
    let scale = |old: &World, new: &World| order(&plan(old, new), "web");
    let web = |replicas| World::at("a").web("web:1", replicas);
    assert_eq!(scale(&web(1), &web(3)), "2 pods start (1 → 3)");
    assert_eq!(scale(&web(3), &web(0)), "3 pods stop (3 → 0), and nothing of it runs afterwards");
    assert_eq!(
        scale(&web(1).scaled("web", 2, 9), &web(4).scaled("web", 2, 9)),
        "no pod starts or stops: its autoscaler sets the number"
    );
}

#[test]
fn a_promotion_and_a_pause_say_what_they_set_off() {
    let with = |change: &dyn Fn(&mut Workload)| {
        let mut world = World::at("a").runs(Kind::Rollout, "x", "x:1", 2, blue_green(false));
        let object = Arc::make_mut(world.0.objects.values_mut().next().expect("the rollout"));
        let Body::Workload(workload) = &mut object.body else { panic!("a workload") };
        change(workload);
        object.written = Arc::new(json!({"paused": workload.paused, "strategy": format!("{:?}", workload.strategy)}));
        world
    };
    let plain = with(&|_| {});
    let promoted = with(&|workload| {
        let Strategy::BlueGreen(blue_green) = &mut workload.strategy else { panic!("blue/green") };
        blue_green.promote = Some("abc".into());
    });
    let paused = with(&|workload| workload.paused = true);
    let says = |old: &World, new: &World| order(&plan(old, new), "x");
    assert!(says(&plain, &promoted).starts_with("promotes the waiting set, if this is its template: Service api switches"));
    assert_eq!(says(&promoted, &plain), "no pod is replaced");
    assert!(says(&plain, &paused).contains("holds a rollout") && says(&paused, &plain).contains("takes up a rollout"));
}

#[test]
fn a_stateful_set_says_in_what_order_its_pods_go_and_what_becomes_of_their_volumes() {
    let orders = [
        told(&World::at("a"), &stateful("db", "db:1", 3, 0)),
        told(&stateful("db", "db:1", 3, 0), &stateful("db", "db:2", 3, 0)),
        told(&stateful("db", "db:1", 3, 0), &stateful("db", "db:2", 3, 2)),
        told(&stateful("db", "db:1", 1, 0), &stateful("db", "db:2", 1, 0)),
        told(&stateful("db", "db:1", 3, 0), &stateful("db", "db:1", 1, 0)),
        told(&stateful("db", "db:1", 3, 0), &World::at("b")),
    ];
    let lines: Vec<String> =
        orders.iter().map(|(order, downtime)| format!("{order}{}", if *downtime { " !" } else { "" })).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    3 pods start: db-0 to db-2, each when the one before it is ready, each with a volume data of its own
    3 pods replaced, db-2 down to db-0: one at a time, an old pod stops before its new one starts; the next when it is ready
    1 pod replaced, db-2: the old pod stops, then the new one starts; db-0 to db-1 keep the old template (partition 2)
    1 pod replaced, db-0: the old pod stops, then the new one starts; nothing serves meanwhile !
    2 pods stop (3 → 1), db-2 first; their volumes are kept
    3 pods stop, and nothing of it runs afterwards; their volumes are kept !
    ");
}

#[test]
fn a_daemon_set_says_how_many_nodes_go_at_a_time() {
    let daemon = |image: &str, surge: i64, unavailable: i64| {
        let (max_surge, max_unavailable) = (IntOrString::Int(surge), IntOrString::Int(unavailable));
        let strategy = Strategy::Daemon(DaemonUpdate::Rolling { max_surge, max_unavailable });
        World::at(image).runs(Kind::DaemonSet, "logs", image, 1, strategy)
    };
    let orders = [
        told(&World::at("a"), &daemon("logs:1", 0, 1)),
        told(&daemon("logs:1", 0, 1), &daemon("logs:2", 0, 1)),
        told(&daemon("logs:1", 2, 0), &daemon("logs:2", 2, 0)),
        told(&daemon("logs:1", 0, 1), &World::at("b")),
    ];
    let lines: Vec<String> = orders.into_iter().map(|(order, _)| order).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    a pod starts on every node that suits
    the pod of every node replaced, one node at a time, the old pod of a node stops before its new one starts
    the pod of every node replaced, 2 nodes at a time, the new pod ready before the old one stops
    its pods stop on every node, and nothing of it runs afterwards
    ");
}

#[test]
fn every_kind_has_an_effect_or_none_on_purpose() {
    let silent = BTreeSet::from([Kind::Namespace, Kind::Ingress]);
    for kind in Kind::ALL {
        let plan = plan(&World::at("a"), &World::at("b").with(kind, "x", json!({}), Body::Namespace));
        let says_nothing = plan.changes[0].effect.order.is_empty();
        assert_eq!(says_nothing, silent.contains(&kind) || kind == Kind::HorizontalPodAutoscaler, "{kind}");
    }
}
