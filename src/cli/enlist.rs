//! How this host becomes a node of a controller on another host, and stays one.

use super::halves::Running;
use super::options::StateDir;
use super::token::trust_error;
use super::{CliError, CliResult};
use crate::causes::in_full;
use crate::model::NodeName;
use crate::trust::{NodeIdentity, Token};
use crate::wire::{self, Applicant, Connector, Dialer, JoinError};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use zeroize::Zeroizing;

/// Between two tries to reach a controller for the first time.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Joins if this host has not yet, and keeps its certificate fresh from then on. Waits for a controller that is not there.
///
/// # Errors
/// The controller does not let this host in, or its files cannot be used.
pub(super) async fn enlist(
    running: &mut Running,
    state: &StateDir,
    node: NodeName,
    addresses: Vec<String>,
    token_file: Option<&Path>,
) -> CliResult<(Connector, NodeIdentity)> {
    let membership = crate::trust::Membership::open(&state.membership()).map_err(trust_error)?;
    let known = membership.identity().map_err(trust_error)?;
    check_name(known.as_ref(), &node, state)?;
    let token = match token_file {
        // It has done its work and may be gone.
        Some(file) if known.is_some() && !file.exists() => None,
        file => file.map(read_token).transpose()?,
    };
    // A token beside a certificate is for a node that was removed, or a cluster that was built anew.
    let begins_doubtful = known.is_some() && token.is_some();
    let applicant = Applicant { node, membership, addresses: addresses.clone(), token };
    let identity = match known {
        Some(identity) => identity,
        None => join(&applicant).await?,
    };
    let doubt = Arc::new(Notify::new());
    let (kept, raised) = (identity.clone(), Arc::clone(&doubt));
    running.spawn(async move |shutdown| {
        wire::keep_fresh(applicant, kept, raised, begins_doubtful, shutdown).await;
        Ok(())
    });
    Ok((Connector::Tls(Arc::new(Dialer::new(addresses, identity.clone(), doubt))), identity))
}

/// A host has one name for good: its pods are found by it.
fn check_name(known: Option<&NodeIdentity>, node: &NodeName, state: &StateDir) -> CliResult<()> {
    let joined_as = known.and_then(|identity| identity.certificate()?.node);
    match joined_as.filter(|joined| joined != node) {
        None => Ok(()),
        Some(joined) => {
            Err(CliError::new(format!("this host has joined as node {joined}, and is started as {node}")).hint(format!(
                "start it with --node {joined}; to join anew, remove Node {joined} by a commit, and {} here",
                state.membership().display()
            )))
        }
    }
}

async fn join(applicant: &Applicant) -> CliResult<NodeIdentity> {
    let mut told = false;
    loop {
        match applicant.join(None).await {
            Ok(_) => break,
            Err(error) if error.may_pass() => {
                if !told {
                    tracing::warn!(reason = in_full(&error), hint = error.hint(), "cannot join yet; trying on");
                    told = true;
                }
                sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(join_error(error)),
        }
    }
    tracing::info!(node = %applicant.node, "this host has joined the cluster; the token is not needed any more");
    let identity = applicant.membership.identity().map_err(trust_error)?;
    identity.ok_or_else(|| CliError::new("the certificate of this node is gone again"))
}

fn join_error(error: JoinError) -> CliError {
    let hint = error.hint();
    let failed = CliError::with_source("this host cannot join the cluster", error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn read_token(file: &Path) -> CliResult<Token> {
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        warn_if_exposed(file);
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| {
        CliError::with_source(format!("cannot read the token from {}", file.display()), error)
            .hint("--token-file names a file with the line that `driftless token create` printed, or - for stdin")
    })?;
    text.parse().map_err(trust_error)
}

fn warn_if_exposed(file: &Path) {
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %file.display(), "others on this host may read the token: chmod 600, and remove it after the join");
    }
}
