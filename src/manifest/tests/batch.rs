//! Jobs: accepted, refused, and what is generated for their pods.

use super::*;
use crate::model::{JobSpec, Kind, ObjectKey, Strategy, Workload};

/// A Job with some more lines in its spec and in its pod spec, at their depths.
fn job(spec: &str, pod: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: sum, namespace: shop}}
spec:
{spec}  template:
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: app, command: [sum]}}]
{pod}"
    )
}

/// `line: message` for each error.
fn errors(text: &str) -> Vec<String> {
    let report = validate(&[("f.yaml".to_owned(), text.as_bytes().to_vec())], false);
    let problems = report.documents.into_iter().flat_map(|document| document.problems);
    problems.map(|problem| format!("{}: {}", problem.line, problem.message)).collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(errors(text), expected, "\n{text}");
}

fn workload(text: &str) -> Workload {
    let loaded = loaded(&tree("r", &[("f.yaml", text)]), &Good::new());
    loaded.desired.objects[&ObjectKey::new(Kind::Job, "shop", "sum")].workload().unwrap().clone()
}

fn spec_of(workload: &Workload) -> &JobSpec {
    let Strategy::Job(spec) = &workload.strategy else { panic!("a Job") };
    spec
}

#[test]
fn the_numbers_of_a_job_default_as_in_kubernetes() {
    for (written, completions, parallelism) in [
        ("", Some(1), 1),
        ("  completions: 3\n", Some(3), 1),
        ("  parallelism: 3\n", None, 3),
        ("  completions: 5\n  parallelism: 2\n", Some(5), 2),
    ] {
        let found = workload(&job(written, ""));
        assert_eq!((spec_of(&found).completions, found.replicas), (completions, Some(parallelism)), "{written:?}");
    }
    assert_eq!(spec_of(&workload(&job("", ""))).backoff_limit, 6);
    let per_index = job("  completions: 2\n  completionMode: Indexed\n  backoffLimitPerIndex: 1\n", "");
    assert_eq!(spec_of(&workload(&per_index)).backoff_limit, 2_147_483_647);
}

#[test]
fn the_pods_of_a_job_have_its_labels_and_those_of_an_indexed_one_their_index() {
    let plain = workload(&job("", ""));
    let labels = &plain.snapshot.template.metadata.labels;
    assert_eq!(labels.get("job-name").map(String::as_str), Some("sum"));
    assert_eq!(labels.get("batch.kubernetes.io/job-name").map(String::as_str), Some("sum"));
    assert!(labels.contains_key("batch.kubernetes.io/controller-uid"));
    assert!(plain.snapshot.template.spec.containers[0].env.is_empty());
    let indexed = workload(&job("  completions: 2\n  completionMode: Indexed\n", ""));
    let variable = &indexed.snapshot.template.spec.containers[0].env[0];
    assert_eq!(variable.name, "JOB_COMPLETION_INDEX");
    let path = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref()).map(|field| field.field_path.as_str());
    assert_eq!(path, Some("metadata.annotations['batch.kubernetes.io/job-completion-index']"));
    assert_ne!(plain.snapshot.hash, indexed.snapshot.hash, "agents keep templates by their hash");
}

#[test]
fn a_run_is_named_by_the_template_alone() {
    let with = |value: &str| {
        let config =
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: shop}}\ndata: {{k: {value}}}\n");
        let text = job("", "").replace("command: [sum]", "command: [sum], envFrom: [{configMapRef: {name: c}}]");
        workload(&format!("{text}{config}"))
    };
    let (one, other) = (with("a"), with("b"));
    assert_ne!(one.snapshot.hash, other.snapshot.hash);
    assert_eq!(spec_of(&one).run, spec_of(&other).run);
    let changed = workload(&job("", "").replace("[sum]", "[sum, again]"));
    assert_ne!(spec_of(&changed).run, spec_of(&workload(&job("", ""))).run);
    let raised = workload(&job("  backoffLimit: 9\n", ""));
    assert_eq!(spec_of(&raised).run, spec_of(&workload(&job("", ""))).run);
}

