//! One address on which questions are taken in, by UDP and TCP: opened at once where possible, tried again where not.

use super::server::{Shared, serve_tcp, serve_udp};
use crate::agent::net::listen::{RETRY, bind_tcp, bind_udp};
use crate::agent::net::problem::ListenProblem;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The addresses on which nobody is answered now, and why. Each is tried again.
pub type NameProblems = BTreeMap<SocketAddr, ListenProblem>;

/// An open (or waiting) address. Dropping it closes it, with what is under way.
#[derive(Debug)]
pub(super) struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
    problems: watch::Sender<NameProblems>,
}

impl Listening {
    /// Opens it, now if it can be, else as soon as it can be. Must be called within tokio.
    pub(super) fn open(address: SocketAddr, shared: Arc<Shared>, problems: &watch::Sender<NameProblems>) -> Self {
        // The first try is made here, so that a caller finds it open on return.
        let first = bind(address, problems);
        let noted = problems.clone();
        let task = tokio::spawn(async move {
            let mut bound = first;
            let (udp, tcp) = loop {
                match bound {
                    Some(sockets) => break sockets,
                    None => tokio::time::sleep(RETRY).await,
                }
                bound = bind(address, &noted);
            };
            tracing::info!("names are answered at {address}");
            tokio::join!(serve_udp(udp, address.ip(), Arc::clone(&shared)), serve_tcp(tcp, address.ip(), shared));
        });
        Self { address, task, problems: problems.clone() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        self.problems.send_if_modified(|problems| problems.remove(&self.address).is_some());
    }
}

/// One try; its outcome is in `problems` afterwards.
fn bind(address: SocketAddr, problems: &watch::Sender<NameProblems>) -> Option<(UdpSocket, TcpListener)> {
    let bound = bind_udp(address).and_then(|udp| Ok((udp, bind_tcp(address)?)));
    let problem = bound.as_ref().err().map(|error| ListenProblem::from_io(address, error));
    problems.send_if_modified(|problems| match problem {
        Some(problem) if problems.get(&address) == Some(&problem) => false,
        Some(problem) => {
            tracing::warn!("names are not answered: {problem}");
            problems.insert(address, problem);
            true
        }
        None => problems.remove(&address).is_some(),
    });
    bound.ok()
}
