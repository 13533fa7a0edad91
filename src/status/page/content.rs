//! What the page shows, as texts that the template only has to place.

use super::super::pods::{self, ShownPod};
use super::super::words::{self, age};
use super::bar::Bar;
use crate::model::{
    Health, Kind, Moment, NodeView, ObjectKey, Outcome, PodPhase, ProblemView, Progress, ReconcileView, UnitName, UnitState,
    View, WaitingOn, WorkloadView,
};

/// More workloads than this are counted, not shown: the page stays one that a browser can hold.
const WORKLOADS_MAX: usize = 250;
/// More pods of one workload than this are counted, not shown.
const PODS_MAX: usize = 60;
/// More reconciles than this are not shown; the audit branch has them all.
const RECONCILES_MAX: usize = 20;

/// How well a thing is. It is always said by a glyph and a word too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Bad,
    Quiet,
}

/// A state as a chip: a glyph, a word and a colour.
pub(super) struct Chip {
    /// The class in the style sheet.
    pub(super) css: &'static str,
    /// The glyph.
    pub(super) glyph: &'static str,
    /// The word.
    pub(super) word: String,
}

impl Chip {
    fn new(tone: Tone, word: impl Into<String>) -> Chip {
        let (css, glyph) = match tone {
            Tone::Good => ("good", "✓"),
            Tone::Busy => ("busy", "◐"),
            Tone::Bad => ("bad", "✕"),
            Tone::Quiet => ("quiet", "–"),
        };
        Chip { css, glyph, word: word.into() }
    }
}

/// The whole page.
pub(super) struct Content<'a> {
    pub(super) title: String,
    pub(super) view: &'a View,
    pub(super) revision: String,
    pub(super) health: Chip,
    pub(super) health_sentence: String,
    pub(super) as_of: String,
    pub(super) figures: Vec<Figure>,
    pub(super) problems: Vec<ShownProblem<'a>>,
    pub(super) namespaces: Vec<Namespace<'a>>,
    pub(super) more_workloads: usize,
    pub(super) services: Vec<Service>,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) reconciles: Vec<Reconcile<'a>>,
    pub(super) units: Vec<Unit<'a>>,
}

/// A number at the top.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) css: &'static str,
    pub(super) target: &'static str,
}

/// A problem with its place.
pub(super) struct ShownProblem<'a> {
    pub(super) view: &'a ProblemView,
    pub(super) glyph: &'static str,
    pub(super) css: &'static str,
    pub(super) word: &'static str,
    pub(super) place: String,
    pub(super) path: &'a str,
    /// What the manifest's problem says, where it is not what the problem itself says.
    pub(super) cause: &'a str,
    pub(super) hints: Vec<&'a str>,
}

/// The workloads of a namespace.
pub(super) struct Namespace<'a> {
    pub(super) name: &'a str,
    pub(super) workloads: Vec<Workload<'a>>,
}

/// A workload.
pub(super) struct Workload<'a> {
    pub(super) id: String,
    pub(super) key: &'a ObjectKey,
    pub(super) chip: Chip,
    pub(super) sentence: String,
    /// What its autoscaler does, if it has one.
    pub(super) scaling: Option<String>,
    pub(super) bar: Bar,
    pub(super) images: String,
    pub(super) source: String,
    pub(super) open: bool,
    pub(super) summary: String,
    pub(super) pods: Vec<Pod<'a>>,
    pub(super) more_pods: usize,
}

/// A pod.
pub(super) struct Pod<'a> {
    pub(super) name: &'a str,
    pub(super) chip: Chip,
    pub(super) message: String,
    pub(super) ready: String,
    pub(super) restarts: u32,
    pub(super) node: &'a str,
    pub(super) template: &'a str,
    pub(super) age: String,
}

/// A Service.
pub(super) struct Service {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) ports: String,
    pub(super) chip: Chip,
}

/// A node.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) chip: Chip,
    pub(super) pods: usize,
    pub(super) capacity: String,
    pub(super) runtimes: String,
    pub(super) heard: String,
}

/// A reconcile.
pub(super) struct Reconcile<'a> {
    pub(super) id: String,
    pub(super) view: &'a ReconcileView,
    pub(super) chip: Chip,
    pub(super) revision: &'a str,
    pub(super) when: String,
    pub(super) started: String,
    pub(super) took: String,
}

/// A unit.
pub(super) struct Unit<'a> {
    pub(super) name: &'a str,
    pub(super) chip: Chip,
    pub(super) sentence: String,
}

