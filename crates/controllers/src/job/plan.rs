//! What a job's pods mean for it, and which pods are to be made or to go. Pure functions.
//!
//! Several ends may be reached at once; the order in which they are looked for decides: what an earlier reconciliation has
//! decided, failures, then successes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff::{self, Backoff};
use super::facts::{
    self, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED, condition, finished_at, holds,
    index, is_failed, is_suspended, is_terminating, is_tracked, replaces_only_failed,
};
use super::indexes::Indexes;
use super::policy::{self, Verdict};
use super::removal;
use crate::pods;

/// Pods made or deleted in one reconciliation at most (upstream `MaxPodCreateDeletePerSync`).
pub(crate) const BURST_PODS: usize = 500;

/// What to do about the pods.
#[derive(Debug)]
pub(crate) enum Op {
    /// The job has ended: these go, and are counted first.
    End(Vec<Arc<Pod>>),
    /// These are too many: they go, and are not counted.
    Remove(Vec<Arc<Pod>>),
    /// Pods for these indexes, or for none.
    Create(Vec<Option<i32>>),
}

/// A job in the course of one reconciliation.
pub(crate) struct Sync {
    /// With the status as far as it was worked out.
    pub job: Job,
    pub pods: Vec<Arc<Pod>>,
    /// Uids of pods whose finalizer was removed, though the informer does not show that yet.
    pub removed: HashSet<String>,
    pub running: Vec<Arc<Pod>>,
    /// Counts for the status, which operations change.
    pub active: i32,
    pub ready: i32,
    pub terminating: i32,
    /// The end that was found, or the interim condition before it.
    pub end: Option<JobCondition>,
    pub backoff: Backoff,
    /// Indexes that the status knows to have succeeded, and those with the pods that are not counted yet.
    pub known: Indexes,
    pub succeeded_indexes: Indexes,
    pub failed_indexes: Option<Indexes>,
    /// Failed pods that wait for their successors to take over their count of failures, by index.
    pub kept: BTreeMap<i32, Arc<Pod>>,
    pub again_after: Option<Duration>,
    succeeded: i32,
    failed: i32,
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(crate) fn status(job: &mut Job) -> &mut JobStatus {
    job.status.get_or_insert_default()
}

/// Uids that the status lists as ended and not counted: of pods that succeeded, and of those that failed.
pub(crate) fn uncounted(job: &Job) -> [HashSet<String>; 2] {
    let status = job.status.as_ref();
    let lists = status.and_then(|s| s.uncounted_terminated_pods.as_ref());
    let set = |list: Option<&Vec<String>>| list.into_iter().flatten().cloned().collect();
    [
        set(lists.and_then(|l| l.succeeded.as_ref())),
        set(lists.and_then(|l| l.failed.as_ref())),
    ]
}

impl Sync {
    pub(crate) fn new(
        mut job: Job,
        pods: Vec<Arc<Pod>>,
        removed: HashSet<String>,
        backoff: Backoff,
        now: Timestamp,
    ) -> Self {
        if !is_suspended(&job) {
            status(&mut job).start_time.get_or_insert(Time(now));
        }
        let running: Vec<_> = pods
            .iter()
            .filter(|pod| pods::is_active(pod))
            .cloned()
            .collect();
        let count = |is: &dyn Fn(&Pod) -> bool| number(pods.iter().filter(|pod| is(pod)).count());
        let mut sync = Self {
            active: number(running.len()),
            ready: number(running.iter().filter(|pod| pods::is_ready(pod)).count()),
            terminating: count(&is_terminating),
            job,
            pods,
            removed,
            running,
            end: None,
            backoff,
            known: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
            again_after: None,
            succeeded: 0,
            failed: 0,
        };
        sync.count();
        sync
    }

    /// Pods that ended and are in the status nowhere yet.
    fn news(&self, known: &HashSet<String>, is: impl Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        let news = self.pods.iter().filter(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            self.is_to_count(pod) && !known.contains(uid) && self.is_valid(pod) && is(pod)
        });
        news.cloned().collect()
    }

    /// Whether its finalizer is there, as far as this controller knows.
    pub(crate) fn is_to_count(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        is_tracked(pod) && !self.removed.contains(uid)
    }

