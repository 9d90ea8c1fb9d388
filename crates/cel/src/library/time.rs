//! Instants and durations.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::Result;
use crate::{cost::Cost, eval::Error, value::Val};

const NANOS: i64 = 1_000_000_000;

/// What finding a time zone by its name takes: the host's files have it.
const ZONE_STEPS: u64 = 100;

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    Some(match values {
        [Val::Timestamp(at)] => part(name, *at, "UTC")?,
        [Val::Timestamp(at), Val::Text(zone)] => match cost.steps(ZONE_STEPS) {
            Ok(()) => part(name, *at, zone.as_str())?,
            Err(exceeded) => Err(exceeded.into()),
        },
        [Val::Duration(nanos)] => Ok(Val::Int(match name {
            "getHours" => nanos / (3600 * NANOS),
            "getMinutes" => nanos / (60 * NANOS),
            "getSeconds" => nanos / NANOS,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return None,
        })),
        _ => return None,
    })
}

/// A part of an instant in a time zone: a name, or an offset such as `+02:00`.
fn part<'a>(name: &str, at: Timestamp, zone: &str) -> Option<Result<'a>> {
    const NAMES: [&str; 10] = [
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    ];
    if !NAMES.contains(&name) {
        return None;
    }
    let Some(zone) = time_zone(zone) else {
        return Some(Err(Error::failed(format!("unknown time zone {zone}"))));
    };
    let local = at.to_zoned(zone);
    Some(Ok(Val::Int(match name {
        "getDate" => i64::from(local.day()),
        "getDayOfMonth" => from_zero(local.day().into()),
        "getDayOfWeek" => i64::from(local.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => from_zero(local.day_of_year().into()),
        "getFullYear" => i64::from(local.year()),
        "getHours" => i64::from(local.hour()),
        "getMilliseconds" => i64::from(local.millisecond()),
        "getMinutes" => i64::from(local.minute()),
        "getMonth" => from_zero(local.month().into()),
        _ => i64::from(local.second()),
    })))
}

/// What is counted from one, as CEL counts it.
fn from_zero(number: i64) -> i64 {
    number.saturating_sub(1)
}

fn time_zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let (sign, hours) = match hours.strip_prefix('-') {
            Some(hours) => (-1, hours),
            None => (1, hours.strip_prefix('+').unwrap_or(hours)),
        };
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
        let seconds = minutes.checked_mul(60)?.checked_mul(sign)?;
        return Some(TimeZone::fixed(
            jiff::tz::Offset::from_seconds(seconds).ok()?,
        ));
    }
    TimeZone::get(name).ok()
}

pub fn later<'a>(at: Timestamp, nanos: i64) -> Result<'a> {
    at.checked_add(SignedDuration::from_nanos(nanos))
        .map(Val::Timestamp)
        .map_err(|_| Error::failed("timestamp overflow"))
}

pub fn between<'a>(a: Timestamp, b: Timestamp) -> Result<'a> {
    let nanos = a.as_nanosecond().checked_sub(b.as_nanosecond());
    nanos
        .and_then(|nanos| i64::try_from(nanos).ok())
        .map(Val::Duration)
        .ok_or_else(|| Error::failed("duration overflow"))
}