#[test]
fn what_a_job_cannot_be_is_said_at_its_line() {
    check(&job("", "").replace("Never", "Always"), &["7: spec.template.spec.restartPolicy must be Never or OnFailure in a Job"]);
    check(
        &job("", "").replace("      restartPolicy: Never\n", ""),
        &["6: spec.template.spec.restartPolicy must be Never or OnFailure in a Job"],
    );
    check(
        &job("  completionMode: Indexed\n", "").replace("completionMode", "parallelism: 2\n  completionMode"),
        &["4: spec.completions is required when completionMode is Indexed"],
    );
    check(&job("  backoffLimitPerIndex: 1\n", ""), &["5: spec.backoffLimitPerIndex needs completionMode: Indexed"]);
    check(
        &job("  selector: {matchLabels: {a: b}}\n  manualSelector: true\n", ""),
        &[
            "5: spec.selector is not supported: the labels by which a Job finds its pods are generated",
            "6: spec.manualSelector is not supported: the labels by which a Job finds its pods are generated",
        ],
    );
    let rules = "  podFailurePolicy:
    rules:
    - {action: FailJob, onExitCodes: {operator: In, values: [0, 3]}}
    - {action: Ignore, onPodConditions: [{type: ConfigIssue}]}
    - {action: FailIndex, onExitCodes: {containerName: other, operator: In, values: [3]}}
";
    let found = errors(&job(rules, ""));
    assert_eq!(found.len(), 1, "the schema speaks first: {found:?}");
    let rules = rules.replace("ConfigIssue", "DisruptionTarget");
    check(
        &job(&rules, ""),
        &[
            "7: spec.podFailurePolicy.rules[0].onExitCodes.values must not contain 0 with the operator In: that is no failure",
            "9: spec.podFailurePolicy.rules[2].action FailIndex needs backoffLimitPerIndex",
            "9: spec.podFailurePolicy.rules[2].onExitCodes.containerName names no container of the template",
        ],
    );
}

/// A CronJob with this schedule and some more lines in its spec.
fn cron(schedule: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick, namespace: shop}}
spec:
  schedule: {schedule}
{more}  jobTemplate:
    metadata: {{labels: {{app: tick}}}}
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{{name: main, image: app, command: [tick]}}]
"
    )
}

#[test]
fn the_jobs_of_a_cron_job_are_named_by_their_minute_and_have_templates_of_their_own() {
    let loaded = loaded(&tree("r", &[("f.yaml", &cron("'*/5 * * * *'", "  timeZone: Europe/Berlin\n"))]), &Good::new());
    let object = &loaded.desired.objects[&ObjectKey::new(Kind::CronJob, "shop", "tick")];
    let made = |minutes: u64| object.made_job(crate::model::Moment(minutes * 60_000)).unwrap();
    let (one, other) = (made(29_000_000), made(29_000_005));
    assert_eq!(one.key, ObjectKey::new(Kind::Job, "shop", "tick-29000000"));
    assert_eq!(one.meta.labels.get("app").map(String::as_str), Some("tick"));
    let labels = &one.snapshot().unwrap().template.metadata.labels;
    assert_eq!(labels.get("job-name").map(String::as_str), Some("tick-29000000"));
    assert_ne!(one.snapshot().unwrap().hash, other.snapshot().unwrap().hash, "their labels differ");
    assert_eq!(one, made(29_000_000), "it is made again as it was");
}

#[test]
fn a_schedule_that_is_none_is_said_at_its_line() {
    check(&cron("'61 * * * *'", ""), &["5: spec.schedule has \"61\" as its minute, which must be from 0 to 59"]);
    check(&cron("TZ=UTC 0 * * * *", ""), &["5: spec.schedule must not name a time zone: write spec.timeZone"]);
    check(&cron("'@hourly'", "  timeZone: Mars/Olympus\n"), &["6: spec.timeZone is not a known time zone"]);
    check(
        &cron("'@hourly'", "").replace("OnFailure", "Always"),
        &["11: spec.jobTemplate.spec.template.spec.restartPolicy must be Never or OnFailure in a Job"],
    );
    check(&cron("'@hourly'", ""), &[]);
}
