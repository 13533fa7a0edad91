//! Server-side tables, the form that kubectl prints:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>.
//!
//! Cells are made from the objects, so that a table never says what the object does not. The columns are those of Kubernetes.

use super::super::refusal::Refusal;
use super::super::words;
use super::cells::{
    access_modes, bound, completions, containers, count, endpoints, external_ip, hosts, job_duration, job_status, length,
    load_balancers, node_status, or_none, pairs, pod_status, reference, service_ports, sidecars, since, source, statuses,
    targets, text, used,
};
use super::resource::Resource;
use crate::model::Moment;
use serde_json::{Value, json};

/// What a row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads `includeObject`.
    pub(super) fn parse(text: Option<&str>) -> Result<Include, Refusal> {
        match text {
            None | Some("" | "Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(Refusal::bad_request(format!("includeObject is None, Metadata or Object, not {other:?}"))),
        }
    }
}

/// A table of these objects.
pub(super) fn table(resource: Resource, objects: &[Value], version: &str, include: Include, now: Moment) -> Value {
    let columns = columns(resource);
    let definitions: Vec<Value> = columns.iter().map(Column::definition).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(object, now)).collect();
            match include {
                Include::None => json!({ "cells": cells }),
                Include::Object => json!({ "cells": cells, "object": object }),
                Include::Metadata => {
                    let object = json!({
                        "kind": "PartialObjectMetadata",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": object["metadata"],
                    });
                    json!({ "cells": cells, "object": object })
                }
            }
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": version },
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// A column.
struct Column {
    name: &'static str,
    /// Shown with `-o wide` only.
    wide: bool,
    cell: Cell,
}

type Cell = fn(&Value, Moment) -> Value;
type Named = &'static [(&'static str, Cell)];

impl Column {
    fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        let counts = ["Desired", "Current", "Up-to-date", "Available", "Data", "Value", "Allowed Disruptions"];
        let kind = if counts.contains(&self.name) { "integer" } else { "string" };
        let priority = i32::from(self.wide);
        json!({ "name": self.name, "type": kind, "format": format, "description": "", "priority": priority })
    }
}

