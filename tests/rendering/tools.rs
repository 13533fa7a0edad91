//! The real tools, on ordinary repositories.

use crate::workshop::{Good, Workshop, errors, names};
use driftless::manifest::Loaded;
use driftless::model::{Kind, ObjectKey, UnitName, UnitState};
use std::process::Command;

fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}\n"
    )
}

/// A base with two overlays.
fn overlays() -> Workshop {
    let workshop = Workshop::new();
    workshop.write("base/kustomization.yaml", "resources: [web.yaml]\n");
    workshop.write("base/web.yaml", &deployment("web", "web:1"));
    for stage in ["dev", "prod"] {
        workshop
            .write(&format!("overlays/{stage}/kustomization.yaml"), &format!("resources: [../../base]\nnamespace: {stage}\n"));
    }
    workshop
}

fn held(loaded: &Loaded, unit: &str) -> bool {
    loaded.desired.units[&UnitName::new(unit)].is_held()
}

#[test]
fn a_base_is_rendered_with_what_uses_it_and_once() {
    let workshop = overlays();
    let mut loader = workshop.loader("", workshop.settings());
    let first = workshop.load(&mut loader, &Good::new());
    assert_eq!(errors(&first), [] as [&str; 0]);
    let units: Vec<&str> = first.desired.units.keys().map(UnitName::as_str).collect();
    assert_eq!(units, ["overlays/dev", "overlays/prod"]);
    let namespaces: Vec<&str> = first.desired.objects.keys().map(|key| key.namespace.as_str()).collect();
    assert_eq!(namespaces, ["dev", "prod"]);
    assert_eq!(loader.renders(), 2);

    workshop.write("README.md", "nothing to do with it\n");
    workshop.write("other/cfg.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n");
    let second = workshop.load(&mut loader, &first.good);
    assert_eq!(loader.renders(), 2, "a commit beside them renders nothing");

    workshop.write("overlays/prod/kustomization.yaml", "resources: [../../base]\nnamespace: prod\nnamePrefix: my-\n");
    let third = workshop.load(&mut loader, &second.good);
    assert_eq!(loader.renders(), 3, "only what changed is rendered");
    assert_eq!(names(&third), ["ConfigMap/c", "Deployment/web", "Deployment/my-web"]);
}

#[test]
fn a_watched_path_may_use_what_lies_beside_it() {
    let workshop = overlays();
    let mut loader = workshop.loader("overlays/prod", workshop.settings());
    let loaded = workshop.load(&mut loader, &Good::new());
    assert_eq!(errors(&loaded), [] as [&str; 0]);
    let units: Vec<&str> = loaded.desired.units.keys().map(UnitName::as_str).collect();
    assert_eq!(units, ["."]);
    assert_eq!(names(&loaded), ["Deployment/web"]);
}

#[test]
fn the_policy_says_what_is_rendered() {
    let workshop = overlays();
    workshop.write("driftless.yaml", "render:\n  entries: [overlays/prod]\n");
    let mut loader = workshop.loader("", workshop.settings());
    let loaded = workshop.load(&mut loader, &Good::new());
    let units: Vec<&str> = loaded.desired.units.keys().map(UnitName::as_str).collect();
    assert_eq!(units, ["overlays/prod"]);
    workshop.write("driftless.yaml", "render:\n  entries: [overlays/nope]\n");
    let loaded = workshop.load(&mut loader, &loaded.good);
    assert!(loaded.desired.units.values().all(UnitState::is_held));
    assert_eq!(names(&loaded), ["Deployment/web"]);
    let all = errors(&loaded).join("\n");
    assert!(all.contains("render.entries lists overlays/nope, which has neither a kustomization nor a chart"), "{all}");
}

#[test]
fn a_template_has_the_hash_that_it_has_without_rendering() {
    let workshop = overlays();
    let mut loader = workshop.loader("", workshop.settings());
    let rendered = workshop.load(&mut loader, &Good::new());
    let plain = Workshop::new();
    plain.write("web.yaml", &deployment("web", "web:1").replace("name: web}", "name: web, namespace: prod}"));
    let mut loader = plain.loader("", plain.settings());
    let written = plain.load(&mut loader, &Good::new());
    let key = ObjectKey::new(Kind::Deployment, "prod", "web");
    let hash = |loaded: &Loaded| loaded.desired.objects[&key].snapshot().unwrap().hash.clone();
    assert_eq!(hash(&rendered), hash(&written));
    assert!(rendered.desired.objects[&key].meta.annotations.is_empty(), "what we asked for is taken out");
}

#[test]
fn a_unit_that_cannot_be_rendered_stays_as_it_was() {
    let workshop = overlays();
    let mut loader = workshop.loader("", workshop.settings());
    let first = workshop.load(&mut loader, &Good::new());
    workshop.write("overlays/prod/kustomization.yaml", "resources: [../../base, gone.yaml]\nnamespace: prod\n");
    let second = workshop.load(&mut loader, &first.good);
    assert!(held(&second, "overlays/prod") && !held(&second, "overlays/dev"));
    assert_eq!(names(&second), names(&first));
    assert_eq!(errors(&second), ["overlays/prod/kustomization.yaml:1: overlays/prod/gone.yaml does not exist"]);
}

#[test]
fn a_problem_of_a_rendered_document_says_where_it_came_from() {
    let workshop = overlays();
    workshop.write("base/web.yaml", &deployment("web", "web:1").replace("image:", "imge:"));
    let mut loader = workshop.loader("", workshop.settings());
    let loaded = workshop.load(&mut loader, &Good::new());
    let problems = loaded.desired.units[&UnitName::new("overlays/prod")].problems();
    let problem = problems.iter().find(|problem| problem.is_error()).expect("an error");
    assert_eq!(problem.at.file, "overlays/prod");
    assert!(problem.at.line > 1 && problem.message.contains("imge"), "{problem:?}");
    assert!(problem.hint.as_ref().unwrap().contains("it comes from base/web.yaml"), "{problem:?}");
}

