//! Tables for the brake on deletions.

use super::*;
use crate::model::{Body, Meta, Source, UnitName};
use serde_json::Value;

/// `Kind/namespace/name` or `Kind/name`.
fn key(text: &str) -> ObjectKey {
    let parts: Vec<&str> = text.split('/').collect();
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == parts[0]).expect("a kind");
    match parts[..] {
        [_, namespace, name] => ObjectKey::new(kind, namespace, name),
        _ => ObjectKey::new(kind, "", parts[1]),
    }
}

fn old(workloads: usize, config_maps: usize) -> BTreeMap<ObjectKey, Arc<Object>> {
    let names = (0..workloads).map(|n| format!("Deployment/shop/w{n}"));
    names.chain((0..config_maps).map(|n| format!("ConfigMap/shop/c{n}"))).map(|name| (key(&name), object(&name))).collect()
}

fn object(name: &str) -> Arc<Object> {
    let source = Source {
        unit: UnitName::new("shop"),
        revision: Revision::new("r"),
        file: "shop/a.yaml".into(),
        line: 1,
        blob: String::new(),
    };
    let meta = Meta::default();
    Arc::new(Object { key: key(name), meta, source, written: Arc::new(Value::Null), fingerprint: [0; 32], body: Body::Namespace })
}

fn deletions(workloads: usize, config_maps: usize) -> BTreeSet<ObjectKey> {
    old(workloads, config_maps).into_keys().collect()
}

fn allow(value: &str) -> Approval {
    let revision = Revision::new("0123456789abcdef");
    let trailers = [("Signed-off-by".to_owned(), "x".to_owned()), ("driftless-allow-prune".to_owned(), value.to_owned())];
    approvals([(&revision, &trailers[..])]).pop().expect("an approval")
}

/// How many go, and the beginning of the reason why the others do not.
fn check(old: (usize, usize), gone: (usize, usize), approvals: &[Approval], expected: (usize, &str)) {
    let (allowed, block) = brake(&deletions(gone.0, gone.1), &self::old(old.0, old.1), &PrunePolicy::default(), approvals);
    let reason = block.map_or_else(|| "free".to_owned(), |block| block.reason);
    assert!(
        allowed.len() == expected.0 && reason.starts_with(expected.1),
        "{gone:?} of {old:?}: {} may go, {reason}",
        allowed.len()
    );
}

#[test]
fn a_few_deletions_go_out_at_once() {
    check((10, 30), (0, 0), &[], (0, "free"));
    check((10, 30), (5, 15), &[], (20, "free"));
    check((6, 1), (4, 0), &[], (4, "free"));
    check((0, 30), (0, 20), &[], (20, "free"));
}

#[test]
fn each_limit_holds_back_and_says_which_it_is() {
    check((10, 30), (6, 0), &[], (0, "the revision would delete 6 of 10 workloads, more than 50 %."));
    check((8, 1), (5, 0), &[], (0, "the revision would delete 5 of 8 workloads, more than 50 %."));
    check((0, 30), (0, 21), &[], (0, "the revision would delete 21 objects, more than 20."));
    check((2, 1), (2, 1), &[], (0, "the revision would delete everything (3 objects)."));
    check((1, 0), (1, 0), &[], (0, "the revision would delete everything (1 object)."));
}

#[test]
fn a_trailer_approves_all_or_up_to_a_count() {
    check((10, 30), (6, 0), &[allow("all")], (6, "free"));
    check((10, 30), (6, 0), &[allow(" 6 ")], (6, "free"));
    check((10, 30), (6, 0), &[allow("7")], (6, "free"));
    check((10, 30), (6, 0), &[allow("5")], (0, "the revision would delete 6 of 10"));
    check((2, 1), (2, 1), &[allow("ALL")], (3, "free"));
}

#[test]
fn a_trailer_that_is_neither_a_count_nor_all_approves_nothing() {
    let revision = Revision::new("r");
    for value in ["", "yes", "-1", "all of it"] {
        let trailers = [(TRAILER.to_owned(), value.to_owned())];
        assert_eq!(approvals([(&revision, &trailers[..])]), [], "{value:?}");
    }
}

#[test]
fn an_approval_does_not_reach_deletions_that_came_after_its_commit() {
    let later = Approval { kept: BTreeSet::from([key("Deployment/shop/w5")]), ..allow("all") };
    check((10, 30), (6, 0), std::slice::from_ref(&later), (6, "free"));
    let kept: BTreeSet<ObjectKey> = (0..6).map(|n| key(&format!("Deployment/shop/w{n}"))).collect();
    check((10, 30), (8, 0), &[Approval { kept, ..allow("2") }], (2, "the revision would delete 6 of 10"));
}

#[test]
fn driftless_yaml_approves_by_name_and_only_those() {
    let approve = (0..6).map(|n| format!("Deployment/shop/w{n}")).collect();
    let policy = PrunePolicy { approve, ..PrunePolicy::default() };
    let (allowed, block) = brake(&deletions(6, 0), &old(10, 0), &policy, &[]);
    assert_eq!((allowed.len(), block), (6, None));
    let (allowed, block) = brake(&deletions(10, 0), &old(10, 0), &policy, &[]);
    assert_eq!((allowed.len(), block.map(|block| block.objects.len())), (6, Some(4)));
    let named = PrunePolicy { approve: vec!["Namespace/shop".into()], ..PrunePolicy::default() };
    let only = BTreeMap::from([(key("Namespace/shop"), object("Namespace/shop"))]);
    assert_eq!(brake(&only.keys().cloned().collect(), &only, &named, &[]).1, None);
}

#[test]
fn the_limits_are_those_of_the_policy() {
    let strict = PrunePolicy { max_objects: 0, ..PrunePolicy::default() };
    let (allowed, block) = brake(&deletions(1, 0), &old(10, 0), &strict, &[]);
    assert!(allowed.is_empty() && block.is_some_and(|block| block.reason.contains("more than 0")));
    let lenient = PrunePolicy { max_workload_percent: 100, ..PrunePolicy::default() };
    assert_eq!(brake(&deletions(9, 0), &old(10, 0), &lenient, &[]).1, None);
}

#[test]
fn the_reason_says_how_to_approve() {
    let (_, block) = brake(&deletions(6, 0), &old(10, 0), &PrunePolicy::default(), &[allow("5")]);
    insta::assert_snapshot!(block.expect("held back").reason, @"the revision would delete 6 of 10 workloads, more than 50 %. Commit 01234567 allows 5 only. Nothing of it is deleted until a commit with the trailer `Driftless-Allow-Prune: 6` (or `all`) approves it, or `prune.approve` in driftless.yaml names the objects (as Deployment/shop/w0).");
}