fn columns(resource: Resource) -> Vec<Column> {
    let (narrow, wide): (Named, Named) = match resource {
        Resource::Namespaces => (&[NAME, ("Status", |o, _| text(o, "/status/phase")), AGE], &[]),
        Resource::Nodes => (NODES, NODES_WIDE),
        Resource::Pods => (PODS, PODS_WIDE),
        Resource::Services => (SERVICES, &[("Selector", |o, _| pairs(&o["spec"]["selector"]))]),
        Resource::Endpoints => (&[NAME, ("Endpoints", |o, _| endpoints(o)), AGE], &[]),
        Resource::EndpointSlices => (SLICES, &[]),
        Resource::Ingresses => (INGRESSES, &[]),
        Resource::ConfigMaps => (&[NAME, ("Data", |o, _| json!(length(&o["data"]) + length(&o["binaryData"]))), AGE], &[]),
        Resource::Secrets => (&[NAME, ("Type", |o, _| text(o, "/type")), ("Data", |o, _| json!(length(&o["data"]))), AGE], &[]),
        Resource::Claims => (CLAIMS, &[("VolumeMode", |_, _| json!("Filesystem"))]),
        Resource::Events => (EVENTS, EVENTS_WIDE),
        Resource::Deployments => (DEPLOYMENTS, WORKLOADS_WIDE),
        Resource::StatefulSets => (STATEFUL_SETS, &[CONTAINERS, IMAGES]),
        Resource::DaemonSets => (DAEMON_SETS, WORKLOADS_WIDE),
        Resource::ReplicaSets => (REPLICA_SETS, WORKLOADS_WIDE),
        Resource::Rollouts => (ROLLOUTS, WORKLOADS_WIDE),
        Resource::Jobs => (JOBS, WORKLOADS_WIDE),
        Resource::CronJobs => (CRON_JOBS, &[]),
        Resource::Autoscalers => (AUTOSCALERS, &[]),
        Resource::PriorityClasses => (PRIORITY_CLASSES, &[]),
        Resource::Budgets => (BUDGETS, &[]),
        Resource::SeriesEvents => (SERIES_EVENTS, SERIES_EVENTS_WIDE),
        Resource::PodMetrics => (POD_METRICS, &[]),
        Resource::NodeMetrics => (NODE_METRICS, &[]),
    };
    let column = |wide| move |(name, cell): &(&'static str, Cell)| Column { name, wide, cell: *cell };
    narrow.iter().map(column(false)).chain(wide.iter().map(column(true))).collect()
}

const NAME: (&str, Cell) = ("Name", |o, _| text(o, "/metadata/name"));
const AGE: (&str, Cell) = ("Age", |o, now| json!(since(&o["metadata"]["creationTimestamp"], now)));

const NODES: Named = &[
    NAME,
    ("Status", |o, _| json!(node_status(o))),
    ("Roles", |_, _| json!("<none>")),
    AGE,
    ("Version", |o, _| text(o, "/status/nodeInfo/kubeletVersion")),
];

const NODES_WIDE: Named = &[
    ("Internal-IP", |o, _| {
        let addresses = o["status"]["addresses"].as_array().into_iter().flatten();
        let internal = addresses.filter(|address| address["type"] == "InternalIP").map(|address| &address["address"]).next();
        json!(internal.and_then(Value::as_str).unwrap_or("<none>"))
    }),
    ("OS-Image", |o, _| text(o, "/status/nodeInfo/osImage")),
    ("Kernel-Version", |o, _| text(o, "/status/nodeInfo/kernelVersion")),
    ("Container-Runtime", |o, _| text(o, "/status/nodeInfo/containerRuntimeVersion")),
];

const PODS: Named = &[
    NAME,
    ("Ready", |o, _| {
        let ready = statuses(o).filter(|status| status["ready"] == true).count();
        json!(format!("{ready}/{}", (length(&o["spec"]["containers"]) + sidecars(o).count()).max(statuses(o).count())))
    }),
    ("Status", |o, _| pod_status(o)),
    ("Restarts", |o, _| json!(statuses(o).filter_map(|status| status["restartCount"].as_u64()).sum::<u64>().to_string())),
    AGE,
];

const PODS_WIDE: Named = &[
    ("IP", |o, _| text(o, "/status/podIP")),
    ("Node", |o, _| text(o, "/spec/nodeName")),
    ("Template", |o, _| {
        json!(o["metadata"]["annotations"]["driftless.dev/template-hash"].as_str().and_then(|hash| hash.get(..6)))
    }),
    ("Message", |o, _| json!(o["status"]["message"].as_str().unwrap_or(""))),
];

const SERVICES: Named = &[
    NAME,
    ("Type", |o, _| text(o, "/spec/type")),
    ("Cluster-IP", |o, _| json!(or_none(o["spec"]["clusterIP"].as_str().unwrap_or("")))),
    ("External-IP", |o, _| json!(external_ip(o))),
    ("Port(s)", |o, _| json!(or_none(&service_ports(o)))),
    AGE,
];

const INGRESSES: Named = &[
    NAME,
    ("Class", |o, _| text(o, "/spec/ingressClassName")),
    ("Hosts", |o, _| json!(hosts(&o["spec"]["rules"]))),
    ("Address", |o, _| json!(load_balancers(&o["status"]["loadBalancer"]["ingress"]))),
    ("Ports", |o, _| json!(if o["spec"]["tls"].is_array() { "80, 443" } else { "80" })),
    AGE,
];

const SLICES: Named = &[
    NAME,
    ("AddressType", |o, _| text(o, "/addressType")),
    ("Ports", |o, _| {
        let ports: Vec<String> = o["ports"].as_array().into_iter().flatten().map(|port| port["port"].to_string()).collect();
        json!(or_none(&ports.join(",")))
    }),
    ("Endpoints", |o, _| text(o, "/endpoints/0/addresses/0")),
    AGE,
];

/// The volume of a claim is a folder on a node, whose name stands in its column. It has no size.
const CLAIMS: Named = &[
    NAME,
    ("Status", |o, _| {
        json!(if o["metadata"]["deletionTimestamp"].is_null() { o["status"]["phase"].clone() } else { json!("Terminating") })
    }),
    ("Volume", |o, _| json!(o["spec"]["volumeName"].as_str().unwrap_or(""))),
    ("Capacity", |_, _| json!("")),
    ("Access Modes", |o, _| json!(access_modes(&o["spec"]["accessModes"]))),
    ("StorageClass", |o, _| json!(o["spec"]["storageClassName"].as_str().unwrap_or(""))),
    AGE,
];

const EVENTS: Named = &[
    ("Last Seen", |o, now| json!(since(&o["lastTimestamp"], now))),
    ("Type", |o, _| text(o, "/type")),
    ("Reason", |o, _| text(o, "/reason")),
    ("Object", |o, _| json!(reference(&o["involvedObject"]))),
    ("Message", |o, _| text(o, "/message")),
];

const EVENTS_WIDE: Named = &[
    ("Source", |o, _| json!(source(&o["source"]))),
    ("First Seen", |o, now| json!(since(&o["firstTimestamp"], now))),
    ("Count", |o, _| json!(o["count"].to_string())),
    ("Name", |o, _| text(o, "/metadata/name")),
];

const SERIES_EVENTS: Named = &[
    ("Last Seen", |o, now| json!(since(&o["deprecatedLastTimestamp"], now))),
    ("Type", |o, _| text(o, "/type")),
    ("Reason", |o, _| text(o, "/reason")),
    ("Object", |o, _| json!(reference(&o["regarding"]))),
    ("Message", |o, _| text(o, "/note")),
];

const SERIES_EVENTS_WIDE: Named = &[
    ("Source", |o, _| json!(source(&o["deprecatedSource"]))),
    ("First Seen", |o, now| json!(since(&o["deprecatedFirstTimestamp"], now))),
    ("Count", |o, _| json!(o["deprecatedCount"].to_string())),
    ("Name", |o, _| text(o, "/metadata/name")),
];

const WINDOW: (&str, Cell) = ("Window", |o, _| text(o, "/window"));

const POD_METRICS: Named =
    &[NAME, ("CPU", |o, _| json!(used(o, "cpu", "m"))), ("Memory", |o, _| json!(used(o, "memory", "Ki"))), WINDOW];

const NODE_METRICS: Named = &[NAME, ("CPU", |o, _| text(o, "/usage/cpu")), ("Memory", |o, _| text(o, "/usage/memory")), WINDOW];

const DEPLOYMENTS: Named = &[
    NAME,
    ("Ready", |o, _| json!(format!("{}/{}", count(o, "/status/readyReplicas"), count(o, "/spec/replicas")))),
    ("Up-to-date", |o, _| json!(count(o, "/status/updatedReplicas"))),
    ("Available", |o, _| json!(count(o, "/status/availableReplicas"))),
    AGE,
];

/// As the printer columns of Argo's custom resource, and the phase beside them.
const ROLLOUTS: Named = &[
    NAME,
    ("Desired", |o, _| json!(count(o, "/spec/replicas"))),
    ("Current", |o, _| json!(count(o, "/status/replicas"))),
    ("Up-to-date", |o, _| json!(count(o, "/status/updatedReplicas"))),
    ("Available", |o, _| json!(count(o, "/status/availableReplicas"))),
    ("Status", |o, _| text(o, "/status/phase")),
    AGE,
];

const STATEFUL_SETS: Named =
    &[NAME, ("Ready", |o, _| json!(format!("{}/{}", count(o, "/status/readyReplicas"), count(o, "/spec/replicas")))), AGE];

const DAEMON_SETS: Named = &[
    NAME,
    ("Desired", |o, _| json!(count(o, "/status/desiredNumberScheduled"))),
    ("Current", |o, _| json!(count(o, "/status/currentNumberScheduled"))),
    ("Ready", |o, _| json!(count(o, "/status/numberReady"))),
    ("Up-to-date", |o, _| json!(count(o, "/status/updatedNumberScheduled"))),
    ("Available", |o, _| json!(count(o, "/status/numberAvailable"))),
    ("Node Selector", |o, _| pairs(&o["spec"]["template"]["spec"]["nodeSelector"])),
    AGE,
];

const JOBS: Named = &[
    NAME,
    ("Status", |o, _| json!(job_status(o))),
    ("Completions", |o, _| json!(completions(o))),
    ("Duration", |o, now| json!(job_duration(o, now))),
    AGE,
];

const REPLICA_SETS: Named = &[
    NAME,
    ("Desired", |o, _| json!(count(o, "/spec/replicas"))),
    ("Current", |o, _| json!(count(o, "/status/replicas"))),
    ("Ready", |o, _| json!(count(o, "/status/readyReplicas"))),
    AGE,
];

const CONTAINERS: (&str, Cell) = ("Containers", |o, _| json!(containers(o, "name")));
const IMAGES: (&str, Cell) = ("Images", |o, _| json!(containers(o, "image")));

const WORKLOADS_WIDE: Named = &[CONTAINERS, IMAGES, ("Selector", |o, _| pairs(&o["spec"]["selector"]["matchLabels"]))];

const CRON_JOBS: Named = &[
    NAME,
    ("Schedule", |o, _| text(o, "/spec/schedule")),
    ("Timezone", |o, _| text(o, "/spec/timeZone")),
    ("Suspend", |o, _| json!(if o["spec"]["suspend"] == true { "True" } else { "False" })),
    ("Active", |o, _| json!(length(&o["status"]["active"]).to_string())),
    ("Last Schedule", |o, now| {
        let last = o["status"]["lastScheduleTime"].as_str().and_then(|last| words::age_of(last, now));
        json!(last.unwrap_or_else(|| "<none>".into()))
    }),
    AGE,
];

const AUTOSCALERS: Named = &[
    NAME,
    ("Reference", |o, _| {
        let target = &o["spec"]["scaleTargetRef"];
        json!(format!("{}/{}", target["kind"].as_str().unwrap_or(""), target["name"].as_str().unwrap_or("")))
    }),
    ("Targets", |o, _| json!(targets(o))),
    ("MinPods", |o, _| json!(count(o, "/spec/minReplicas").to_string())),
    ("MaxPods", |o, _| json!(count(o, "/spec/maxReplicas").to_string())),
    ("Replicas", |o, _| json!(count(o, "/status/currentReplicas").to_string())),
    AGE,
];

const PRIORITY_CLASSES: Named = &[
    NAME,
    ("Value", |o, _| o["value"].clone()),
    ("Global-Default", |o, _| json!((o["globalDefault"] == true).to_string())),
    AGE,
    ("PreemptionPolicy", |o, _| text(o, "/preemptionPolicy")),
];

const BUDGETS: Named = &[
    NAME,
    ("Min Available", |o, _| json!(bound(&o["spec"]["minAvailable"]))),
    ("Max Unavailable", |o, _| json!(bound(&o["spec"]["maxUnavailable"]))),
    ("Allowed Disruptions", |o, _| json!(count(o, "/status/disruptionsAllowed"))),
    AGE,
];
