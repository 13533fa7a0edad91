//! Jobs and CronJobs: what runs to its end, and never again.

use crate::harness::{Cluster, poll};
use crate::journal::Journal;
use crate::manifests::{process, scripted, workload};
use serde_json::{Value, json};
use std::time::Duration;

/// A Job `work` whose pods run a script once.
fn job(journal: &Journal, spec: &str, script: &str) -> String {
    workload("Job", "work", spec, &once(journal, script))
}

fn once(journal: &Journal, script: &str) -> Value {
    let mut pod = process(scripted(journal, "main", script));
    pod["restartPolicy"] = "Never".into();
    pod
}

fn started(manifest: impl Fn(&Journal) -> String) -> (Cluster, Journal) {
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    cluster.push("a job", &[("shop/job.yaml", Some(&manifest(&journal)))]);
    cluster.start();
    (cluster, journal)
}

/// Waits for a condition of the Job `work`; the Job.
fn wait_for(cluster: &Cluster, condition: &str) -> Value {
    cluster.wait_for(&format!("the job is {condition}"), || {
        let job = cluster.json("/apis/batch/v1/namespaces/shop/jobs/work")?;
        if reason_of(&job, condition).is_some() { Ok(job) } else { Err(job["status"].to_string()) }
    })
}

fn reason_of(job: &Value, condition: &str) -> Option<String> {
    let conditions = job["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|one| one["type"] == condition && one["status"] == "True")?;
    Some(found["reason"].as_str().unwrap_or_default().to_owned())
}

/// A commit that has nothing to do with the Job goes out.
fn push_something_else(cluster: &Cluster) {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: shop}\ndata: {a: b}\n";
    let commit = cluster.push("something else", &[("shop/other.yaml", Some(other))]);
    cluster.wait_for("something else is out", || cluster.audited(&[&commit, "Driftless-Outcome: converged"]));
}

#[test]
fn a_job_that_is_over_never_runs_again_also_after_a_kill() {
    let (mut cluster, journal) = started(|journal| job(journal, "", "note ran"));
    wait_for(&cluster, "Complete");
    cluster.wait_for("its end is remembered", || cluster.audited(&["completed, 1 pod succeeded"]));
    cluster.kill();
    cluster.start();
    push_something_else(&cluster);
    wait_for(&cluster, "Complete");
    assert_eq!(journal.lines(), ["ran"]);
    let pods = cluster.pods("shop").expect("pods");
    assert!(pods.len() == 1 && pods.values().all(|pod| pod["status"]["phase"] == "Succeeded"), "{pods:?}");
}

#[test]
fn a_job_that_ends_while_nobody_looks_has_run_once() {
    let (mut cluster, journal) = started(|journal| {
        let go = journal.path.with_file_name("go");
        job(journal, "", &format!("note begins; until [ -e {} ]; do sleep 0.05; done; note ends", go.display()))
    });
    journal.wait_for(&cluster, "begins");
    cluster.kill();
    std::fs::write(journal.path.with_file_name("go"), "").expect("written");
    journal.wait_for(&cluster, "ends");
    cluster.start();
    wait_for(&cluster, "Complete");
    assert_eq!(journal.lines(), ["begins", "ends"]);
}

#[test]
fn a_job_fails_when_more_pods_have_failed_than_it_puts_up_with() {
    let (cluster, journal) = started(|journal| job(journal, "backoffLimit: 1", "note tried; exit 3"));
    let failed = wait_for(&cluster, "Failed");
    assert_eq!((reason_of(&failed, "Failed").as_deref(), &failed["status"]["failed"]), (Some("BackoffLimitExceeded"), &2.into()));
    assert_eq!(journal.lines(), ["tried", "tried"]);
}

#[test]
fn pods_of_an_indexed_job_know_their_number() {
    let spec = "completions: 3\nparallelism: 3\ncompletionMode: Indexed";
    let (cluster, journal) = started(|journal| job(journal, spec, "note $JOB_COMPLETION_INDEX $POD"));
    let complete = wait_for(&cluster, "Complete");
    assert_eq!(complete["status"]["completedIndexes"], "0-2");
    let mut lines = journal.lines();
    lines.sort();
    let is_of = |(index, line): (usize, &String)| line.starts_with(&format!("{index} work-{index}-"));
    assert!(lines.len() == 3 && lines.iter().enumerate().all(is_of), "{lines:?}");
}

#[test]
fn no_more_pods_than_its_parallelism_work_at_one_time() {
    let script = "note begins; sleep 0.5; note ends";
    let (cluster, journal) = started(|journal| job(journal, "completions: 4\nparallelism: 2", script));
    wait_for(&cluster, "Complete");
    let lines = journal.lines();
    assert_eq!(lines.iter().filter(|line| *line == "ends").count(), 4);
    let mut at_work = 0_i32;
    for line in &lines {
        at_work += if line == "begins" { 1 } else { -1 };
        assert!(at_work <= 2, "{lines:?}");
    }
}