    /// Whether the pod has an index, where it must have one.
    pub(crate) fn is_valid(&self, pod: &Pod) -> bool {
        match facts::indexed_completions(&self.job) {
            Some(completions) => index(pod).is_some_and(|index| index < completions),
            None => true,
        }
    }

    fn count(&mut self) {
        let spec = facts::spec(&self.job);
        let [succeeded, failed] = uncounted(&self.job);
        let new_succeeded = self.news(&succeeded, |pod| pods::phase(pod) == "Succeeded");
        let new_failed = self.news(&failed, |pod| is_failed(&self.job, pod));
        let counted = |pod: &&Arc<Pod>| policy::judge(&spec, pod) != Verdict::Ignored;
        let status = self.job.status.clone().unwrap_or_default();
        let sum = |known: Option<i32>, new: usize| known.unwrap_or(0).saturating_add(number(new));
        self.succeeded = sum(status.succeeded, new_succeeded.len() + succeeded.len());
        let count = new_failed.iter().filter(counted).count();
        self.failed = sum(status.failed, count + failed.len());
        self.backoff = self.backoff.after(&new_succeeded, &new_failed);
        let Some(completions) = facts::indexed_completions(&self.job) else {
            return;
        };
        let text = status.completed_indexes.unwrap_or_default();
        self.known = Indexes::parse(&text, completions);
        self.succeeded_indexes = self
            .known
            .with(&self.indexes_where(|pod| pods::phase(pod) == "Succeeded"));
        self.succeeded = self.succeeded_indexes.total();
        if let Some(limit) = spec.backoff_limit_per_index {
            let text = status.failed_indexes.unwrap_or_default();
            let known = Indexes::parse(&text, completions);
            let failed = self.indexes_where(|pod| self.fails_index(pod, &spec, limit));
            self.failed_indexes = Some(known.with(&failed));
            self.keep();
        }
    }

    /// Indexes of the pods with a finalizer of which this is so.
    fn indexes_where(&self, is: impl Fn(&Pod) -> bool) -> Indexes {
        let pods = self.pods.iter();
        let pods = pods.filter(|pod| is_tracked(pod) && self.is_valid(pod) && is(pod));
        Indexes::of(&pods.filter_map(|pod| index(pod)).collect())
    }

    fn fails_index(&self, pod: &Pod, spec: &JobSpec, limit: i32) -> bool {
        is_failed(&self.job, pod)
            && match policy::judge(spec, pod) {
                Verdict::FailsIndex => true,
                Verdict::Ignored => false,
                Verdict::Counts | Verdict::FailsJob(_) => facts::failures(pod).0 >= limit,
            }
    }

    /// Finds the pods that wait for successors: of each index that is not done the one with most failures.
    fn keep(&mut self) {
        let active = indexes(&self.running);
        let rank = |pod: &Pod| {
            let (counted, ignored) = facts::failures(pod);
            (counted.saturating_add(ignored), finished_at(pod))
        };
        for pod in self.news(&HashSet::new(), |pod| is_failed(&self.job, pod)) {
            let Some(index) = index(&pod) else { continue };
            let failed = self.failed_indexes.as_ref().is_some_and(|f| f.has(index));
            if failed || self.succeeded_indexes.has(index) || active.contains(&index) {
                continue;
            }
            let other = self.kept.get(&index);
            if other.is_none_or(|other| rank(other) <= rank(&pod)) {
                self.kept.insert(index, pod);
            }
        }
    }

    /// Finds out whether the job has ended, and what to do about its pods. `settled`: all that was done to pods is seen.
    pub(crate) fn decide(&mut self, settled: bool, now: Timestamp) -> Option<Op> {
        self.end = self
            .decided(now)
            .or_else(|| self.failure(now))
            .or_else(|| self.failed_by_indexes(now))
            .or_else(|| self.success_by_policy(now));
        if self.end.is_some() {
            return Some(Op::End(self.running.clone()));
        }
        self.watch_deadline(now);
        match settled && self.job.metadata.deletion_timestamp.is_none() {
            true => self.manage(now),
            false => None,
        }
    }

