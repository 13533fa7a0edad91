//! One rule at a time: a cluster as text, who runs where, a pod as people write it, and the answer.

use super::*;
use crate::model::{Meta, PodTemplate, Taint, TemplateHash};
use serde_json::{Value, json};

/// Nodes, one a line: `a zone=x taint=team=db:NoSchedule cordoned cpu=500`. Every node has its name as `kubernetes.io/hostname`.
pub(super) fn cluster(text: &str) -> Nodes {
    let mut nodes = Nodes::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let (mut labels, mut marks, mut cpu) = (vec![("kubernetes.io/hostname", name)], NodeSpec::default(), 4000);
        for word in words {
            match word.split_once('=') {
                None => marks.unschedulable = word == "cordoned",
                Some(("cpu", milli)) => cpu = milli.parse().expect("a number"),
                Some(("taint", taint)) => marks.taints.push(self::taint(taint)),
                Some(label) => labels.push(label),
            }
        }
        nodes.set(&facts(name, cpu, 4096, &labels), &marks, true);
    }
    nodes
}

fn taint(text: &str) -> Taint {
    let (head, effect) = text.rsplit_once(':').expect("an effect");
    let (key, value) = head.split_once('=').unwrap_or((head, ""));
    Taint { key: key.into(), value: value.into(), effect: effect.into() }
}

/// A pod of a workload: its labels are `app` (the workload's name) and what stands after it (`web@shop tier=front`).
pub(super) fn written(name: &str, spec: Value) -> Request {
    let mut words = name.split_whitespace();
    let (app, namespace) = words.next().map(|word| word.split_once('@').unwrap_or((word, "shop"))).expect("a name");
    let labels = words.filter_map(|word| word.split_once('=')).chain([("app", app)]);
    let metadata = Meta { labels: labels.map(|(key, value)| (key.into(), value.into())).collect(), ..Meta::default() };
    let template = PodTemplate { metadata, spec: serde_json::from_value(spec).expect("a spec") };
    Request::of(&ObjectKey::new(Kind::Deployment, namespace, app), &template, &TemplateHash::new("0123456789"))
}

/// Where `count` pods go one after the other, on a cluster where others run.
fn check(text: &str, running: &[(&str, Request)], pod: &Request, expected: &[&str]) {
    let mut nodes = cluster(text);
    for (node, request) in running {
        nodes.reserve(&NodeName::new(*node), request);
    }
    assert_eq!(place_all(&mut nodes, pod, expected.len()), expected);
}

fn plain(name: &str) -> Request {
    written(name, json!({}))
}

const ZONES: &str = "a zone=x\n b zone=x\n c zone=y\n d";

#[test]
fn a_cordoned_node_takes_no_pod_but_one_that_tolerates_it() {
    check("a cordoned\n b", &[], &plain("web"), &["b", "b"]);
    check("a cordoned", &[], &plain("web"), &["0/1 nodes fit: unschedulable on 1"]);
    let tolerant = written("web", json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}));
    check("a cordoned", &[], &tolerant, &["a"]);
}

#[test]
fn a_taint_keeps_away_who_does_not_tolerate_its_key_value_and_effect() {
    let tainted = "a taint=team=db:NoSchedule";
    check(tainted, &[], &plain("web"), &["0/1 nodes fit: had untolerated taint {team: db} on 1"]);
    let tolerating = |toleration: Value| written("web", json!({ "tolerations": [toleration] }));
    for toleration in [
        json!({"key": "team", "value": "db"}),
        json!({"key": "team", "operator": "Equal", "value": "db", "effect": "NoSchedule"}),
        json!({"key": "team", "operator": "Exists"}),
        json!({"operator": "Exists"}),
    ] {
        check(tainted, &[], &tolerating(toleration), &["a"]);
    }
    for toleration in
        [json!({"key": "team", "value": "web"}), json!({"key": "team", "operator": "Exists", "effect": "NoExecute"})]
    {
        check(tainted, &[], &tolerating(toleration), &["0/1 nodes fit: had untolerated taint {team: db} on 1"]);
    }
}

