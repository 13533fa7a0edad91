//! `driftless plan`: what a revision changes, from git alone.
//!
//! Two trees are read from the clone at hand and compared as the controller compares them; with `--observed`, the effects are
//! estimated from what the audit branch says runs. Nothing is fetched, and no host is asked.

mod audit;
mod brake;
mod clone;
mod problems;

use super::options::RenderArgs;
use super::{CliError, CliResult};
use crate::diff::{self, render};
use crate::manifest::{DigestKey, Loaded};
use crate::model::{Desired, Plan, Revision};
use crate::sync::Loader;
use clap::{Args, ValueEnum};
use clone::{LocalClone, Origin};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// Shown below the options.
const EXAMPLES: &str = "Examples:
  driftless plan                                              what HEAD changes
  driftless plan --from main --to feature --output markdown   for a pull request
  driftless plan --observed origin/driftless/audit            effects on what runs now";

/// Show what a revision changes, before it is merged
///
/// Compares two revisions of the repository at hand and says, for every object, what happens to it, which fields differ, how many
/// pods are replaced in what order, and whether something stops serving meanwhile. It needs git only: no controller, no host, no
/// credentials. The digest is the one that the controller records on the audit branch when it carries the plan out.
///
/// By default it compares the last applied revision (or, where the audit branch has not been fetched, the merge base with the
/// default branch) with HEAD. Values of Secrets are never shown.
///
/// Exit code: 0, or 1 if the new revision has errors (the folders that have them stay as they are), or with --detailed-exitcode 2 if
/// there are changes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// The clone (bare or not), or any folder in it
    #[arg(long, default_value = ".", value_name = "DIR")]
    repo: std::path::PathBuf,
    /// The folder that holds the manifests, relative to the repository's root, as the controller watches it
    #[arg(long, default_value = "", hide_default_value = true, value_name = "DIR")]
    path: String,
    /// The revision to start from [default: the last applied one, else the merge base with the default branch]
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// The revision to plan
    #[arg(long, default_value = "HEAD", value_name = "REV")]
    to: String,
    /// Estimate the effects on what runs, as told by an audit branch (origin/driftless/audit), a checkout of it, or a file
    #[arg(long, value_name = "REF_OR_FILE")]
    observed: Option<String>,
    /// The cluster's name, if it was given one
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    cluster: String,
    /// How to print the plan
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Exit with 2 if there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    render: RenderArgs,
}

/// How to print the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a terminal
    Text,
    /// For a pull request
    Markdown,
    /// For programs
    Json,
}

/// The two trees, and the plan between them.
struct Comparison {
    old: Desired,
    new: Desired,
    plan: Plan,
}

/// What the command says.
struct Answer {
    /// For stdout.
    plan: String,
    /// For stderr, before the plan: what is compared.
    note: String,
    /// For stderr, after it: what is wrong with the new tree.
    problems: String,
    code: u8,
}

/// Runs `driftless plan`.
///
/// # Errors
/// When there is no repository, or a revision or the path is not in it.
pub(super) fn run(args: &PlanArgs) -> CliResult<ExitCode> {
    let answer = answer(args)?;
    let unwritable = |error| CliError::with_source("cannot write the plan", error);
    writeln!(anstream::stderr(), "{}", answer.note).map_err(unwritable)?;
    write!(anstream::stdout(), "{}", answer.plan).map_err(unwritable)?;
    write!(anstream::stderr(), "{}", answer.problems).map_err(unwritable)?;
    Ok(ExitCode::from(answer.code))
}

fn answer(args: &PlanArgs) -> CliResult<Answer> {
    let clone = LocalClone::open(&args.repo)?;
    let to = clone.revision(&args.to)?;
    let from = clone.origin(args.from.as_deref(), &to, &args.cluster)?;
    let Comparison { old, new, mut plan } = compare(&clone, args, &from, &to)?;
    if let Some(place) = &args.observed {
        diff::estimate(&mut plan, &old, &new, &audit::observed(&clone, place)?);
    }
    let code = match (problems::any_error(&new), args.detailed_exitcode && !plan.is_empty()) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    };
    let text = shown(args.output, &plan, &new);
    Ok(Answer { plan: text, note: from.describe(&to), problems: problems::text(&new), code })
}

fn compare(clone: &LocalClone, args: &PlanArgs, from: &Origin, to: &Revision) -> CliResult<Comparison> {
    // Without the cluster's key: the digest does not depend on it, and nothing that does is shown.
    let key = DigestKey::unkeyed();
    let borrowed = clone.borrow_objects(&args.path)?;
    let mut loader = Loader::new(borrowed.mirror, args.render.settings());
    let mut old = match from.revision() {
        Some(revision) => load_good(&mut loader, revision, &key)?,
        None => Loaded { desired: Desired::default(), good: BTreeMap::new() },
    };
    if let Origin::Applied { tip, .. } = from {
        for (object, body) in audit::held_back(clone, tip, &mut loader, &key)? {
            old.desired.objects.entry(object).or_insert(body);
        }
    }
    let new = loader.load(to, &old.good, &key).map_err(clone::unreadable)?;
    let mut plan = diff::intent(&old.desired, &new.desired);
    brake::apply(&mut plan, &old.desired, &new, &mut loader, &key)?;
    Ok(Comparison { old: old.desired, new: new.desired, plan })
}

/// The tree that the comparison starts from, with every held unit as it last was good. A watched path that was not there yet is an
/// empty tree.
fn load_good(loader: &mut Loader, revision: &Revision, key: &DigestKey) -> CliResult<Loaded> {
    let good = loader.good_units(revision, key).map_err(clone::unreadable)?;
    match loader.load(revision, &good, key) {
        Err(crate::sync::SyncError::MissingPath { .. }) => {
            Ok(Loaded { desired: Desired { revision: Some(revision.clone()), ..Desired::default() }, good: BTreeMap::new() })
        }
        other => other.map_err(clone::unreadable),
    }
}

fn shown(output: Output, plan: &Plan, new: &Desired) -> String {
    match output {
        Output::Text => render::text(plan, true),
        Output::Markdown => render::markdown(plan) + &problems::markdown(new),
        Output::Json => {
            let mut json = render::json(plan);
            json["held"] = problems::json(new);
            format!("{json:#}\n")
        }
    }
}

#[cfg(test)]
mod tests;
