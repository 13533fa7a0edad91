//! The same promises in containers, on a real Docker Engine.

use crate::harness::{Cluster, Load, PATIENCE, container_ids, driftless, http_get, poll};
use crate::manifests::{IMAGE, contained, web_of};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// A web of busybox, which answers every request with its release.
fn web(replicas: u32, release: &str) -> String {
    let script = format!("mkdir -p /www && echo release {release} > /www/index.html && exec httpd -f -p 8080 -h /www");
    let mut container = contained("web", &script);
    container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    container["readinessProbe"] = json!({ "httpGet": { "path": "/index.html", "port": "http" }, "periodSeconds": 1 });
    web_of(replicas, &json!({ "terminationGracePeriodSeconds": 2, "containers": [container] }))
}

/// Imports busybox as the test image, once per run.
pub fn import_image() {
    import_image_to(None);
}

/// The same to an Engine that is not the machine's.
pub fn import_image_to(docker_host: Option<&str>) {
    let script = r#"set -e
        docker image inspect driftless-test/busybox:e2e >/dev/null 2>&1 && exit 0
        dir=$(mktemp -d); mkdir -p "$dir/bin" "$dir/tmp" "$dir/etc"
        cp "$(command -v busybox)" "$dir/bin/busybox"; ln -s busybox "$dir/bin/sh"
        tar -C "$dir" -c . | docker import - driftless-test/busybox:e2e >/dev/null
        rm -r "$dir""#;
    let engine = docker_host.map(|host| ("DOCKER_HOST", host));
    let out = Command::new("sh").args(["-c", script]).envs(engine).output().expect("sh runs");
    assert!(out.status.success(), "importing busybox: {}", String::from_utf8_lossy(&out.stderr));
}

fn started(replicas: u32) -> Cluster {
    import_image();
    let mut cluster = Cluster::new("docker");
    cluster.push("first release", &[("shop/web.yaml", Some(&web(replicas, "v1")))]);
    cluster.start();
    cluster.wait_for("the first release is ready", || cluster.ready_pods("shop", "web", replicas as usize));
    cluster
}

fn containers(cluster: &Cluster) -> BTreeMap<String, String> {
    container_ids(&cluster.pods("shop").expect("pods"))
}

fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().expect("docker runs");
    assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn containers_roll_under_load_without_one_failed_request() {
    let cluster = started(3);
    let address = cluster.wait_for("the Service answers", || {
        cluster.ask("shop", "web")?;
        cluster.service("shop", "web")
    });
    let load = Load::start(address);
    cluster.push("web: v2", &[("shop/web.yaml", Some(&web(3, "v2")))]);
    cluster.wait_for("v2 answers alone", || {
        cluster.ready_pods("shop", "web", 3)?;
        for _ in 0..6 {
            let answer = cluster.ask("shop", "web")?;
            if !answer.contains("release v2") {
                return Err(answer);
            }
        }
        Ok(())
    });
    let (answered, failures) = load.finish();
    assert!(failures.is_empty(), "{} of {answered} requests failed: {:?}", failures.len(), failures.first());
}

