//! What waits to be sent, never more than the newest state.

use super::messages::{FromAgent, ToAgent};
use crate::model::{
    Assignment, BootMoment, EndpointSet, Hello, IngressTable, NodeName, NodeNetwork, ObjectKey, PodUid, Renewal, Report,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// At most so many events wait for a slow controller; the oldest go first.
const EVENTS_MAX: usize = 1_000;

/// At most so many bytes of logs wait at the agent; then its outgoing messages wait too.
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// From the controller to one agent. A newer assignment (network, table of Ingress, renewal) takes the place of an unsent one, endpoints that
/// of the same Service.
#[derive(Debug, Default)]
pub(crate) struct ControllerOutbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<ToAgent>,
    /// The newest call of each node.
    calls: BTreeMap<NodeName, u64>,
    renewal: Option<Renewal>,
    network: Option<Arc<NodeNetwork>>,
    ingress: Option<Arc<IngressTable>>,
    endpoints: BTreeMap<ObjectKey, Arc<EndpointSet>>,
    assignment: Option<Arc<Assignment>>,
}

impl ControllerOutbox {
    /// Puts a message in; never waits.
    pub(crate) fn push(&self, message: ToAgent) {
        {
            let mut waiting = self.lock();
            match message {
                ToAgent::Assign(assignment) => waiting.assignment = Some(assignment),
                ToAgent::Renewed(renewal) => waiting.renewal = Some(renewal),
                ToAgent::Network(network) => waiting.network = Some(network),
                ToAgent::Ingress(table) => waiting.ingress = Some(table),
                ToAgent::Endpoints(set) => {
                    waiting.endpoints.insert(set.service.clone(), set);
                }
                ToAgent::Called { by, call } => {
                    waiting.calls.insert(by, call);
                }
                request @ (ToAgent::Welcome { .. } | ToAgent::Logs(_) | ToAgent::CancelLogs(_)) => {
                    waiting.requests.push_back(request)
                }
            }
        }
        self.wake.notify_one();
    }

    /// The next message; requests, renewals and calls first, then the network, endpoints, the table of Ingress, and the
    /// assignment. For one reader.
    pub(crate) async fn next(&self) -> ToAgent {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<ToAgent> {
        let mut waiting = self.lock();
        if let Some(request) = waiting.requests.pop_front() {
            return Some(request);
        }
        if let Some(renewal) = waiting.renewal.take() {
            return Some(ToAgent::Renewed(renewal));
        }
        if let Some((by, call)) = waiting.calls.pop_first() {
            return Some(ToAgent::Called { by, call });
        }
        if let Some(network) = waiting.network.take() {
            return Some(ToAgent::Network(network));
        }
        if let Some((_, set)) = waiting.endpoints.pop_first() {
            return Some(ToAgent::Endpoints(set));
        }
        if let Some(table) = waiting.ingress.take() {
            return Some(ToAgent::Ingress(table));
        }
        waiting.assignment.take().map(ToAgent::Assign)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From an agent to its controller. Reports are merged while they wait.
#[derive(Debug, Default)]
pub(crate) struct AgentOutbox {
    report: Option<Box<Report>>,
    logs: VecDeque<FromAgent>,
    log_bytes: usize,
    pub(crate) heartbeat_due: bool,
}

impl AgentOutbox {
    /// Puts a message in.
    pub(crate) fn push(&mut self, message: FromAgent) {
        match message {
            FromAgent::Report(report) => match &mut self.report {
                Some(waiting) => merge(waiting, *report),
                None => self.report = Some(report),
            },
            FromAgent::Heartbeat { .. } => self.heartbeat_due = true,
            FromAgent::LogChunk { id, data, end } => {
                self.log_bytes += data.len();
                self.logs.push_back(FromAgent::LogChunk { id, data, end });
            }
            // The client says hello by itself, at the start of every connection.
            FromAgent::Hello(_) => {}
        }
    }

    /// The next message, which is sent at this moment; state before logs.
    pub(crate) fn pop(&mut self, sent: BootMoment) -> Option<FromAgent> {
        if let Some(report) = self.report.take() {
            return Some(FromAgent::Report(report));
        }
        if mem::take(&mut self.heartbeat_due) {
            return Some(FromAgent::Heartbeat { sent });
        }
        let chunk = self.logs.pop_front()?;
        if let FromAgent::LogChunk { data, .. } = &chunk {
            self.log_bytes -= data.len();
        }
        Some(chunk)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.report.is_none() && self.logs.is_empty() && !self.heartbeat_due
    }

    /// Whether those who produce logs should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.log_bytes >= LOG_BYTES_MAX
    }

    /// A new connection begins with `hello`, which holds the whole state: of what waits, only events and ends of pods are not in
    /// it. What is wrong with Services is said again once the controller has answered. Logs were asked for on the old connection.
    pub(crate) fn begin_with(&mut self, hello: &Hello) {
        self.logs.clear();
        self.log_bytes = 0;
        self.heartbeat_due = false;
        let Some(old) = self.report.take() else { return };
        if old.gone.is_empty() && old.events.is_empty() {
            return;
        }
        let rest = Report {
            assignment: hello.assignment,
            network: hello.network.version,
            ingress: hello.ingress,
            gone: old.gone,
            events: old.events,
            ..Report::default()
        };
        self.report = Some(Box::new(rest));
    }

    /// While there is no connection, logs have no reader.
    pub(crate) fn drop_logs(&mut self) {
        self.logs.clear();
        self.log_bytes = 0;
    }
}

/// Adds a newer report to one that has not been sent.
fn merge(waiting: &mut Report, newer: Report) {
    waiting.assignment = newer.assignment;
    waiting.network = newer.network;
    waiting.ingress = newer.ingress;
    let changed: BTreeSet<PodUid> = newer.pods.iter().map(|pod| pod.uid).chain(newer.gone.iter().copied()).collect();
    waiting.pods.retain(|pod| !changed.contains(&pod.uid));
    waiting.pods.extend(newer.pods);
    waiting.gone.extend(newer.gone);
    waiting.endpoints.extend(newer.endpoints);
    waiting.events.extend(newer.events);
    let excess = waiting.events.len().saturating_sub(EVENTS_MAX);
    waiting.events.drain(..excess);
    waiting.usage.extend(newer.usage);
    waiting.host = newer.host.or(waiting.host);
    if newer.service_problems.is_some() {
        waiting.service_problems = newer.service_problems;
    }
    if newer.volumes.is_some() {
        waiting.volumes = newer.volumes;
    }
    waiting.away = newer.away.or(waiting.away);
    if newer.conditions.is_some() {
        waiting.conditions = newer.conditions;
    }
    if newer.node_problems.is_some() {
        waiting.node_problems = newer.node_problems;
    }
}
