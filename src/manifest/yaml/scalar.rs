//! Plain scalars as sigs.k8s.io/yaml resolves them, which is go-yaml 2's YAML 1.1.

use super::Data;
use serde_json::Number;

/// What an unquoted text means.
pub(super) fn resolve(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Data::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Data::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            number(text).map_or_else(|| Data::Text(text.to_owned()), Data::Number)
        }
        _ => Data::Text(text.to_owned()),
    }
}

/// Whether an unquoted text is one of the numbers that JSON does not have.
pub(super) fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']);
    matches!(unsigned.unwrap_or(text), ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// An integer, else a float.
pub(super) fn number(text: &str) -> Option<Number> {
    integer(text).or_else(|| float(&text.replace('_', "")))
}

/// An integer in any notation of Go: `0644`, `0o644`, `0x1F`, `0b1`, `1_000`.
pub(super) fn integer(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (digits, radix) = radix_of(digits);
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0_i64.checked_sub_unsigned(size).map(Number::from) } else { Some(Number::from(size)) }
}

fn radix_of(digits: &str) -> (&str, u32) {
    let prefixed = |lower, upper| digits.strip_prefix(lower).or_else(|| digits.strip_prefix::<&str>(upper));
    if let Some(rest) = prefixed("0x", "0X") {
        (rest, 16)
    } else if let Some(rest) = prefixed("0b", "0B") {
        (rest, 2)
    } else if let Some(rest) = prefixed("0o", "0O") {
        (rest, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    }
}

/// A float; a whole one is an integer, as it is after a trip through JSON.
fn float(plain: &str) -> Option<Number> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let has_float_shape =
        plain.bytes().any(|b| b.is_ascii_digit()) && plain.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if !has_float_shape {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        return format!("{value:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(value)
}