#[test]
fn a_device_is_on_no_node() {
    let asking = |amount: &str| {
        written("web", json!({"containers": [{"name": "main", "resources": {"limits": {"gpu.example.com/x": amount}}}]}))
    };
    check("a\n b", &[], &asking("1"), &["0/2 nodes fit: insufficient gpu.example.com/x on 2"]);
    check("a", &[], &asking("0"), &["a"]);
}

#[test]
fn a_soft_taint_is_avoided_while_there_is_another_node() {
    let cluster = "a taint=old:PreferNoSchedule\n b cpu=500\n";
    check(cluster, &[], &pod("web", 200, 0), &["b", "b", "a"]);
}

#[test]
fn node_affinity_takes_one_of_its_terms_and_all_of_a_term() {
    let terms = |terms: Value| {
        let required = json!({ "nodeSelectorTerms": terms });
        written("web", json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}))
    };
    let cluster = "a disk=ssd gen=4\n b disk=hdd gen=7\n c gen=x";
    let all_but = |refused: usize| format!("0/3 nodes fit: didn't match the pod's node affinity on {refused}");
    for (wanted, expected) in [
        (json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}]}]), "a".to_owned()),
        (json!([{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd", "hdd"]}]}]), "c".to_owned()),
        (json!([{"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}]), "c".to_owned()),
        (json!([{"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["4"]}]}]), "b".to_owned()),
        (json!([{"matchExpressions": [{"key": "gen", "operator": "Lt", "values": ["5"]}]}]), "a".to_owned()),
        (json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]), "b".to_owned()),
        (
            json!([{"matchExpressions": [{"key": "no", "operator": "Exists"}]}, {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a", "b"]}]}]),
            "c".to_owned(),
        ),
        (
            json!([{"matchExpressions": [{"key": "disk", "operator": "Exists"}, {"key": "gen", "operator": "Gt", "values": ["9"]}]}]),
            all_but(3),
        ),
        (json!([{}]), all_but(3)),
    ] {
        check(cluster, &[], &terms(wanted), &[&expected]);
    }
}

#[test]
fn the_heavier_preference_wins_and_a_preferred_node_that_is_full_is_done_without() {
    let preferred = json!([
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}},
        {"weight": 60, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["y"]}]}},
    ]);
    let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        "containers": [{"name": "main", "resources": {"requests": {"cpu": "400m"}}}]});
    check("a disk=ssd cpu=800\n b zone=y cpu=400\n c cpu=800", &[], &written("web", spec), &["b", "a", "a", "c"]);
}

fn near(topology: &str, extra: Value) -> Value {
    let mut term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": topology});
    for (key, value) in extra.as_object().into_iter().flatten() {
        term[key] = value.clone();
    }
    json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] })
}

#[test]
fn pod_affinity_goes_where_the_others_are_or_waits() {
    let web = written("web", json!({"affinity": {"podAffinity": near("zone", json!({}))}}));
    check(ZONES, &[("b", plain("db"))], &web, &["a", "b", "a"]);
    check(ZONES, &[], &web, &["0/4 nodes fit: didn't match pod affinity rules on 4"]);
    check(ZONES, &[("d", plain("db"))], &web, &["0/4 nodes fit: didn't match pod affinity rules on 4"]);
    check(ZONES, &[("b", plain("db@other"))], &web, &["0/4 nodes fit: didn't match pod affinity rules on 4"]);
}

#[test]
fn the_first_of_those_that_want_to_be_together_founds_the_place() {
    let db = written("db", json!({"affinity": {"podAffinity": near("zone", json!({}))}}));
    check(ZONES, &[], &db, &["a", "b", "a"]);
    check("d", &[], &db, &["0/1 nodes fit: didn't match pod affinity rules on 1"]);
}

#[test]
fn namespaces_and_their_labels_say_whose_pods_are_meant() {
    let wants = |extra: Value| written("web", json!({"affinity": {"podAffinity": near("zone", extra)}}));
    let there = |namespace: &str| [("c", plain(&format!("db@{namespace}")))];
    check(ZONES, &there("data"), &wants(json!({"namespaces": ["data"]})), &["c"]);
    check(ZONES, &there("data"), &wants(json!({"namespaceSelector": {}})), &["c"]);
    let by_name = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}});
    check(ZONES, &there("data"), &wants(by_name), &["c"]);
    let by_label = wants(json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}}));
    check(ZONES, &there("data"), &by_label, &["0/4 nodes fit: didn't match pod affinity rules on 4"]);
    let mut nodes = cluster(ZONES);
    nodes.reserve(&NodeName::new("c"), &plain("db@data"));
    nodes.set_namespaces(Namespaces([("data".to_owned(), [("team".to_owned(), "blue".to_owned())].into())].into()));
    assert_eq!(place_all(&mut nodes, &by_label, 1), ["c"]);
}

