//! Any bytes as a manifest: a verdict, in bounded time and memory, and what was accepted reads the same when it is printed.
#![no_main]

use driftless::manifest::{DigestKey, Status, TreeInput, load, parse, validate};
use driftless::model::{Body, Policy, Revision};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::Arc;

fn tree(bytes: &[u8]) -> TreeInput {
    let files = BTreeMap::from([("a/x.yaml".to_owned(), Arc::new(parse("a/x.yaml", "blob", bytes)))]);
    TreeInput { revision: Revision::new("r1"), files, problems: Vec::new(), policy: Policy::default(), rendered: BTreeMap::new() }
}

fuzz_target!(|bytes: &[u8]| {
    let report = validate(&[("a/x.yaml".to_owned(), bytes.to_vec())], false);
    let loaded = load(&tree(bytes), &BTreeMap::new(), &DigestKey::unkeyed());
    if report.documents.iter().any(|document| document.status == Status::Rejected) {
        assert!(loaded.desired.objects.is_empty(), "an error holds its unit");
    }
    for (key, object) in &loaded.desired.objects {
        if matches!(object.body, Body::Secret(_)) {
            continue; // what is shown of it has no values
        }
        let printed = object.written.to_string();
        let verdict = validate(&[("a/x.yaml".to_owned(), printed.clone().into_bytes())], false);
        assert!(verdict.documents.iter().all(|document| document.status == Status::Accepted), "what was accepted is when printed");
        let again = load(&tree(printed.as_bytes()), &BTreeMap::new(), &DigestKey::unkeyed());
        // By itself it may lack what it refers to, and is held then.
        if let Some(other) = again.desired.objects.get(key) {
            assert_eq!(other.written, object.written, "printing and reading back is the identity");
            assert!(other.snapshot().is_some() || other.body == object.body, "and means the same");
        }
    }
});
