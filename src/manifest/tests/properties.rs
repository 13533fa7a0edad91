//! Any input gets a verdict, and what is shown reads back as the same.

use super::*;
use proptest::prelude::*;

/// Values of any shape below the fields of real kinds.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "[a-z0-9%$.-]{0,8}".prop_map(serde_json::Value::from),
    ];
    let names = prop::sample::select(vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "template",
        "containers",
        "env",
        "value",
        "ports",
        "strategy",
        "type",
        "selector",
        "matchLabels",
        "volumes",
        "configMap",
        "resources",
        "limits",
        "cpu",
        "httpGet",
        "port",
        "replicas",
        "data",
        "metrics",
        "blueGreen",
    ]);
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_of_any_kind_gets_a_verdict(value in any_value(), which in 0_usize..8) {
        let (kind, api_version) = supported_kinds()[which];
        let mut document = if value.is_object() { value } else { serde_json::json!({"spec": value}) };
        document["apiVersion"] = api_version.into();
        document["kind"] = kind.into();
        let text = document.to_string();
        let loaded = loaded(&tree("r1", &[("a/x.yaml", &text)]), &Good::new());
        let state = &loaded.desired.units[&unit_of("a/x.yaml")];
        prop_assert!(state.is_held() == state.problems().iter().any(Problem::is_error));
        prop_assert!(state.is_held() != (loaded.desired.objects.len() == 1));
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let report = validate(&[("f.yaml".to_owned(), bytes)], true);
        prop_assert_eq!(report.summary.files, 1);
    }

    #[test]
    fn reading_what_is_shown_gives_the_same_object(replicas in 0_u32..9, seconds in 1_u32..99, port in 1_u16..9999) {
        let text = deployment("web", &format!("        ports: [{{containerPort: {port}}}]\n        livenessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: {seconds}}}\n"))
            .replace("spec:\n  selector", &format!("spec:\n  replicas: {replicas}\n  selector"));
        let first = loaded(&tree("r1", &[("a/x.yaml", &text)]), &Good::new());
        let object = first.desired.objects.values().next().expect("a Deployment");
        let again = loaded(&tree("r1", &[("a/x.yaml", &object.written.to_string())]), &Good::new());
        let other = again.desired.objects.values().next().expect("a Deployment");
        prop_assert_eq!(&object.body, &other.body);
        // Defaults are idempotent: what the typed template prints, in full, has the hash of what was written.
        let printed = serde_json::to_value(&object.snapshot().expect("a snapshot").template).expect("JSON");
        let hash = template_hash(&printed, &ConfigDigests::new());
        prop_assert_eq!(&hash, &object.snapshot().expect("a snapshot").hash);
    }
}