impl<'a> Content<'a> {
    /// The page of a view. `now` is for ages only.
    pub(super) fn of(view: &'a View, now: Moment) -> Self {
        let shown = pods::all(view);
        let (word, health_sentence) = words::health(&view.health);
        let tone = match view.health {
            Health::Acting => Tone::Good,
            Health::Starting => Tone::Busy,
            Health::Holding(_) | Health::StoodDown(_) => Tone::Bad,
        };
        let problems = view.problems.iter().filter(|problem| !is_warning(problem)).count();
        let title = if problems == 0 { view.cluster.clone() } else { format!("({problems}) {}", view.cluster) };
        Content {
            title,
            view,
            revision: view.revision.as_ref().map_or_else(|| "none yet".into(), |revision| revision.short().to_owned()),
            health: Chip::new(tone, word.to_lowercase()),
            health_sentence,
            as_of: if view.at == Moment(0) { String::new() } else { view.at.rfc3339() },
            figures: figures(view, &shown),
            problems: view.problems.iter().map(shown_problem).collect(),
            namespaces: namespaces(view, &shown, now),
            more_workloads: view.workloads.len().saturating_sub(WORKLOADS_MAX),
            services: view.services.keys().map(|key| service(view, key)).collect(),
            nodes: view.nodes.iter().map(|(name, node)| shown_node(name.as_str(), node, now)).collect(),
            reconciles: view.reconciles.iter().take(RECONCILES_MAX).map(|one| reconcile(one, now)).collect(),
            units: view.units.iter().map(|(name, state)| unit(name, state)).collect(),
        }
    }
}

fn figures(view: &View, shown: &[ShownPod<'_>]) -> Vec<Figure> {
    let share = |name, good: usize, all: usize, target| Figure {
        name,
        value: format!("{good}/{all}"),
        css: if good == all { "good" } else { "busy" },
        target,
    };
    let settled = view.workloads.iter().filter(|(key, state)| tone(key, state) == Tone::Good).count();
    let staying: Vec<_> = shown.iter().filter(|pod| !pod.is_stopping() && pod.phase() != PodPhase::Succeeded).collect();
    let ready = staying.iter().filter(|pod| pod.is_ready()).count();
    let problems = view.problems.len();
    let heard = view.nodes.values().filter(|node| node.ready).count();
    let mut figures = vec![
        Figure {
            name: if problems == 1 { "problem" } else { "problems" },
            value: problems.to_string(),
            css: match (problems, view.problems.iter().all(is_warning)) {
                (0, _) => "good",
                (_, true) => "busy",
                (_, false) => "bad",
            },
            target: if problems == 0 { "#workloads" } else { "#problems" },
        },
        share("workloads up to date", settled, view.workloads.len(), "#workloads"),
        share("pods ready", ready, staying.len(), "#workloads"),
        share("nodes heard", heard, view.nodes.len(), "#nodes"),
    ];
    if view.audit_queued > 0 {
        figures.push(Figure {
            name: "audit records waiting to be pushed",
            value: view.audit_queued.to_string(),
            css: "busy",
            target: "#reconciles",
        });
    }
    figures
}

/// True for what works, and differently from what its author may expect.
fn is_warning(view: &ProblemView) -> bool {
    view.problem.as_ref().is_some_and(|problem| !problem.is_error())
}

fn shown_problem(view: &ProblemView) -> ShownProblem<'_> {
    let cause = view.problem.as_ref();
    let place = cause.map(|cause| match (cause.at.line, cause.at.column) {
        (0, _) => cause.at.file.clone(),
        (line, 0) => format!("{}:{line}", cause.at.file),
        (line, column) => format!("{}:{line}:{column}", cause.at.file),
    });
    let (glyph, css, word) = if is_warning(view) { ("!", "busy", "warning") } else { ("✕", "bad", "problem") };
    let mut hints: Vec<&str> = cause.and_then(|cause| cause.hint.as_deref()).into_iter().chain(view.hint.as_deref()).collect();
    hints.dedup();
    ShownProblem {
        view,
        glyph,
        css,
        word,
        place: place.unwrap_or_default(),
        path: cause.map_or("", |cause| &cause.path),
        cause: cause.map(|cause| cause.message.as_str()).filter(|message| *message != view.message).unwrap_or(""),
        hints,
    }
}

