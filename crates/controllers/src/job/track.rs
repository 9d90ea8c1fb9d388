//! Counting pods that have ended, once each, whatever is lost between two writes.
//!
//! A pod's uid goes into the status before its finalizer goes, and becomes a number there when the finalizer is gone. Between
//! any two steps the job can be looked at anew, also by another process: a uid in the list whose pod has no finalizer (or is
//! no more) is still to be counted, a pod with a finalizer that is not in the list is new.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::facts::{
    self, COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, condition, holds, index,
    is_failed,
};
use super::indexes::Indexes;
use super::plan::{Sync, status, uncounted};
use super::policy::{self, Verdict};
use crate::pods;

/// Pods in the status' lists at most: a status has a few tens of kilobytes then (upstream `MaxUncountedPods`).
const UNCOUNTED_PODS: usize = 500;

/// The first step: what the status says before finalizers go.
pub(crate) struct Counting {
    /// Their finalizers are to be removed when the status is written.
    pub release: Vec<Arc<Pod>>,
    /// Uids of pods that have the finalizer.
    pub holding: HashSet<String>,
    /// The status says something new.
    pub changed: bool,
    /// There were more pods than a status holds.
    pub full: bool,
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// Puts pods that have ended into the status, and what condition follows from the end that was found.
pub(crate) fn begin(sync: &mut Sync, now: Timestamp) -> Counting {
    if facts::indexed_completions(&sync.job).is_some() {
        sync.pods.sort_by_key(|pod| index(pod));
    }
    let to_count = sync.pods.iter().filter(|pod| sync.is_to_count(pod));
    let holding: HashSet<String> = to_count.map(|pod| uid(pod)).collect();
    let known = uncounted(&sync.job);
    let mut counting = Counting {
        release: Vec::new(),
        changed: settle(status(&mut sync.job), &holding),
        holding,
        full: false,
    };
    let spec = facts::spec(&sync.job);
    let failing = sync
        .end
        .as_ref()
        .is_some_and(|c| c.type_ != SUCCESS_CRITERIA_MET);
    let mut succeeded_indexes = BTreeSet::new();
    let listed = uncounted(&sync.job).map(|set| set.len());
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    for pod in sync.pods.iter().filter(|pod| sync.is_to_count(pod)) {
        if !may_release(sync, pod) {
            continue;
        }
        counting.release.push(pod.clone());
        match news(sync, &spec, &known, failing, pod) {
            Some(News::Index(index)) => {
                succeeded_indexes.insert(index);
            }
            Some(News::Succeeded) => succeeded.push(uid(pod)),
            Some(News::Failed) => failed.push(uid(pod)),
            None => {}
        }
        let new = succeeded_indexes.len() + succeeded.len() + failed.len();
        if new + listed[0] + listed[1] >= UNCOUNTED_PODS {
            counting.full = true;
            break;
        }
    }
    let news = [&succeeded, &failed].iter().any(|list| !list.is_empty());
    counting.changed |= news || !succeeded_indexes.is_empty();
    list(status(&mut sync.job), succeeded, failed);
    counting.changed |= write_indexes(sync, &succeeded_indexes);
    counting.changed |= announce_end(sync, now);
    counting
}

/// Whether a pod need not be kept for anything: it was or will be counted, or nobody counts any more.
fn may_release(sync: &Sync, pod: &Pod) -> bool {
    let over = sync.job.metadata.deletion_timestamp.is_some() || sync.end.is_some();
    let kept = || {
        let kept = index(pod).and_then(|index| sync.kept.get(&index));
        kept.is_some_and(|kept| kept.metadata.uid == pod.metadata.uid)
    };
    over || pods::phase(pod) == "Succeeded" || (is_failed(&sync.job, pod) && !kept())
}

/// What a pod adds to the status.
enum News {
    /// An index succeeded: it is enough to count its pod once.
    Index(i32),
    Succeeded,
    Failed,
}

/// `known` are the uids that the status lists; `failing`: the job has failed, and with it every pod that did not succeed.
fn news(
    sync: &Sync,
    spec: &JobSpec,
    known: &[HashSet<String>; 2],
    failing: bool,
    pod: &Pod,
) -> Option<News> {
    let [succeeded, failed] = known;
    let uid = uid(pod);
    if failed.contains(&uid) || !sync.is_valid(pod) {
        return None;
    }
    if pods::phase(pod) == "Succeeded" {
        return match facts::indexed_completions(&sync.job) {
            Some(_) => index(pod)
                .filter(|index| !sync.known.has(*index))
                .map(News::Index),
            None => (!succeeded.contains(&uid)).then_some(News::Succeeded),
        };
    }
    let ended = failing || is_failed(&sync.job, pod);
    let counts = ended && policy::judge(spec, pod) != Verdict::Ignored;
    counts.then_some(News::Failed)
}

fn list(status: &mut JobStatus, succeeded: Vec<String>, failed: Vec<String>) {
    let lists = status.uncounted_terminated_pods.get_or_insert_default();
    for (list, new) in [
        (&mut lists.succeeded, succeeded),
        (&mut lists.failed, failed),
    ] {
        if !new.is_empty() {
            list.get_or_insert_default().extend(new);
        }
    }
}

/// Counts the pods in the lists that do not hold a finalizer any more. Whether there were any.
pub(crate) fn settle(status: &mut JobStatus, holding: &HashSet<String>) -> bool {
    let lists = status.uncounted_terminated_pods.get_or_insert_default();
    let mut changed = false;
    for (list, count) in [
        (&mut lists.succeeded, &mut status.succeeded),
        (&mut lists.failed, &mut status.failed),
    ] {
        let uids = list.take().unwrap_or_default();
        let before = uids.len();
        let left: Vec<_> = uids
            .into_iter()
            .filter(|uid| holding.contains(uid))
            .collect();
        let gone = i32::try_from(before - left.len()).unwrap_or(i32::MAX);
        if gone > 0 {
            changed = true;
            *count = Some(count.unwrap_or(0).saturating_add(gone));
        }
        *list = Some(left).filter(|left| !left.is_empty());
    }
    changed
}

fn write_indexes(sync: &mut Sync, new: &BTreeSet<i32>) -> bool {
    if facts::indexed_completions(&sync.job).is_none() {
        return false;
    }
    sync.succeeded_indexes = sync.succeeded_indexes.with(&Indexes::of(new));
    let status = status(&mut sync.job);
    let text = |indexes: &Indexes| Some(indexes.to_string());
    let completed = text(&sync.succeeded_indexes).filter(|text| !text.is_empty());
    let failed = sync.failed_indexes.as_ref().and_then(text);
    let changed = status.completed_indexes.as_deref().unwrap_or_default()
        != completed.as_deref().unwrap_or_default()
        || status.failed_indexes != failed;
    let total = sync.succeeded_indexes.total();
    status.succeeded = Some(total).filter(|total| *total > 0);
    status.completed_indexes = completed;
    status.failed_indexes = failed;
    changed
}

/// Says how the job will end, before it does; the end that was found becomes the final one.
fn announce_end(sync: &mut Sync, now: Timestamp) -> bool {
    let Some(end) = &sync.end else { return false };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (reason, message) = (text(&end.reason), text(&end.message));
    let last = match end.type_.as_str() {
        FAILURE_TARGET => FAILED,
        SUCCESS_CRITERIA_MET => COMPLETE,
        _ => return false,
    };
    let status = sync.job.status.get_or_insert_default();
    let new = holds(status, &end.type_).is_none();
    if new {
        let conditions = status.conditions.get_or_insert_default();
        conditions.push(end.clone());
    }
    sync.end = Some(condition(last, &reason, &message, now));
    new
}

/// The last step: the job has ended, if it is to and nothing is left to count or to wait for.
pub(crate) fn finish(sync: &mut Sync) -> bool {
    let Some(end) = &sync.end else { return false };
    let left: usize = uncounted(&sync.job).iter().map(HashSet::len).sum();
    if left > 0 || sync.terminating > 0 {
        return false;
    }
    let status = status(&mut sync.job);
    facts::set_condition(status, end.clone());
    if end.type_ == COMPLETE {
        status.completion_time = end.last_transition_time.clone();
    }
    true
}

/// The event that tells of the end: whether it is a good one, its reason and note; before it a warning, if there were too
/// many successes.
pub(crate) fn told(job: &Job, end: &JobCondition) -> Vec<(bool, String, String)> {
    if end.type_ != COMPLETE {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return vec![(false, text(&end.reason), text(&end.message))];
    }
    let succeeded = job.status.as_ref().and_then(|s| s.succeeded).unwrap_or(0);
    let completions = job.spec.as_ref().and_then(|s| s.completions);
    let mut events = Vec::new();
    if completions.is_some_and(|completions| succeeded > completions) {
        let note = "Too many succeeded pods running after completion count reached";
        events.push((false, "TooManySucceededPods".to_owned(), note.to_owned()));
    }
    events.push((true, "Completed".to_owned(), "Job completed".to_owned()));
    events
}
