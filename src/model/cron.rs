//! CronJobs: schedules, and the Jobs that they make.
//!
//! A schedule reads as Kubernetes reads it (`robfig/cron`, `ParseStandard`): five fields, with lists, ranges, steps and English
//! names, or a macro such as `@hourly`. Where day of month and day of week are both restricted, one of them is enough.
//! Times that a change of the clock leaves out are left out, and those that it repeats are repeated.

use super::{
    Body, JOB_NAME_LABEL, Kind, Meta, Moment, Object, ObjectKey, PodSnapshot, Strategy, TemplateHash, Workload, object_uid,
};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// A schedule that names no day within so many days never comes: 29 February is at most eight years away.
const DAYS_MAX: u32 = 8 * 366;

/// When a CronJob is due: the bits of the numbers that each field has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both days must fit: one of them is not restricted.
    both_days: bool,
}

/// A field: its name, its bounds, and the names of its numbers from the lower bound on.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of month", least: 1, most: 31, names: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of week", least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("TZ=") {
            return Err("must not name a time zone: write spec.timeZone".to_owned());
        }
        let spelt = MACROS.iter().find(|(name, _)| *name == text).map_or(text, |(_, fields)| fields);
        let parts: Vec<&str> = spelt.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!("must have five fields or be a macro such as @hourly, not {text:?}"));
        };
        let bits = |index: usize, part: &str| FIELDS[index].bits(part);
        Ok(Self {
            text: text.to_owned(),
            minutes: bits(0, minute)?,
            hours: bits(1, hour)?,
            days: bits(2, day)?,
            months: bits(3, month)?,
            weekdays: bits(4, weekday)?,
            both_days: is_star(day) || is_star(weekday),
        })
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `after`; `None` if there is none.
    #[must_use]
    pub fn next(&self, after: Moment, zone: &TimeZone) -> Option<Moment> {
        let start = timestamp(after)?.to_zoned(zone.clone()).date();
        // A change of the clock may repeat the end of the day before.
        let mut day = start.yesterday().ok()?;
        for _ in 0..DAYS_MAX {
            if self.has_day(day)
                && let Some(found) = self.next_of_day(day, after, zone)
            {
                return Some(found);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, day: Date) -> bool {
        let has = |bits: u64, number: i8| bits >> number & 1 == 1;
        let in_month = has(self.days, day.day());
        let in_week = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        has(self.months, day.month()) && if self.both_days { in_month && in_week } else { in_month || in_week }
    }

    fn next_of_day(&self, day: Date, after: Moment, zone: &TimeZone) -> Option<Moment> {
        let numbers = |bits: u64, most: i8| (0..=most).filter(move |number| bits >> number & 1 == 1);
        let mut earliest: Option<Moment> = None;
        for (hour, minute) in numbers(self.hours, 23).flat_map(|hour| numbers(self.minutes, 59).map(move |minute| (hour, minute)))
        {
            let times = instants(day.at(hour, minute, 0, 0), zone);
            if earliest.is_some_and(|found| times.iter().all(|time| *time > found)) && !times.is_empty() {
                break;
            }
            earliest = times.into_iter().filter(|time| *time > after).chain(earliest).min();
        }
        earliest
    }
}

/// When a clock on the wall shows this: once as a rule, never where the clock leaps ahead, twice where it falls back.
fn instants(time: DateTime, zone: &TimeZone) -> Vec<Moment> {
    let offsets = match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Gap { .. } => Vec::new(),
        AmbiguousOffset::Fold { before, after } => vec![before, after],
    };
    let stamps = offsets.into_iter().filter_map(|offset| offset.to_timestamp(time).ok());
    stamps.filter_map(|stamp| u64::try_from(stamp.as_millisecond()).ok().map(Moment)).collect()
}

fn timestamp(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(moment.0).ok()?).ok()
}

fn is_star(part: &str) -> bool {
    part.split(',').any(|item| matches!(item, "*" | "?" | "*/1" | "?/1"))
}

impl Field {
    fn bits(&self, part: &str) -> Result<u64, String> {
        part.split(',').try_fold(0, |bits, item| Ok(bits | self.item(item)?))
    }

