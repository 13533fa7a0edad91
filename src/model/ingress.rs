//! Ingress, in Kubernetes' shape: <https://kubernetes.io/docs/concepts/services-networking/ingress/>.

use serde::{Deserialize, Serialize};

/// `spec` of a `networking.k8s.io/v1 Ingress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// Who serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
    /// Where requests go that no rule takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<IngressBackend>,
    /// By host and path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<IngressRule>,
    /// Certificates by host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<IngressTls>,
}

/// `rules[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// The host, may begin with `*.`; every host if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<IngressHttp>,
}

/// `rules[].http`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressHttp {
    /// The longest that matches wins.
    pub paths: Vec<IngressPath>,
}

/// `rules[].http.paths[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// Begins with `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    pub path_type: String,
    /// Where it leads.
    pub backend: IngressBackend,
}

/// `backend`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// A Service of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<IngressService>,
}

/// `backend.service`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressService {
    /// The Service.
    pub name: String,
    /// Its port: a name or a number.
    pub port: IngressPort,
}

/// `backend.service.port`: exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressPort {
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// By number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
}

/// `tls[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// The hosts that the certificate is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// A Secret of type `kubernetes.io/tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}
