//! `/metrics` in the OpenMetrics text format. The names are a contract; docs list them from here.

use super::pods;
use super::refusal::Refusal;
use super::server::Server;
use crate::model::{Health, MetricTarget, PodPhase, Progress, ScaledResource, View};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

type ByState = Family<[(&'static str, &'static str); 1], Gauge>;
type ByObject = Family<Vec<(&'static str, String)>, Gauge>;

/// With more pods than this there are no series of single pods.
const POD_SERIES_MAX: usize = 1_000;

/// A view as metrics.
#[derive(Debug)]
struct Snapshot(Arc<View>);

/// Answers a scrape.
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let mut registry = Registry::with_prefix("driftless");
    registry.register_collector(Box::new(Snapshot(server.feed.current())));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(error) => Refusal::internal(format!("the metrics cannot be written: {error}")).into_response(),
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let view = &self.0;
        for (name, help, value) in counters(view) {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, value) in gauges(view) {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, family) in [
            ("workloads", "Workloads by where their rollout stands", workloads(view)),
            ("pods", "Pods by status", by_word(view)),
            ("nodes", "Nodes by whether their agent is heard", nodes(view)),
        ] {
            family.encode(encoder.encode_descriptor(name, help, None, family.metric_type())?)?;
        }
        let [replicas, usage, target] = autoscalers(view);
        let [pod_cpu, pod_memory] = pod_usage(view);
        let [node_cpu, node_memory] = node_usage(view);
        for (name, help, family) in [
            ("pod_cpu_millicores", "Cpu that a pod uses, in thousandths of a core", pod_cpu),
            ("pod_memory_bytes", "Working set of a pod", pod_memory),
            ("node_cpu_millicores", "Cpu that a node uses as a whole, in thousandths of a core", node_cpu),
            ("node_memory_bytes", "Memory of a node that a new program could not have", node_memory),
            ("autoscaler_replicas", "Pods that an autoscaler wants", replicas),
            ("autoscaler_usage", "What a metric of an autoscaler is now, in its unit, where that is known", usage),
            ("autoscaler_target", "What a metric of an autoscaler should be, in its unit", target),
        ] {
            family.encode(encoder.encode_descriptor(name, help, None, family.metric_type())?)?;
        }
        Ok(())
    }
}

/// What only grows, since the controller started.
fn counters(view: &View) -> [(&'static str, &'static str, u64); 5] {
    let counters = view.counters;
    [
        ("passes", "Passes of the controller", counters.passes),
        ("assignments", "Assignments sent to agents because something changed", counters.assignments),
        ("audit_records", "Audit records made", counters.records),
        ("divergences", "Full recomputes that differed from the incremental result: a bug each", counters.divergences),
        ("drift_corrections", "Drift that was corrected", counters.drift),
    ]
}

/// What stands now.
fn gauges(view: &View) -> [(&'static str, &'static str, u64); 8] {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let all = pods::all(view);
    [
        ("acting", "1 if the controller acts, 0 if it starts, holds or has stood down", u64::from(view.health == Health::Acting)),
        ("epoch", "The epoch of this controller", view.epoch.0),
        ("objects", "Objects that are desired", number(view.objects.len())),
        (
            "units_held",
            "Units that could not be read and keep their last good revision",
            number(view.units.values().filter(|unit| unit.is_held()).count()),
        ),
        ("problems", "Problems that want a person's attention", number(view.problems.len())),
        ("pods_ready", "Pods that are ready", number(all.iter().filter(|pod| pod.is_ready()).count())),
        (
            "container_restarts",
            "Restarts of the containers of the pods that exist now",
            all.iter().map(|pod| u64::from(pod.restarts())).sum(),
        ),
        ("audit_records_queued", "Audit records that are not pushed yet", number(view.audit_queued)),
    ]
}

fn workloads(view: &View) -> ByState {
    let family = ByState::default();
    for state in ["Done", "Progressing", "Waiting", "Stalled"] {
        family.get_or_create(&[("state", state)]).set(0);
    }
    for workload in view.workloads.values() {
        let word = match &workload.progress {
            Progress::Done => "Done",
            Progress::Progressing(_) => "Progressing",
            Progress::Waiting(_) => "Waiting",
            Progress::Stalled(_) => "Stalled",
        };
        family.get_or_create(&[("state", word)]).inc();
    }
    family
}

