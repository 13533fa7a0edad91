//! From a git push to running pods, through rollouts, with the process runtime.

use crate::harness::{Cluster, Load, container_ids, http_get, kill_9, pid_of};
use crate::journal::Journal;
use crate::manifests::{process, scripted, served, service, web, workload};
use serde_json::json;

/// The web as a blue/green Rollout; `more` is what else its strategy says.
fn blue_green(release: &str, more: &str) -> String {
    let strategy = format!("strategy: {{blueGreen: {{activeService: web, scaleDownDelaySeconds: 1{more}}}}}");
    workload("Rollout", "web", &format!("replicas: 2\n{strategy}"), &served(release)) + &service("web")
}

fn started(runtime: &'static str, manifest: &str, pods: usize) -> Cluster {
    let mut cluster = Cluster::new(runtime);
    cluster.push("web: first release", &[("shop/web.yaml", Some(manifest))]);
    cluster.start();
    cluster.wait_for("the first release is ready", || cluster.ready_pods("shop", "web", pods));
    cluster
}

#[test]
fn a_push_rolls_without_one_failed_request() {
    let cluster = started("process", &web(3, "v1"), 3);
    let address = cluster.wait_for("the Service answers", || {
        let address = cluster.service("shop", "web")?;
        http_get(address, "/").map(|_| address).map_err(|error| error.to_string())
    });
    let load = Load::start(address);
    cluster.wait_for("the load flows", || if load.answered() > 50 { Ok(()) } else { Err(load.answered().to_string()) });

    let commit = cluster.push("web: v2", &[("shop/web.yaml", Some(&web(3, "v2")))]);

    cluster.wait_for("v2 answers alone", || {
        cluster.ready_pods("shop", "web", 3)?;
        for _ in 0..6 {
            let answer = cluster.ask("shop", "web")?;
            if !answer.contains("api v2") {
                return Err(answer);
            }
        }
        Ok(())
    });
    let (answered, failures) = load.finish();
    assert!(failures.is_empty(), "{} of {answered} requests failed: {:?}", failures.len(), failures.first());
    let record = cluster.wait_for("the rollout is audited", || cluster.audited(&[&commit, "Driftless-Outcome: converged"]));
    for trailer in [
        "Driftless-Trigger: push",
        "Driftless-Plan: blake3:",
        "Driftless-Changes: create=0 update=1 delete=0",
        "Driftless-Epoch: ",
    ] {
        assert!(record.contains(trailer), "no {trailer:?} in:\n{record}");
    }
}

#[test]
fn blue_green_switches_at_once_and_without_one_failed_request() {
    let cluster = started("process", &blue_green("v1", ""), 2);
    let address = cluster.wait_for("the Service answers", || {
        cluster.ask("shop", "web")?;
        cluster.service("shop", "web")
    });
    let load = Load::start(address);

    cluster.push("web: v2", &[("shop/web.yaml", Some(&blue_green("v2", "")))]);

    let mut seen_new = false;
    cluster.wait_for("v2 answers and the old set is gone", || {
        let answer = cluster.ask("shop", "web")?;
        if seen_new {
            assert!(answer.contains("api v2"), "the old set answered after the switch: {answer}");
        }
        seen_new |= answer.contains("api v2");
        cluster.ready_pods("shop", "web", 2)?;
        if seen_new { Ok(()) } else { Err(answer) }
    });
    let (answered, failures) = load.finish();
    assert!(failures.is_empty(), "{} of {answered} requests failed: {:?}", failures.len(), failures.first());
}

