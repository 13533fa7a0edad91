//! Kubernetes quantities: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// An amount, exact to a thousandth: `500m`, `0.5`, `1.5Gi`, `1e3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    milli: i128,
}

/// Kubernetes caps larger amounts at 2^63-1, too.
const MILLI_MAX: i128 = (i64::MAX as i128) * 1_000;

impl Quantity {
    /// A quantity of so many thousandths.
    #[must_use]
    pub fn from_milli(milli: i128) -> Self {
        Self { milli: milli.clamp(-MILLI_MAX, MILLI_MAX) }
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

    /// The exact amount in one spelling, whatever suffix it was written with: thousandths and an `m`.
    #[must_use]
    pub fn canonical(self) -> String {
        format!("{}m", self.milli)
    }

    /// Reads a quantity. `None` if the text is not one, or beyond what fits. What is finer than a thousandth is rounded up (away from
    /// zero), as Kubernetes rounds what is finer than it keeps.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let decimal = Decimal::parse(number)?;
        let (factor, divisor) = scale(suffix)?;
        let thousandths = decimal.digits.checked_mul(factor)?.checked_mul(1_000)?;
        let divisor = divisor.checked_mul(decimal.divisor)?;
        let milli = (thousandths / divisor).checked_add(i128::from(thousandths % divisor != 0))?.min(MILLI_MAX);
        Some(Self { milli: if decimal.is_negative { -milli } else { milli } })
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

/// A decimal number as a fraction: `1.25` is 125 over 100.
struct Decimal {
    is_negative: bool,
    digits: i128,
    divisor: i128,
}

impl Decimal {
    fn parse(number: &str) -> Option<Self> {
        let (is_negative, unsigned) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("0{whole}{fraction}");
        let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        Some(Self { is_negative, digits: digits.parse().ok()?, divisor })
    }
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
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(serde_json::Number),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
        };
        Quantity::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a quantity")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn milli(text: &str) -> Option<i128> {
        Quantity::parse(text).map(|quantity| quantity.milli)
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000),
            ("500m", 500),
            ("0.5", 500),
            (".5", 500),
            ("5.", 5_000),
            (".0", 0),
            ("5e-1", 500),
            ("1e3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1.5Gi", 1_610_612_736_000),
            ("0.1Ki", 102_400),
            ("100k", 100_000_000),
            ("1u", 1),
            ("1500u", 2),
            ("0.0005", 1),
            ("-0.0005", -1),
            ("+2", 2_000),
            ("-1", -1_000),
            ("1e33", MILLI_MAX),
            ("-1e33", -MILLI_MAX),
        ] {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
    }

    /// Found by the fuzzer: what was read of 1e33 was printed in a form that is no quantity.
    #[test]
    fn the_largest_amount_reads_back() {
        let amount = Quantity::parse("1e33").expect("a quantity");
        assert_eq!(Quantity::parse(&amount.canonical()), Some(amount));
        assert_eq!(Quantity::parse(&amount.to_string()), Some(amount));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", ".", "-", "m", "1 Gi", "1gi", "1KI", "1.2.3", "--1", "1e", "0x10", "1e40", "9e99", "1,5", "½"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_quantity_reads_as_itself(milli in -(1_i128 << 80)..(1_i128 << 80)) {
            let quantity = Quantity::from_milli(milli);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Some(quantity));
            prop_assert_eq!(Quantity::parse(&quantity.canonical()), Some(quantity));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", number in "[-+.0-9eEkMGmun]{0,40}") {
            let _ = Quantity::parse(&text);
            let _ = Quantity::parse(&number);
        }
    }
}
