//! What is wrong with Services and with the ways to other nodes, as the core is told it: always the whole.

use crate::agent::core::{Event, NodeTrouble};
use crate::agent::net::dns::NameProblems;
use crate::agent::net::tunnel::{Path, PeerStatus, Tunnel};
use crate::agent::net::{ListenProblem, Problems};
use crate::model::{Kind, NodeName, ObjectKey, ServiceProblem};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, watch};

/// More problems of one kind are not told of: there is one cause then, and these are enough to see it.
const PROBLEMS_MAX: usize = 100;

/// Tells of problems whenever they change, as long as there is a proxy.
pub(super) fn tell(mut problems: watch::Receiver<Problems>, tunnel: Option<Tunnel>, events: mpsc::UnboundedSender<Event>) {
    // Without a tunnel the sender stays, and never says anything.
    let (silent, quiet) = watch::channel(0);
    let mut ways = tunnel.as_ref().map_or(quiet, Tunnel::changes);
    tokio::spawn(async move {
        let mut told = Vec::new();
        loop {
            tokio::select! {
                changed = problems.changed() => if changed.is_err() { break },
                changed = ways.changed() => if changed.is_err() { break },
            }
            let mut all = of_services(&problems.borrow_and_update());
            all.extend(tunnel.iter().flat_map(|tunnel| of_ways(&tunnel.peers())));
            if all != told && events.send(Event::ServiceProblems(all.clone())).is_err() {
                break;
            }
            told = all;
        }
        drop(silent);
    });
}

fn of_services(problems: &Problems) -> Vec<ServiceProblem> {
    let told = problems.iter().take(PROBLEMS_MAX);
    told.map(|(listener, problem)| ServiceProblem { service: listener.service.clone(), message: problem.to_string() }).collect()
}

fn of_ways(peers: &BTreeMap<NodeName, PeerStatus>) -> Vec<ServiceProblem> {
    let problem = |(name, status): (&NodeName, &PeerStatus)| {
        let message = match (&status.link.error, status.link.path) {
            (Some(error), _) => format!("node {name} cannot be reached: {error}"),
            (None, Some(Path::Relayed)) => format!(
                "node {name} is reached through the controller only, which is slow: neither host can dial the tunnel of the other (port \
                 7782, --tunnel-listen and --advertise)"
            ),
            (None, Some(Path::Direct | Path::Reversed) | None) => return None,
        };
        Some(ServiceProblem { service: ObjectKey::new(Kind::Node, "", name.as_str()), message })
    };
    peers.iter().filter_map(problem).take(PROBLEMS_MAX).collect()
}

/// Tells of addresses at which nobody is answered, as long as there is somebody who would answer.
pub(super) fn tell_names(mut problems: watch::Receiver<NameProblems>, events: mpsc::UnboundedSender<Event>) {
    tokio::spawn(async move {
        while problems.changed().await.is_ok() {
            let words = |problem: &ListenProblem| format!("names of the cluster are not answered: {problem}");
            let messages = problems.borrow_and_update().values().map(words).collect();
            if events.send(Event::NodeProblems { reason: NodeTrouble::Dns, messages }).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::net::tunnel::LinkStatus;

    #[test]
    fn a_node_that_is_wanted_and_cannot_be_reached_or_only_slowly_is_a_problem_and_no_other() {
        let peers: BTreeMap<NodeName, PeerStatus> = [
            ("away", None, Some("192.0.2.7:7782: connection refused")),
            ("direct", Some(Path::Direct), None),
            ("far", Some(Path::Relayed), None),
            ("reversed", Some(Path::Reversed), None),
            ("unneeded", None, None),
        ]
        .into_iter()
        .map(|(name, path, error)| {
            let link = LinkStatus { path, error: error.map(str::to_owned), ..LinkStatus::default() };
            (NodeName::new(name), PeerStatus { link, served: 0 })
        })
        .collect();
        let told = of_ways(&peers);
        assert_eq!(told.iter().map(|problem| problem.service.name.as_str()).collect::<Vec<_>>(), ["away", "far"]);
        assert_eq!(told[0].message, "node away cannot be reached: 192.0.2.7:7782: connection refused");
    }
}