    fn item(&self, item: &str) -> Result<u64, String> {
        let wrong = || format!("has {item:?} as its {}, which must be from {} to {}", self.name, self.least, self.most);
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let step: usize = step.map_or(Ok(1), str::parse).ok().filter(|step| *step > 0).ok_or_else(wrong)?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.least, self.most),
            Some((first, last)) => (self.number(first).ok_or_else(wrong)?, self.number(last).ok_or_else(wrong)?),
            None => {
                let first = self.number(range).ok_or_else(wrong)?;
                (first, if item.contains('/') { self.most } else { first })
            }
        };
        if first > last {
            return Err(wrong());
        }
        Ok((first..=last).step_by(step).fold(0, |bits, number| bits | 1 << number))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().zip(self.least..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| number).or_else(|| text.parse().ok())?;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

/// The time zone of this name, from the database that is built in: every host and every CI sees the same. UTC without a name.
#[must_use]
pub fn time_zone(name: Option<&str>) -> Option<TimeZone> {
    match name {
        None => Some(TimeZone::UTC),
        Some(name) => TimeZoneDatabase::bundled().get(name).ok(),
    }
}

/// What happens when a CronJob is due and an earlier Job of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConcurrencyPolicy {
    /// Both run.
    #[default]
    Allow,
    /// The earlier one goes on, and the new one waits.
    Forbid,
    /// The earlier one is removed.
    Replace,
}

/// A `batch/v1 CronJob`: <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJob {
    /// When it is due.
    pub schedule: Schedule,
    /// The time zone of its schedule; UTC if it names none.
    pub time_zone: Option<String>,
    /// What happens while an earlier Job runs.
    pub concurrency: ConcurrencyPolicy,
    /// Seconds after which a Job that could not be started is missed.
    pub starting_deadline_seconds: Option<u64>,
    /// Nothing is started.
    pub suspend: bool,
    /// How many complete Jobs are kept.
    pub successful_kept: u32,
    /// How many failed Jobs are kept.
    pub failed_kept: u32,
    /// Labels and annotations of its Jobs.
    pub job_meta: Meta,
    /// What its Jobs are, but for their names.
    pub job: Workload,
}

/// What is remembered of a CronJob: cluster memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronRun {
    /// Nothing that was due before is made up for.
    #[serde(with = "super::time::rfc3339_always")]
    pub since: Moment,
    /// When the last Job was due.
    #[serde(with = "super::time::rfc3339", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Moment>,
}

/// Who made an object that is not in git, and when it was due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeBy {
    /// The CronJob, in the namespace of the Job.
    pub cron_job: String,
    /// When it was due.
    #[serde(with = "super::time::rfc3339_always")]
    pub due: Moment,
}

impl MadeBy {
    /// The CronJob.
    #[must_use]
    pub fn owner(&self, namespace: &str) -> ObjectKey {
        ObjectKey::new(Kind::CronJob, namespace, self.cron_job.clone())
    }

    /// Reads it from the key of a Job, if a CronJob may have made it: `<cron>-<minutes since 1970>`, as in Kubernetes.
    #[must_use]
    pub fn of_job(key: &ObjectKey) -> Option<Self> {
        let (cron_job, minutes) = key.name.rsplit_once('-').filter(|_| key.kind == Kind::Job)?;
        let due = Moment(minutes.parse::<u64>().ok()?.checked_mul(60_000)?);
        Some(Self { cron_job: cron_job.to_owned(), due })
    }
}

impl Object {
    /// The Job that this CronJob makes for the time `due`; `None` if it is no CronJob. A function of both alone, so that it is made
    /// again after a restart as it was.
    #[must_use]
    pub fn made_job(&self, due: Moment) -> Option<Object> {
        let cron = self.cron_job()?;
        let key = ObjectKey::new(Kind::Job, self.key.namespace.clone(), format!("{}-{}", self.key.name, due.0 / 60_000));
        let mut meta = cron.job_meta.clone();
        meta.annotations.insert("batch.kubernetes.io/cronjob-scheduled-timestamp".to_owned(), due.rfc3339());
        let spec = self.written.pointer("/spec/jobTemplate/spec").cloned().unwrap_or_default();
        let written = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": key.name, "namespace": key.namespace, "labels": meta.labels, "annotations": meta.annotations,
            },
            "spec": spec,
        });
        let body = Body::Workload(named(&cron.job, &key));
        Some(Object { key, meta, source: self.source.clone(), written: Arc::new(written), fingerprint: [0; 32], body })
    }
}

