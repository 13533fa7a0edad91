//! The audit branch against real git.

use crate::git_lab::Lab;
use driftless::model::{AuditRecord, ChangeCounts, ClusterNotes, Epoch, Moment, Outcome, Revision, Trigger};
use driftless::sync::{AuditError, AuditLog, AuditSpec, Identity, SignatureState, SyncError};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

const NOW: Moment = Moment(1_700_000_000_000);
const WEB: &str = "current/shop/Deployment/web.yaml";

/// A controller's audit log with a state directory of its own; clusters share the identity.
fn log_in(lab: &Lab, state: &str) -> AuditLog {
    let identity = Identity::load_or_create(&lab.path("identity")).expect("an identity");
    let spec = AuditSpec { url: lab.remote().display().to_string(), cluster: String::new() };
    AuditLog::open(&lab.path(state), &spec, Arc::new(identity)).expect("an audit log")
}

fn record(subject: &str, text: &str) -> AuditRecord {
    AuditRecord {
        subject: subject.into(),
        body: "~ Deployment shop/web".into(),
        revision: Some(Revision::new("0123456789abcdef0123456789abcdef01234567")),
        trigger: Trigger::Push,
        plan: "blake3:00".into(),
        outcome: Outcome::Converged,
        changes: ChangeCounts { create: 0, update: 1, delete: 0 },
        actor: "Ada <ada@example.org> (unsigned)".into(),
        epoch: Epoch(1),
        duration_ms: 5,
        tree: BTreeMap::from([(WEB.to_owned(), Some(text.to_owned()))]),
    }
}

fn remote_log(lab: &Lab, format: &str) -> Vec<String> {
    let text = lab.git(&lab.remote(), &["log", "--reverse", &format!("--format={format}"), "driftless/audit"]);
    text.lines().map(String::from).collect()
}

fn remote_tip(lab: &Lab) -> String {
    lab.git(&lab.remote(), &["rev-parse", "driftless/audit"])
}

fn is_ancestor(lab: &Lab, old: &str) -> bool {
    lab.try_git(&lab.remote(), &["merge-base", "--is-ancestor", old, "driftless/audit"]).0
}

#[test]
fn records_are_pushed_as_an_orphan_branch_that_git_itself_verifies() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut log = log_in(&lab, "a");
    let claim = log.claim_epoch("one", Epoch(0), NOW).unwrap();
    assert_eq!((claim.epoch, claim.away.is_none(), claim.set_aside), (Epoch(1), true, 0));
    log.append(&record("shop/web: rolled out", "image: nginx\n"), NOW).unwrap();
    assert_eq!(log.push().unwrap().queued, 0);

    assert_eq!(remote_log(&lab, "%s"), ["cluster: epoch 1 begins", "shop/web: rolled out"]);
    assert!(!lab.try_git(&lab.remote(), &["merge-base", "main", "driftless/audit"]).0, "it shares no commit with main");
    let identity = Identity::load(&lab.path("identity")).unwrap();
    assert_eq!(remote_log(&lab, "%cn <%ce> %ct")[1], format!("Driftless <{}> 1700000000", identity.cluster_id()));
    assert_eq!(lab.git(&lab.remote(), &["show", &format!("driftless/audit:{WEB}")]), "image: nginx");
    let outcome = "%(trailers:key=Driftless-Outcome,valueonly,separator=)";
    assert_eq!(remote_log(&lab, outcome)[1], "converged");

    let signers = format!("gpg.ssh.allowedSignersFile={}", lab.path("identity/allowed_signers").display());
    for commit in remote_log(&lab, "%H") {
        lab.git(&lab.remote(), &["-c", &signers, "verify-commit", &commit]);
    }
}

#[test]
fn records_queue_while_the_remote_is_away_and_survive_a_restart() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut log = log_in(&lab, "a");
    log.claim_epoch("one", Epoch(0), NOW).unwrap();
    lab.set_away(true);
    log.append(&record("first", "1\n"), NOW).unwrap();
    log.append(&record("second", "2\n"), NOW).unwrap();
    assert!(matches!(log.push(), Err(AuditError::Mirror(SyncError::MissingRepo { .. }))));
    assert_eq!(log.queued().unwrap(), 2);
    drop(log);

    let mut log = log_in(&lab, "a");
    assert_eq!(log.queued().unwrap(), 2);
    let claim = log.claim_epoch("two", Epoch(0), NOW).unwrap();
    assert!(claim.away.is_some());
    assert_eq!((claim.epoch, log.queued().unwrap()), (Epoch(2), 3));
    lab.set_away(false);
    assert_eq!(log.push().unwrap().queued, 0);
    assert_eq!(remote_log(&lab, "%s"), ["cluster: epoch 1 begins", "first", "second", "cluster: epoch 2 begins"]);
}

