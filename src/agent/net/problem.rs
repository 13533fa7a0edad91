//! Why a listener is not open.

use crate::model::{ObjectKey, Protocol};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// One listener of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The Service.
    pub service: ObjectKey,
    /// Where it listens.
    pub address: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// The listeners that are not open now. Each is tried again, and leaves this map when it opens or is no longer wanted.
pub type Problems = BTreeMap<Listener, ListenProblem>;

/// Why a listener could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenProblem {
    /// A port below 1024 without the right to it.
    #[error(
        "may not listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a port from 1024 up, or lower \
         the sysctl net.ipv4.ip_unprivileged_port_start"
    )]
    Denied {
        /// Where.
        address: SocketAddr,
    },
    /// Another program has the port, on this address or on all.
    #[error("cannot listen on {address}: another program has the port; `ss -ltnup` says which")]
    InUse {
        /// Where.
        address: SocketAddr,
    },
    /// The host does not have the address (yet).
    #[error("cannot listen on {address}: this host has no such address")]
    NoAddress {
        /// Where.
        address: SocketAddr,
    },
    /// The process has no more file descriptors.
    #[error("cannot listen on {address}: no free file descriptor; raise the limit (`ulimit -n`)")]
    NoFiles {
        /// Where.
        address: SocketAddr,
    },
    /// The kernel's rules cannot be made, so that the Service is not reached at its address.
    #[error("{address} is not reached on this node, since the kernel's rules cannot be made: {reason}")]
    NoRules {
        /// The address of the Service.
        address: Ipv4Addr,
        /// What the system said.
        reason: String,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {reason}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
}

impl ListenProblem {
    /// Sorts what the system said about `address`.
    pub(super) fn from_io(address: SocketAddr, error: &io::Error) -> Self {
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Self::Denied { address },
            Some(rustix::io::Errno::ADDRINUSE) => Self::InUse { address },
            Some(rustix::io::Errno::ADDRNOTAVAIL) => Self::NoAddress { address },
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::NoFiles { address },
            _ => Self::Other { address, reason: error.to_string() },
        }
    }
}
