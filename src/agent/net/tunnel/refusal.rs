//! Why a node does not take a stream, as its peer is told.

use http::StatusCode;
use std::fmt;
use std::io;

/// The header that names the reason.
pub(super) const HEADER: &str = "driftless-refusal";

/// Why a stream was refused. Nothing of it has reached a pod, so another may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// What was asked for cannot be read.
    Misread,
    /// No Service that the node knows leads to that port of a pod of its own.
    NotAnEndpoint,
    /// The pod does not take the connection.
    Unreachable,
    /// The pod has as many streams as one may have.
    PodFull,
    /// The connection between the two nodes has as many streams as one may have.
    LinkFull,
}

/// All of them, with what they are called and the status that goes with each.
const NAMED: [(Refusal, &str, StatusCode); 5] = [
    (Refusal::Misread, "misread", StatusCode::BAD_REQUEST),
    (Refusal::NotAnEndpoint, "not-an-endpoint", StatusCode::FORBIDDEN),
    (Refusal::Unreachable, "unreachable", StatusCode::BAD_GATEWAY),
    (Refusal::PodFull, "pod-full", StatusCode::TOO_MANY_REQUESTS),
    (Refusal::LinkFull, "link-full", StatusCode::SERVICE_UNAVAILABLE),
];

impl Refusal {
    /// What it is called between nodes.
    pub(super) fn name(self) -> &'static str {
        NAMED.iter().find(|(refusal, ..)| *refusal == self).map_or("misread", |(_, name, _)| name)
    }

    /// The status of the answer that says so.
    pub(super) fn status(self) -> StatusCode {
        NAMED.iter().find(|(refusal, ..)| *refusal == self).map_or(StatusCode::BAD_REQUEST, |(.., status)| *status)
    }

    /// The refusal of that name; `None` for one of a newer version.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(_, other, _)| *other == name).map(|(refusal, ..)| *refusal)
    }

    /// What a caller who knows connections only sees of it.
    pub(super) fn kind(self) -> io::ErrorKind {
        match self {
            Refusal::Misread => io::ErrorKind::InvalidInput,
            Refusal::NotAnEndpoint => io::ErrorKind::PermissionDenied,
            Refusal::Unreachable => io::ErrorKind::ConnectionRefused,
            Refusal::PodFull | Refusal::LinkFull => io::ErrorKind::QuotaExceeded,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Misread => "the request cannot be read",
            Refusal::NotAnEndpoint => "no Service leads to that port of a pod of the node",
            Refusal::Unreachable => "the pod does not take the connection",
            Refusal::PodFull => "the pod has as many connections from other nodes as one may have",
            Refusal::LinkFull => "as many connections as there may be between two nodes are open",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_read_as_it_was_named() {
        for (refusal, ..) in NAMED {
            assert_eq!(Refusal::named(refusal.name()), Some(refusal));
            assert!(!refusal.status().is_success(), "{refusal:?} must not look like an answer");
        }
        assert_eq!(Refusal::named("of-tomorrow"), None);
    }
}