/// A Job of a CronJob: its pods have its labels, so its template has a hash of its own.
fn named(job: &Workload, key: &ObjectKey) -> Workload {
    let of_name = |hash: &TemplateHash| {
        let hex = blake3::hash(format!("{hash}\n{}", key.name).as_bytes()).to_hex();
        TemplateHash::new(&hex.as_str()[..hash.as_str().len().min(hex.len())])
    };
    let mut template = job.snapshot.template.clone();
    let uid = object_uid(key).to_string();
    for (label, value) in [
        (JOB_NAME_LABEL, &key.name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &key.name),
        ("controller-uid", &uid),
    ] {
        template.metadata.labels.insert(label.to_owned(), value.clone());
    }
    let snapshot = PodSnapshot { hash: of_name(&job.snapshot.hash), template, config: Arc::clone(&job.snapshot.config) };
    let mut made = Workload { snapshot: Arc::new(snapshot), ..job.clone() };
    if let Strategy::Job(spec) = &mut made.strategy {
        spec.run = of_name(&spec.run);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Moment {
        let stamp: Timestamp = text.parse().unwrap();
        Moment(u64::try_from(stamp.as_millisecond()).unwrap())
    }

    /// The next times after a time, in a zone.
    fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule).unwrap();
        let zone = time_zone(Some(zone)).unwrap();
        let mut now = at(after);
        for wanted in expected {
            now = schedule.next(now, &zone).unwrap();
            assert_eq!(now.rfc3339(), *wanted, "{schedule:?}");
        }
    }

    #[test]
    fn schedules_come_when_kubernetes_says() {
        check("*/15 * * * *", "UTC", "2026-01-01T00:07:30Z", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]);
        check("0 0 13 * 5", "UTC", "2026-02-07T00:00:00Z", &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"]);
        check("0 0 */2 * 1", "UTC", "2026-06-01T00:00:00Z", &["2026-06-03T00:00:00Z", "2026-06-05T00:00:00Z"]);
        check("0 3 * * mon-fri", "UTC", "2026-05-29T03:00:00Z", &["2026-06-01T03:00:00Z"]);
        check(
            "5/20 1 1 jan *",
            "UTC",
            "2026-01-01T01:05:00Z",
            &["2026-01-01T01:25:00Z", "2026-01-01T01:45:00Z", "2027-01-01T01:05:00Z"],
        );
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("@hourly", "UTC", "2026-01-01T00:00:00Z", &["2026-01-01T01:00:00Z"]);
        check("@weekly", "UTC", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]);
    }

    #[test]
    fn a_time_zone_moves_with_its_clock() {
        check("0 9 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"]);
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z"]);
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"],
        );
        assert!(time_zone(Some("Mars/Olympus")).is_none());
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, part) in [
            ("* * * *", "five fields"),
            ("60 * * * *", "minute, which must be from 0 to 59"),
            ("* * * * 7", "day of week, which must be from 0 to 6"),
            ("* * 0 * *", "day of month"),
            ("* * * foo *", "month"),
            ("5-1 * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("TZ=UTC * * * * *", "spec.timeZone"),
            ("@reboot", "five fields"),
        ] {
            let found = Schedule::parse(text).unwrap_err();
            assert!(found.contains(part), "{text}: {found}");
        }
        assert_eq!(Schedule::parse("0 0 31 2 *").unwrap().next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
    }

    proptest! {
        #[test]
        fn the_next_time_fits_and_none_is_passed_over(minute in 0_u64..60, hour in 0_u64..24, start in 0_u64..4_000_000_000_000) {
            let schedule = Schedule::parse(&format!("{minute} {hour} * * *")).unwrap();
            let next = schedule.next(Moment(start), &TimeZone::UTC).unwrap();
            prop_assert_eq!(next.0 / 60_000 % 1440, hour * 60 + minute);
            prop_assert!(next.0 > start && next.0 - start <= 86_400_000);
        }
    }
}
