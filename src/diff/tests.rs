//! Plans between small worlds.

use super::*;
use crate::model::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A world that objects are added to.
#[derive(Default, Clone)]
struct World(Desired);

impl World {
    fn at(revision: &str) -> Self {
        Self(Desired { revision: Some(Revision::new(revision.repeat(40))), ..Desired::default() })
    }

    fn with(mut self, kind: Kind, name: &str, written: Value, body: Body) -> Self {
        let key = ObjectKey::new(kind, "shop", name);
        let file = format!("shop/{name}.yaml");
        let blob = blake3::hash(format!("{written}{}", secrets(&body)).as_bytes()).to_hex().to_string();
        let source = Source { unit: UnitName::new("shop"), revision: Revision::new("r"), file, line: 1, blob };
        let meta = Meta::default();
        let object = Object { key: key.clone(), meta, source, written: Arc::new(written), fingerprint: [0; 32], body };
        self.0.objects.insert(key, Arc::new(object));
        self
    }

    fn config(self, name: &str, data: &[(&str, &str)]) -> Self {
        let written = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": object_of(data)});
        let bytes = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        self.with(Kind::ConfigMap, name, written, Body::ConfigMap(bytes))
    }

    fn secret(self, name: &str, field: &str, data: &[(&str, &str)]) -> Self {
        let hidden: Vec<(&str, &str)> = data.iter().map(|(key, _)| (*key, REDACTED)).collect();
        let written = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, field: object_of(&hidden)});
        let bytes = data.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.as_bytes().to_vec()))).collect();
        self.with(Kind::Secret, name, written, Body::Secret(bytes))
    }

    /// A workload that takes its environment from every ConfigMap and Secret that the world has.
    fn runs(self, kind: Kind, name: &str, image: &str, replicas: u32, strategy: Strategy) -> Self {
        let template = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        let written = json!({"kind": kind, "metadata": {"name": name}, "spec": {"replicas": replicas, "template": template}});
        let mut config = ConfigSnapshot::default();
        for object in self.0.objects.values() {
            if let Body::ConfigMap(data) = &object.body {
                config.config_maps.insert(object.key.name.clone(), data.clone());
            } else if let Body::Secret(data) = &object.body {
                config.secrets.insert(object.key.name.clone(), data.clone());
            }
        }
        let seen = format!(
            "{template}{:?}{}",
            config.config_maps,
            secrets(&Body::Secret(config.secrets.values().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()))
        );
        let hash = TemplateHash::new(&blake3::hash(seen.as_bytes()).to_hex().as_str()[..40]);
        let snapshot =
            PodSnapshot { hash, template: serde_json::from_value(template).expect("a template"), config: Arc::new(config) };
        let workload = Workload {
            replicas: Some(replicas),
            selector: LabelSelector::default(),
            snapshot: Arc::new(snapshot),
            strategy,
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
            paused: false,
        };
        self.with(kind, name, written, Body::Workload(workload))
    }

    fn web(self, image: &str, replicas: u32) -> Self {
        self.runs(Kind::Deployment, "web", image, replicas, rolling("25%", "25%"))
    }

    fn scaled(self, name: &str, min: u32, max: u32) -> Self {
        let autoscaler = Autoscaler {
            target_kind: "Deployment".into(),
            target_name: name.into(),
            min_replicas: min,
            max_replicas: max,
            cpu_percent: Some(70),
            cpu_average_milli: None,
            scale_down_window_seconds: 300,
            scale_up_window_seconds: 0,
        };
        let written = json!({"spec": {"minReplicas": min, "maxReplicas": max}});
        self.with(Kind::HorizontalPodAutoscaler, name, written, Body::Autoscaler(autoscaler))
    }
}

fn secrets(body: &Body) -> String {
    let Body::Secret(data) = body else { return String::new() };
    data.values().map(|value| String::from_utf8_lossy(value.expose()).into_owned()).collect()
}

fn object_of(data: &[(&str, &str)]) -> Value {
    data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect::<serde_json::Map<_, _>>().into()
}

fn rolling(surge: &str, unavailable: &str) -> Strategy {
    let read = |text: &str| text.parse().map_or_else(|_| IntOrString::Text(text.to_owned()), IntOrString::Int);
    Strategy::Rolling { max_surge: read(surge), max_unavailable: read(unavailable) }
}

