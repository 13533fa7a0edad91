//! `driftless history`: the audit records, from git alone.

use super::columns::{Columns, note, write_stdout};
use super::{CliError, CliResult};
use crate::model::{ChangeCounts, Moment};
use crate::status::age_of;
use crate::sync::{HistoryEntry, Identity, SignatureState, audit_branch, audit_tip, read_history};
use clap::{Args, ValueEnum};
use git2::Repository;
use serde_json::{Value, json};
use ssh_key::PublicKey;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show the audit records: what was changed, when, why, and by whose commit
///
/// They are commits on the branch driftless/audit (driftless/audit-NAME with --cluster NAME) of the watched repository, so any clone
/// that has fetched the branch will do, and git itself can ask further.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless history
  driftless history --repo /srv/shop.git --limit 5 -o wide
  driftless history --state-dir /var/lib/driftless -o json

With git alone:
  git fetch origin driftless/audit:refs/remotes/origin/driftless/audit
  git log -p origin/driftless/audit -- current/shop/Deployment/web.yaml")]
pub struct HistoryArgs {
    /// A repository on this host; by default the one that the current folder is in
    #[arg(long, value_name = "PATH")]
    repo: Option<PathBuf>,
    /// The state directory of a controller on this host: shows records that are not pushed yet too, and whose signature is its own
    #[arg(long, value_name = "DIR", env = "DRIFTLESS_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The cluster's name, if it was given one
    #[arg(long, value_name = "NAME", env = "DRIFTLESS_CLUSTER", default_value = "", hide_default_value = true)]
    cluster: String,
    /// At most so many records, the newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Text,
    /// A table with more columns
    Wide,
    /// JSON, everything that a record holds
    Json,
}