#[test]
fn a_job_that_takes_too_long_is_stopped_and_has_failed() {
    let script = "trap 'note stops; exit 0' TERM; note starts; while true; do sleep 0.05; done";
    let (cluster, journal) = started(|journal| job(journal, "activeDeadlineSeconds: 2", script));
    assert_eq!(reason_of(&wait_for(&cluster, "Failed"), "Failed").as_deref(), Some("DeadlineExceeded"));
    journal.wait_until(&cluster, &["starts", "stops"]);
}

#[test]
fn the_pods_of_a_job_that_is_over_go_after_their_time_and_do_not_come_again() {
    let (cluster, journal) = started(|journal| job(journal, "ttlSecondsAfterFinished: 1", "note ran"));
    wait_for(&cluster, "Complete");
    cluster.wait_for("its pod is gone", || {
        let pods = cluster.pods("shop")?;
        if pods.is_empty() { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
    });
    push_something_else(&cluster);
    wait_for(&cluster, "Complete");
    assert_eq!(journal.lines(), ["ran"]);
}

#[test]
fn a_suspended_job_starts_when_a_commit_lifts_it() {
    let (cluster, journal) = started(|journal| job(journal, "suspend: true", "note ran"));
    wait_for(&cluster, "Suspended");
    push_something_else(&cluster);
    assert_eq!(journal.lines(), Vec::<String>::new());
    cluster.push("go", &[("shop/job.yaml", Some(&job(&journal, "suspend: false", "note ran")))]);
    wait_for(&cluster, "Complete");
    assert_eq!(journal.lines(), ["ran"]);
}

#[test]
fn under_on_failure_a_container_is_tried_again_in_its_pod() {
    let (cluster, journal) = started(|journal| {
        let mut pod = once(journal, "note $POD; [ -e tried ] && exit 0; touch tried; exit 1");
        pod["restartPolicy"] = "OnFailure".into();
        workload("Job", "work", "", &pod)
    });
    assert_eq!(wait_for(&cluster, "Complete")["status"]["failed"], 0);
    let lines = journal.lines();
    assert!(lines.len() == 2 && lines[0] == lines[1], "one pod, two starts: {lines:?}");
}

#[test]
fn a_job_completes_though_its_sidecar_would_run_for_ever() {
    let (cluster, journal) = started(|journal| {
        let mut pod = once(journal, "note works");
        let script = "trap 'note sidecar stops; exit 0' TERM; note sidecar starts; touch up; while true; do sleep 0.05; done";
        let mut sidecar = scripted(journal, "proxy", script);
        sidecar["restartPolicy"] = "Always".into();
        sidecar["startupProbe"] = json!({ "exec": { "command": ["test", "-e", "up"] }, "periodSeconds": 1 });
        pod["initContainers"] = json!([sidecar]);
        workload("Job", "work", "", &pod)
    });
    wait_for(&cluster, "Complete");
    journal.wait_until(&cluster, &["sidecar starts", "works", "sidecar stops"]);
}

#[test]
fn a_cron_job_makes_a_job_at_the_minute_unless_it_is_suspended() {
    let cron = |journal: &Journal, name: &str, suspend: bool| {
        format!(
            "---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  schedule: \"* * * * *\"\n  \
             suspend: {suspend}\n  jobTemplate:\n    spec:\n      template:\n        spec: {}\n",
            once(journal, &format!("note {name} $POD"))
        )
    };
    let (cluster, journal) = started(|journal| cron(journal, "tidy", false) + &cron(journal, "asleep", true));
    let patience = Duration::from_secs(60) + crate::harness::PATIENCE;
    let lines = poll("the minute has come", patience, || {
        let lines = journal.lines();
        if lines.is_empty() { Err("nothing ran".to_owned()) } else { Ok(lines) }
    });
    let lines = lines.expect("a run");
    assert!(lines.iter().all(|line| line.starts_with("tidy tidy-")), "{lines:?}");
    let jobs = cluster.json("/apis/batch/v1/namespaces/shop/jobs").expect("jobs");
    for job in jobs["items"].as_array().expect("a list") {
        assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "tidy", "{job}");
        let minute = job["metadata"]["name"].as_str().and_then(|name| name.strip_prefix("tidy-")?.parse::<u64>().ok());
        assert!(minute.is_some_and(|minute| minute > 29_000_000), "minutes since 1970: {}", job["metadata"]["name"]);
    }
}
