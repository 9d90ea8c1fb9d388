//! `resource.Quantity`: a decimal number with a suffix, as `250m`, `1.5Gi`, `12e6`.
//!
//! The value is kept in units of 10⁻⁹, the finest that upstream keeps, in 128 bits: every quantity below 10²⁹ is exact,
//! comparison and sums are integer operations. Upstream's pair of a scaled int64 and an arbitrary decimal was rejected:
//! the range is the only thing it adds.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    cmp::Ordering,
    fmt,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS: i128 = 1_000_000_000;
/// Binary quantities are capped at this value, as upstream's.
const MAX_BINARY_VALUE: i128 = i64::MAX as i128;
/// 1 Ki in nanos.
const KIBI: u128 = 1024 * NANOS.unsigned_abs();
/// [`MAX_BINARY_VALUE`] in nanos.
const BINARY_CAP: i128 = MAX_BINARY_VALUE * NANOS;

/// Which family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`.
    #[default]
    DecimalSi,
}

/// Why a text is no quantity; the messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount of a resource. Equality and order are of the amounts: `1024Ki` equals `1Mi`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// Whole units.
    pub fn new(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value).saturating_mul(NANOS),
            format,
        }
    }

    /// Thousandths of a unit.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value).saturating_mul(NANOS / 1000),
            format,
        }
    }

    /// Parses as upstream: values finer than 10⁻⁹ are rounded away from zero.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (negative, whole, fraction, suffix) = split(text)?;
        let (base, exponent, mut format) = interpret(suffix).ok_or(ParseError::Suffix)?;
        let mut nanos = match base {
            Base::Ten => scaled(whole, fraction, exponent.saturating_add(9))?,
            Base::Two => {
                let unit = 2_i128.saturating_pow(exponent.unsigned_abs());
                binary(whole, fraction, unit)?
            }
        };
        if format == Format::BinarySi {
            nanos = nanos.min(BINARY_CAP);
            if nanos > 0 && nanos < NANOS {
                format = Format::DecimalSi;
            }
        }
        Ok(Quantity {
            nanos: if negative {
                nanos.saturating_neg()
            } else {
                nanos
            },
            format,
        })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whole units, rounded away from zero, capped at i64's bounds.
    pub fn value(&self) -> i64 {
        self.in_units_of(NANOS)
    }

    /// Thousandths, rounded away from zero, capped at i64's bounds.
    pub fn milli_value(&self) -> i64 {
        self.in_units_of(NANOS / 1000)
    }

    /// An approximation for ratios and metrics.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// True when the amount is a whole number of units.
    pub fn is_integer(&self) -> bool {
        self.nanos % NANOS == 0
    }

    fn in_units_of(&self, unit: i128) -> i64 {
        let magnitude = (self.nanos.unsigned_abs()).div_ceil(unit.unsigned_abs());
        let magnitude = i128::try_from(magnitude).unwrap_or(i128::MAX);
        let value = if self.nanos < 0 {
            magnitude.saturating_neg()
        } else {
            magnitude
        };
        value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

#[derive(Clone, Copy)]
enum Base {
    Ten,
    Two,
}

/// Sign, digits before the point, digits after, suffix.
fn split(text: &str) -> Result<(bool, &str, &str, &str), ParseError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        None => return Err(ParseError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let digits = |text: &str| {
        text.bytes()
            .position(|b| !b.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix
        .bytes()
        .position(|b| !b"eEinumkKMGTP".contains(&b))
        .unwrap_or(suffix.len());
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(if suffix.is_empty() || !unsigned.starts_with('.') {
            ParseError::Format
        } else {
            ParseError::Numeric
        });
    }
    Ok((negative, whole, fraction, suffix))
}

fn interpret(suffix: &str) -> Option<(Base, i32, Format)> {
    let decimal = |exponent| Some((Base::Ten, exponent, Format::DecimalSi));
    let binary = |exponent| Some((Base::Two, exponent, Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            // Beyond this every amount is out of range or rounds to the smallest one.
            Some((
                Base::Ten,
                exponent.clamp(-1000, 1000),
                Format::DecimalExponent,
            ))
        }
    }
}

/// `whole.fraction × 10^exponent`, rounded up to an integer.
fn scaled(whole: &str, fraction: &str, exponent: i32) -> Result<i128, ParseError> {
    let mut value: i128 = 0;
    let leading = whole.trim_start_matches('0');
    let before_point = i32::try_from(leading.len()).map_err(|_| ParseError::Numeric)?;
    let mut remaining = exponent.saturating_add(before_point);
    let mut lost = false;
    for digit in leading.bytes().chain(fraction.bytes()) {
        if remaining <= 0 {
            lost |= digit != b'0';
            continue;
        }
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit.saturating_sub(b'0'))))
            .ok_or(ParseError::Numeric)?;
        remaining = remaining.saturating_sub(1);
    }
    if value != 0 {
        for _ in 0..remaining {
            value = value.checked_mul(10).ok_or(ParseError::Numeric)?;
        }
    }
    value
        .checked_add(i128::from(lost))
        .ok_or(ParseError::Numeric)
}

