//! The environment of a program, as it sees it.

use super::run;
use crate::stage::Stage;
use serde_json::{Value, json};

on_docker! {
    variables_tell_of_the_pod,
    variables_come_from_config_maps_and_secrets,
}

/// Prints these variables, one a line; an absent one is `-`.
fn print(names: &str) -> String {
    format!(r#"for v in {names}; do eval echo \"\${{$v--}}\"; done"#)
}

async fn variables_tell_of_the_pod(stage: &Stage) {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let amount = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let container = json!({
        "resources": { "requests": { "memory": "1500k" }, "limits": { "cpu": "0.5" } },
        "env": [
            field("A", "metadata.namespace"), field("B", "metadata.labels['app']"), field("C", "metadata.annotations['note']"),
            field("D", "spec.nodeName"), field("E", "status.hostIP"), field("F", "status.hostIPs"),
            field("G", "metadata.name"), field("H", "metadata.uid"),
            amount("I", "limits.cpu", "1m"), amount("J", "limits.memory", "1Mi"),
            amount("K", "requests.cpu", "1m"), amount("L", "requests.memory", "1M"),
            { "name": "M", "valueFrom": { "resourceFieldRef": { "containerName": "main", "resource": "limits.cpu" } } },
            { "name": "N", "value": "$(A)/$$(B)/$(NONE)" }
        ]
    });
    let seen = run(stage, &[], json!({}), container, &print("A B C D E F G H I J K L M N")).await;
    let labels = stage.launch("web", "").labels;
    let of_pod = [&labels.pod, &labels.uid.to_string()].map(ToOwned::to_owned);
    assert_eq!(seen[..6], ["shop", "web", "a \"b\"", "node-1", "127.0.0.1", "127.0.0.1"]);
    assert_eq!(seen[6..8], of_pod);
    assert_eq!(seen[8..], ["500", "1024", "500", "2", "1", "shop/$(B)/$(NONE)"]);
}

async fn variables_come_from_config_maps_and_secrets(stage: &Stage) {
    let from = |name: &str, source: Value| json!({ "name": name, "valueFrom": source });
    let container = json!({
        "envFrom": [
            { "prefix": "SET_", "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "db" } },
            { "configMapRef": { "name": "absent", "optional": true } }, { "secretRef": { "name": "absent", "optional": true } }
        ],
        "env": [
            from("A", json!({ "configMapKeyRef": { "name": "settings", "key": "colour" } })),
            from("B", json!({ "secretKeyRef": { "name": "db", "key": "password" } })),
            from("C", json!({ "secretKeyRef": { "name": "db", "key": "absent", "optional": true } })),
            from("D", json!({ "configMapKeyRef": { "name": "absent", "key": "absent", "optional": true } })),
            { "name": "E", "value": "<$(B)>" }, { "name": "F" }
        ]
    });
    let seen = run(stage, &[], json!({}), container, &print("SET_colour password A B C D E F")).await;
    assert_eq!(seen, ["green", "hunter2", "green", "hunter2", "-", "-", "<hunter2>", ""]);
}
