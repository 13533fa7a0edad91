//! Assignments and templates.

use super::{ConvertError, invalid, key, key_to_proto, uid, uid_to_proto};
use crate::model::{
    Assignment, ConfigSnapshot, Epoch, Generation, PodRun, PodSnapshot, Revision, SecretBytes, StopOrder, StopReason,
    TemplateHash,
};
use crate::wire::proto;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An assignment without its templates.
pub(crate) fn assignment_to_proto(assignment: &Assignment) -> proto::Assignment {
    proto::Assignment {
        epoch: assignment.epoch.0,
        generation: assignment.generation.0,
        run: assignment.run.values().map(run_to_proto).collect(),
        stop: assignment.stop.values().map(stop_to_proto).collect(),
        erase: assignment.erase.iter().map(key_to_proto).collect(),
    }
}

/// Reads an assignment; its templates are added by whoever gathered them.
pub(crate) fn assignment(message: proto::Assignment) -> Result<Assignment, ConvertError> {
    let run = message.run.into_iter().map(|pod| run(pod).map(|pod| (pod.uid, pod))).collect::<Result<_, _>>()?;
    let stop = message.stop.into_iter().map(|order| stop(order).map(|order| (order.uid, order))).collect::<Result<_, _>>()?;
    Ok(Assignment {
        epoch: Epoch(message.epoch),
        generation: Generation(message.generation),
        run,
        stop,
        erase: message.erase.into_iter().map(|volume| key("erase", Some(volume))).collect::<Result<_, _>>()?,
        templates: BTreeMap::new(),
    })
}

fn run_to_proto(pod: &PodRun) -> proto::PodRun {
    proto::PodRun {
        uid: uid_to_proto(&pod.uid),
        name: pod.name.clone(),
        workload: Some(key_to_proto(&pod.workload)),
        slot: pod.slot,
        hash: pod.hash.as_str().to_owned(),
        revision: pod.revision.as_str().to_owned(),
        images: pod.images.clone(),
    }
}

fn run(pod: proto::PodRun) -> Result<PodRun, ConvertError> {
    Ok(PodRun {
        uid: uid("run.uid", &pod.uid)?,
        name: pod.name,
        workload: key("run.workload", pod.workload)?,
        slot: pod.slot,
        hash: TemplateHash::new(pod.hash),
        revision: Revision::new(pod.revision),
        images: pod.images,
    })
}

fn stop_to_proto(order: &StopOrder) -> proto::StopOrder {
    let reason = match order.reason {
        StopReason::Replaced => proto::StopReason::Replaced,
        StopReason::ScaledDown => proto::StopReason::ScaledDown,
        StopReason::Pruned => proto::StopReason::Pruned,
        StopReason::RolledBack => proto::StopReason::RolledBack,
        StopReason::Superseded => proto::StopReason::Superseded,
        StopReason::Finished => proto::StopReason::Finished,
        StopReason::Misplaced => proto::StopReason::Misplaced,
        StopReason::Evicted | StopReason::Drained => proto::StopReason::Evicted,
        StopReason::Preempted => proto::StopReason::Preempted,
    };
    proto::StopOrder {
        uid: uid_to_proto(&order.uid),
        reason: reason.into(),
        commit: order.commit.as_ref().map(|commit| commit.as_str().to_owned()),
        drained: order.reason == StopReason::Drained,
    }
}

fn stop(order: proto::StopOrder) -> Result<StopOrder, ConvertError> {
    let reason = match order.reason() {
        proto::StopReason::Unspecified => return Err(invalid("stop.reason", "a known reason")),
        proto::StopReason::Replaced => StopReason::Replaced,
        proto::StopReason::ScaledDown => StopReason::ScaledDown,
        proto::StopReason::Pruned => StopReason::Pruned,
        proto::StopReason::RolledBack => StopReason::RolledBack,
        proto::StopReason::Superseded => StopReason::Superseded,
        proto::StopReason::Finished => StopReason::Finished,
        proto::StopReason::Misplaced => StopReason::Misplaced,
        proto::StopReason::Evicted if order.drained => StopReason::Drained,
        proto::StopReason::Evicted => StopReason::Evicted,
        proto::StopReason::Preempted => StopReason::Preempted,
    };
    Ok(StopOrder { uid: uid("stop.uid", &order.uid)?, reason, commit: order.commit.map(Revision::new) })
}

/// A template with its configuration. Its secrets are in the clear from here to the agent.
pub(crate) fn template_to_proto(snapshot: &PodSnapshot) -> Result<proto::Template, ConvertError> {
    let template = serde_json::to_vec(&snapshot.template).map_err(|error| ConvertError::Template { column: error.column() })?;
    let config = &snapshot.config;
    let config_maps = config.config_maps.iter().map(|(name, entries)| (name.clone(), proto::Data { entries: entries.clone() }));
    let secrets = config.secrets.iter().map(|(name, entries)| {
        let entries = entries.iter().map(|(key, value)| (key.clone(), value.expose().to_vec())).collect();
        (name.clone(), proto::Data { entries })
    });
    Ok(proto::Template {
        hash: snapshot.hash.as_str().to_owned(),
        pod_template: template,
        config_maps: config_maps.collect(),
        secrets: secrets.collect(),
        config_version: config.version.clone(),
    })
}

/// Reads a template.
pub(crate) fn template(message: proto::Template) -> Result<PodSnapshot, ConvertError> {
    let template =
        serde_json::from_slice(&message.pod_template).map_err(|error| ConvertError::Template { column: error.column() })?;
    let secrets = message.secrets.into_iter().map(|(name, data)| {
        (name, data.entries.into_iter().map(|(key, value)| (key, SecretBytes::new(value))).collect::<BTreeMap<_, _>>())
    });
    let config = ConfigSnapshot {
        config_maps: message.config_maps.into_iter().map(|(name, data)| (name, data.entries)).collect(),
        secrets: secrets.collect(),
        version: message.config_version,
    };
    Ok(PodSnapshot { hash: TemplateHash::new(message.hash), template, config: Arc::new(config) })
}