#[test]
fn anti_affinity_keeps_a_domain_free_and_nodes_without_the_label_are_in_none() {
    let db = |key: &str| written("db", json!({"affinity": {"podAntiAffinity": near(key, json!({}))}}));
    check(ZONES, &[], &db("zone"), &["a", "c", "d", "d"]);
    let refused = "0/4 nodes fit: didn't match pod anti-affinity rules on 4";
    check(ZONES, &[], &db("kubernetes.io/hostname"), &["a", "b", "c", "d", refused]);
}

#[test]
fn who_runs_already_keeps_those_away_whom_it_does_not_want() {
    let shy = written(
        "db",
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]}}}),
    );
    check("a zone=x\n b zone=y", &[("a", shy.clone())], &plain("web"), &["b", "b"]);
    check(
        "a zone=x",
        &[("a", shy.clone())],
        &plain("web"),
        &["0/1 nodes fit: didn't satisfy existing pods anti-affinity rules on 1"],
    );
    check("a zone=x", &[("a", shy)], &plain("web@other"), &["a"]);
}

#[test]
fn preferred_pod_rules_weigh_every_pod_in_the_domain() {
    let rule = |kind: &str| {
        let term = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
        let preferred = json!([{"weight": 50, "podAffinityTerm": term}]);
        written("web", json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}))
    };
    check("a\n b\n c", &[("a", plain("web"))], &rule("podAntiAffinity"), &["b", "c", "a", "b"]);
    check("a\n b\n c", &[("b", plain("web"))], &rule("podAffinity"), &["b", "b"]);
}

fn spread(constraints: Value) -> Value {
    let mut constraints = constraints;
    for constraint in constraints.as_array_mut().into_iter().flatten() {
        for (key, value) in [
            ("maxSkew", json!(1)),
            ("topologyKey", json!("zone")),
            ("whenUnsatisfiable", json!("DoNotSchedule")),
            ("labelSelector", json!({"matchLabels": {"app": "web"}})),
        ] {
            constraint.as_object_mut().expect("a map").entry(key).or_insert(value);
        }
    }
    json!({ "topologySpreadConstraints": constraints })
}

#[test]
fn pods_are_spread_over_zones_however_unequal_these_are() {
    let cluster = "a zone=x\n b zone=x\n c zone=x\n d zone=y cpu=100\n e";
    let mut web = written("web", spread(json!([{}])));
    check(cluster, &[], &web, &["a", "d", "b", "d", "c", "d"]);
    web.amounts.cpu_milli = 100;
    let refused = "0/5 nodes fit: didn't match pod topology spread constraints on 3, didn't match pod topology spread constraints (label zone missing) on 1, insufficient cpu on 1";
    check(cluster, &[], &web, &["a", "d", "b", refused]);
    let two = written("web", spread(json!([{"maxSkew": 2}])));
    check(
        "a zone=x\n b zone=y cordoned",
        &[],
        &two,
        &["a", "a", "0/2 nodes fit: unschedulable on 1, didn't match pod topology spread constraints on 1"],
    );
}

#[test]
fn spread_that_may_be_broken_only_makes_nodes_worse() {
    let cluster = "a zone=x\n b zone=x\n c zone=y cpu=1\n d";
    let mut web = written("web", spread(json!([{"whenUnsatisfiable": "ScheduleAnyway"}])));
    check(cluster, &[], &web, &["a", "c", "b", "c"]);
    web.amounts.cpu_milli = 100;
    check(cluster, &[], &web, &["a", "b", "a"]);
}

#[test]
fn fewer_domains_than_wanted_count_as_if_one_were_empty() {
    let web = written("web", spread(json!([{"minDomains": 3}])));
    check("a zone=x\n b zone=y", &[], &web, &["a", "b", "0/2 nodes fit: didn't match pod topology spread constraints on 2"]);
    check("a zone=x\n b zone=y\n c zone=z", &[], &web, &["a", "b", "c", "a"]);
}

