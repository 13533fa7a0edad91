//! Logs: what is asked for.

use super::Moment;
use std::time::Duration;

/// From when on lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSince {
    /// Those of the last so long, by the clock of the host that has the log.
    Ago(Duration),
    /// Those written at this time or later.
    At(Moment),
}

impl LogSince {
    /// The time of the first line, where it is `now`.
    #[must_use]
    pub fn moment(self, now: Moment) -> Moment {
        match self {
            LogSince::Ago(ago) => now - ago,
            LogSince::At(at) => at,
        }
    }

    /// The duration, if it is one.
    #[must_use]
    pub fn ago(self) -> Option<Duration> {
        match self {
            LogSince::Ago(ago) => Some(ago),
            LogSince::At(_) => None,
        }
    }

    /// The time, if it is one.
    #[must_use]
    pub fn at(self) -> Option<Moment> {
        match self {
            LogSince::Ago(_) => None,
            LogSince::At(at) => Some(at),
        }
    }
}
