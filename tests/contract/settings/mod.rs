//! What the settings of a template do to a real container: from the template to what the program inside sees.
//!
//! `tests/coverage.txt` says which test shows which field.

mod names;
mod programs;
mod rights;
mod variables;
mod volumes;

use crate::stage::Stage;
use driftless::agent::launch::{ClusterNames, Folders, LaunchInput, resolve};
use driftless::agent::runtime::{ContainerLaunch, Role};
use driftless::agent::shell::prepare;
use driftless::model::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A host that allows these grants.
fn facts(stage: &Stage, grants: &[&str]) -> NodeFacts {
    NodeFacts {
        name: stage.node.clone(),
        labels: BTreeMap::new(),
        capacity: Amounts::default(),
        allocatable: Amounts { cpu_milli: 2000, memory_bytes: 1 << 30 },
        runtimes: [RuntimeKind::Docker].into(),
        leases: BTreeSet::new(),
        allows: grants.iter().map(|grant| grant.parse::<Grant>().unwrap()).collect(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        kernel: String::new(),
        engine: None,
        agent_version: String::new(),
        address: "127.0.0.1".to_owned(),
        tunnel: Vec::new(),
        ingress: false,
    }
}

fn config() -> ConfigSnapshot {
    let mut config = ConfigSnapshot::default();
    let settings =
        [("colour", "green"), ("app.conf", "listen 80")].map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    config.config_maps.insert("settings".to_owned(), settings.into());
    let secret = [("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))];
    config.secrets.insert("db".to_owned(), secret.into());
    config
}

/// The launch of the container of a pod whose spec is `more`, with `container` in its container, that runs a script.
fn launch(stage: &Stage, grants: &[&str], more: Value, container: Value, script: &str) -> ContainerLaunch {
    let model = stage.launch("web", script);
    let mut only = json!({ "name": "main", "image": model.image, "imagePullPolicy": "Never", "command": model.command });
    only.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut spec = json!({ "enableServiceLinks": false, "containers": [only] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({ "labels": { "app": "web", "tier": "front" }, "annotations": { "note": "a \"b\"" } });
    let template: PodTemplate = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
    let snapshot = PodSnapshot { hash: model.labels.hash.clone(), template, config: Arc::new(config()) };
    let folder = stage.folder.path();
    let mut launch = resolve(&LaunchInput {
        cluster: &stage.cluster,
        facts: &facts(stage, grants),
        folders: &Folders { run: folder.join("run"), state: folder.join("state") },
        run: &PodRun {
            uid: model.labels.uid,
            name: model.labels.pod.clone(),
            workload: model.labels.workload.clone(),
            slot: 0,
            hash: model.labels.hash.clone(),
            revision: model.labels.revision.clone(),
            images: BTreeMap::new(),
        },
        snapshot: &snapshot,
        container: &snapshot.template.spec.containers[0],
        attempt: 0,
        image_digest: None,
        ports: &BTreeMap::new(),
        services: &[],
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        pod_address: None,
        role: Role::Main,
        sandbox: None,
        names: ClusterNames { domain: "cluster.local", server: None },
    })
    .unwrap();
    prepare(&mut launch).unwrap();
    launch
}

/// Starts it, waits for the line `end`, and gives the lines before it.
async fn lines(stage: &Stage, launch: &ContainerLaunch) -> Vec<String> {
    let started = stage.start(launch).await;
    stage.says(&started.id, "end").await;
    stage.log(&started.id, None).await.lines().take_while(|line| *line != "end").map(|line| line.trim_end().to_owned()).collect()
}

async fn run(stage: &Stage, grants: &[&str], more: Value, container: Value, script: &str) -> Vec<String> {
    lines(stage, &launch(stage, grants, more, container, &format!("{script}; echo end"))).await
}