#[test]
fn a_refused_push_says_why_and_keeps_the_records() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let hook = lab.remote().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho 'no robots here' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut log = log_in(&lab, "a");
    let away = log.claim_epoch("one", Epoch(0), NOW).unwrap().away.expect("a refusal");
    assert!(matches!(&away, SyncError::PushRefused { detail, .. } if detail.contains("no robots here")), "{away:?}");
    assert!(matches!(log.push(), Err(AuditError::Mirror(SyncError::PushRefused { .. }))));
    std::fs::remove_file(&hook).unwrap();
    assert_eq!(log.push().unwrap().queued, 0);
}

#[test]
fn claimants_at_the_same_time_get_different_epochs() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    Identity::load_or_create(&lab.path("identity")).unwrap();
    let mut epochs: Vec<u64> = std::thread::scope(|scope| {
        let claim = |name: &'static str| log_in(&lab, name).claim_epoch(name, Epoch(0), NOW).unwrap();
        let threads: Vec<_> = ["a", "b", "c", "d"].map(|name| scope.spawn(move || claim(name))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).map(|claim| claim.epoch.0).collect()
    });
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4]);
    assert_eq!(remote_log(&lab, "%s").len(), 4);
}

#[test]
fn a_controller_that_has_been_replaced_stands_down() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut old = log_in(&lab, "a");
    old.claim_epoch("old", Epoch(0), NOW).unwrap();
    let mut new = log_in(&lab, "b");
    assert_eq!(new.claim_epoch("new", Epoch(0), NOW).unwrap().epoch, Epoch(2));
    let stood_down = |result: Result<_, AuditError>| {
        let expected =
            matches!(&result, Err(AuditError::StoodDown { ours: Epoch(1), theirs: Epoch(2), instance }) if instance == "new");
        assert!(expected, "{result:?}");
    };
    stood_down(old.push());
    old.append(&record("too late", "x\n"), NOW).unwrap();
    stood_down(old.push());
    assert_eq!(remote_log(&lab, "%s"), ["cluster: epoch 1 begins", "cluster: epoch 2 begins"]);
}

#[test]
fn an_epoch_that_an_agent_knows_is_exceeded() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    assert_eq!(log_in(&lab, "a").claim_epoch("one", Epoch(6), NOW).unwrap().epoch, Epoch(7));
}

#[test]
fn a_claim_made_while_away_goes_on_top_of_a_late_push_of_the_older_reign() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut old = log_in(&lab, "a");
    old.claim_epoch("old", Epoch(0), NOW).unwrap();
    let mut new = log_in(&lab, "b");
    lab.set_away(true);
    assert_eq!(new.claim_epoch("newest", Epoch(9), NOW).unwrap().epoch, Epoch(10));
    new.append(&record("queued", "queued\n"), NOW).unwrap();
    lab.set_away(false);
    old.append(&record("late", "late\n"), NOW).unwrap();
    old.push().unwrap();
    let before = remote_tip(&lab);

    assert_eq!(new.push().unwrap().queued, 0);
    assert!(is_ancestor(&lab, &before), "what was pushed is never rewritten");
    assert_eq!(remote_log(&lab, "%s")[1..], ["late", "cluster: epoch 10 begins", "queued"]);
    assert_eq!(lab.git(&lab.remote(), &["show", &format!("driftless/audit:{WEB}")]), "queued");
    let state = new.read().unwrap();
    assert_eq!((state.epoch, state.instance.as_str()), (Epoch(10), "newest"));
    assert!(matches!(old.push(), Err(AuditError::StoodDown { theirs: Epoch(10), .. })));
}

#[test]
fn a_claim_made_while_away_gives_way_to_a_reign_that_was_pushed_meanwhile() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    lab.set_away(true);
    let mut lost = log_in(&lab, "a");
    assert_eq!(lost.claim_epoch("lost", Epoch(0), NOW).unwrap().epoch, Epoch(1));
    lost.append(&record("unheard", "x\n"), NOW).unwrap();
    lab.set_away(false);
    log_in(&lab, "b").claim_epoch("won", Epoch(0), NOW).unwrap();
    assert!(matches!(lost.push(), Err(AuditError::StoodDown { theirs: Epoch(1), .. })));

    let claim = lost.claim_epoch("again", Epoch(0), NOW).unwrap();
    assert_eq!((claim.epoch, claim.set_aside), (Epoch(2), 2), "its records are kept aside");
    assert_eq!(remote_log(&lab, "%s"), ["cluster: epoch 1 begins", "cluster: epoch 2 begins"]);
    let aside = lab.git(&lab.path("a/repo.git"), &["for-each-ref", "--format=%(subject)", "refs/driftless/set-aside"]);
    assert_eq!(aside, "unheard");
}