/// Runs `driftless history`.
///
/// # Errors
/// When there is no repository, or no audit branch in it.
pub(super) fn run(args: &HistoryArgs) -> CliResult<ExitCode> {
    let repo = open(args)?;
    let branch = audit_branch(&args.cluster);
    let tip = audit_tip(&repo, &branch).ok_or_else(|| no_branch(&repo, &branch))?;
    let key = args.state_dir.as_ref().and_then(|dir| trusted(dir));
    let entries = read_history(&repo, tip, args.limit, key.as_ref()).map_err(|error| {
        let hint = error.hint();
        let shown = CliError::with_source("cannot read the history", error);
        hint.into_iter().fold(shown, CliError::hint)
    })?;
    match args.output {
        Output::Json => write_stdout(&format!("{:#}\n", Value::Array(entries.iter().map(as_json).collect())))?,
        Output::Text | Output::Wide => {
            write_stdout(&table(&entries, args.output == Output::Wide, crate::clock::now()).render())?;
            warn_of_signatures(&entries, key.is_some());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(args: &HistoryArgs) -> CliResult<Repository> {
    let (path, opened) = match (&args.repo, &args.state_dir) {
        (Some(path), _) => (path.clone(), Repository::open(path)),
        (None, Some(dir)) => {
            let path = dir.join("mirror/repo.git");
            (path.clone(), Repository::open_bare(path))
        }
        (None, None) => (PathBuf::from("."), Repository::discover(".")),
    };
    opened.map_err(|error| {
        let hint = if error.code() == git2::ErrorCode::Owner {
            format!("it belongs to another user: git config --global --add safe.directory {}", path.display())
        } else if path.to_string_lossy().contains("://") {
            "clone it, and run this in the clone".into()
        } else {
            "run this in a clone of the watched repository, or name one with --repo or --state-dir".into()
        };
        CliError::with_source(format!("cannot open a git repository at {}", path.display()), error).hint(hint)
    })
}

/// The controller's own key. Without it records are shown all the same, and no signature counts as known.
fn trusted(state_dir: &Path) -> Option<PublicKey> {
    match Identity::load(&state_dir.join("identity")) {
        Ok(identity) => Some(identity.public_key().clone()),
        Err(error) => {
            note(&format!("signatures are not compared with the cluster's key: {error}"));
            None
        }
    }
}

fn no_branch(repo: &Repository, branch: &str) -> CliError {
    let error = CliError::new(format!("there is no branch {branch} in {}", repo.path().display()));
    let others = other_clusters(repo);
    if others.is_empty() {
        return error.hint(format!("fetch it: git fetch origin {branch}:refs/remotes/origin/{branch}"));
    }
    error.hint(format!("there are records of these clusters: {}; use --cluster", others.join(", ")))
}

/// The clusters whose audit branches are here.
fn other_clusters(repo: &Repository) -> Vec<String> {
    let references = repo.references().into_iter().flatten().flatten();
    let mut names: Vec<String> = references
        .filter_map(|reference| {
            let (_, name) = reference.name().ok()?.split_once("/driftless/audit")?;
            Some(if name.is_empty() { "default".to_owned() } else { name.strip_prefix('-')?.to_owned() })
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn table(entries: &[HistoryEntry], wide: bool, now: Moment) -> Columns {
    let mut headings = vec!["When", "Outcome", "Trigger", "Revision", "Changes", "What"];
    if wide {
        headings = vec!["Time", "Outcome", "Trigger", "Revision", "Changes", "Epoch", "Signature", "Record", "Actor", "What"];
    }
    let mut table = Columns::new(headings);
    for entry in entries {
        let time = entry.time.rfc3339();
        let age = age_of(&time, now).map_or_else(|| time.clone(), |age| format!("{age} ago"));
        let mut row = vec![
            if wide { time } else { age },
            or_dash(entry.outcome),
            or_dash(entry.trigger),
            or_dash(entry.revision.as_ref().map(|revision| revision.short())),
            changes(entry.changes),
        ];
        if wide {
            row.push(or_dash(entry.epoch.map(|epoch| epoch.0)));
            row.push(entry.signature.as_str().to_owned());
            row.push(entry.commit.short().to_owned());
            row.push(or_dash(entry.actor.as_ref()));
        }
        row.push(entry.subject.clone());
        table.push(row);
    }
    table
}

/// `+1 ~2 -3`: created, updated, deleted.
fn changes(counts: ChangeCounts) -> String {
    let parts = [('+', counts.create), ('~', counts.update), ('-', counts.delete)];
    let shown: Vec<String> = parts.iter().filter(|(_, count)| *count > 0).map(|(sign, count)| format!("{sign}{count}")).collect();
    if shown.is_empty() { "-".into() } else { shown.join(" ") }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn warn_of_signatures(entries: &[HistoryEntry], known_key: bool) {
    let doubtful = |entry: &&HistoryEntry| match entry.signature {
        SignatureState::Good { .. } => false,
        SignatureState::Unknown { .. } => known_key,
        SignatureState::Bad | SignatureState::Unsigned => true,
    };
    for entry in entries.iter().filter(doubtful) {
        let why = match entry.signature {
            SignatureState::Good { .. } | SignatureState::Unknown { .. } => "is signed with a key that is not the cluster's",
            SignatureState::Bad => "has a signature that does not fit it",
            SignatureState::Unsigned => "is not signed",
        };
        note(&format!("warning: record {} {why}", entry.commit.short()));
    }
}

fn as_json(entry: &HistoryEntry) -> Value {
    let key = match &entry.signature {
        SignatureState::Good { key } | SignatureState::Unknown { key } => Some(key),
        SignatureState::Bad | SignatureState::Unsigned => None,
    };
    json!({
        "commit": entry.commit,
        "time": entry.time.rfc3339(),
        "subject": entry.subject,
        "body": entry.body,
        "revision": entry.revision,
        "trigger": entry.trigger,
        "plan": entry.plan,
        "outcome": entry.outcome,
        "changes": entry.changes,
        "actor": entry.actor,
        "epoch": entry.epoch,
        "durationMs": entry.duration_ms,
        "signature": { "state": entry.signature.as_str(), "key": key },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Outcome, Revision, Trigger};

    fn entry() -> HistoryEntry {
        HistoryEntry {
            commit: Revision::new("aabbccddeeff"),
            time: Moment(1_700_000_000_000),
            subject: "shop/web: rolled out 3 pods, nginx:1.26 → 1.27".into(),
            body: "~ Deployment shop/web".into(),
            revision: Some(Revision::new("0123456789abcdef")),
            trigger: Some(Trigger::Push),
            plan: Some("blake3:00".into()),
            outcome: Some(Outcome::Converged),
            changes: ChangeCounts { create: 1, update: 2, delete: 0 },
            actor: Some("Ada <ada@example.org>".into()),
            epoch: Some(Epoch(7)),
            duration_ms: Some(12_400),
            signature: SignatureState::Good { key: "SHA256:x".into() },
        }
    }

    #[test]
    fn the_table_says_when_what_and_from_which_commit() {
        let foreign = HistoryEntry {
            revision: None,
            trigger: None,
            outcome: None,
            changes: ChangeCounts::default(),
            subject: "by hand".into(),
            ..entry()
        };
        let now = Moment(1_700_000_000_000 + 180_000);
        let text = anstream::adapter::strip_str(&table(&[entry(), foreign], false, now).render()).to_string();
        let expected = "\
WHEN     OUTCOME     TRIGGER   REVISION   CHANGES   WHAT
3m ago   converged   push      01234567   +1 ~2     shop/web: rolled out 3 pods, nginx:1.26 → 1.27
3m ago   -           -         -          -         by hand
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_holds_everything_under_stable_names() {
        let value = as_json(&entry());
        assert_eq!(value["changes"], json!({ "create": 1, "update": 2, "delete": 0 }));
        assert_eq!(value["time"], "2023-11-14T22:13:20Z");
        assert_eq!((&value["outcome"], &value["epoch"]), (&json!("converged"), &json!(7)));
        assert_eq!(value["signature"], json!({ "state": "good", "key": "SHA256:x" }));
    }
}
