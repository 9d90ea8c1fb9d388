//! The last time that a schedule named, and how many were missed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use knarr_meta::cron::Schedule;
use knarr_meta::time;

/// More missed times than these are told of (upstream's number: more than the hours of a weekend).
const MANY: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    None,
    Few,
    Many,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recent {
    /// Times up to here were dealt with.
    pub earliest: Timestamp,
    /// The last time since then, if any has come.
    pub last: Option<Timestamp>,
    pub missed: Missed,
}

/// What the schedule named since a job was last started, or since the CronJob was made; with `deadline`, nothing that is too
/// late to be started.
///
/// How many times were missed is reckoned by the distance of the first two, as upstream does.
///
/// # Errors
/// For a schedule whose times never come.
pub(super) fn find(
    cron: &CronJob,
    now: Timestamp,
    schedule: &Schedule,
    deadline: bool,
) -> Result<Recent, &'static str> {
    let earliest = since(cron, now, deadline);
    let recent = |last, missed| {
        Ok(Recent {
            earliest,
            last,
            missed,
        })
    };
    let first = schedule.next(earliest);
    if first.is_some_and(|first| now < first) {
        return recent(None, Missed::None);
    }
    let second = first.and_then(|first| schedule.next(first));
    if second.is_some_and(|second| now < second) {
        return recent(first, Missed::None);
    }
    let (Some(first), Some(second)) = (first, second) else {
        return Err("time difference between two schedules is less than 1 second");
    };
    let distance = second.as_second().saturating_sub(first.as_second()).max(1);
    let missed = now.as_second().saturating_sub(first.as_second()) / distance + 1;
    // One distance less: those of a schedule need not be the same.
    let gone = SignedDuration::from_secs(distance.saturating_mul(missed.saturating_sub(2)));
    let from = first.saturating_add(gone).unwrap_or(first);
    let missed = if missed > MANY {
        Missed::Many
    } else {
        Missed::Few
    };
    recent(schedule.last(from, now), missed)
}

fn since(cron: &CronJob, now: Timestamp, deadline: bool) -> Timestamp {
    let status = cron.status.as_ref();
    let last = status.and_then(|s| s.last_schedule_time.as_ref());
    let created = cron.metadata.creation_timestamp.as_ref();
    let since = last
        .or(created)
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let spec = cron.spec.as_ref();
    match spec.and_then(|s| s.starting_deadline_seconds) {
        Some(seconds) if deadline => since.max(time::after(now, seconds.saturating_neg())),
        _ => since,
    }
}