#[test]
fn a_wiped_state_directory_reads_its_memory_back() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut log = log_in(&lab, "a");
    log.claim_epoch("one", Epoch(0), NOW).unwrap();
    let notes =
        ClusterNotes { revision: Some(Revision::new("ab12")), instance: "forged".into(), epoch: 99, ..ClusterNotes::default() };
    let mut with_memory = record("shop/web: rolled out", "image: nginx\n");
    let text = serde_saphyr::to_string(&notes).unwrap();
    with_memory.tree.insert("current/_cluster/memory.yaml".into(), Some(text));
    log.append(&with_memory, NOW).unwrap();
    log.push().unwrap();
    drop(log);
    std::fs::remove_dir_all(lab.path("a")).unwrap();

    let mut log = log_in(&lab, "a");
    assert_eq!(log.claim_epoch("two", Epoch(0), NOW).unwrap().epoch, Epoch(2), "the reign in the memory is the claimed one");
    let state = log.read().unwrap();
    assert_eq!(state.notes.unwrap().revision, Some(Revision::new("ab12")));
    assert_eq!(state.files.get(WEB).map(String::as_str), Some("image: nginx\n"));
}

#[test]
fn history_is_read_back_with_the_worth_of_each_signature() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let mut log = log_in(&lab, "a");
    log.claim_epoch("one", Epoch(0), NOW).unwrap();
    log.append(&record("shop/web: rolled out", "1\n"), NOW).unwrap();
    log.push().unwrap();
    forge(&lab, &lab.path("a/repo.git"));
    let history = log.history(10).unwrap();
    let seen: Vec<(&str, &str)> = history.iter().map(|entry| (entry.subject.as_str(), entry.signature.as_str())).collect();
    assert_eq!(seen, [("forged", "unsigned"), ("shop/web: rolled out", "good"), ("cluster: epoch 1 begins", "good")]);
    let entry = &history[1];
    assert_eq!((entry.outcome, entry.trigger, entry.time), (Some(Outcome::Converged), Some(Trigger::Push), NOW));
    assert_eq!(log.history(1).unwrap().len(), 1);

    std::fs::remove_dir_all(lab.path("identity")).unwrap();
    assert!(matches!(log_in(&lab, "a").history(2).unwrap()[1].signature, SignatureState::Unknown { .. }));
}

#[test]
fn driftless_history_reads_any_clone_and_says_where_to_look() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    let (code, _, stderr) = driftless_history(&lab.work(), &[]);
    assert!(code != 0 && stderr.contains("git fetch origin driftless/audit"), "{stderr}");
    let mut log = log_in(&lab, "mirror");
    log.claim_epoch("one", Epoch(0), NOW).unwrap();
    log.append(&record("shop/web: rolled out", "1\n"), NOW).unwrap();
    log.push().unwrap();

    lab.git(&lab.work(), &["fetch", "--quiet", "origin", "driftless/audit:refs/remotes/origin/driftless/audit"]);
    let (_, stdout, stderr) = driftless_history(&lab.work(), &[]);
    assert!(stdout.contains("converged") && stdout.contains("shop/web: rolled out") && stderr.is_empty(), "{stdout}{stderr}");
    let state = lab.root().display().to_string();
    let (_, stdout, _) = driftless_history(lab.root(), &["--state-dir", &state, "--output", "json", "--limit", "1"]);
    let records: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(records[0]["outcome"], "converged");
    assert_eq!(records[0]["signature"]["state"], "good");
    let (_, _, stderr) = driftless_history(&lab.work(), &["--cluster", "prod"]);
    assert!(stderr.contains("these clusters: default"), "{stderr}");
}

fn driftless_history(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_driftless"));
    let output = command.arg("history").args(args).current_dir(folder).env_remove("DRIFTLESS_STATE_DIR").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A commit by hand on top of the audit branch.
fn forge(lab: &Lab, repo: &Path) {
    let commit = lab.git(repo, &["commit-tree", "driftless/audit^{tree}", "-p", "driftless/audit", "-m", "forged"]);
    lab.git(repo, &["update-ref", "refs/heads/driftless/audit", &commit]);
}
