//! Jobs: pods that run to completion, and what is remembered of their runs.

use super::{Moment, PodRun, PodUid, TemplateHash};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The label by which the pods of a Job are found.
pub const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

/// The label and annotation that say which index of its Job a pod works on.
pub const JOB_INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";

/// `spec` of a `batch/v1 Job`, beside what every workload has: `parallelism` is its `replicas`, `suspend` its `paused`.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/job/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Names the run: the hash of the template alone. A changed template is a new run; changed configuration is not, and is
    /// what pods see that start from then on.
    pub run: TemplateHash,
    /// How many pods must succeed; `None` for a work queue, where one success ends the Job once all have ended.
    pub completions: Option<u32>,
    /// Whether each completion has an index of its own.
    pub indexed: bool,
    /// So many failures are put up with.
    pub backoff_limit: u32,
    /// So many failures of one index are put up with.
    pub backoff_limit_per_index: Option<u32>,
    /// So many failed indexes are put up with.
    pub max_failed_indexes: Option<u32>,
    /// Seconds from the start after which the Job has failed.
    pub active_deadline_seconds: Option<u64>,
    /// Seconds after its end in which its pods (and one that a CronJob made: the Job) are kept.
    pub ttl_seconds_after_finished: Option<u32>,
    /// `podFailurePolicy.rules`: the first that matches a failed pod says what follows.
    pub failure_rules: Vec<FailureRule>,
    /// `successPolicy.rules`: the first that holds ends the Job.
    pub success_rules: Vec<SuccessRule>,
}

/// `podFailurePolicy.rules[]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureRule {
    /// What follows.
    pub action: FailureAction,
    /// Holds for the exit codes of containers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_exit_codes: Option<ExitCodes>,
    /// Holds for pods that were disrupted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub on_pod_conditions: Vec<PodConditionPattern>,
}

/// What follows from a failed pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    /// The whole Job has failed.
    FailJob,
    /// The index of the pod has failed.
    FailIndex,
    /// It is replaced and not counted.
    Ignore,
    /// It is counted as any.
    Count,
}

/// `onExitCodes`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitCodes {
    /// Only of this container.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container_name: Option<String>,
    /// `In` or `NotIn`.
    pub operator: String,
    /// The codes.
    pub values: Vec<i32>,
}

/// `onPodConditions[]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodConditionPattern {
    /// `DisruptionTarget`
    pub r#type: String,
}

/// `successPolicy.rules[]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuccessRule {
    /// Among these indexes; all, if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub succeeded_indexes: Option<IndexSet>,
    /// So many must have succeeded; all of the set, if absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub succeeded_count: Option<u32>,
}

/// What is remembered of a Job: cluster memory, so that what has run is not run again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobRun {
    /// The run that this is about, see [`JobSpec::run`].
    pub run: Option<TemplateHash>,
    /// The template hashes of its pods: more than one if configuration changed meanwhile.
    pub templates: BTreeSet<TemplateHash>,
    /// When it began.
    #[serde(with = "super::time::rfc3339", skip_serializing_if = "Option::is_none")]
    pub started: Option<Moment>,
    /// Pods that succeeded.
    pub succeeded: u32,
    /// Pods that failed.
    pub failed: u32,
    /// Indexes that are done.
    #[serde(skip_serializing_if = "IndexSet::is_empty")]
    pub succeeded_indexes: IndexSet,
    /// Indexes that have failed for good.
    #[serde(skip_serializing_if = "IndexSet::is_empty")]
    pub failed_indexes: IndexSet,
    /// How often each index failed that is neither, where each has a limit of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub index_failures: BTreeMap<u32, u32>,
    /// Pods that are in the numbers above, and may still be found.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub counted: BTreeSet<PodUid>,
    /// How it ended, once it has. From then on nothing of it is ever started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why nobody knows whether it has run; nothing of it is started then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobOutcome {
    /// Whether it is complete; else it has failed.
    pub complete: bool,
    /// Kubernetes' word: `CompletionsReached`, `BackoffLimitExceeded`, `DeadlineExceeded` …
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// When.
    #[serde(with = "super::time::rfc3339_always")]
    pub at: Moment,
}

/// A set of indexes. Its text is Kubernetes': `0-3,5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct IndexSet(BTreeSet<u32>);

