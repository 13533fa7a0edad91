//! Where agents come in at a controller: a unix socket of its own machine, and ports for other hosts.

use super::halves::{self, Running};
use super::options::StateDir;
use super::token::trust_error;
use super::{CliError, CliResult};
use crate::controller::shell::Admission;
use crate::sync::Identity;
use crate::trust::{NODE_LIFE, TokenStore};
use crate::wire::{self, Gate, GateSettings, Incoming, WireAddress};

/// Opens every door. With one to other hosts, hosts may join.
///
/// # Errors
/// An address is in use or not ours, or the cluster's keys cannot be used.
pub(super) async fn open(
    running: &mut Running,
    state: &StateDir,
    addresses: &[WireAddress],
    advertised: &[String],
) -> CliResult<(Vec<Incoming>, Option<Admission>)> {
    let (mut doors, mut gate) = (Vec::new(), None);
    for address in addresses {
        match address {
            WireAddress::Unix(path) => {
                let (incoming, socket) = wire::unix(path).map_err(halves::wire_error)?;
                running.keep(socket);
                doors.push(incoming);
            }
            WireAddress::Tcp(address) => {
                let gate = match &gate {
                    Some(gate) => gate,
                    None => gate.insert(open_gate(state, advertised)?),
                };
                let listener = wire::bind(address).await.map_err(halves::wire_error)?;
                doors.push(gate.listen(listener).map_err(trust_error)?);
            }
        }
    }
    let admission = gate.map(|gate| Admission { gate, tokens: TokenStore::new(state.tokens()) });
    Ok((doors, admission))
}

fn open_gate(state: &StateDir, advertised: &[String]) -> CliResult<Gate> {
    let identity = Identity::load_or_create(&state.identity()).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        CliError::with_source("the cluster's identity cannot be used", error).hint(hint)
    })?;
    let settings = GateSettings {
        identity_dir: state.identity(),
        cluster_id: identity.cluster_id().to_owned(),
        advertised: advertised.to_vec(),
        life: NODE_LIFE,
    };
    Gate::open(settings).map_err(trust_error)
}
