//! `driftless token`: what lets other hosts join.

use super::columns::{Columns, write_stdout};
use super::options::{Period, StateArgs, cluster_name};
use super::{CliError, CliResult, print_line};
use crate::clock;
use crate::model::{Moment, NodeName};
use crate::sync::Identity;
use crate::trust::{Authorities, NewToken, StoredToken, TokenStore, TrustError};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Labels that tell the host itself: only its agent knows them.
const HOST_LABELS: [&str; 3] = ["kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"];

/// Let other hosts join the cluster: make, list and revoke tokens.
///
/// Runs on the controller's machine, as the user that owns its state directory. A token is in force at once, whether or not the
/// controller runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless token create > token                    for one host, within an hour
  driftless token create --ttl 24h --uses 3 --labels tier=web,disk=ssd
  driftless token list
  driftless token revoke 5f3a9c01

On the new host:
  driftless agent --controller HOST:7781 --token-file token

A token is a secret until it is used: copy it by ssh, and delete the file. It never appears on a command line.")]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum TokenCommand {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Make a token and print it
#[derive(Debug, Clone, Args)]
struct CreateArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How long hosts may join with it
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    ttl: Period,
    /// How many hosts may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// Labels that these nodes get, for nodeSelector and affinity; a Node in the repository can give more
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only a node of this name may use it
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    node: Option<String>,
}

/// Show the tokens that are kept, without their secrets
#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    state: StateArgs,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Make a token useless; hosts that have joined with it stay
#[derive(Debug, Clone, Args)]
struct RevokeArgs {
    /// Its first part after `driftless1.`, as `driftless token list` shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Text,
    /// JSON
    Json,
}

/// Runs `driftless token`.
///
/// # Errors
/// The state directory cannot be used.
pub(super) fn run(args: &TokenArgs) -> CliResult<ExitCode> {
    match &args.command {
        TokenCommand::Create(args) => create(args)?,
        TokenCommand::List(args) => list(args)?,
        TokenCommand::Revoke(args) => revoke(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateArgs) -> CliResult<()> {
    let state = args.state.open()?;
    let identity = Identity::load_or_create(&state.identity()).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        CliError::with_source("the cluster's identity cannot be used", error).hint(hint)
    })?;
    let now = clock::wall();
    let authorities = Authorities::load_or_create(&state.identity(), identity.cluster_id(), now).map_err(trust_error)?;
    let new = NewToken {
        ttl: args.ttl.duration(),
        uses: args.uses,
        labels: args.labels.iter().cloned().collect(),
        node: args.node.as_ref().map(NodeName::new),
    };
    let token = TokenStore::new(state.tokens()).create(new, authorities.fingerprint(), now).map_err(trust_error)?;
    print_line(&token.expose())?;
    let hosts = if args.uses == 1 { "one host".to_owned() } else { format!("{} hosts", args.uses) };
    let words = format!(
        "lets {hosts} join within {}; there, with the line above in a file:\n  driftless agent --controller HOST:7781 --token-file FILE\n",
        lasting(args.ttl.duration()),
    );
    // A closed stderr leaves nobody to tell.
    let _ = anstream::stderr().write_all(words.as_bytes());
    Ok(())
}

fn list(args: &ListArgs) -> CliResult<()> {
    let tokens = TokenStore::new(args.state.open()?.tokens()).list().map_err(trust_error)?;
    if args.output == Output::Json {
        let shown = |token: &StoredToken| {
            json!({
                "id": token.id, "expires": token.expires.rfc3339(), "usesLeft": token.uses_left, "labels": token.labels,
                "node": token.node,
            })
        };
        return print_line(&json!(tokens.iter().map(shown).collect::<Vec<_>>()).to_string());
    }
    let mut table = Columns::new(["id", "state", "uses left", "expires", "node", "labels"]);
    let now = clock::wall();
    for token in &tokens {
        let labels: Vec<String> = token.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let node = token.node.as_ref().map_or("any".to_owned(), ToString::to_string);
        let uses = token.uses_left.to_string();
        table.push(vec![
            token.id.clone(),
            state_of(token, now).to_owned(),
            uses,
            token.expires.rfc3339(),
            node,
            labels.join(","),
        ]);
    }
    write_stdout(&table.render())
}

fn state_of(token: &StoredToken, now: Moment) -> &'static str {
    if token.uses_left == 0 {
        "UsedUp"
    } else if now >= token.expires {
        "Expired"
    } else {
        "Valid"
    }
}

fn revoke(args: &RevokeArgs) -> CliResult<()> {
    if TokenStore::new(args.state.open()?.tokens()).revoke(&args.id).map_err(trust_error)? {
        return print_line(&format!("token {} is revoked", args.id));
    }
    Err(CliError::new(format!("there is no token {}", args.id)).hint("`driftless token list` shows the ids"))
}

/// An error of keys and tokens at the edge.
pub(super) fn trust_error(error: TrustError) -> CliError {
    let hint = error.hint();
    let failed = CliError::with_source("keys and tokens cannot be used", error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds % 3_600, seconds % 60) {
        (0, _) => format!("{} h", seconds / 3_600),
        (_, 0) => format!("{} min", seconds / 60),
        (_, _) => format!("{seconds} s"),
    }
}

/// One label: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text} is not KEY=VALUE"))?;
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = |name: &str| {
        let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends && name.len() <= 63 && name.chars().all(is_inner)
    };
    let (domain, name) = key.rsplit_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_key = is_name(name) && domain.is_none_or(|domain| domain.len() <= 253 && domain.split('.').all(is_name));
    if HOST_LABELS.contains(&key) {
        return Err(format!("{key} is what the host itself says"));
    }
    if is_key && (value.is_empty() || is_name(value)) {
        return Ok((key.to_owned(), value.to_owned()));
    }
    Err(format!("{text} is no label: letters, digits and inner dashes, dots and underscores, at most 63"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_that_kubernetes_takes() {
        for (text, expected) in [("tier=web", ("tier", "web")), ("example.org/disk=", ("example.org/disk", ""))] {
            assert_eq!(label(text), Ok((expected.0.to_owned(), expected.1.to_owned())), "{text}");
        }
        for bad in ["tier", "=web", "-a=b", "a=b c", "a/b/c=d", "kubernetes.io/os=linux"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_told_in_their_own_unit() {
        for (seconds, expected) in [(3_600, "1 h"), (86_400, "24 h"), (90, "90 s"), (300, "5 min")] {
            assert_eq!(lasting(Duration::from_secs(seconds)), expected);
        }
    }
}