fn namespaces<'a>(view: &'a View, shown: &[ShownPod<'a>], now: Moment) -> Vec<Namespace<'a>> {
    let by_workload = pods::by_workload(shown);
    let mut namespaces: Vec<Namespace<'a>> = Vec::new();
    for (key, state) in view.workloads.iter().take(WORKLOADS_MAX) {
        let workload = workload(view, key, state, by_workload.get(key).map_or(&[][..], Vec::as_slice), now);
        match namespaces.last_mut() {
            Some(last) if last.name == key.namespace => last.workloads.push(workload),
            _ => namespaces.push(Namespace { name: &key.namespace, workloads: vec![workload] }),
        }
    }
    namespaces
}

/// A settled rollout whose pods fail is not well either; a Job that is done has no pods to be well.
fn tone(key: &ObjectKey, state: &WorkloadView) -> Tone {
    match &state.progress {
        Progress::Done if key.kind == Kind::Job => Tone::Good,
        Progress::Done if state.available >= state.replicas => Tone::Good,
        Progress::Done | Progress::Stalled(_) => Tone::Bad,
        Progress::Progressing(_) | Progress::Waiting(_) => Tone::Busy,
    }
}

fn workload<'a>(
    view: &'a View,
    key: &'a ObjectKey,
    state: &'a WorkloadView,
    pods: &[&ShownPod<'a>],
    now: Moment,
) -> Workload<'a> {
    let tone = tone(key, state);
    let is_job = key.kind == Kind::Job;
    let word = match &state.progress {
        Progress::Done if is_job => "completed",
        Progress::Waiting(WaitingOn::Completion { .. }) => "running",
        Progress::Stalled(_) if is_job => "failed",
        Progress::Done if tone == Tone::Good => "up to date",
        Progress::Done => "degraded",
        Progress::Progressing(_) => "rolling out",
        Progress::Waiting(_) => "waiting",
        Progress::Stalled(_) => "stalled",
    };
    let object = view.objects.get(key);
    let snapshot = object.and_then(|object| object.snapshot());
    let containers = snapshot.into_iter().flat_map(|snapshot| snapshot.template.spec.lasting_containers());
    let images = containers.map(|one| one.image.clone().unwrap_or_else(|| one.command.join(" ")));
    Workload {
        id: format!("{}-{}-{}", key.namespace, key.kind.as_str(), key.name),
        key,
        chip: Chip::new(tone, word),
        sentence: words::standing(&state.progress).sentence,
        scaling: view.autoscalers.iter().find(|(_, scaler)| scaler.target == *key).and_then(|(key, _)| scaling(view, key)),
        bar: Bar::of(key.kind, state, pods),
        images: images.collect::<Vec<_>>().join(", "),
        source: object.map(|object| format!("{}:{}", object.source.file, object.source.line)).unwrap_or_default(),
        open: tone != Tone::Good,
        summary: if pods.len() == 1 { "1 pod".into() } else { format!("{} pods", pods.len()) },
        pods: pods.iter().take(PODS_MAX).map(|pod| shown_pod(pod, now)).collect(),
        more_pods: pods.len().saturating_sub(PODS_MAX),
    }
}

/// The bounds of an autoscaler, what it looks at, and what is in the way of what it wants.
fn scaling(view: &View, key: &ObjectKey) -> Option<String> {
    let autoscaler = view.objects.get(key)?.autoscaler()?;
    let decision = view.autoscalers.get(key)?.decision.as_ref();
    let usage = |index: usize| decision.and_then(|decision| decision.readings.get(index)?.usage);
    let metrics = autoscaler.metrics.iter().enumerate().map(|(index, metric)| metric.compared(usage(index)));
    let metrics = metrics.collect::<Vec<_>>().join(", ");
    let hindrance = decision.and_then(|decision| decision.hindrance(autoscaler));
    let hindrance = hindrance.map(|words| format!("; {words}")).unwrap_or_default();
    Some(format!("autoscaled between {} and {}: {metrics}{hindrance}", autoscaler.min_replicas, autoscaler.max_replicas))
}

fn shown_pod<'a>(pod: &ShownPod<'a>, now: Moment) -> Pod<'a> {
    let word = pod.word();
    let tone = match word.as_ref() {
        "Running" | "Completed" if pod.is_ready() || word == "Completed" => Tone::Good,
        "Terminating" => Tone::Quiet,
        "CrashLoopBackOff" | "Error" | "Unknown" | "Init:CrashLoopBackOff" | "Init:Error" | "DeadlineExceeded" => Tone::Bad,
        _ => Tone::Busy,
    };
    let (ready, containers) = pod.containers_ready();
    Pod {
        name: pod.name,
        chip: Chip::new(tone, word),
        message: pod.message(),
        ready: format!("{ready}/{containers}"),
        restarts: pod.restarts(),
        node: pod.node.as_str(),
        template: pod.hash.short(),
        age: age(now.since(pod.view.since)),
    }
}

