//! Drafts to objects: sources are named, references followed, templates hashed.

use super::draft::{Draft, DraftBody, DraftCronJob, DraftWorkload};
use super::hash::{self, ConfigDigests, DigestKey};
use super::references;
use crate::model::{
    Body, ConfigSnapshot, CronJob, Kind, LEASE, Object, ObjectKey, PodSnapshot, Revision, SecretBytes, Source, UnitName, Workload,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a changed ConfigMap or Secret reaches the pods of a workload.
const CONFIG_UPDATE: &str = "driftless.dev/config-update";

/// What the names of digests of Secrets with logins of registries begin with.
const PULL: &str = "imagePullSecrets/";

/// A draft and where it comes from.
pub(crate) struct Placed<'a> {
    pub(crate) unit: &'a UnitName,
    pub(crate) revision: &'a Revision,
    pub(crate) file: &'a str,
    pub(crate) blob: &'a str,
    pub(crate) draft: &'a Arc<Draft>,
}

/// The objects of all drafts in force; of two with one key the first counts.
pub(crate) fn build(placed: &[Placed<'_>], key: &DigestKey) -> BTreeMap<ObjectKey, Arc<Object>> {
    let config = Config::gather(placed, key);
    let mut objects = BTreeMap::new();
    for placed in placed {
        let draft = placed.draft;
        objects.entry(draft.key.clone()).or_insert_with(|| {
            Arc::new(Object {
                key: draft.key.clone(),
                meta: draft.meta.clone(),
                source: source(placed),
                written: Arc::clone(&draft.written),
                fingerprint: draft.fingerprint,
                body: body(draft, &config),
            })
        });
    }
    objects
}

fn source(placed: &Placed<'_>) -> Source {
    Source {
        unit: placed.unit.clone(),
        revision: placed.revision.clone(),
        file: placed.file.to_owned(),
        line: placed.draft.line,
        blob: placed.blob.to_owned(),
    }
}

fn body(draft: &Draft, config: &Config<'_>) -> Body {
    match &draft.body {
        DraftBody::Plain(Body::Node(spec)) => Body::Node(spec.clone().annotated(&draft.meta.annotations)),
        DraftBody::Plain(body) => body.clone(),
        DraftBody::Workload(workload) => Body::Workload(self::workload(draft, workload, config)),
        DraftBody::CronJob(cron) => Body::CronJob(Box::new(cron_job(draft, cron, config))),
    }
}

fn cron_job(draft: &Draft, cron: &DraftCronJob, config: &Config<'_>) -> CronJob {
    CronJob {
        schedule: cron.schedule.clone(),
        time_zone: cron.time_zone.clone(),
        concurrency: cron.concurrency,
        starting_deadline_seconds: cron.starting_deadline_seconds,
        suspend: cron.suspend,
        successful_kept: cron.successful_kept,
        failed_kept: cron.failed_kept,
        job_meta: cron.job_meta.clone(),
        job: workload(draft, &cron.job, config),
    }
}

fn workload(draft: &Draft, workload: &DraftWorkload, config: &Config<'_>) -> Workload {
    let (snapshot, digests) = config.of(draft);
    let hash = hash::combine(&workload.template_digest, &in_hash(draft, digests));
    let mut template = workload.template.clone();
    if let Some(term) = lease_term(draft) {
        template.metadata.annotations.insert(LEASE.to_owned(), term.clone());
    }
    Workload {
        replicas: workload.replicas,
        selector: workload.selector.clone(),
        snapshot: Arc::new(PodSnapshot { hash, template, config: Arc::new(snapshot) }),
        strategy: workload.strategy.clone(),
        min_ready_seconds: workload.min_ready_seconds,
        progress_deadline_seconds: workload.progress_deadline_seconds,
        paused: workload.paused,
    }
}

/// The term of the lease that the pods have. It travels with their template, so that a pod has the lease that it was started with, for as
/// long as it lives.
fn lease_term(draft: &Draft) -> Option<&String> {
    draft.meta.annotations.get(LEASE).filter(|_| draft.key.kind == Kind::StatefulSet)
}

/// What is hashed beside the template: the lease, if there is one, and the digests of what it refers to. In place of those that a workload
/// leaves out (`driftless.dev/config-update: in-place`, and logins of registries) stands the namespace that decides them: equal templates of
/// two namespaces must not share their contents.
fn in_hash(draft: &Draft, mut digests: ConfigDigests) -> ConfigDigests {
    let in_place = draft.meta.annotations.get(CONFIG_UPDATE).is_some_and(|way| way == "in-place");
    if in_place {
        digests.clear();
    }
    digests.retain(|name, _| !name.starts_with(PULL));
    if in_place || !references::names(&draft.references).pull_secrets.is_empty() {
        digests.insert(Kind::Namespace.to_string(), draft.key.namespace.clone());
    }
    digests.extend(lease_term(draft).map(|term| (LEASE.to_owned(), term.clone())));
    digests
}

/// A ConfigMap or Secret's data with its digest.
type Digested<'a, V> = (&'a BTreeMap<String, V>, String);

/// Every ConfigMap and Secret with its digest, each computed once, by namespace and name.
struct Config<'a> {
    config_maps: BTreeMap<(&'a str, &'a str), Digested<'a, Vec<u8>>>,
    secrets: BTreeMap<(&'a str, &'a str), Digested<'a, SecretBytes>>,
}

impl<'a> Config<'a> {
    fn gather(placed: &[Placed<'a>], key: &DigestKey) -> Self {
        let mut config = Self { config_maps: BTreeMap::new(), secrets: BTreeMap::new() };
        for placed in placed {
            let draft: &'a Draft = placed.draft;
            let name = (draft.key.namespace.as_str(), draft.key.name.as_str());
            if let Some(Body::ConfigMap(data)) = draft.plain() {
                config.config_maps.entry(name).or_insert_with(|| (data, hash::config_map_digest(data)));
            } else if let Some(Body::Secret(data)) = draft.plain() {
                config.secrets.entry(name).or_insert_with(|| (data, hash::secret_digest(data, key)));
            }
        }
        config
    }

    /// What a workload refers to, and the digests of it; what is missing is left out of both.
    fn of(&self, draft: &Draft) -> (ConfigSnapshot, ConfigDigests) {
        let (mut snapshot, mut digests) = (ConfigSnapshot::default(), ConfigDigests::new());
        let names = references::names(&draft.references);
        let namespace = draft.key.namespace.as_str();
        for name in names.config_maps {
            if let Some((data, digest)) = self.config_maps.get(&(namespace, name)) {
                snapshot.config_maps.insert(name.to_owned(), (*data).clone());
                digests.insert(format!("{}/{name}", Kind::ConfigMap), digest.clone());
            }
        }
        let secrets = names.secrets.iter().map(|name| (format!("{}/", Kind::Secret), *name));
        for (prefix, name) in secrets.chain(names.pull_secrets.iter().map(|name| (PULL.to_owned(), *name))) {
            if let Some((data, digest)) = self.secrets.get(&(namespace, name)) {
                snapshot.secrets.insert(name.to_owned(), (*data).clone());
                digests.insert(format!("{prefix}{name}"), digest.clone());
            }
        }
        snapshot.version = hash::config_version(&digests);
        (snapshot, digests)
    }
}
