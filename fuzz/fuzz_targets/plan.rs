//! Two trees, split at the first NUL: the plan from one to the other, and that from a tree to itself, which is empty.
#![no_main]

use driftless::diff;
use driftless::manifest::{DigestKey, TreeInput, load, parse};
use driftless::model::{Desired, Policy, Revision};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::Arc;

fn desired(revision: &str, bytes: &[u8]) -> Desired {
    let files = BTreeMap::from([("a/x.yaml".to_owned(), Arc::new(parse("a/x.yaml", revision, bytes)))]);
    let input = TreeInput {
        revision: Revision::new(revision),
        files,
        problems: Vec::new(),
        policy: Policy::default(),
        rendered: BTreeMap::new(),
    };
    load(&input, &BTreeMap::new(), &DigestKey::unkeyed()).desired
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (old, new) = (desired("r1", &bytes[..end]), desired("r2", bytes.get(end + 1..).unwrap_or_default()));
    let plan = diff::intent(&old, &new);
    let again = diff::intent(&old, &new);
    assert_eq!(plan.digest, again.digest, "a plan is a function of its two trees");
    assert!(diff::intent(&new, &new).changes.is_empty(), "nothing changes from a tree to itself");
    let _ = diff::render::text(&plan, false);
    let _ = diff::render::markdown(&plan);
});