fn by_word(view: &View) -> ByState {
    let family = ByState::default();
    for pod in pods::all(view) {
        // A metric has few values: how far a pod's init containers are is left out.
        let word = match pod.word() {
            Cow::Borrowed(word) => word,
            Cow::Owned(_) if pod.phase() == PodPhase::Failed => "Error",
            Cow::Owned(_) => "Init",
        };
        family.get_or_create(&[("status", word)]).inc();
    }
    family
}

fn nodes(view: &View) -> ByState {
    let family = ByState::default();
    for ready in ["true", "false"] {
        family.get_or_create(&[("ready", ready)]).set(0);
    }
    for node in view.nodes.values() {
        family.get_or_create(&[("ready", if node.ready { "true" } else { "false" })]).inc();
    }
    family
}

/// What pods use. With very many there is none: a series for each would be more than a Prometheus wants of one target.
fn pod_usage(view: &View) -> [ByObject; 2] {
    let [cpu, memory] = [(); 2].map(|()| ByObject::default());
    if view.pods.len() > POD_SERIES_MAX {
        return [cpu, memory];
    }
    for pod in pods::all(view) {
        let Some((usage, _)) = &pod.view.usage else { continue };
        let labels = vec![
            ("namespace", pod.namespace().to_owned()),
            ("pod", pod.name.to_owned()),
            ("workload", pod.workload.name.clone()),
            ("node", pod.node.to_string()),
        ];
        put(&cpu, &labels, usage.cpu_milli);
        put(&memory, &labels, usage.memory_bytes);
    }
    [cpu, memory]
}

fn node_usage(view: &View) -> [ByObject; 2] {
    let [cpu, memory] = [(); 2].map(|()| ByObject::default());
    for (name, node) in &view.nodes {
        let Some((usage, _)) = node.usage else { continue };
        let labels = vec![("node", name.to_string())];
        put(&cpu, &labels, usage.cpu_milli);
        put(&memory, &labels, Some(usage.memory_bytes));
    }
    [cpu, memory]
}

fn put(family: &ByObject, labels: &Vec<(&'static str, String)>, value: Option<u64>) {
    if let Some(value) = value {
        family.get_or_create(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// What autoscalers want, and each of their metrics: what it is, and what it should be.
fn autoscalers(view: &View) -> [ByObject; 3] {
    let [replicas, usage, target] = [(); 3].map(|()| ByObject::default());
    let set = |family: &ByObject, labels: &[(&'static str, &str)], value: u64| {
        let labels = labels.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    };
    for (key, state) in &view.autoscalers {
        let Some(autoscaler) = view.objects.get(key).and_then(|object| object.autoscaler()) else { continue };
        let own = [("namespace", key.namespace.as_str()), ("autoscaler", key.name.as_str())];
        if let Some(wanted) = view.workloads.get(&state.target).and_then(|workload| workload.autoscaled) {
            set(&replicas, &own, wanted.into());
        }
        for (index, metric) in autoscaler.metrics.iter().enumerate() {
            let (unit, wanted) = match (metric.target, metric.resource) {
                (MetricTarget::Utilization(percent), _) => ("percent", percent.into()),
                (MetricTarget::AverageValue(amount), ScaledResource::Cpu) => ("millicores", amount),
                (MetricTarget::AverageValue(amount), ScaledResource::Memory) => ("bytes", amount),
            };
            let of = [
                ("resource", metric.resource.as_str()),
                ("container", metric.container.as_deref().unwrap_or_default()),
                ("unit", unit),
            ];
            let labels: Vec<(&'static str, &str)> = own.into_iter().chain(of).collect();
            set(&target, &labels, wanted);
            let reading = state.decision.as_ref().and_then(|decision| decision.readings.get(index)?.usage);
            let used = reading.and_then(|used| if unit == "percent" { used.percent.map(u64::from) } else { Some(used.average) });
            if let Some(used) = used {
                set(&usage, &labels, used);
            }
        }
    }
    [replicas, usage, target]
}
