//! Keeps the certificate of a node fresh: renews it at a chance point of the second half of its life, over a connection of its own, so
//! that the stream stays.

use super::client::jitter;
use super::enrolment::{Applicant, JoinError};
use crate::causes::in_full;
use crate::clock;
use crate::trust::NodeIdentity;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The clock on the wall may be set: it is looked at this often.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// Renews the certificate of `identity` until `shutdown`: in time, at once if it `begins_doubtful`, and when `doubt` is raised because the
/// controller does not accept the one that is shown.
pub async fn keep_fresh(
    applicant: Applicant,
    identity: NodeIdentity,
    doubt: Arc<Notify>,
    begins_doubtful: bool,
    shutdown: CancellationToken,
) {
    let keep = async {
        if !begins_doubtful {
            due(&identity, &doubt).await;
        }
        loop {
            renew(&applicant, &identity).await;
            due(&identity, &doubt).await;
        }
    };
    tokio::select! {
        () = keep => {}
        () = shutdown.cancelled() => {}
    }
}

/// Waits until the certificate is to be renewed, or somebody doubts it.
async fn due(identity: &NodeIdentity, doubt: &Notify) {
    let chance = f64::from(crate::trust::random::<1>().map_or(0, |[byte]| byte)) / 255.0;
    loop {
        let now = clock::wall();
        let at = identity.certificate().map_or(now, |certificate| certificate.renewal(chance));
        let rest = at.since(now);
        if rest.is_zero() {
            return;
        }
        if timeout(rest.min(LOOK_PERIOD), doubt.notified()).await.is_ok() {
            return;
        }
    }
}

/// Asks until there is an answer. A controller that says no is asked again too: a commit may change its mind.
async fn renew(applicant: &Applicant, identity: &NodeIdentity) {
    let mut failures = 0;
    loop {
        let outcome = applicant.join(Some(identity)).await.and_then(|fresh| identity.replace(&fresh).map_err(JoinError::from));
        let Err(error) = outcome else {
            tracing::info!(node = %applicant.node, "this node has a new certificate");
            return;
        };
        if error.may_pass() || failures > 0 {
            tracing::debug!(reason = in_full(&error), "the certificate could not be renewed yet");
        } else {
            tracing::error!(reason = in_full(&error), hint = error.hint(), "the certificate could not be renewed");
        }
        let (first, longest) = PAUSES;
        sleep(jitter(first.saturating_mul(1 << failures.min(10)).min(longest))).await;
        failures += 1;
    }
}
