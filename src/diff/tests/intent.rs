//! What a revision changes relative to another, and the digest of that.

use super::*;

#[test]
fn an_unchanged_tree_is_an_empty_plan() {
    let world = World::at("a").config("settings", &[("A", "1")]).secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let plan = plan(&world, &World(Desired { revision: Some(Revision::new("b")), ..world.0.clone() }));
    assert_eq!((plan.is_empty(), plan.unchanged), (true, 3));
    assert_eq!(
        render::text(&plan, false),
        format!("Nothing changes.\n\nPlan: 0 to create, 0 to update, 0 to delete, 3 unchanged. digest {}\n", plan.digest)
    );
}

#[test]
fn a_new_template_replaces_pods_a_new_number_scales_and_anything_else_updates() {
    let old = World::at("a").web("web:1", 3);
    assert_eq!(actions(&plan(&old, &World::at("b").web("web:2", 5))), ["replace Deployment shop/web"]);
    assert_eq!(actions(&plan(&old, &World::at("b").web("web:1", 5))), ["scale Deployment shop/web"]);
    let old = World::at("a").scaled("web", 1, 2);
    assert_eq!(actions(&plan(&old, &World::at("b").scaled("web", 1, 3))), ["update HorizontalPodAutoscaler shop/web"]);
}

#[test]
fn a_secret_shows_its_keys_and_never_a_value() {
    let old = World::at("a").secret("token", "data", &[("kept", "hunter1"), ("old", "hunter2"), ("turned", "hunter3")]);
    let new = World::at("b").secret("token", "stringData", &[("kept", "hunter1"), ("new", "hunter4"), ("turned", "hunter5")]);
    let plan = plan(&old, &new);
    let fields: Vec<String> =
        plan.changes[0].fields.iter().map(|f| format!("{} {:?} {:?}", f.path, f.old.is_some(), f.new.is_some())).collect();
    assert_eq!(fields, ["data.new false true", "data.old true false", "data.turned true true"]);
    for shown in [render::text(&plan, true), render::markdown(&plan), render::json(&plan).to_string(), format!("{plan:?}")] {
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("turned"), "{shown}");
    }
    let created = self::plan(&World::at("a"), &new);
    assert!(!render::text(&created, false).contains("hunter") && render::text(&created, false).contains("data.kept"));
}

#[test]
fn a_deletion_with_an_equal_addition_is_a_probable_rename() {
    let old = World::at("a").runs(Kind::Deployment, "old", "web:1", 2, rolling("1", "0")).config("c1", &[("A", "1")]);
    let new = World::at("b").runs(Kind::Deployment, "new", "web:1", 2, rolling("1", "0")).config("c2", &[("A", "2")]);
    let plan = plan(&old, &new);
    let renamed: Vec<_> =
        plan.changes.iter().filter_map(|c| Some((c.key.name.as_str(), c.renamed_from.as_ref()?.name.as_str()))).collect();
    assert_eq!(renamed, [("new", "old")]);
}

#[test]
fn the_digest_is_that_of_the_intent_and_pinned() {
    let old = World::at("a").config("settings", &[("A", "1")]).secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let new = World::at("b").config("settings", &[("A", "2")]).secret("token", "data", &[("t", "y")]).web("web:2", 3);
    insta::assert_snapshot!(plan(&old, &new).digest, @"blake3:236a0e2b24f09b13621585d85e3cd035492e88c820f0c4e52dd37d9af33b3153");
}

#[test]
fn the_digest_knows_no_revision_no_observation_and_no_template_hash() {
    let old = World::at("a").secret("token", "data", &[("t", "x")]).web("web:1", 3);
    let new = World::at("b").secret("token", "data", &[("t", "y")]).web("web:2", 3);
    let digest = plan(&old, &new).digest;
    let elsewhere = |world: &World, tag: &str| {
        let mut world = world.clone();
        world.0.revision = Some(Revision::new(tag));
        for object in world.0.objects.values_mut() {
            let object = Arc::make_mut(object);
            object.source.revision = Revision::new(tag);
            object.source.line += 7;
            if let Body::Workload(workload) = &mut object.body {
                let snapshot = Arc::make_mut(&mut workload.snapshot);
                snapshot.hash = TemplateHash::new(format!("{tag}{}", snapshot.hash));
            }
        }
        world
    };
    let (old_key, new_key) = (elsewhere(&old, "c"), elsewhere(&new, "d"));
    let mut same = plan(&old_key, &new_key);
    estimate(&mut same, &old_key.0, &new_key.0, &Observed::default());
    assert_eq!(same.digest, digest);
    let other = World::at("b").secret("token", "data", &[("t", "z")]).web("web:2", 3);
    assert_ne!(plan(&old, &other).digest, digest, "another secret value is another intent");
}
