//! What is to be done about a CronJob: what its status is to say, and whether a job is to be started.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_meta::cron::{self, Schedule};
use knarr_meta::time;

use super::recent::{self, Missed, Recent};
use super::template;
use crate::events::{NORMAL, WARNING};
use crate::job::end;
use crate::runner::uid;

/// Added to the time that is waited for, against clocks that are corrected (upstream `nextScheduleDelta`).
const PADDING: Duration = Duration::from_millis(100);
const COMPLETE: &str = "Complete";

/// An event about the CronJob.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventRecord {
    pub type_: &'static str,
    pub reason: &'static str,
    pub note: String,
}

/// A job that is to be started.
#[derive(Debug)]
pub(super) struct Start {
    /// The time of the schedule that it is for.
    pub at: Timestamp,
    /// The zone in which the job is told that time.
    pub zone: TimeZone,
    /// Jobs that run are to be deleted first.
    pub replace: bool,
}

#[derive(Debug)]
pub(super) enum Next {
    /// Not before the CronJob changes.
    Nothing,
    /// Not before the schedule's next time.
    Wait,
    Start(Start),
}

/// One look at a CronJob.
pub(super) struct Sync {
    cron: CronJob,
    told: Vec<EventRecord>,
    changed: bool,
    schedule: Option<Schedule>,
}

impl Sync {
    pub(super) fn new(cron: CronJob) -> Self {
        Self {
            cron,
            told: Vec::new(),
            changed: false,
            schedule: None,
        }
    }

    pub(super) fn cron(&self) -> &CronJob {
        &self.cron
    }

    /// The CronJob with its new status, the events, and whether the status is to be written.
    pub(super) fn end(self) -> (CronJob, Vec<EventRecord>, bool) {
        (self.cron, self.told, self.changed)
    }

    pub(super) fn tell(&mut self, type_: &'static str, reason: &'static str, note: String) {
        self.told.push(EventRecord {
            type_,
            reason,
            note,
        });
    }

    fn status(&mut self) -> &mut CronJobStatus {
        self.cron.status.get_or_insert_default()
    }

    fn spec(&self) -> Option<&CronJobSpec> {
        self.cron.spec.as_ref()
    }

    /// The jobs that the status lists as running.
    pub(super) fn active(&self) -> Vec<ObjectReference> {
        let status = self.cron.status.as_ref();
        status.and_then(|s| s.active.clone()).unwrap_or_default()
    }

    pub(super) fn lists(&self, uid: &str) -> bool {
        let status = self.cron.status.as_ref();
        let mut active = status.iter().flat_map(|s| s.active.iter().flatten());
        active.any(|job| job.uid.as_deref() == Some(uid))
    }

    /// A job does not run any more.
    pub(super) fn forget(&mut self, uid: &str) {
        self.changed = true;
        let active = &mut self.status().active;
        if let Some(list) = active {
            list.retain(|job| job.uid.as_deref() != Some(uid));
        }
        *active = active.take().filter(|list| !list.is_empty());
    }

    pub(super) fn started(&mut self, job: ObjectReference, at: Time) {
        self.changed = true;
        let status = self.status();
        status.active.get_or_insert_default().push(job);
        status.last_schedule_time = Some(at);
    }

    /// The oldest of the jobs that have ended, beyond those that are to be kept.
    pub(super) fn surplus(&self, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
        let Some(spec) = self.spec() else {
            return Vec::new();
        };
        let mut surplus = Vec::new();
        for (limit, complete) in [
            (spec.successful_jobs_history_limit, true),
            (spec.failed_jobs_history_limit, false),
        ] {
            let Some(limit) = limit else { continue };
            let ended =
                |job: &&Arc<Job>| end(job).is_some_and(|c| (c.type_ == COMPLETE) == complete);
            let mut ended: Vec<_> = jobs.iter().filter(ended).cloned().collect();
            ended.sort_by_cached_key(|job| started_at(job));
            let kept = usize::try_from(limit).unwrap_or(0);
            ended.truncate(ended.len().saturating_sub(kept));
            surplus.extend(ended);
        }
        surplus
    }

    /// Takes over what became of the jobs.
    pub(super) fn observe(&mut self, jobs: &[Arc<Job>]) {
        for job in jobs {
            let name = job.metadata.name.as_deref().unwrap_or_default();
            let listed = self.lists(uid(&**job));
            let Some(end) = end(job) else {
                if !listed {
                    let note =
                        format!("Saw a job that the controller did not create or forgot: {name}");
                    self.tell(WARNING, "UnexpectedJob", note);
                }
                continue;
            };
            if listed {
                self.forget(uid(&**job));
                let note = format!("Saw completed job: {name}, condition: {}", end.type_);
                self.tell(NORMAL, "SawCompletedJob", note);
            }
            if end.type_ == COMPLETE {
                self.succeeded(job);
            }
        }
    }

    fn succeeded(&mut self, job: &Job) {
        let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
        let last = &mut self.status().last_successful_time;
        if completed.as_ref().map(|t| t.0) > last.as_ref().map(|t| t.0) {
            *last = completed;
            self.changed = true;
        }
    }