#[test]
fn nodes_that_the_pod_cannot_use_are_domains_only_where_the_policies_say_so() {
    let selecting = |constraint: Value| {
        let mut spec = spread(json!([constraint]));
        spec["nodeSelector"] = json!({"disk": "ssd"});
        written("web", spec)
    };
    let cluster = "a zone=x disk=ssd\n b zone=y";
    check(cluster, &[], &selecting(json!({})), &["a", "a", "a"]);
    let refused = "0/2 nodes fit: label disk=ssd missing on 1, didn't match pod topology spread constraints on 1";
    check(cluster, &[], &selecting(json!({"nodeAffinityPolicy": "Ignore"})), &["a", refused]);
    let tainted = "a zone=x\n b zone=y taint=team=db:NoSchedule";
    let refused = "0/2 nodes fit: had untolerated taint {team: db} on 1, didn't match pod topology spread constraints on 1";
    check(tainted, &[], &written("web", spread(json!([{}]))), &["a", refused]);
    check(tainted, &[], &written("web", spread(json!([{"nodeTaintsPolicy": "Honor"}]))), &["a", "a"]);
}

#[test]
fn match_label_keys_count_the_pods_of_the_own_version_alone() {
    let version =
        |version: &str, keys: Value| written(&format!("web version={version}"), spread(json!([{"matchLabelKeys": keys}])));
    let old = || [("a", version("1", json!([]))), ("a", version("1", json!([])))];
    check("a zone=x\n b zone=y", &old(), &version("2", json!([])), &["b", "b", "a"]);
    check("a zone=x\n b zone=y", &old(), &version("2", json!(["version"])), &["b", "a", "b"]);
}

#[test]
fn a_port_of_one_address_leaves_the_others_free() {
    let on = |address: &str| {
        let mut port = json!({"containerPort": 80, "hostPort": 80});
        if !address.is_empty() {
            port["hostIP"] = json!(address);
        }
        written("web", json!({"containers": [{"name": "main", "ports": [port]}]}))
    };
    let taken = "0/1 nodes fit: host port 80 taken on 1";
    check("a", &[("a", on("127.0.0.1"))], &on("10.0.0.1"), &["a", taken]);
    check("a", &[("a", on("127.0.0.1"))], &on("127.0.0.1"), &[taken]);
    for everywhere in ["", "0.0.0.0", "::"] {
        check("a", &[("a", on("127.0.0.1"))], &on(everywhere), &[taken]);
        check("a", &[("a", on(everywhere))], &on("127.0.0.1"), &[taken]);
    }
}

#[test]
fn a_named_node_is_the_only_one_and_neither_cordon_nor_taint_keeps_the_pod_away() {
    let named = written("web", json!({"nodeName": "b", "containers": [{"name": "main", "resources": {"requests": {"cpu": 3}}}]}));
    let refused = "0/2 nodes fit: didn't match the requested node name b on 1, insufficient cpu on 1";
    check("a\n b cordoned taint=x:NoExecute", &[], &named, &["b", refused]);
    let mut bound = plain("web");
    bound.pinned = Some(NodeName::new("b"));
    check("a\n b", &[], &bound, &["b", "b"]);
    check("a\n b cordoned", &[], &bound, &["0/2 nodes fit: didn't match the requested node name b on 1, unschedulable on 1"]);
}

#[test]
fn one_node_is_asked_without_regard_to_what_is_free_there() {
    let nodes = cluster("a cpu=10 zone=x\n b zone=y taint=team=db:NoSchedule\n c cordoned zone=x");
    let request = Request { node_selector: [("zone".to_owned(), "x".to_owned())].into(), ..pod("web", 9000, 9000) };
    let ask = |request: &Request, name: &str| matches(request, &nodes, &NodeName::new(name)).map(|refusal| refusal.to_string());
    assert_eq!(ask(&request, "a"), None);
    assert_eq!(ask(&request, "b").as_deref(), Some("had untolerated taint {team: db}"));
    assert_eq!(ask(&request, "c").as_deref(), Some("unschedulable"));
    assert_eq!(ask(&request.clone().of_every_node(), "c"), None);
    assert_eq!(ask(&request, "unknown").as_deref(), Some("not ready"));
}