/// Removes a container as a person does: until it is gone. An Engine that is at work on it may answer an error in between.
fn remove(id: &str) {
    let removed = poll("the container is removed", PATIENCE, || {
        let out = Command::new("docker").args(["rm", "-f", id]).output().expect("docker runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        // Newer clients forgive it themselves.
        if out.status.success() || said.contains("No such container") { Ok(()) } else { Err(said) }
    });
    removed.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn killing_and_restarting_driftless_keeps_every_container() {
    let mut cluster = started(2);
    let before = containers(&cluster);
    cluster.kill();
    cluster.start();
    cluster.wait_for("the pods are adopted", || cluster.ready_pods("shop", "web", 2));
    assert_eq!(before, containers(&cluster));
}

#[test]
fn a_container_removed_behind_our_back_comes_back() {
    let cluster = started(2);
    let before = containers(&cluster);
    let victim = before.values().next().expect("a container").trim_start_matches("docker://").to_owned();
    remove(&victim);
    cluster.wait_for("two run again, one of them new", || {
        cluster.ready_pods("shop", "web", 2)?;
        let now = containers(&cluster);
        if now.values().any(|id| id.contains(&victim)) { Err("the old one is still reported".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn containers_carry_the_labels_of_the_contract_and_strangers_are_left_alone() {
    import_image();
    let stranger = docker(&["run", "-d", IMAGE, "/bin/busybox", "sleep", "300"]).trim().to_owned();
    let cluster = started(1);
    let id = containers(&cluster).into_values().next().expect("a container").trim_start_matches("docker://").to_owned();
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &id]);
    for label in ["cluster", "node", "pod-uid", "pod", "namespace", "container", "template-hash", "revision"] {
        assert!(labels.contains(&format!("\"driftless.dev/{label}\":")), "no driftless.dev/{label} in {labels}");
    }
    let name = docker(&["inspect", "--format", "{{.Name}}", &id]);
    assert!(name.starts_with("/shop_web-") && name.trim_end().ends_with("_web"), "{name}");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &stranger]).trim(), "true");
    remove(&stranger);
}

#[test]
fn an_absent_engine_is_said_and_waited_for() {
    let cluster = Cluster::new("docker");
    cluster.push("first release", &[("shop/web.yaml", Some(&web(1, "v1")))]);
    let mut child = driftless()
        .args(cluster.up_args())
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(cluster.log_file()).expect("a log"))
        .spawn()
        .expect("driftless starts");
    let said = poll("the log names the socket", PATIENCE, || {
        let log = cluster.log();
        if log.contains("/nonexistent/docker.sock") { Ok(()) } else { Err(log) }
    });
    child.kill().expect("a kill");
    child.wait().expect("an end");
    said.expect("a message");
}

/// A web that serves a ConfigMap as files, one of them also mounted by `subPath`, and is updated in place.
fn configured(text: &str) -> String {
    let mut container = contained("web", "exec httpd -f -p 8080 -h /srv");
    container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    container["readinessProbe"] = json!({ "httpGet": { "path": "/live/text", "port": "http" }, "periodSeconds": 1 });
    container["volumeMounts"] = json!([
        { "name": "settings", "mountPath": "/srv/live" },
        { "name": "settings", "mountPath": "/srv/fixed", "subPath": "text" }
    ]);
    let volumes = json!([{ "name": "settings", "configMap": { "name": "settings" } }]);
    let pod = json!({ "terminationGracePeriodSeconds": 2, "containers": [container], "volumes": volumes });
    let in_place = "namespace: shop, annotations: {driftless.dev/config-update: in-place}";
    let settings = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {text: ";
    web_of(1, &pod).replacen("namespace: shop", in_place, 1) + settings + text + "}\n"
}

#[test]
fn a_config_map_that_is_updated_in_place_changes_under_a_running_container() {
    import_image();
    let mut cluster = Cluster::new("docker");
    cluster.push("first settings", &[("shop/web.yaml", Some(&configured("one")))]);
    cluster.start();
    let before = cluster.wait_for("the web is ready", || cluster.ready_pods("shop", "web", 1));
    let seen = |path: &str| {
        let address = cluster.service("shop", "web")?;
        http_get(address, path).map(|(_, text)| text).map_err(|error| error.to_string())
    };
    assert_eq!((seen("/live/text"), seen("/fixed")), (Ok("one".to_owned()), Ok("one".to_owned())));
    cluster.push("second settings", &[("shop/web.yaml", Some(&configured("two")))]);
    cluster.wait_for("the file changes", || if seen("/live/text")? == "two" { Ok(()) } else { Err(seen("/live/text")?) });
    assert_eq!(seen("/fixed"), Ok("one".to_owned()), "what is mounted by subPath stays until the next start");
    let after = cluster.ready_pods("shop", "web", 1).expect("the same pod");
    assert_eq!(container_ids(&before), container_ids(&after));
}