#[test]
fn a_missing_tool_is_named() {
    let workshop = overlays();
    workshop.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n");
    let mut settings = workshop.settings();
    settings.search = Vec::new();
    let mut loader = workshop.loader("", settings);
    let errors = errors(&workshop.load(&mut loader, &Good::new()));
    assert!(errors[0].contains("this folder is a Helm chart, and helm is not in PATH"), "{errors:?}");
    assert!(errors[1].contains("neither kustomize nor kubectl is in PATH"), "{errors:?}");
}

fn chart() -> Workshop {
    let found = Command::new("helm").arg("version").output();
    assert!(found.is_ok_and(|output| output.status.success()), "helm is missing: scripts/test installs it");
    let workshop = Workshop::new();
    workshop.write("charts/web/Chart.yaml", "apiVersion: v2\nname: web-chart\nversion: 1.0.0\n");
    workshop.write("charts/web/values.yaml", "image: web:1\nreplicas: 1\n");
    let template = deployment("{{ .Release.Name }}", "{{ required \"image is needed\" .Values.image }}")
        .replace("spec:\n  selector", "spec:\n  replicas: {{ .Values.replicas }}\n  selector");
    workshop.write("charts/web/templates/web.yaml", &template);
    workshop.write("charts/web/templates/tests/test.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: t\n  annotations: {helm.sh/hook: test}\nspec: {containers: [{name: t, image: t}]}\n");
    workshop
}

#[test]
fn a_chart_is_rendered_with_the_values_of_the_policy() {
    let workshop = chart();
    let mut loader = workshop.loader("", workshop.settings());
    let first = workshop.load(&mut loader, &Good::new());
    assert_eq!((errors(&first), names(&first)), (Vec::new(), vec!["Deployment/web".to_owned()]));

    let policy = "render:\n  helm:\n    charts/web:\n      release: shop\n      namespace: prod\n      values: [values/prod.yaml]\n      set: {image: 'web:2'}\n";
    workshop.write("driftless.yaml", policy);
    workshop.write("values/prod.yaml", "replicas: 3\nimage: web:9\n");
    let second = workshop.load(&mut loader, &first.good);
    let key = ObjectKey::new(Kind::Deployment, "prod", "shop");
    let written = &second.desired.objects[&key].written;
    assert_eq!(written["spec"]["replicas"], 3);
    assert_eq!(written["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
}

#[test]
fn a_hook_is_an_error_and_not_run_as_if_it_were_none() {
    let workshop = chart();
    let job = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: clean\n  annotations:\n    \"helm.sh/hook\": pre-delete\nspec: {containers: [{name: t, image: t}]}\n";
    workshop.write("charts/web/templates/clean.yaml", job);
    let mut loader = workshop.loader("", workshop.settings());
    let loaded = workshop.load(&mut loader, &Good::new());
    assert_eq!(
        errors(&loaded),
        ["charts/web/templates/clean.yaml:0: this is a pre-delete hook of helm, which would run at the wrong time"]
    );
    assert!(held(&loaded, "charts/web"));
}

#[test]
fn helms_complaint_is_told_at_the_template() {
    let workshop = chart();
    workshop.write("charts/web/values.yaml", "replicas: 1\n");
    let mut loader = workshop.loader("", workshop.settings());
    let errors = errors(&workshop.load(&mut loader, &Good::new()));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("charts/web/templates/web.yaml:9: helm cannot render it: image is needed"), "{errors:?}");
}

#[test]
fn plan_compares_what_both_sides_render_to() {
    let workshop = overlays();
    let first = workshop.commit();
    workshop.write("base/web.yaml", &deployment("web", "web:2"));
    workshop.commit();
    let output = workshop.driftless(&["plan", "--from", first.as_str(), "--to", "HEAD", "--output", "json"]);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = plan.to_string();
    assert!(
        text.contains("web:1") && text.contains("web:2") && text.contains("overlays/prod") && !text.contains("origin"),
        "{text}"
    );
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(2), "{text}");
}

#[test]
fn validate_takes_a_kustomization_as_written_unless_it_is_asked_to_render() {
    let workshop = overlays();
    workshop.write("overlays/prod/kustomization.yaml", "resources: [../../base, gone.yaml]\n");
    let plain = workshop.driftless(&["validate", "overlays"]);
    assert!(plain.status.success(), "{plain:?}");
    assert!(
        String::from_utf8_lossy(&plain.stdout).contains("overlays/prod/kustomization.yaml: warning: this is for kustomize"),
        "{plain:?}"
    );
    let rendered = workshop.driftless(&["validate", "--render", "overlays"]);
    assert!(!rendered.status.success());
    let said = String::from_utf8_lossy(&rendered.stdout).into_owned();
    assert!(said.contains("overlays/prod/kustomization.yaml:1:25: error: overlays/prod/gone.yaml does not exist"), "{said}");
}

#[test]
fn a_held_unit_is_loaded_again_when_it_is_mended() {
    let workshop = overlays();
    let mut loader = workshop.loader("", workshop.settings());
    workshop.write("base/kustomization.yaml", "resources: [web.yaml, more.yaml]\n");
    let broken = workshop.load(&mut loader, &Good::new());
    assert!(broken.desired.units.values().all(UnitState::is_held));
    workshop.write("base/more.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n");
    let mended = workshop.load(&mut loader, &broken.good);
    assert_eq!(errors(&mended), [] as [&str; 0]);
    assert_eq!(mended.desired.objects.len(), 4);
}