fn blue_green(auto_promotion: bool) -> Strategy {
    Strategy::BlueGreen(BlueGreen {
        active_service: "api".into(),
        preview_service: None,
        auto_promotion,
        auto_promotion_seconds: 0,
        scale_down_delay_seconds: 30,
        promote: None,
    })
}

fn plan(old: &World, new: &World) -> Plan {
    intent(&old.0, &new.0)
}

/// `action key` of every change.
fn actions(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(|change| format!("{} {}", digest::action_name(change.action), change.key)).collect()
}

fn order(plan: &Plan, name: &str) -> String {
    plan.changes.iter().find(|change| change.key.name == name).map(|change| change.effect.order.clone()).expect("a change")
}

#[test]
fn an_unchanged_tree_is_an_empty_plan() {
    let world = World::at("a").config("settings", &[("A", "1")]).secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let plan = plan(&world, &World(Desired { revision: Some(Revision::new("b")), ..world.0.clone() }));
    assert_eq!((plan.is_empty(), plan.unchanged), (true, 3));
    assert_eq!(
        render::text(&plan, false),
        format!("Nothing changes.\n\nPlan: 0 to create, 0 to update, 0 to delete, 3 unchanged. digest {}\n", plan.digest)
    );
}

#[test]
fn a_new_template_replaces_pods_a_new_number_scales_and_anything_else_updates() {
    let old = World::at("a").web("web:1", 3);
    assert_eq!(actions(&plan(&old, &World::at("b").web("web:2", 5))), ["replace Deployment shop/web"]);
    assert_eq!(actions(&plan(&old, &World::at("b").web("web:1", 5))), ["scale Deployment shop/web"]);
    let old = World::at("a").scaled("web", 1, 2);
    assert_eq!(actions(&plan(&old, &World::at("b").scaled("web", 1, 3))), ["update HorizontalPodAutoscaler shop/web"]);
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
fn a_secret_shows_its_keys_and_never_a_value() {
    let old = World::at("a").secret("token", "data", &[("kept", "hunter1"), ("old", "hunter2"), ("turned", "hunter3")]);
    let new = World::at("b").secret("token", "stringData", &[("kept", "hunter1"), ("new", "hunter4"), ("turned", "hunter5")]);
    let plan = plan(&old, &new);
    let fields: Vec<String> =
        plan.changes[0].fields.iter().map(|f| format!("{} {:?} {:?}", f.path, f.old.is_some(), f.new.is_some())).collect();
    assert_eq!(fields, ["data.new false true", "data.old true false", "data.turned true true"]);
    for shown in [render::text(&plan, true), render::markdown(&plan), render::json(&plan).to_string(), format!("{plan:?}")] {
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("turned"), "{shown}");
    }
    let created = self::plan(&World::at("a"), &new);
    assert!(!render::text(&created, false).contains("hunter") && render::text(&created, false).contains("data.kept"));
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
fn a_deletion_with_an_equal_addition_is_a_probable_rename() {
    let old = World::at("a").runs(Kind::Deployment, "old", "web:1", 2, rolling("1", "0")).config("c1", &[("A", "1")]);
    let new = World::at("b").runs(Kind::Deployment, "new", "web:1", 2, rolling("1", "0")).config("c2", &[("A", "2")]);
    let plan = plan(&old, &new);
    let renamed: Vec<_> =
        plan.changes.iter().filter_map(|c| Some((c.key.name.as_str(), c.renamed_from.as_ref()?.name.as_str()))).collect();
    assert_eq!(renamed, [("new", "old")]);
}

#[test]
fn the_digest_is_that_of_the_intent_and_pinned() {
    let old = World::at("a").config("settings", &[("A", "1")]).secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let new = World::at("b").config("settings", &[("A", "2")]).secret("token", "data", &[("t", "y")]).web("web:2", 3);
    insta::assert_snapshot!(plan(&old, &new).digest, @"blake3:236a0e2b24f09b13621585d85e3cd035492e88c820f0c4e52dd37d9af33b3153");
}

#[test]
fn the_digest_knows_no_revision_no_observation_and_no_template_hash() {
    let old = World::at("a").secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let new = World::at("b").secret("token", "data", &[("t", "y")]).web("web:2", 3);
    let digest = plan(&old, &new).digest;
    let elsewhere = |world: &World, tag: &str| {
        let mut world = world.clone();
        world.0.revision = Some(Revision::new(tag));
        for object in world.0.objects.values_mut() {
            let object = Arc::make_mut(object);
            object.source.revision = Revision::new(tag);
            object.source.line += 7;
            if let Body::Workload(workload) = &mut object.body {
                let snapshot = Arc::make_mut(&mut workload.snapshot);
                snapshot.hash = TemplateHash::new(format!("{tag}{}", snapshot.hash));
            }
        }
        world
    };
    let (old_key, new_key) = (elsewhere(&old, "c"), elsewhere(&new, "d"));
    let mut same = plan(&old_key, &new_key);
    estimate(&mut same, &old_key.0, &new_key.0, &Observed::default());
    assert_eq!(same.digest, digest);
    let other = World::at("b").secret("token", "data", &[("t", "z")]).web("web:2", 3);
    assert_ne!(plan(&old, &other).digest, digest, "another secret value is another intent");
}

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
        self.with(Kind::Node, "a", json!({"kind": "Node", "spec": marks}), Body::Node(marks.clone()))
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
    let cordoned = NodeSpec { unschedulable: true, taints: Vec::new() };
    let tainted = NodeSpec { unschedulable: false, taints: vec![taint("NoExecute")] };
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
    insta::assert_snapshot!(says(&tainted, &open), @r"
    the taint {gone: }:NoExecute is lifted
    the taint {gone: }:NoExecute is lifted
    0 stop
    ");
}

#[test]
fn the_controllers_picture_counts_pods_that_are_told_or_reported_and_not_stopping() {
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let incarnation = |counter| Incarnation { epoch: Epoch(1), counter };
    let hash = TemplateHash::new("h");
    let pod = |counter, node: &str, stopping| {
        let uid = PodUid::derive("test", &workload, 0, &hash, incarnation(counter));
        let (name, revision) = (String::new(), Revision::new("r"));
        let told = PodRun { uid, name, workload: workload.clone(), slot: 0, hash: hash.clone(), revision };
        PodView { node: NodeName::new(node), told: Some(told), stopping, report: None, since: Moment(0), cpu_milli: None }
    };
    let pods = vec![pod(1, "a", None), pod(2, "a", None), pod(3, "b", Some(StopReason::Replaced))];
    let observed = Observed::from_view(&View { pods, ..View::default() });
    assert_eq!(observed.workloads[&workload].nodes, BTreeMap::from([(NodeName::new("a"), 2)]));
}

/// A plan with one of each.
fn varied() -> Plan {
    let long = "listen 80;\nroot /srv;\nindex a.html;\ngzip on;\nlog off;\n";
    let old = World::at("a")
        .config("nginx", &[("nginx.conf", long)])
        .secret("token", "data", &[("t", "x")])
        .web("web:1", 3)
        .runs(Kind::Deployment, "gone", "gone:1", 2, rolling("1", "0"));
    let new = World::at("b")
        .config("nginx", &[("nginx.conf", &long.replace("a.html", "b.html"))])
        .secret("token", "data", &[("t", "y")])
        .web("web:2", 3)
        .config("fresh", &[("A", "1")]);
    plan(&old, &new)
}

#[test]
fn text_reads_like_a_diff() {
    insta::assert_snapshot!(render::text(&varied(), false), @r#"
driftless plan aaaaaaaa → bbbbbbbb

+   create  ConfigMap shop/fresh  (shop/fresh.yaml:1)
    + data:
    +   A: "1"
    effect: no pod uses it

~   update  ConfigMap shop/nginx  (shop/nginx.yaml:1)
    ~ data[nginx.conf]:
        listen 80;
        root /srv;
    -   index a.html;
    +   index b.html;
        gzip on;
        log off;
    effect: replaces the pods of Deployment shop/web

~   update  Secret shop/token  (shop/token.yaml:1)
    ~ data.t: <redacted> (changed)
    effect: replaces the pods of Deployment shop/web

-   delete  Deployment shop/gone  (shop/gone.yaml:1)
    effect: 2 pods stop, and nothing of it runs afterwards [downtime]

-/+ replace Deployment shop/web  (shop/web.yaml:1)
    ~ spec.template.spec.containers[main].image: "web:1" → "web:2"
    effect: ConfigMap nginx and Secret token changed; 3 pods replaced, rolling: one at a time, each new pod ready before an old one stops

Plan: 1 to create, 3 to update (3 pods replaced), 1 to delete, 0 unchanged. digest blake3:d3b22062092bb5d669a33fdbb9834097dc80fdce7710a7aeac0f849aac8a7596
"#);
}

#[test]
fn markdown_suits_a_pull_request() {
    insta::assert_snapshot!(render::markdown(&varied()), @r#"
### Driftless plan `aaaaaaaa → bbbbbbbb`

Plan: 1 to create, 3 to update (3 pods replaced), 1 to delete, 0 unchanged.

Digest `blake3:d3b22062092bb5d669a33fdbb9834097dc80fdce7710a7aeac0f849aac8a7596`

| | object | effect | downtime |
|---|---|---|---|
| `+` create | `ConfigMap shop/fresh` | no pod uses it | no |
| `~` update | `ConfigMap shop/nginx` | replaces the pods of Deployment shop/web | no |
| `~` update | `Secret shop/token` | replaces the pods of Deployment shop/web | no |
| `-` delete | `Deployment shop/gone` | 2 pods stop, and nothing of it runs afterwards | **yes** |
| `-/+` replace | `Deployment shop/web` | ConfigMap nginx and Secret token changed; 3 pods replaced, rolling: one at a time, each new pod ready before an old one stops | no |

<details><summary><code>ConfigMap shop/fresh</code> create (<code>shop/fresh.yaml:1</code>)</summary>

```diff
+ data:
+   A: "1"
```

</details>

<details><summary><code>ConfigMap shop/nginx</code> update (<code>shop/nginx.yaml:1</code>)</summary>

```diff
! data[nginx.conf]:
    listen 80;
    root /srv;
-   index a.html;
+   index b.html;
    gzip on;
    log off;
```

</details>

<details><summary><code>Secret shop/token</code> update (<code>shop/token.yaml:1</code>)</summary>

```diff
! data.t: <redacted> (changed)
```

</details>

<details><summary><code>Deployment shop/web</code> replace (<code>shop/web.yaml:1</code>)</summary>

```diff
! spec.template.spec.containers[main].image: "web:1" → "web:2"
```

</details>
"#);
}

#[test]
fn json_has_a_stable_shape() {
    let plan = plan(&World::at("a").web("web:1", 3), &World::at("b").web("web:2", 3));
    insta::assert_snapshot!(serde_json::to_string_pretty(&render::json(&plan)).expect("JSON"), @r#"
{
  "blocked": null,
  "changes": [
    {
      "action": "replace",
      "effect": {
        "downtime": false,
        "estimate": false,
        "order": "3 pods replaced, rolling: one at a time, each new pod ready before an old one stops",
        "starts": 3,
        "stops": 3
      },
      "fields": [
        {
          "new": "web:2",
          "old": "web:1",
          "path": "spec.template.spec.containers[main].image"
        }
      ],
      "file": "shop/web.yaml",
      "kind": "Deployment",
      "line": 1,
      "name": "web",
      "namespace": "shop",
      "renamedFrom": null,
      "unit": "shop"
    }
  ],
  "digest": "blake3:816826548bfccade7e99d6302d9db0c3de18718f01eb8efdfe29b6990e5a104c",
  "from": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "summary": {
    "create": 0,
    "delete": 0,
    "downtime": false,
    "podsReplaced": 3,
    "unchanged": 0,
    "update": 1
  },
  "to": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
}
"#);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plan = varied();
    let coloured = render::text(&plan, true);
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), render::text(&plan, false));
}

#[test]
fn a_manifest_cannot_hide_a_line_from_its_reviewer() {
    let old = World::at("a").config("c", &[("A", "1")]);
    let new = World::at("b").config("c", &[("A", "\u{1b}[2K\u{202e}2"), ("B", "```\n</details>\n````\n")]);
    let plan = plan(&old, &new);
    let text = render::text(&plan, false);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    assert!(render::markdown(&plan).contains("`````diff"), "the fence is longer than any in the text");
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

fn stateful(name: &str, image: &str, replicas: u32, partition: u32) -> World {
    let update = StatefulUpdate::Rolling { partition, max_unavailable: IntOrString::Int(1) };
    let claims = vec![ClaimTemplate { name: "data".to_owned(), ..ClaimTemplate::default() }];
    let spec = Stateful { update, claims, ..Stateful::default() };
    World::at(image).runs(Kind::StatefulSet, name, image, replicas, Strategy::Stateful(spec))
}

fn told(old: &World, new: &World) -> (String, bool) {
    let effect = plan(old, new).changes.remove(0).effect;
    (effect.order, effect.downtime)
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
