//! An object that one document describes, before it is joined with others.

use crate::model::{
    Autoscaler, Body, ConcurrencyPolicy, IngressPort, IngressSpec, LabelSelector, Location, Meta, ObjectKey, PodTemplate,
    Schedule, ServiceSpec, Strategy,
};
use serde_json::Value;
use std::sync::Arc;

/// An object as its document alone tells it: no revision, no template hash, references not followed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(crate) key: ObjectKey,
    pub(crate) meta: Meta,
    /// As written; the values of a Secret replaced.
    pub(crate) written: Arc<Value>,
    pub(crate) fingerprint: [u8; 32],
    /// Where `metadata.name` is written.
    pub(crate) at: Location,
    /// The line where the document starts.
    pub(crate) line: u32,
    pub(crate) body: DraftBody,
    /// What it needs of other objects.
    pub(crate) references: Vec<Reference>,
}

/// What it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DraftBody {
    /// What its document alone says in full.
    Plain(Body),
    /// What needs the ConfigMaps and Secrets that it refers to.
    Workload(Box<DraftWorkload>),
    /// The same, of the Jobs that it makes.
    CronJob(Box<DraftCronJob>),
}

/// A workload without its snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DraftWorkload {
    pub(crate) replicas: Option<u32>,
    pub(crate) selector: LabelSelector,
    pub(crate) template: PodTemplate,
    /// The digest of the template as written, see `hash`.
    pub(crate) template_digest: [u8; 32],
    pub(crate) strategy: Strategy,
    pub(crate) min_ready_seconds: u32,
    pub(crate) progress_deadline_seconds: u32,
    pub(crate) paused: bool,
}

/// A CronJob without the snapshot of its Jobs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DraftCronJob {
    pub(crate) schedule: Schedule,
    pub(crate) time_zone: Option<String>,
    pub(crate) concurrency: ConcurrencyPolicy,
    pub(crate) starting_deadline_seconds: Option<u64>,
    pub(crate) suspend: bool,
    pub(crate) successful_kept: u32,
    pub(crate) failed_kept: u32,
    pub(crate) job_meta: Meta,
    pub(crate) job: DraftWorkload,
}

/// Another object that must be there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub(crate) to: Target,
    /// Where it is written.
    pub(crate) at: Location,
    pub(crate) path: String,
    /// Whether it may be missing.
    pub(crate) optional: bool,
}

/// What a reference names, in the namespace of the referrer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A ConfigMap, and a key of it if only that is wanted.
    ConfigMap { name: String, key: Option<String> },
    /// A Secret, and a key of it if only that is wanted.
    Secret { name: String, key: Option<String> },
    /// A Secret with logins of registries: it goes with the template and is no part of its hash.
    PullSecret { name: String },
    /// A volume claim.
    Claim { name: String },
    /// The active or preview Service of a Rollout.
    Service { name: String },
    /// What an autoscaler scales.
    Workload { kind: String, name: String },
    /// What the metric of this index looks at, in what its autoscaler scales.
    Measured { metric: usize },
    /// A class of priority.
    PriorityClass { name: String },
    /// A named container port, of the pods that a Service selects.
    PodPort { name: String },
    /// The Service behind a path of an Ingress, and its port.
    Backend { service: String, port: IngressPort },
    /// The certificate of an Ingress.
    Certificate { name: String },
}

impl Draft {
    pub(crate) fn workload(&self) -> Option<&DraftWorkload> {
        if let DraftBody::Workload(workload) = &self.body { Some(workload) } else { None }
    }

    /// The body, if it is final.
    pub(crate) fn plain(&self) -> Option<&Body> {
        if let DraftBody::Plain(body) = &self.body { Some(body) } else { None }
    }

    pub(crate) fn service(&self) -> Option<&ServiceSpec> {
        if let Some(Body::Service(spec)) = self.plain() { Some(spec) } else { None }
    }

    pub(crate) fn ingress(&self) -> Option<&IngressSpec> {
        if let Some(Body::Ingress(spec)) = self.plain() { Some(spec) } else { None }
    }

    pub(crate) fn autoscaler(&self) -> Option<&Autoscaler> {
        if let Some(Body::Autoscaler(autoscaler)) = self.plain() { Some(autoscaler) } else { None }
    }
}
