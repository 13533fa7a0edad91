//! Kubernetes quantities: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// An amount, exact to a thousandth: `500m`, `0.5`, `1.5Gi`, `1e3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    milli: i128,
}

impl Quantity {
    /// A quantity of so many thousandths.
    #[must_use]
    pub fn from_milli(milli: i128) -> Self {
        Self { milli }
    }

    /// Thousandths: millicores for cpu. Negative amounts count as zero.
    #[must_use]
    pub fn milli(self) -> u64 {
        u64::try_from(self.milli.max(0)).unwrap_or(u64::MAX)
    }

    /// Whole units, rounded up: bytes for memory. Negative amounts count as zero.
    #[must_use]
    pub fn value(self) -> u64 {
        u64::try_from((self.milli.max(0) + 999) / 1000).unwrap_or(u64::MAX)
    }

    /// Reads a quantity. `None` if the text is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (factor, divisor) = scale(suffix)?;
        let milli = decimal_milli(number)?;
        Some(Self { milli: milli.checked_mul(factor)? / divisor })
    }
}

/// Multiplier and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let plain = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        "m" => return Some((1, 1_000)),
        "u" => return Some((1, 1_000_000)),
        "n" => return Some((1, 1_000_000_000)),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            return Some(if power >= 0 { (factor, 1) } else { (1, factor) });
        }
    };
    Some((plain, 1))
}

/// Reads a decimal number as thousandths, rounding finer digits up as Kubernetes does.
fn decimal_milli(number: &str) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !fraction.bytes().chain(whole.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let padded: i128 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let finer = fraction.bytes().skip(3).any(|b| b != b'0');
    Some(sign * (whole.checked_mul(1000)? + padded + i128::from(finer)))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 != 0 {
            return write!(f, "{}m", self.milli);
        }
        let value = self.milli / 1000;
        for (suffix, size) in [("Ti", 1_i128 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if value != 0 && value % size == 0 {
                return write!(f, "{}{suffix}", value / size);
            }
        }
        write!(f, "{value}")
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            other => return Err(de::Error::custom(format!("expected a quantity, found {other}"))),
        };
        Quantity::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a quantity")))
    }
}
