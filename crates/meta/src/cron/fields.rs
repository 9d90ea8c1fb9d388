//! The five fields of a schedule, each a set of numbers.

use jiff::civil::Date;

/// Says that a field has a star in it. The days of the month and of the week are both asked then; otherwise one suffices.
const STAR: u64 = 1 << 63;
/// Higher than any field's numbers.
const BITS: u32 = 63;

/// What a field may hold.
struct Bounds {
    min: u64,
    max: u64,
    /// Names of numbers from `min` on.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds {
    min: 0,
    max: 59,
    names: &[],
};
const HOURS: Bounds = Bounds {
    min: 0,
    max: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    min: 1,
    max: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Bounds = Bounds {
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Bit sets by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
}

impl Fields {
    pub(super) fn has_month(&self, month: i8) -> bool {
        has(self.months, month)
    }

    pub(super) fn has_hour(&self, hour: i8) -> bool {
        has(self.hours, hour)
    }

    pub(super) fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if (self.days | self.weekdays) & STAR != 0 {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// The first second of a named minute of an hour, from a second of that hour on.
    pub(super) fn second_of_hour(&self, from: i64) -> Option<i64> {
        let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
        let mut seconds = minutes.map(|minute| i64::from(minute).saturating_mul(60));
        seconds.find(|second| *second >= from)
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set & bit(number) != 0)
}

fn bit(number: u32) -> u64 {
    1u64.checked_shl(number).unwrap_or(0)
}

/// Reads five fields or the name of a schedule.
pub(super) fn read(text: &str) -> Result<Fields, String> {
    let standard = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ if text.starts_with('@') => return Err(format!("unrecognized descriptor: {text}")),
        _ => text,
    };
    let fields: Vec<&str> = standard.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields[..] else {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    };
    Ok(Fields {
        minutes: field(minutes, &MINUTES)?,
        hours: field(hours, &HOURS)?,
        days: field(days, &DAYS)?,
        months: field(months, &MONTHS)?,
        weekdays: field(weekdays, &WEEKDAYS)?,
    })
}

/// A list of ranges.
fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges
        .map(|text| range(text, bounds))
        .try_fold(0, |set, range| Ok(set | range?))
}

/// `*`, `5`, `5-10`, and each with a step: `*/2`, `5/10` (from 5 on), `5-10/2`.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let (span, step) = match text.split('/').collect::<Vec<_>>()[..] {
        [span] => (span, None),
        [span, step] => (span, Some(step)),
        // What is wrong with the first parts is told first.
        [span, ..] => {
            ends(span, text, bounds)?;
            return Err(format!("too many slashes: {text}"));
        }
        [] => return Ok(0),
    };
    let (start, mut end, mut star) = ends(span, text, bounds)?;
    let step = match step {
        None => 1,
        Some(step) => {
            let step = number(step)?;
            if !span.contains('-') {
                end = bounds.max;
            }
            star &= step <= 1;
            step
        }
    };
    let Bounds { min, max, .. } = bounds;
    if start < *min {
        return Err(format!(
            "beginning of range ({start}) below minimum ({min}): {text}"
        ));
    }
    if end > *max {
        return Err(format!(
            "end of range ({end}) above maximum ({max}): {text}"
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let numbers = (0..BITS).filter(|n| {
        let number = u64::from(*n);
        (start..=end).contains(&number) && number.saturating_sub(start).checked_rem(step) == Some(0)
    });
    let set = numbers.fold(0, |set, number| set | bit(number));
    Ok(if star { set | STAR } else { set })
}

/// The ends of a span, and whether it is a star.
fn ends(span: &str, text: &str, bounds: &Bounds) -> Result<(u64, u64, bool), String> {
    let parts: Vec<&str> = span.split('-').collect();
    if matches!(parts.first(), Some(&("*" | "?"))) {
        return Ok((bounds.min, bounds.max, true));
    }
    let start = number_or_name(parts.first().copied().unwrap_or_default(), bounds)?;
    match parts[..] {
        [_] => Ok((start, start, false)),
        [_, end] => Ok((start, number_or_name(end, bounds)?, false)),
        _ => Err(format!("too many hyphens: {text}")),
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    let named = (bounds.min..)
        .zip(bounds.names)
        .find(|(_, name)| **name == lower);
    match named {
        Some((number, _)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
        let what = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {what}")
    })?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}