/// `whole.fraction × unit` in nanos, rounded up; capped rather than refused, as upstream caps binary quantities.
fn binary(whole: &str, fraction: &str, unit: i128) -> Result<i128, ParseError> {
    let whole = whole.trim_start_matches('0');
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().unwrap_or(i128::MAX)
    };
    let whole = whole
        .checked_mul(unit)
        .and_then(|v| v.checked_mul(NANOS))
        .unwrap_or(BINARY_CAP);
    // Digits below 10⁻¹⁸ cannot move the result by a nano for units below 2^60, except for rounding up.
    let kept = fraction.len().min(18);
    let lost = fraction[kept..].bytes().any(|digit| digit != b'0');
    let digits: i128 = if kept == 0 {
        0
    } else {
        fraction[..kept].parse().map_err(|_| ParseError::Numeric)?
    };
    // At most 10¹⁸ parts of a unit, each at most 2⁶⁰: neither product is near 128 bits.
    let parts = digits.saturating_add(i128::from(lost)).saturating_mul(unit);
    let scale = 10_i128.saturating_pow(kept as u32);
    let (whole_parts, rest) = (parts.checked_div(scale), parts.checked_rem(scale));
    let rest = rest.unwrap_or(0).saturating_mul(NANOS);
    let rounded_up = rest.saturating_add(scale.saturating_sub(1));
    let nanos = (whole_parts.unwrap_or(0).saturating_mul(NANOS))
        .saturating_add(rounded_up.checked_div(scale).unwrap_or(0));
    Ok(whole.saturating_add(nanos).min(BINARY_CAP))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Quantity::parse(text)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let mut format = self.format;
        if format == Format::BinarySi && (self.nanos.unsigned_abs() < KIBI || !self.is_integer()) {
            format = Format::DecimalSi;
        }
        if format == Format::BinarySi {
            const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let mut value = self.nanos / NANOS;
            let mut power: usize = 0;
            while value % 1024 == 0 && power < SUFFIXES.len().saturating_sub(1) {
                value /= 1024;
                power = power.saturating_add(1);
            }
            return write!(f, "{value}{}", SUFFIXES[power]);
        }
        let highest = match format {
            Format::DecimalExponent => i32::MAX,
            _ => 18,
        };
        let mut value = self.nanos;
        let mut exponent: i32 = -9;
        while value % 1000 == 0 && exponent < highest {
            value /= 1000;
            exponent = exponent.saturating_add(3);
        }
        match format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{value}"),
            Format::DecimalExponent => write!(f, "{value}e{exponent}"),
            _ => {
                const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                let index = usize::try_from(exponent.saturating_add(9) / 3).unwrap_or_default();
                write!(f, "{value}{}", SUFFIXES[index])
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The sum takes the other's format where this one is zero, as upstream's; it is capped, never wrapped.
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.add_assign(other);
        self
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self.sub_assign(other);
        self
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Quantity {
            nanos: self.nanos.saturating_neg(),
            format: self.format,
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// A string, or a number as upstream accepts it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Null => return Ok(Quantity::ZERO),
            _ => return Err(de::Error::custom(ParseError::Format)),
        };
        Quantity::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
