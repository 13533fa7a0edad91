//! What the nodes that serve Ingress are told: which request goes to which Service, and with which certificate.

use super::{ObjectKey, SecretBytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// All Ingresses of a cluster, ready to be served: always the whole, and the newest counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IngressTable {
    /// Grows with every change, within and across epochs; 0 for a table that was never told.
    pub version: u64,
    /// No two are for one host and path.
    pub routes: Vec<IngressRoute>,
    /// No two are for one host.
    pub certificates: Vec<IngressCertificate>,
}

/// Where requests for a host and a path go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressRoute {
    /// The Ingress that says so.
    pub ingress: ObjectKey,
    /// For which hosts.
    pub host: HostPattern,
    /// For which paths.
    pub path: PathPattern,
    /// Where to; `None` if the Service or its port is not there.
    pub target: Option<IngressTarget>,
    /// Requests without TLS are sent to `https://` first.
    #[serde(default)]
    pub to_https: bool,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressTarget {
    /// The Service.
    pub service: ObjectKey,
    /// Its port, by number.
    pub port: u16,
    /// How its pods are spoken to.
    #[serde(default)]
    pub protocol: BackendProtocol,
}

/// How the pods of a Service are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1, which WebSocket begins with too.
    #[default]
    Http1,
    /// HTTP/2 without TLS, with prior knowledge (`appProtocol: kubernetes.io/h2c`).
    H2c,
}

/// Which hosts a rule is for: <https://kubernetes.io/docs/concepts/services-networking/ingress/#hostname-wildcards>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(String),
    /// Those with one label before this parent domain.
    Wildcard(String),
    /// Every one.
    Any,
}

impl HostPattern {
    /// As it is written in a rule; an empty text is every host.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix("*.") {
            Some(parent) => Self::Wildcard(parent.to_owned()),
            None if text.is_empty() => Self::Any,
            None => Self::Exact(text),
        }
    }

    /// Whether everything that matches `other` matches this.
    #[must_use]
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Wildcard(parent), Self::Exact(host)) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            (a, b) => a == b,
        }
    }
}

impl From<String> for HostPattern {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> Self {
        match host {
            HostPattern::Exact(host) => host,
            HostPattern::Wildcard(parent) => format!("*.{parent}"),
            HostPattern::Any => String::new(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("every host"),
        }
    }
}

/// Which paths a rule is for: <https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PathPattern {
    /// This one.
    Exact(String),
    /// Those that begin with the elements of this one.
    Prefix(String),
    /// What no rule takes (`defaultBackend`).
    Rest,
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) | Self::Prefix(path) => f.write_str(path),
            Self::Rest => f.write_str("what no rule takes"),
        }
    }
}

/// The certificate for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressCertificate {
    /// For which hosts.
    pub host: HostPattern,
    /// The Secret that it comes from.
    pub secret: ObjectKey,
    /// The certificate and those above it, as PEM.
    pub chain: Vec<u8>,
    /// Its key, as PEM.
    pub key: SecretBytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label_as_the_kubernetes_documentation_says() {
        for (pattern, host, expected) in [
            ("*.foo.com", "bar.foo.com", true),
            ("*.foo.com", "baz.bar.foo.com", false),
            ("*.foo.com", "foo.com", false),
            ("*.foo.com", "*.foo.com", true),
            ("foo.com", "FOO.com", true),
            ("foo.com", "*.foo.com", false),
            ("", "foo.com", true),
            ("", "*.foo.com", true),
            ("foo.com", "", false),
        ] {
            assert_eq!(HostPattern::new(pattern).covers(&HostPattern::new(host)), expected, "{pattern} and {host}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for text in ["*.foo.com", "foo.com", ""] {
            assert_eq!(String::from(HostPattern::new(text)), text);
        }
    }
}