impl IndexSet {
    /// Reads `0-3,5`. `None` if it is not such a text, or names more than `count_max` indexes.
    #[must_use]
    pub fn parse(text: &str, count_max: u32) -> Option<Self> {
        let mut set = BTreeSet::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            let is_short = last.checked_sub(first)? < count_max;
            if !is_short {
                return None;
            }
            set.extend(first..=last);
        }
        (set.len() <= count_max as usize).then_some(Self(set))
    }

    /// Adds an index. Returns whether it is new.
    pub fn insert(&mut self, index: u32) -> bool {
        self.0.insert(index)
    }

    /// Whether it has an index.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    /// The indexes, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for IndexSet {
    fn from_iter<T: IntoIterator<Item = u32>>(indexes: T) -> Self {
        Self(indexes.into_iter().collect())
    }
}

impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl Serialize for IndexSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IndexSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        IndexSet::parse(&text, JobSpec::INDEXES_MAX)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a list of indexes such as 0-3,5")))
    }
}

impl JobRun {
    /// True if no pod of it is known to have ended.
    #[must_use]
    pub fn is_untried(&self) -> bool {
        self.outcome.is_none() && self.doubt.is_none() && self.succeeded == 0 && self.failed == 0 && self.counted.is_empty()
    }
}

impl JobSpec {
    /// The most completions of an indexed Job, as in Kubernetes.
    pub const INDEXES_MAX: u32 = 100_000;

    /// How many indexes there are.
    #[must_use]
    pub fn indexes(&self) -> u32 {
        if self.indexed { self.completions.unwrap_or(0) } else { 0 }
    }
}

impl PodRun {
    /// The name of a pod of a Job: `<job>-<tail>`, and with its index in between if it has one, as Kubernetes has them.
    #[must_use]
    pub fn job_pod_name(job: &str, index: Option<u32>, uid: &PodUid) -> String {
        match index {
            Some(index) => format!("{job}-{index}-{}", uid.tail()),
            None => format!("{job}-{}", uid.tail()),
        }
    }

    /// Labels (and annotations) that this pod has beside those of its template.
    #[must_use]
    pub fn own_labels(&self) -> BTreeMap<String, String> {
        self.job_index().map(|index| (JOB_INDEX_LABEL.to_owned(), index.to_string())).into_iter().collect()
    }

    /// The index of its Job that this pod works on. Its name says so: the slots of other Jobs mean nothing to anybody.
    #[must_use]
    pub fn job_index(&self) -> Option<u32> {
        if self.workload.kind != super::Kind::Job {
            return None;
        }
        let (index, _) = self.name.strip_prefix(&self.workload.name)?.strip_prefix('-')?.split_once('-')?;
        index.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectKey, Revision};
    use proptest::prelude::*;
    use uuid::Uuid;

    #[test]
    fn indexes_are_written_as_kubernetes_writes_them() {
        for (indexes, text) in
            [(&[][..], ""), (&[3], "3"), (&[1, 2], "1,2"), (&[1, 2, 3, 5], "1-3,5"), (&[0, 2, 3, 4, 8, 9, 10], "0,2-4,8-10")]
        {
            let set: IndexSet = indexes.iter().copied().collect();
            assert_eq!(set.to_string(), text);
            assert_eq!(IndexSet::parse(text, 100), Some(set));
        }
        for wrong in ["a", "3-1", "1-", "-1", "1,,2", "0-4000000000"] {
            assert_eq!(IndexSet::parse(wrong, 100), None, "{wrong}");
        }
    }

    #[test]
    fn the_index_of_a_pod_is_in_its_name() {
        let run = |kind, name: &str, pod: String| PodRun {
            uid: PodUid(Uuid::from_u128(1)),
            name: pod,
            workload: ObjectKey::new(kind, "shop", name),
            slot: 4,
            hash: TemplateHash::new("a"),
            revision: Revision::new("r"),
            images: BTreeMap::new(),
        };
        let uid = PodUid(Uuid::from_u128(1));
        let indexed = PodRun::job_pod_name("sum-3", Some(4), &uid);
        assert_eq!(run(Kind::Job, "sum-3", indexed).job_index(), Some(4));
        let plain = PodRun::job_pod_name("sum-3", None, &uid);
        assert_eq!(run(Kind::Job, "sum-3", plain).job_index(), None);
        assert_eq!(run(Kind::Deployment, "sum", "sum-4-bbbbb".to_owned()).job_index(), None);
    }

    proptest! {
        #[test]
        fn a_set_of_indexes_reads_back(indexes in proptest::collection::btree_set(0_u32..300, 0..40)) {
            let set: IndexSet = indexes.into_iter().collect();
            prop_assert_eq!(IndexSet::parse(&set.to_string(), 300), Some(set));
        }
    }
}
