//! Autoscalers: what they are told, and what they found and decided.

use super::{Amounts, Moment, ObjectKey, Quantity};
use std::fmt;

/// A HorizontalPodAutoscaler, after defaulting: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    /// The kind of its target: `Deployment`, `Rollout`, `StatefulSet` or `ReplicaSet`.
    pub target_kind: String,
    /// The name of its target, in its namespace.
    pub target_name: String,
    /// Never fewer.
    pub min_replicas: u32,
    /// Never more.
    pub max_replicas: u32,
    /// What it looks at, at least one thing. The one that asks for the most pods decides.
    pub metrics: Vec<ScaleMetric>,
    /// How fast it adds pods.
    pub scale_up: ScaleRules,
    /// How fast it takes pods away.
    pub scale_down: ScaleRules,
}

/// One thing that an autoscaler looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleMetric {
    /// What is measured.
    pub resource: ScaledResource,
    /// The container that is looked at; all of a pod together if there is none.
    pub container: Option<String>,
    /// What it should be on average.
    pub target: MetricTarget,
}

/// What agents measure. Amounts of cpu are thousandths of a core, those of memory bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScaledResource {
    /// Cpu since the sample before.
    Cpu,
    /// The working set: what would be missing if it were not there.
    Memory,
}

/// The average that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricTarget {
    /// Of what is requested, in percent.
    Utilization(u32),
    /// Per pod, in the unit of the resource.
    AverageValue(u64),
}

/// `behavior.scaleUp` or `behavior.scaleDown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleRules {
    /// Seconds over which the most careful recommendation holds.
    pub window_seconds: u32,
    /// Which policy counts.
    pub select: SelectPolicy,
    /// At least one.
    pub policies: Vec<ScalePolicy>,
    /// By how many thousandths usage over target may differ from 1 without any change.
    pub tolerance_milli: u32,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the most.
    Max,
    /// The one that allows the least.
    Min,
    /// None: nothing changes in this direction.
    Disabled,
}

/// How much may change in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalePolicy {
    /// How much.
    pub change: ScaleChange,
    /// In how many seconds.
    pub period_seconds: u32,
}

/// How much may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleChange {
    /// So many pods.
    Pods(u32),
    /// So many percent of the pods at the start of the period.
    Percent(u32),
}

/// `--horizontal-pod-autoscaler-tolerance`
const TOLERANCE_MILLI: u32 = 100;

impl ScaleRules {
    /// Kubernetes' default on the way up: at once, 4 pods or 100 % in 15 s, whichever is more.
    #[must_use]
    pub fn up() -> Self {
        let policies = [ScaleChange::Pods(4), ScaleChange::Percent(100)];
        Self {
            window_seconds: 0,
            select: SelectPolicy::Max,
            policies: policies.map(|change| ScalePolicy { change, period_seconds: 15 }).to_vec(),
            tolerance_milli: TOLERANCE_MILLI,
        }
    }

    /// Kubernetes' default on the way down: only what five minutes agree on, but that all at once.
    #[must_use]
    pub fn down() -> Self {
        let policies = vec![ScalePolicy { change: ScaleChange::Percent(100), period_seconds: 15 }];
        Self { window_seconds: 300, select: SelectPolicy::Max, policies, tolerance_milli: TOLERANCE_MILLI }
    }
}

impl ScaleMetric {
    /// The cpu of whole pods, in percent of what they request.
    #[must_use]
    pub fn cpu(percent: u32) -> Self {
        Self { resource: ScaledResource::Cpu, container: None, target: MetricTarget::Utilization(percent) }
    }
}

impl ScaledResource {
    /// As manifests name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ScaledResource::Cpu => "cpu",
            ScaledResource::Memory => "memory",
        }
    }

    /// How much of it is among these.
    #[must_use]
    pub fn of(self, amounts: Amounts) -> u64 {
        match self {
            ScaledResource::Cpu => amounts.cpu_milli,
            ScaledResource::Memory => amounts.memory_bytes,
        }
    }

    /// An amount of it, as Kubernetes writes one.
    #[must_use]
    pub fn quantity(self, amount: u64) -> Quantity {
        match self {
            ScaledResource::Cpu => Quantity::from_milli(amount.into()),
            ScaledResource::Memory => Quantity::from_milli(i128::from(amount) * 1000),
        }
    }
}

/// `cpu`, or `cpu of container app`
impl fmt::Display for ScaleMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource.as_str())?;
        self.container.iter().try_for_each(|name| write!(f, " of container {name}"))
    }
}

/// An autoscaler as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoscalerView {
    /// What it scales.
    pub target: ObjectKey,
    /// When it last changed the number of pods.
    pub last_scale: Option<Moment>,
    /// What it decided at its last look; `None` before the first.
    pub decision: Option<ScaleDecision>,
}