    /// Jobs that the status lists and that are not among these.
    pub(super) fn missing(&self, jobs: &[Arc<Job>]) -> Vec<ObjectReference> {
        let known: HashSet<&str> = jobs.iter().map(|job| uid(&**job)).collect();
        let mut active = self.active();
        active.retain(|job| !known.contains(job.uid.as_deref().unwrap_or_default()));
        active
    }

    /// What the schedule wants of this moment.
    pub(super) fn decide(&mut self, now: Timestamp) -> Next {
        let suspended = self.spec().and_then(|s| s.suspend).unwrap_or(false);
        if self.cron.metadata.deletion_timestamp.is_some() {
            return Next::Nothing;
        }
        let Some(zone) = self.zone() else {
            return Next::Nothing;
        };
        if suspended {
            return Next::Nothing;
        }
        let Some(schedule) = self.read_schedule(&zone) else {
            return Next::Nothing;
        };
        let recent = recent::find(&self.cron, now, &schedule, true);
        self.schedule = Some(schedule);
        match recent {
            Ok(Recent {
                last: Some(at),
                missed,
                ..
            }) => {
                if missed == Missed::Many {
                    let note = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                    self.tell(WARNING, "TooManyMissedTimes", note.to_owned());
                }
                self.judge(at, zone.unwrap_or(TimeZone::UTC), now)
            }
            Ok(_) => Next::Wait,
            Err(error) => {
                let schedule = self.spec().map(|s| s.schedule.as_str()).unwrap_or_default();
                let note = format!("invalid schedule: {schedule} : {error}");
                self.tell(WARNING, "InvalidSchedule", note);
                Next::Nothing
            }
        }
    }

    /// The zone that the CronJob names, if it names one; `None` where it is none.
    fn zone(&mut self) -> Option<Option<TimeZone>> {
        let Some(name) = self.spec().and_then(|s| s.time_zone.clone()) else {
            return Some(None);
        };
        match cron::zone(&name) {
            Ok(zone) => Some(Some(zone)),
            Err(error) => {
                let note = format!("invalid timeZone: {name:?}: {error}");
                self.tell(WARNING, "UnknownTimeZone", note);
                None
            }
        }
    }

    /// Without a zone of its own a schedule is in the host's.
    fn read_schedule(&mut self, zone: &Option<TimeZone>) -> Option<Schedule> {
        let text = self.spec().map(|s| s.schedule.clone()).unwrap_or_default();
        if text.contains("TZ") {
            let note = format!(
                "CRON_TZ or TZ used in schedule {text:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            );
            self.tell(WARNING, "UnsupportedSchedule", note);
        }
        let zone = zone.clone().unwrap_or_else(TimeZone::system);
        match Schedule::parse(&text, zone) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                let note = format!("unparseable schedule: {text:?} : {error}");
                self.tell(WARNING, "UnparseableSchedule", note);
                None
            }
        }
    }

    /// Whether the job of a time that has come is to be started.
    fn judge(&mut self, at: Timestamp, zone: TimeZone, now: Timestamp) -> Next {
        let spec = self.spec();
        let deadline = spec.and_then(|s| s.starting_deadline_seconds);
        let policy = spec.and_then(|s| s.concurrency_policy.clone());
        if deadline.is_some_and(|seconds| time::after(at, seconds) < now) {
            let at = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
            let note = format!("Missed scheduled time to start a job: {at}");
            self.tell(WARNING, "MissSchedule", note);
            return Next::Wait;
        }
        let active = self.active();
        let name = template::name(&self.cron, at);
        let runs = active.iter().any(|job| job.name.as_ref() == Some(&name));
        let status = self.cron.status.as_ref();
        let last = status.and_then(|s| s.last_schedule_time.as_ref());
        if runs || last.is_some_and(|last| last.0 == at) {
            return Next::Wait;
        }
        if policy.as_deref() == Some("Forbid") && !active.is_empty() {
            let note = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.tell(NORMAL, "JobAlreadyActive", note.to_owned());
            return Next::Wait;
        }
        let replace = policy.as_deref() == Some("Replace");
        Next::Start(Start { at, zone, replace })
    }

    /// How long until the schedule's next time.
    pub(super) fn delay(&self, now: Timestamp) -> Option<Duration> {
        let schedule = self.schedule.as_ref()?;
        let from = match recent::find(&self.cron, now, schedule, false) {
            Ok(Recent {
                last: Some(last), ..
            }) => last,
            Ok(Recent {
                earliest,
                missed: Missed::None,
                ..
            }) => earliest,
            Ok(_) | Err(_) => now,
        };
        let next = schedule.next(from)?;
        let left = Duration::try_from(now.duration_until(next)).unwrap_or_default();
        Some(left.saturating_add(PADDING))
    }
}

/// Sorts jobs by their start, those that have none last.
fn started_at(job: &Job) -> (bool, Option<Timestamp>, Option<String>) {
    let start = job.status.as_ref().and_then(|s| s.start_time.as_ref());
    let start = start.map(|start| start.0);
    (start.is_none(), start, job.metadata.name.clone())
}