#[test]
fn a_manual_promotion_is_a_commit_with_the_new_hash() {
    let manual = |release: &str| blue_green(release, ", autoPromotionEnabled: false");
    let cluster = started("process", &manual("v1"), 2);
    cluster.push("web: v2", &[("shop/web.yaml", Some(&manual("v2")))]);
    cluster.wait_for("both sets are ready", || cluster.ready_pods("shop", "web", 4));
    let new = cluster.wait_for("status says what to write", || {
        let problems = cluster.get("/driftless/v1/problems")?;
        let (_, rest) = problems.split_once("driftless.dev/promote: \\\"").ok_or(problems.clone())?;
        Ok(rest.chars().take_while(char::is_ascii_hexdigit).collect::<String>())
    });
    assert!(cluster.ask("shop", "web").expect("an answer").contains("api v1"), "nothing is promoted without the commit");

    let promotes = format!("namespace: shop, annotations: {{driftless.dev/promote: \"{new}\"}}");
    cluster.push("web: promote v2", &[("shop/web.yaml", Some(&manual("v2").replacen("namespace: shop", &promotes, 1)))]);

    cluster.wait_for("v2 is active and alone", || {
        cluster.ready_pods("shop", "web", 2)?;
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_killed_process_comes_back_in_its_pod() {
    let cluster = started("process", &web(2, "v1"), 2);
    let before = cluster.ready_pods("shop", "web", 2).expect("pods");
    let (victim, pod) = before.iter().next().expect("a pod");
    kill_9(pid_of(pod));
    cluster.wait_for("the pod runs again", || {
        let now = cluster.ready_pods("shop", "web", 2)?;
        let pod = now.get(victim).ok_or("the pod is gone")?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
        if restarts == 1 { Ok(()) } else { Err(format!("{restarts} restarts")) }
    });
    let after = cluster.ready_pods("shop", "web", 2).expect("pods");
    let untouched = before.keys().nth(1).expect("a second pod");
    assert_eq!(container_ids(&before)[untouched], container_ids(&after)[untouched], "the other pod was not touched");
}

#[test]
fn a_pod_finds_the_services_of_its_namespace_among_its_variables_unless_it_does_not_want_to() {
    let cluster = started("process", &web(1, "v1"), 1);
    let journal = Journal::of(&cluster);
    let visitor = |name: &str, links: bool| {
        let script = format!("note {name} ${{WEB_SERVICE_HOST:-none}} ${{WEB_SERVICE_PORT:-none}}; sleep 1000");
        let mut pod = process(scripted(&journal, "main", &script));
        pod["enableServiceLinks"] = links.into();
        workload("Deployment", name, "", &pod)
    };
    let address = cluster.service("shop", "web").expect("an address");
    cluster.push(
        "two visitors",
        &[("shop/linked.yaml", Some(&visitor("linked", true))), ("shop/alone.yaml", Some(&visitor("alone", false)))],
    );
    journal.wait_for(&cluster, &format!("linked {} {}", address.ip(), address.port()));
    journal.wait_for(&cluster, "alone none none");
}

#[test]
fn a_program_reads_what_config_maps_and_secrets_of_the_repo_say() {
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    let mut reader =
        scripted(&journal, "main", "note $(cat settings/text) $(cat settings/bytes) $(cat key/a) $(cat key/b); sleep 1000");
    reader["volumeMounts"] = json!([{ "name": "settings", "mountPath": "/settings" }, { "name": "key", "mountPath": "/key" }]);
    let mut pod = process(reader);
    pod["volumes"] = json!([{ "name": "settings", "configMap": { "name": "settings" } }, { "name": "key", "secret": { "secretName": "key" } }]);
    let object = |kind: &str, name: &str, fields: &str| {
        format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n{fields}\n")
    };
    let settings = object("ConfigMap", "settings", "data: {text: green}\nbinaryData: {bytes: Ymx1ZQ==}");
    let key = object("Secret", "key", "data: {a: cmVk, b: cmVk}\nstringData: {b: yellow}");
    cluster.push("a reader", &[("shop/reader.yaml", Some(&(workload("Deployment", "reader", "", &pod) + &settings + &key)))]);
    cluster.start();
    journal.wait_for(&cluster, "green blue red yellow");
}