/// What an autoscaler found and decided at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleDecision {
    /// The number of pods.
    pub replicas: u32,
    /// What it follows from.
    pub basis: ScaleBasis,
    /// Whether recommendations of its window made another number of it.
    pub stabilized: bool,
    /// What else made another number of it.
    pub limit: Option<ScaleLimit>,
    /// What each metric says, in the order in which they are written.
    pub readings: Vec<MetricReading>,
}

/// What a number of pods follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleBasis {
    /// `spec.replicas` is 0, which switches autoscaling off.
    Disabled,
    /// It was out of bounds, and is put back without a look at the metrics.
    Bounds,
    /// The metric of this index, which asks for the most pods.
    Metric(usize),
    /// Nothing changes, as the metric of this index says nothing.
    Silence(usize),
}

/// What keeps a number of pods from being as the metrics want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleLimit {
    /// The policies of `scaleUp`.
    Rise,
    /// The policies of `scaleDown`.
    Fall,
    /// `maxReplicas`
    Maximum,
    /// `minReplicas`
    Minimum,
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricReading {
    /// How much of it is in use; `None` if no sample counts.
    pub usage: Option<MetricUsage>,
    /// How many pods it asks for, or why it does not.
    pub wish: Result<u32, NoReading>,
}

/// What is in use, over the pods whose samples count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricUsage {
    /// Per pod, in the unit of the resource.
    pub average: u64,
    /// In percent of what is requested, where that is known.
    pub percent: Option<u32>,
}

/// Why a metric asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReading {
    /// There is no fresh sample of a pod that has been up for long enough.
    NoSamples,
    /// This container requests nothing of it, so there is no percentage.
    NoRequest(String),
    /// Pods have no container of this name.
    NoContainer(String),
}

/// As a sentence without its end.
impl fmt::Display for NoReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoReading::NoSamples => f.write_str("there is no fresh sample of a pod that has been up for long enough"),
            NoReading::NoRequest(container) => write!(f, "container {container} requests none, so there is no percentage"),
            NoReading::NoContainer(container) => write!(f, "a pod has no container {container}"),
        }
    }
}

impl ScaleMetric {
    /// What is in use and what is wanted, as kubectl writes it: `cpu: 120%/60%`, `memory of container app: <unknown>/100Mi`.
    #[must_use]
    pub fn compared(&self, usage: Option<MetricUsage>) -> String {
        let (used, wanted) = match self.target {
            MetricTarget::Utilization(percent) => {
                (usage.and_then(|usage| usage.percent).map(|used| format!("{used}%")), format!("{percent}%"))
            }
            MetricTarget::AverageValue(amount) => {
                let written = |amount| self.resource.quantity(amount).to_string();
                (usage.map(|usage| written(usage.average)), written(amount))
            }
        };
        format!("{self}: {}/{wanted}", used.as_deref().unwrap_or("<unknown>"))
    }
}

impl ScaleDecision {
    /// Why it is this number, as a clause: `cpu: 120%/60%, as fast as scaleUp allows`.
    #[must_use]
    pub fn because(&self, autoscaler: &Autoscaler) -> String {
        let at = |index: usize| autoscaler.metrics.get(index).zip(self.readings.get(index));
        let mut clause = match self.basis {
            ScaleBasis::Disabled => "replicas is 0, which switches autoscaling off".to_owned(),
            ScaleBasis::Bounds if self.replicas == autoscaler.max_replicas => "there were more than maxReplicas".to_owned(),
            ScaleBasis::Bounds => "there were fewer than minReplicas".to_owned(),
            ScaleBasis::Metric(index) => at(index).map_or_else(String::new, |(metric, reading)| metric.compared(reading.usage)),
            ScaleBasis::Silence(index) => match at(index) {
                Some((metric, MetricReading { wish: Err(why), .. })) => format!("{metric} says nothing: {why}"),
                Some(_) | None => String::new(),
            },
        };
        if let Some(limit) = self.limited() {
            clause.push_str(", ");
            clause.push_str(limit);
        }
        clause
    }

    /// Why it is not what the metrics ask for; `None` if it is.
    #[must_use]
    pub fn hindrance(&self, autoscaler: &Autoscaler) -> Option<String> {
        match self.basis {
            ScaleBasis::Silence(_) | ScaleBasis::Disabled => Some(self.because(autoscaler)),
            ScaleBasis::Metric(_) | ScaleBasis::Bounds => self.limited().map(str::to_owned),
        }
    }

    fn limited(&self) -> Option<&'static str> {
        match self.limit {
            _ if self.stabilized => Some("and its window holds the number back"),
            Some(ScaleLimit::Rise) => Some("as fast as scaleUp allows"),
            Some(ScaleLimit::Fall) => Some("as fast as scaleDown allows"),
            Some(ScaleLimit::Maximum) => Some("and there may be no more than maxReplicas"),
            Some(ScaleLimit::Minimum) => Some("and there may be no fewer than minReplicas"),
            None => None,
        }
    }
}