    /// What an earlier reconciliation has decided.
    fn decided(&self, now: Timestamp) -> Option<JobCondition> {
        let status = self.job.status.as_ref()?;
        if let Some(met) = holds(status, SUCCESS_CRITERIA_MET) {
            return Some(met.clone());
        }
        let target = holds(status, FAILURE_TARGET)?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reason, message) = (text(&target.reason), text(&target.message));
        Some(condition(FAILED, &reason, &message, now))
    }

    fn failure(&self, now: Timestamp) -> Option<JobCondition> {
        let spec = self.job.spec.as_ref()?;
        let failure = |reason, message: &str| Some(condition(FAILURE_TARGET, reason, message, now));
        let failed = self.pods.iter().filter(|pod| is_failed(&self.job, pod));
        for pod in failed {
            if let Verdict::FailsJob(message) = policy::judge(spec, pod) {
                return failure("PodFailurePolicy", &message);
            }
        }
        let limit = spec.backoff_limit.unwrap_or(i32::MAX);
        if self.failed > limit || self.restarts_exceed(spec, limit) {
            let message = "Job has reached the specified backoff limit";
            return failure("BackoffLimitExceeded", message);
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let message = "Job was active longer than specified deadline";
            return failure("DeadlineExceeded", message);
        }
        None
    }

    /// Containers that are restarted in their pod count as failures of the job.
    fn restarts_exceed(&self, spec: &JobSpec, limit: i32) -> bool {
        let template = spec.template.spec.as_ref();
        if template.and_then(|s| s.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let alive = self.pods.iter();
        let alive = alive.filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
        let statuses = alive.filter_map(|pod| pod.status.as_ref()).flat_map(|s| {
            let init = s.init_container_statuses.iter().flatten();
            init.chain(s.container_statuses.iter().flatten())
        });
        let restarts = statuses
            .map(|s| s.restart_count)
            .fold(0, i32::saturating_add);
        if limit == 0 {
            restarts > 0
        } else {
            restarts >= limit
        }
    }

    /// Until when a job that is not suspended may be active.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.job.spec.as_ref()?.active_deadline_seconds?;
        let start = self.job.status.as_ref()?.start_time.as_ref()?.0;
        let end = start.checked_add(SignedDuration::from_secs(seconds));
        // One beyond the end of all times is never reached.
        end.ok().filter(|_| !is_suspended(&self.job))
    }

    fn watch_deadline(&mut self, now: Timestamp) {
        if let Some(deadline) = self.deadline() {
            self.look_again(Duration::try_from(now.duration_until(deadline)).unwrap_or_default());
        }
    }

    pub(crate) fn look_again(&mut self, after: Duration) {
        self.again_after = Some(self.again_after.map_or(after, |other| other.min(after)));
    }

    fn failed_by_indexes(&self, now: Timestamp) -> Option<JobCondition> {
        let failed = self.failed_indexes.as_ref()?.total();
        let spec = self.job.spec.as_ref()?;
        let failure = |reason, message| Some(condition(FAILURE_TARGET, reason, message, now));
        if spec.max_failed_indexes.is_some_and(|limit| failed > limit) {
            return failure(
                "MaxFailedIndexesExceeded",
                "Job has exceeded the specified maximal number of failed indexes",
            );
        }
        let done = failed.saturating_add(self.succeeded_indexes.total());
        if failed > 0 && done >= spec.completions.unwrap_or(0) {
            return failure("FailedIndexes", "Job has failed indexes");
        }
        None
    }

    fn success_by_policy(&self, now: Timestamp) -> Option<JobCondition> {
        let message = policy::success(self.job.spec.as_ref()?, &self.succeeded_indexes)?;
        Some(condition(
            SUCCESS_CRITERIA_MET,
            "SuccessPolicy",
            &message,
            now,
        ))
    }

    /// How many pods are wanted.
    fn wanted(&self, spec: &JobSpec) -> i32 {
        let parallelism = spec.parallelism.unwrap_or(1);
        match spec.completions {
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
            // The first success ends such a job; what runs then may run to its end.
            None if self.succeeded > 0 => self.active,
            None => parallelism,
        }
    }

    fn manage(&mut self, now: Timestamp) -> Option<Op> {
        let spec = facts::spec(&self.job);
        let completions = facts::indexed_completions(&self.job);
        let remove = |count: i32| {
            let count = usize::try_from(count).unwrap_or(0);
            removal::choose(&self.running, completions, count, now)
        };
        if is_suspended(&self.job) {
            return Some(Op::Remove(remove(self.active))).filter(|_| self.active > 0);
        }
        let wanted = self.wanted(&spec);
        let mut surplus = remove(self.active - wanted);
        if !surplus.is_empty() {
            surplus.truncate(BURST_PODS);
            return Some(Op::Remove(surplus));
        }
        let coming = match replaces_only_failed(&self.job) {
            true => self.terminating,
            false => 0,
        };
        let lacking = usize::try_from(wanted - coming - self.active).unwrap_or(0);
        if lacking == 0 {
            return None;
        }
        let per_index = spec.backoff_limit_per_index.is_some();
        let wait = self.backoff.remaining(now);
        if !per_index && !wait.is_zero() {
            self.look_again(wait);
            return None;
        }
        let count = lacking.min(BURST_PODS);
        let wanted = match completions {
            None => vec![None; count],
            Some(completions) => {
                let indexes = self.pending(count, completions);
                self.due(indexes, now).into_iter().map(Some).collect()
            }
        };
        Some(Op::Create(wanted)).filter(|op| !matches!(op, Op::Create(pods) if pods.is_empty()))
    }

    /// The first indexes that need a pod.
    fn pending(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut taken = indexes(&self.running);
        if replaces_only_failed(&self.job) {
            let terminating = self.pods.iter().filter(|pod| is_terminating(pod));
            taken.extend(terminating.filter_map(|pod| index(pod)));
        }
        let mut taken = self.succeeded_indexes.with(&Indexes::of(&taken));
        if let Some(failed) = &self.failed_indexes {
            taken = taken.with(failed);
        }
        taken.lacking(count, completions)
    }

    /// Those of the indexes whose wait after a failure is over; if none is, the job is looked at when the first one is.
    fn due(&mut self, indexes: Vec<i32>, now: Timestamp) -> Vec<i32> {
        let wait = |index: &i32| {
            let Some(pod) = self.kept.get(index) else {
                return Duration::ZERO;
            };
            let (counted, ignored) = facts::failures(pod);
            let failures = u32::try_from(counted.saturating_add(ignored)).unwrap_or(0);
            backoff::remaining(failures.saturating_add(1), finished_at(pod), now)
        };
        let waits: Vec<_> = indexes
            .into_iter()
            .map(|index| (index, wait(&index)))
            .collect();
        let due: Vec<_> = waits.iter().filter(|(_, wait)| wait.is_zero()).collect();
        if due.is_empty()
            && let Some((_, first)) = waits.iter().min_by_key(|(_, wait)| *wait)
        {
            self.look_again(*first);
        }
        due.into_iter().map(|(index, _)| *index).collect()
    }

    /// After what was decided has been done: whether enough pods have succeeded; if the job goes on, whether it is suspended.
    /// Returns the event to record, if that has changed: its reason and note.
    pub(crate) fn conclude(&mut self, managed: bool, now: Timestamp) -> Option<[&'static str; 2]> {
        let enough = match self.job.spec.as_ref().and_then(|s| s.completions) {
            Some(completions) => self.succeeded >= completions,
            None => self.succeeded > 0,
        };
        if enough && self.active == 0 {
            let message = "Reached expected number of succeeded pods";
            let met = condition(SUCCESS_CRITERIA_MET, "CompletionsReached", message, now);
            self.end = Some(met);
            return None;
        }
        if !managed {
            return None;
        }
        let suspended = is_suspended(&self.job);
        let (reason, message, event) = match suspended {
            true => ("JobSuspended", "Job suspended", "Suspended"),
            false => ("JobResumed", "Job resumed", "Resumed"),
        };
        let mut condition = condition(SUSPENDED, reason, message, now);
        if !suspended {
            condition.status = "False".to_owned();
        }
        let status = status(&mut self.job);
        if !facts::set_condition(status, condition) {
            return None;
        }
        // Its deadline counts from when it was resumed.
        status.start_time = (!suspended).then_some(Time(now));
        Some([event, message])
    }
}

fn indexes(pods: &[Arc<Pod>]) -> BTreeSet<i32> {
    pods.iter().filter_map(|pod| index(pod)).collect()
}
