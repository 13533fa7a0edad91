//! Time as a value. Pure code gets `now: Moment` as an argument; `clock.rs` alone reads the clock.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since the Unix epoch. `clock.rs` sees to it that it never goes backwards within one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with whole seconds, as Kubernetes prints times.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis)
            .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default()
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(rhs)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(rhs)))
    }
}

/// A point in time on the boot clock of one host: milliseconds since it was started, those that it slept through included. It means nothing
/// on another host, and nothing after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootMoment(pub u64);

impl BootMoment {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: BootMoment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for BootMoment {
    type Output = BootMoment;

    fn add(self, rhs: Duration) -> BootMoment {
        BootMoment(self.0.saturating_add(millis(rhs)))
    }
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An optional [`Moment`] as RFC 3339 with milliseconds, for files that people read.
pub mod rfc3339 {
    use super::Moment;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Option<Moment>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => super::rfc3339_always::serialize(moment, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::read_rfc3339(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

/// A [`Moment`] as RFC 3339 with milliseconds.
pub mod rfc3339_always {
    use super::Moment;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = i64::try_from(moment.0).map_err(serde::ser::Error::custom)?;
        let stamp = jiff::Timestamp::from_millisecond(millis).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&stamp)
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not a time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        super::read_rfc3339(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn read_rfc3339(text: &str) -> Result<Moment, jiff::Error> {
    let stamp: jiff::Timestamp = text.parse()?;
    Ok(Moment(u64::try_from(stamp.as_millisecond()).unwrap_or(0)))
}
