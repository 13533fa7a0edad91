//! An Engine that hangs, is killed and comes back under a running agent: nothing is started twice, nothing is lost, and what goes on
//! running is left alone.

use crate::engine::Engine;
use crate::harness::{Cluster, Load, container_ids};
use crate::manifests::{contained, web_of};
use crate::namespace::within;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Pods with a probe that the Engine itself makes.
fn web(replicas: u32) -> String {
    let script = "mkdir -p /www && echo here > /www/index.html && exec httpd -f -p 8080 -h /www";
    let mut container = contained("web", script);
    container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    let command = ["/bin/busybox", "true"];
    container["livenessProbe"] = json!({ "exec": { "command": command }, "periodSeconds": 1, "failureThreshold": 2 });
    container["readinessProbe"] = json!({ "httpGet": { "path": "/index.html", "port": "http" }, "periodSeconds": 1 });
    web_of(replicas, &json!({ "terminationGracePeriodSeconds": 2, "containers": [container] }))
}

type Pods = BTreeMap<String, Value>;

/// `driftless up` beside an Engine of its own, with so many pods that are ready.
fn started(engine: &Engine, replicas: u32) -> (Cluster, Pods) {
    let mut cluster = Cluster::new("docker");
    cluster.docker_host = Some(engine.host());
    scale(&cluster, replicas);
    cluster.start();
    let pods = cluster.wait_for("they are ready", || cluster.ready_pods("shop", "web", replicas as usize));
    (cluster, pods)
}

fn scale(cluster: &Cluster, replicas: u32) {
    cluster.push(&format!("{replicas} pods"), &[("shop/web.yaml", Some(&web(replicas)))]);
}

/// Ready, and with nothing to say.
fn well(cluster: &Cluster, replicas: usize) -> Pods {
    cluster.wait_for("all is well", || {
        let pods = cluster.ready_pods("shop", "web", replicas)?;
        let is_well = |pod: &Value| pod["status"]["message"].as_str().unwrap_or_default().is_empty();
        if pods.values().all(is_well) { Ok(pods) } else { Err(format!("{pods:?}")) }
    })
}

/// Every pod is said to have this trouble: not at the same moment, since another probe that passes takes the words away again.
fn all_say(cluster: &Cluster, trouble: &str) {
    let mut told = BTreeSet::new();
    cluster.wait_for(&format!("every pod says {trouble:?}"), || {
        let pods = cluster.pods("shop")?;
        told.extend(pods.iter().filter(|(_, pod)| pod.to_string().contains(trouble)).map(|(name, _)| name.clone()));
        if told.len() == pods.len() { Ok(()) } else { Err(format!("{pods:?}")) }
    });
}

fn untouched(before: &Pods, after: &Pods) {
    assert_eq!(container_ids(before), container_ids(after));
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    assert!(after.values().all(|pod| restarts(pod) == Some(0)), "{after:?}");
}

/// Once no other pod runs on the Engine.
fn only(cluster: &Cluster, engine: &Engine, pods: &Pods) {
    cluster.wait_for("they run, each once, and nothing else does", || {
        let running = engine.running()?;
        if running.iter().eq(pods.keys()) { Ok(()) } else { Err(format!("{running:?}")) }
    });
}

/// Kills the Engine as soon as the number of pods that run is no longer `before`, and starts it again.
fn kill_in_the_middle(cluster: &Cluster, engine: &mut Engine, before: usize) {
    cluster.wait_for("it has begun", || match engine.running()?.len() {
        same if same == before => Err(format!("{same} run")),
        _ => Ok(()),
    });
    engine.kill();
    engine.run();
}

#[test]
fn an_engine_that_hangs_restarts_nothing_and_its_pods_say_so() {
    within("e2e-hang", || {
        let engine = Engine::start(false);
        let (cluster, before) = started(&engine, 2);
        engine.signal("-STOP");
        all_say(&cluster, "probe cannot be made");
        engine.signal("-CONT");
        cluster.wait_for("it answers again", || engine.running());
        untouched(&before, &well(&cluster, 2));
        only(&cluster, &engine, &before);
    });
}

#[test]
fn what_an_engine_keeps_over_its_death_goes_on_serving_and_is_left_alone() {
    within("e2e-restore", || {
        let mut engine = Engine::start(true);
        let (cluster, before) = started(&engine, 2);
        let address = cluster.wait_for("the Service answers", || {
            cluster.ask("shop", "web")?;
            cluster.service("shop", "web")
        });
        let load = Load::start(address);
        engine.kill();
        all_say(&cluster, "probe cannot be made");
        engine.run();
        let after = well(&cluster, 2);
        let (answered, failures) = load.finish();
        assert!(failures.is_empty(), "{} of {answered} requests failed: {:?}", failures.len(), failures.first());
        untouched(&before, &after);
        only(&cluster, &engine, &after);
        assert_eq!(engine.docker(&["ps", "--all", "--quiet"]).expect("a list").lines().count(), 2, "nothing is left of others");
    });
}

#[test]
fn an_engine_killed_in_the_middle_of_starts_and_stops_ends_up_with_what_it_should_run() {
    within("e2e-killed", || {
        let mut engine = Engine::start(false);
        let (cluster, two) = started(&engine, 2);
        engine.kill();
        scale(&cluster, 4);
        cluster.wait_for("all wait for the Engine, the new ones too", || {
            let pods = cluster.pods("shop")?;
            let waiting = pods.values().filter(|pod| pod.to_string().contains("is out of reach")).count();
            if waiting == 4 { Ok(()) } else { Err(format!("{pods:?}")) }
        });
        engine.run();
        let four = well(&cluster, 4);
        assert!(two.keys().all(|name| four.contains_key(name)), "its containers died with it, and its pods did not: {four:?}");
        only(&cluster, &engine, &four);

        scale(&cluster, 8);
        kill_in_the_middle(&cluster, &mut engine, 4);
        let eight = well(&cluster, 8);
        assert!(four.keys().all(|name| eight.contains_key(name)), "{eight:?}");
        only(&cluster, &engine, &eight);

        scale(&cluster, 1);
        kill_in_the_middle(&cluster, &mut engine, 8);
        let one = well(&cluster, 1);
        only(&cluster, &engine, &one);
        cluster.wait_for("nothing is left of the others", || {
            let dead = engine.docker(&["ps", "--all", "--quiet", "--filter", "label=driftless.dev/pod"])?;
            // The one that ran before is kept for its log.
            if dead.lines().count() <= 2 { Ok(()) } else { Err(dead) }
        });
    });
}