fn service(view: &View, key: &ObjectKey) -> Service {
    let state = view.services.get(key);
    let backends = state.map_or(0, |state| state.backends);
    let spec = view.objects.get(key).and_then(|object| object.service());
    let external = spec.and_then(|spec| spec.external_name.clone());
    let ports = spec
        .into_iter()
        .flat_map(|spec| &spec.ports)
        .map(|port| if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) });
    let word = if backends == 1 { "1 backend".into() } else { format!("{backends} backends") };
    Service {
        name: key.short(),
        address: state
            .and_then(|state| state.address)
            .map(|address| address.to_string())
            .or(external.clone())
            .unwrap_or_else(|| "headless".into()),
        ports: ports.collect::<Vec<_>>().join(", "),
        chip: match external {
            // Nobody here is behind it.
            Some(_) => Chip::new(Tone::Good, "outside"),
            None => Chip::new(if backends == 0 { Tone::Bad } else { Tone::Good }, word),
        },
    }
}

fn shown_node<'a>(name: &'a str, node: &'a NodeView, now: Moment) -> Node<'a> {
    let (tone, word) = match (node.ready, node.heard) {
        (true, _) if node.conditions.disk_pressure.is_some() => (Tone::Bad, "disk full"),
        (true, _) if node.drain.as_ref().is_some_and(|drain| drain.left.is_empty()) => (Tone::Quiet, "drained"),
        (true, _) if node.drain.is_some() => (Tone::Busy, "draining"),
        (true, _) if node.marks.unschedulable => (Tone::Quiet, "cordoned"),
        (true, _) => (Tone::Good, "ready"),
        (false, Some(_)) if node.away_until.is_some() => (Tone::Busy, "away"),
        (false, Some(_)) => (Tone::Bad, "not heard"),
        (false, None) => (Tone::Busy, "awaited"),
    };
    let facts = node.facts.as_ref();
    let runtimes = facts.map(|facts| facts.runtimes.iter().map(|runtime| runtime.as_str()).collect::<Vec<_>>().join(", "));
    let capacity = facts.map(|facts| {
        let cores = facts.capacity.cpu_milli / 1000;
        format!("{cores} cores, {} GiB", facts.capacity.memory_bytes >> 30)
    });
    Node {
        name,
        chip: Chip::new(tone, word),
        pods: node.pods,
        capacity: capacity.unwrap_or_default(),
        runtimes: runtimes.unwrap_or_default(),
        heard: node.heard.map_or_else(|| "not yet".into(), |heard| format!("{} ago", age(now.since(heard)))),
    }
}

fn reconcile(view: &ReconcileView, now: Moment) -> Reconcile<'_> {
    let tone = match view.outcome {
        Outcome::Planned => Tone::Busy,
        Outcome::Converged => Tone::Good,
        Outcome::Superseded => Tone::Quiet,
        Outcome::Failed | Outcome::Blocked | Outcome::Held => Tone::Bad,
    };
    Reconcile {
        id: format!("reconcile-{}-{}", view.started.0, view.outcome),
        view,
        chip: Chip::new(tone, view.outcome.as_str()),
        revision: view.revision.as_ref().map_or("", |revision| revision.short()),
        when: format!("{} ago", age(now.since(view.started))),
        started: view.started.rfc3339(),
        took: format!("{}.{} s", view.duration_ms / 1000, view.duration_ms % 1000 / 100),
    }
}

fn unit<'a>(name: &'a UnitName, state: &UnitState) -> Unit<'a> {
    let problems = state.problems().len();
    let (chip, sentence) = match state {
        UnitState::Loaded { at, .. } if problems == 0 => (Chip::new(Tone::Good, "loaded"), format!("at {}", at.short())),
        UnitState::Loaded { at, .. } => (Chip::new(Tone::Good, "loaded"), format!("at {}, {problems} warnings", at.short())),
        UnitState::Held { at: Some(at), failed, .. } => {
            (Chip::new(Tone::Bad, "held"), format!("at {}, because {} has errors", at.short(), failed.short()))
        }
        UnitState::Held { at: None, failed, .. } => {
            (Chip::new(Tone::Bad, "held"), format!("nothing of it runs yet: {} has errors", failed.short()))
        }
    };
    Unit { name: name.as_str(), chip, sentence }
}
