//! What is asked of a job, of its pods, and of conditions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pods;

/// Keeps a pod until it was counted in its job's status.
pub(crate) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of a pod of an indexed job.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(crate) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The manager of jobs that name none.
const MANAGER: &str = "kubernetes.io/job-controller";

pub(crate) const COMPLETE: &str = "Complete";
pub(crate) const FAILED: &str = "Failed";
pub(crate) const SUSPENDED: &str = "Suspended";
pub(crate) const FAILURE_TARGET: &str = "FailureTarget";
pub(crate) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";

pub(crate) fn spec(job: &Job) -> JobSpec {
    job.spec.clone().unwrap_or_default()
}

/// Whether another controller takes care of the job.
pub(crate) fn is_foreign(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|s| s.managed_by.as_deref());
    manager.is_some_and(|manager| manager != MANAGER)
}

pub(crate) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.suspend).unwrap_or(false)
}

/// Whether a terminating pod is replaced only when it has ended.
pub(crate) fn replaces_only_failed(job: &Job) -> bool {
    let policy = job
        .spec
        .as_ref()
        .and_then(|s| s.pod_replacement_policy.as_deref());
    policy == Some("Failed")
}

/// The completions of an indexed job; `None` for others.
pub(crate) fn indexed_completions(job: &Job) -> Option<i32> {
    let spec = job.spec.as_ref()?;
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    indexed.then(|| spec.completions.unwrap_or(0))
}

pub(crate) fn condition(type_: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// A condition of this type that is true.
pub(crate) fn holds<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|c| c.type_ == type_ && c.status == "True")
}

/// The condition that the job ended with.
pub(crate) fn end(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    holds(status, COMPLETE).or_else(|| holds(status, FAILED))
}

/// Adds or replaces a condition; one that was not there is not added to say that it is false. Whether that changed anything.
pub(crate) fn set_condition(status: &mut JobStatus, condition: JobCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let current = conditions.iter_mut().find(|c| c.type_ == condition.type_);
    match current {
        Some(current) => {
            let said = |c: &JobCondition| (c.status.clone(), c.reason.clone(), c.message.clone());
            let changed = said(current) != said(&condition);
            if changed {
                *current = condition;
            }
            changed
        }
        None if condition.status == "False" => false,
        None => {
            conditions.push(condition);
            true
        }
    }
}

pub(crate) fn is_tracked(pod: &Pod) -> bool {
    let mut finalizers = pod.metadata.finalizers.iter().flatten();
    finalizers.any(|finalizer| finalizer == FINALIZER)
}

fn annotation(pod: &Pod, key: &str) -> Option<i32> {
    let text = pod.metadata.annotations.as_ref()?.get(key)?;
    text.parse().ok().filter(|number: &i32| *number >= 0)
}

pub(crate) fn index(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX)
}

/// Pods of its index that failed before this one and were counted, and those that were not.
pub(crate) fn failures(pod: &Pod) -> (i32, i32) {
    let count = |key| annotation(pod, key).unwrap_or(0);
    (count(FAILURES), count(IGNORED_FAILURES))
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !pods::is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts as failed: also one that is being deleted, since it may never get so far as to fail, unless the job
/// waits for that.
pub(crate) fn is_failed(job: &Job, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !replaces_only_failed(job) && pod.metadata.deletion_timestamp.is_some(),
    }
}

/// When the pod ended: as its containers say, else since when it is not ready, else since when it is being deleted.
pub(crate) fn finished_at(pod: &Pod) -> Timestamp {
    let not_ready = || {
        let ready = pods::condition(pod, "Ready").filter(|c| c.status == "False")?;
        ready.last_transition_time.as_ref().map(|t| t.0)
    };
    let deleted = || {
        let end = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        end.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
    containers_finished_at(pod)
        .or_else(not_ready)
        .or_else(deleted)
        .or(created)
        .unwrap_or(Timestamp::MIN)
}

/// When the last container ended, if all have; containers that run beside the others count, those that ran before do not.
fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let init = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    let beside: Vec<&str> = init
        .filter(|c| c.restart_policy.as_deref() == Some("Always"))
        .map(|c| c.name.as_str())
        .collect();
    let main = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    let ends = main
        .chain(init.filter(|status| beside.contains(&status.name.as_str())))
        .map(terminated_at);
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn terminated_at(status: &ContainerStatus) -> Option<Timestamp> {
    let terminated = status.state.as_ref()?.terminated.as_ref()?;
    terminated.finished_at.as_ref().map(|t| t.0)
}
