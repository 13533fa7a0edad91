//! Units: loaded, held, and what holds them.

use super::*;
use crate::model::{Kind, Location, ObjectKey, Scope, Severity};

const BROKEN: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not A Name}\n";

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{key: {value}}}\n")
}

fn uses(config: &str) -> String {
    deployment("web", &format!("        envFrom: [{{configMapRef: {{name: {config}}}}}]\n"))
}

/// `unit state@revision` of every unit.
fn states(loaded: &Loaded) -> Vec<String> {
    let state = |state: &UnitState| match state {
        UnitState::Loaded { at, .. } => format!("loaded@{at}"),
        UnitState::Held { at, .. } => format!("held@{}", at.as_ref().map_or("nothing", Revision::as_str)),
    };
    loaded.desired.units.iter().map(|(unit, of)| format!("{unit} {}", state(of))).collect()
}

/// `Kind name@revision` of every object.
fn objects(loaded: &Loaded) -> Vec<String> {
    loaded
        .desired
        .objects
        .values()
        .map(|object| format!("{} {}@{}", object.key.kind, object.key.name, object.source.revision))
        .collect()
}

#[test]
fn a_good_tree_is_loaded_whole() {
    let loaded = loaded(&tree("r1", &[("a/web.yaml", &uses("cfg")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    assert_eq!(all_problems(&loaded), "");
    assert_eq!(states(&loaded), ["a loaded@r1", "b loaded@r1"]);
    assert_eq!(objects(&loaded), ["ConfigMap cfg@r1", "Deployment web@r1"]);
    let web = &loaded.desired.objects[&ObjectKey::new(Kind::Deployment, "shop", "web")];
    let snapshot = web.snapshot().expect("a workload has a snapshot");
    assert_eq!(snapshot.config.config_maps["cfg"]["key"], b"one");
}

#[test]
fn a_unit_with_an_error_keeps_its_last_good_files_and_the_others_go_on() {
    let first =
        loaded(&tree("r1", &[("a/web.yaml", &deployment("web", "")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let second = loaded(&tree("r2", &[("a/web.yaml", BROKEN), ("b/cfg.yaml", &config("cfg", "two"))]), &first.good);
    assert_eq!(states(&second), ["a held@r1", "b loaded@r2"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r2", "Deployment web@r1"]);
    assert!(
        all_problems(&second).starts_with("a/web.yaml:3:18: error: metadata.name must be a DNS name"),
        "{}",
        all_problems(&second)
    );

    let third =
        loaded(&tree("r3", &[("a/web.yaml", &deployment("web", "")), ("b/cfg.yaml", &config("cfg", "two"))]), &second.good);
    assert_eq!(states(&third), ["a loaded@r3", "b loaded@r3"]);
}

#[test]
fn a_unit_that_never_loaded_is_held_with_nothing() {
    let loaded = loaded(&tree("r1", &[("a/x.yaml", BROKEN), ("a/web.yaml", &deployment("web", ""))]), &Good::new());
    assert_eq!(states(&loaded), ["a held@nothing"]);
    assert_eq!(objects(&loaded), Vec::<String>::new());
    assert!(loaded.good.is_empty());
}

#[test]
fn a_missing_reference_holds_the_unit_of_the_referrer() {
    let first = loaded(&tree("r1", &[("a/web.yaml", &uses("cfg")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let second = loaded(&tree("r2", &[("a/web.yaml", &uses("other")), ("b/cfg.yaml", &config("cfg", "two"))]), &first.good);
    assert_eq!(states(&second), ["a held@r1", "b loaded@r2"]);
    assert_eq!(
        all_problems(&second),
        "a/web.yaml:12:41: error: ConfigMap shop/other does not exist (commit it, or correct the name; the namespace is shop)\n"
    );
}

#[test]
fn what_a_held_unit_still_needs_is_not_taken_away() {
    let first = loaded(&tree("r1", &[("a/web.yaml", &uses("cfg")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let second = loaded(&tree("r2", &[("a/web.yaml", BROKEN), ("b/cfg.yaml", &config("other", "two"))]), &first.good);
    assert_eq!(states(&second), ["a held@r1", "b held@r1"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r1", "Deployment web@r1"]);
    let message = "ConfigMap shop/cfg is still used by Deployment shop/web of the held unit a";
    assert!(all_problems(&second).contains(message), "{}", all_problems(&second));
}

#[test]
fn a_unit_that_is_gone_without_an_error_is_gone() {
    let first =
        loaded(&tree("r1", &[("a/web.yaml", &deployment("web", "")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let second = loaded(&tree("r2", &[("b/cfg.yaml", &config("cfg", "one"))]), &first.good);
    assert_eq!(states(&second), ["b loaded@r2"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r2"]);
}

#[test]
fn of_two_objects_with_one_name_the_second_is_at_fault() {
    let input = tree("r1", &[("a/cfg.yaml", &config("cfg", "one")), ("b/cfg.yaml", &config("cfg", "two"))]);
    let loaded = loaded(&input, &Good::new());
    assert_eq!(states(&loaded), ["a loaded@r1", "b held@nothing"]);
    let expected = "b/cfg.yaml:3:18: error: ConfigMap shop/cfg is there already: a/cfg.yaml:3 (remove or rename one of them)\n";
    assert_eq!(all_problems(&loaded), expected);
}

#[test]
fn an_object_that_moves_out_of_a_held_unit_stays_where_it_was() {
    let first = loaded(&tree("r1", &[("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let second = loaded(&tree("r2", &[("a/cfg.yaml", &config("cfg", "two")), ("b/x.yaml", BROKEN)]), &first.good);
    assert_eq!(states(&second), ["a held@nothing", "b held@r1"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r1"]);
}

#[test]
fn atomic_holds_everything_for_one_error() {
    let first =
        loaded(&tree("r1", &[("a/web.yaml", &deployment("web", "")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let mut input = tree("r2", &[("a/web.yaml", BROKEN), ("b/cfg.yaml", &config("cfg", "two"))]);
    input.policy.atomic = true;
    let second = loaded(&input, &first.good);
    assert_eq!(states(&second), ["a held@r1", "b held@r1"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r1", "Deployment web@r1"]);
}

#[test]
fn an_error_in_the_policy_holds_everything_even_what_would_be_gone() {
    let first =
        loaded(&tree("r1", &[("a/web.yaml", &deployment("web", "")), ("b/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let mut input = tree("r2", &[("b/cfg.yaml", &config("cfg", "two"))]);
    let (policy, problems) = read_policy(POLICY_FILE, b"atomc: true\n");
    (input.policy, input.problems) = (policy, problems);
    let second = loaded(&input, &first.good);
    assert_eq!(states(&second), ["a held@r1", "b held@r1"]);
    assert_eq!(objects(&second), ["ConfigMap cfg@r1", "Deployment web@r1"]);
    assert!(lines(&second.desired.problems).contains("did you mean atomic?"));
}

#[test]
fn a_file_that_could_not_be_read_holds_its_unit() {
    let first = loaded(&tree("r1", &[("a/web.yaml", &deployment("web", ""))]), &Good::new());
    let mut input = tree("r2", &[]);
    input.problems.push(Problem {
        at: Location { file: "a/web.yaml".to_owned(), line: 0, column: 0 },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message: "the file is a symbolic link that leaves the tree".to_owned(),
        hint: None,
    });
    let second = loaded(&input, &first.good);
    assert_eq!(states(&second), ["a held@r1"]);
    assert_eq!(objects(&second), ["Deployment web@r1"]);
}

#[test]
fn a_folder_that_cannot_be_rendered_holds_itself_only_and_loses_nothing() {
    let web = deployment("web", "");
    let first = loaded(&tree("r1", &[("a/web/web.yaml", &web), ("a/cfg.yaml", &config("cfg", "one"))]), &Good::new());
    let mut second = tree("r2", &[("a/cfg.yaml", &config("cfg", "two"))]);
    let problem = Problem {
        at: Location { file: "base/kustomization.yaml".to_owned(), line: 3, column: 1 },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message: "x.yaml is not there".to_owned(),
        hint: None,
    };
    second.rendered.insert("a/web".to_owned(), vec![problem]);
    let held = loaded(&second, &first.good);
    assert_eq!(states(&held), ["a loaded@r2", "a/web held@r1"]);
    assert_eq!(objects(&held), ["ConfigMap cfg@r2", "Deployment web@r1"]);
    assert_eq!(all_problems(&held).lines().count(), 1, "{}", all_problems(&held));
    assert!(all_problems(&held).contains("base/kustomization.yaml:3:1: error: x.yaml is not there"));
    // What it rendered to later takes the place of what was held.
    let text = RenderedText { text: deployment("web", ""), namespace: "default".to_owned(), ..RenderedText::default() };
    let mut third = tree("r3", &[("a/cfg.yaml", &config("cfg", "two"))]);
    third.rendered.insert("a/web".to_owned(), Vec::new());
    third.files.insert("a/web".to_owned(), Arc::new(parse_rendered("a/web", "digest", &text)));
    let mended = loaded(&third, &held.good);
    assert_eq!(states(&mended), ["a loaded@r3", "a/web loaded@r3"]);
    assert_eq!(objects(&mended), ["ConfigMap cfg@r3", "Deployment web@r3"]);
}

#[test]
fn ignored_kinds_and_files_hold_nothing() {
    let certificate = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\n";
    let input = tree("r1", &[("a/c.yaml", certificate), ("a/web.yaml", &deployment("web", ""))]);
    assert_eq!(states(&loaded(&input, &Good::new())), ["a held@nothing"]);
    for kind in ["Certificate.cert-manager.io", "Certificate"] {
        let mut input = input.clone();
        input.policy.ignore_kinds.push(kind.to_owned());
        assert_eq!(states(&loaded(&input, &Good::new())), ["a loaded@r1"], "{kind}");
    }
    let mut input = input.clone();
    input.policy.ignore.push("c.yaml".to_owned());
    assert_eq!(states(&loaded(&input, &Good::new())), ["a loaded@r1"]);
}

#[test]
fn a_load_without_errors_forgets_what_was_before() {
    let input = tree("r2", &[("a/web.yaml", &deployment("web", ""))]);
    let before = loaded(&tree("r1", &[("a/cfg.yaml", &config("cfg", "one")), ("z/cfg.yaml", BROKEN)]), &Good::new());
    assert_eq!(loaded(&input, &before.good).desired, loaded(&input, &Good::new()).desired);
}

/// The hash and the version of the configuration of `web`, with `annotation`, in a tree with a ConfigMap and a Secret of logins.
fn hash_and_version(annotation: &str, namespace: &str, value: &str, login: &str) -> (String, String) {
    let more = "        envFrom: [{configMapRef: {name: cfg}}]\n      imagePullSecrets: [{name: login}]\n";
    let noted = format!("metadata: {{annotations: {{{annotation}}}, name: web");
    let web = deployment("web", more).replacen("metadata: {name: web", &noted, 1);
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: login, namespace: shop}}\nstringData: {{.dockercfg: \"{login}\"}}\n"
    );
    let files = [("a/web.yaml", web), ("a/cfg.yaml", config("cfg", value)), ("a/login.yaml", secret)];
    let files = files.map(|(file, text)| (file, text.replace("namespace: shop", &format!("namespace: {namespace}"))));
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (*file, text.as_str())).collect();
    let loaded = loaded(&tree("r1", &files), &Good::new());
    assert_eq!(all_problems(&loaded), "");
    let web = &loaded.desired.objects[&ObjectKey::new(Kind::Deployment, namespace, "web")];
    let snapshot = web.snapshot().expect("a workload has a snapshot");
    assert!(snapshot.config.secrets.contains_key("login"), "logins go with the template");
    (snapshot.hash.to_string(), snapshot.config.version.clone())
}

#[test]
fn a_changed_config_map_changes_the_hash_unless_it_is_to_be_updated_in_place() {
    let in_place = "driftless.dev/config-update: in-place";
    let rolled = |value: &str| hash_and_version("", "shop", value, "a");
    assert_ne!(rolled("one").0, rolled("two").0);
    let (one, two) = (hash_and_version(in_place, "shop", "one", "a"), hash_and_version(in_place, "shop", "two", "a"));
    assert_eq!(one.0, two.0);
    assert_ne!(one.1, two.1, "what tells agents that the contents are others");
    let elsewhere = hash_and_version(in_place, "other", "one", "a");
    assert_ne!(one.0, elsewhere.0, "equal templates of two namespaces have contents of their own");
}

#[test]
fn a_changed_login_of_a_registry_restarts_nothing_and_travels() {
    let (one, two) = (hash_and_version("", "shop", "one", "a"), hash_and_version("", "shop", "one", "b"));
    assert_eq!(one.0, two.0);
    assert_ne!(one.1, two.1);
}
