//! Durations as people write them: `500ms`, `30s`, `5m`, `1h`.

use std::str::FromStr;
use std::time::Duration;

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(Duration);

impl Period {
    pub(crate) fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: jiff::SignedDuration =
            text.parse().map_err(|_| format!("{text} is no duration; write 500ms, 30s, 5m or 1h"))?;
        match Duration::try_from(span) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            Ok(_) | Err(_) => Err("it must be longer than zero".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("1m30s", 90_000)] {
            assert_eq!(text.parse::<Period>().map(Period::duration), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "0s", "-5s", "soon"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
