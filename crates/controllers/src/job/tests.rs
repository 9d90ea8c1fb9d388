//! The plan and the counting, without a server. `sync` is one reconciliation of a job and its pods.

mod counting;
mod parts;

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::JobStatus;
use serde_json::{Value, json};

use super::plan::Op;
use super::*;
use crate::fixtures::{self, merge, now, object};

/// A job of three completions, two at a time, changed by `more`.
fn job(more: Value) -> Job {
    let mut job = json!({
        "metadata": {"namespace": "x", "name": "pi", "uid": "job", "generation": 1},
        "spec": {
            "completions": 3, "parallelism": 2, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}},
        },
        "status": {"startTime": "2030-01-01T11:00:00Z"},
    });
    merge(&mut job, more);
    object(job)
}

fn indexed(more: Value) -> Job {
    let mut spec = json!({"spec": {"completionMode": "Indexed"}});
    merge(&mut spec, more);
    job(spec)
}

/// A pod with the finalizer, in a phase; `index` where it has one.
fn pod(name: &str, phase: &str, index: Option<i32>, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"finalizers": [facts::FINALIZER], "annotations": {}},
        "status": {"phase": phase, "containerStatuses": []},
    });
    if let Some(index) = index {
        pod["metadata"]["annotations"][facts::INDEX] = json!(index.to_string());
    }
    if matches!(phase, "Succeeded" | "Failed") {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2030-01-01T11:50:00Z"}]);
    }
    merge(&mut pod, more);
    fixtures::pod(name, "n", pod)
}

fn ended_with(code: i32) -> Value {
    json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "finishedAt": "2030-01-01T11:50:00Z"}}}]}})
}

fn deleted() -> Value {
    json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z", "deletionGracePeriodSeconds": 30}})
}

fn sync(job: &Job, pods: &[Arc<Pod>]) -> Sync {
    Sync::new(
        job.clone(),
        pods.to_vec(),
        HashSet::new(),
        Backoff::default(),
        now(),
    )
}

/// What is decided, in words: the end, the operation, and when to look again.
fn decision(job: &Job, pods: &[Arc<Pod>]) -> String {
    let mut sync = sync(job, pods);
    let op = sync.decide(true, now());
    let names = |pods: &[Arc<Pod>]| {
        let names = pods.iter().filter_map(|pod| pod.metadata.name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    let op = match op {
        None => "nothing".to_owned(),
        Some(Op::End(pods)) => format!("end [{}]", names(&pods)),
        Some(Op::Remove(pods)) => format!("remove [{}]", names(&pods)),
        Some(Op::Create(indexes)) => match indexes.iter().copied().collect::<Option<Vec<_>>>() {
            Some(indexes) => format!("create {indexes:?}"),
            None => format!("create {}", indexes.len()),
        },
    };
    let end = sync
        .end
        .map(|c| format!("{} {}: ", c.type_, c.reason.unwrap_or_default()));
    let again = sync
        .again_after
        .map(|after| format!(" again after {after:?}"));
    format!(
        "{}{op}{}",
        end.unwrap_or_default(),
        again.unwrap_or_default()
    )
}

#[test]
fn pods_are_made_until_enough_have_succeeded() {
    let running = |name| pod(name, "Running", None, json!({}));
    let succeeded = |name| pod(name, "Succeeded", None, json!({}));
    let free = json!({"spec": {"completions": null}});
    for (job, pods, expected) in [
        (job(json!({})), vec![], "create 2"),
        (job(json!({})), vec![running("a")], "create 1"),
        (job(json!({})), vec![running("a"), running("b")], "nothing"),
        (
            job(json!({})),
            vec![succeeded("a"), running("b")],
            "create 1",
        ),
        (
            job(json!({})),
            vec![succeeded("a"), succeeded("b")],
            "create 1",
        ),
        (
            job(json!({})),
            vec![succeeded("a"), succeeded("b"), succeeded("c")],
            "nothing",
        ),
        (
            job(json!({"spec": {"parallelism": 0}})),
            vec![running("a")],
            "remove [a]",
        ),
        (
            job(json!({"spec": {"parallelism": 2000, "completions": 2000}})),
            vec![],
            "create 500",
        ),
        (
            job(json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}})),
            vec![],
            "nothing",
        ),
        (job(json!({"spec": {"suspend": true}})), vec![], "nothing"),
        (
            job(json!({"spec": {"suspend": true}})),
            vec![running("a")],
            "remove [a]",
        ),
        (job(free.clone()), vec![], "create 2"),
        (job(free.clone()), vec![succeeded("a")], "nothing"),
        (job(free), vec![succeeded("a"), running("b")], "nothing"),
        (
            job(json!({})),
            vec![pod("a", "Running", None, deleted())],
            "create 2",
        ),
        (
            job(json!({"spec": {"podReplacementPolicy": "Failed"}})),
            vec![pod("a", "Running", None, deleted())],
            "create 1",
        ),
    ] {
        assert_eq!(decision(&job, &pods), expected, "{:?}", job.spec);
    }
}

#[test]
fn every_index_gets_a_pod() {
    let at = |name, phase, index| pod(name, phase, Some(index), json!({}));
    let many = json!({"spec": {"completions": 6, "parallelism": 3}});
    for (job, pods, expected) in [
        (indexed(many.clone()), vec![], "create [0, 1, 2]"),
        (
            indexed(many.clone()),
            vec![at("a", "Succeeded", 0), at("b", "Running", 2)],
            "create [1, 3]",
        ),
        (
            indexed(
                json!({"spec": {"completions": 6, "parallelism": 3}, "status": {"completedIndexes": "0-2,4"}}),
            ),
            vec![],
            "create [3, 5]",
        ),
        (
            indexed(many.clone()),
            vec![
                at("a", "Running", 0),
                at("b", "Pending", 0),
                at("c", "Running", 9),
                pod("d", "Running", None, json!({})),
            ],
            "remove [c d b]",
        ),
        (
            indexed(
                json!({"spec": {"completions": 6, "parallelism": 3, "podReplacementPolicy": "Failed"}}),
            ),
            vec![pod("a", "Running", Some(0), deleted())],
            "create [1, 2]",
        ),
    ] {
        assert_eq!(decision(&job, &pods), expected);
    }
}

#[test]
fn failures_end_a_job() {
    let failed = |name| pod(name, "Failed", None, json!({}));
    let restarted = pod(
        "r",
        "Running",
        None,
        json!({"status": {"containerStatuses": [
        {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2}]}}),
    );
    let on_failure = |limit: i32| {
        job(
            json!({"spec": {"backoffLimit": limit, "template": {"spec": {"restartPolicy": "OnFailure"}}}}),
        )
    };
    let limit = |limit: i32| job(json!({"spec": {"backoffLimit": limit}}));
    let deadline = |seconds: i64| job(json!({"spec": {"activeDeadlineSeconds": seconds}}));
    let target = |type_: &str| {
        job(
            json!({"status": {"conditions": [{"type": type_, "status": "True", "reason": "R", "message": "M"}]}}),
        )
    };
    let running = pod("a", "Running", None, json!({}));
    let other = pod("b", "Running", None, json!({}));
    for (job, pods, expected) in [
        (
            limit(0),
            vec![failed("f"), running.clone()],
            "FailureTarget BackoffLimitExceeded: end [a]",
        ),
        (limit(1), vec![failed("f"), running.clone()], "create 1"),
        (
            job(json!({"spec": {"backoffLimit": 1}, "status": {"failed": 1}})),
            vec![failed("f")],
            "FailureTarget BackoffLimitExceeded: end []",
        ),
        (
            job(json!({"status": {"failed": 6, "uncountedTerminatedPods": {"failed": ["gone"]}}})),
            vec![],
            "FailureTarget BackoffLimitExceeded: end []",
        ),
        (
            on_failure(2),
            vec![restarted.clone()],
            "FailureTarget BackoffLimitExceeded: end [r]",
        ),
        (
            on_failure(0),
            vec![restarted.clone()],
            "FailureTarget BackoffLimitExceeded: end [r]",
        ),
        (
            on_failure(3),
            vec![restarted.clone(), running.clone()],
            "nothing",
        ),
        (limit(2), vec![restarted, running.clone()], "nothing"),
        (
            deadline(3600),
            vec![running.clone()],
            "FailureTarget DeadlineExceeded: end [a]",
        ),
        (
            deadline(3660),
            vec![running.clone(), other],
            "nothing again after 60s",
        ),
        (
            target("FailureTarget"),
            vec![running.clone()],
            "Failed R: end [a]",
        ),
        (
            target("SuccessCriteriaMet"),
            vec![running],
            "SuccessCriteriaMet R: end [a]",
        ),
    ] {
        assert_eq!(decision(&job, &pods), expected, "{:?}", job.spec);
    }
}

#[test]
fn indexes_fail_by_themselves() {
    let spec = |more: Value| {
        let mut spec = json!({"spec": {"completions": 3, "parallelism": 3, "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1}});
        merge(&mut spec, more);
        indexed(spec)
    };
    let failed = |name, index, failures: i32| {
        let annotations =
            json!({"metadata": {"annotations": {facts::FAILURES: failures.to_string()}}});
        pod(name, "Failed", Some(index), annotations)
    };
    let old = |name, phase, index| pod(name, phase, Some(index), json!({}));
    for (job, pods, expected) in [
        // The first failure of an index: its successor comes after 10 s, which have passed.
        (spec(json!({})), vec![failed("a", 0, 0)], "create [0, 1, 2]"),
        (spec(json!({})), vec![failed("a", 0, 1)], "create [1, 2]"),
        (
            spec(json!({})),
            vec![
                failed("a", 0, 1),
                old("b", "Succeeded", 1),
                old("c", "Running", 2),
            ],
            "nothing",
        ),
        (
            spec(json!({"status": {"failedIndexes": "0", "completedIndexes": "1,2"}})),
            vec![],
            "FailureTarget FailedIndexes: end []",
        ),
        (
            spec(json!({"spec": {"maxFailedIndexes": 0}})),
            vec![failed("a", 0, 1), old("c", "Running", 2)],
            "FailureTarget MaxFailedIndexesExceeded: end [c]",
        ),
    ] {
        assert_eq!(decision(&job, &pods), expected);
    }
    let waiting = spec(json!({"spec": {"completions": 1}}));
    let late = json!({"metadata": {"annotations": {facts::FAILURES: "0"}}, "status": {"conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2030-01-01T11:59:55Z"}]}});
    let pods = [pod("a", "Failed", Some(0), late)];
    assert_eq!(decision(&waiting, &pods), "nothing again after 5s");
}

#[test]
fn policies_decide_about_ends() {
    let policy = |action: &str| {
        job(
            json!({"spec": {"backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": action, "onExitCodes": {"operator": "In", "values": [42]}},
            ]}}}),
        )
    };
    let failed = pod("a", "Failed", None, ended_with(42));
    assert_eq!(
        decision(&policy("FailJob"), std::slice::from_ref(&failed)),
        "FailureTarget PodFailurePolicy: end []"
    );
    assert_eq!(
        decision(&policy("Ignore"), std::slice::from_ref(&failed)),
        "create 2"
    );
    assert_eq!(
        decision(&policy("Count"), std::slice::from_ref(&failed)),
        "FailureTarget BackoffLimitExceeded: end []"
    );
    let mut end = sync(&policy("FailJob"), &[failed]);
    end.decide(true, now());
    assert_eq!(
        end.end.and_then(|c| c.message).as_deref(),
        Some("Container c for pod x/a failed with exit code 42 matching FailJob rule at index 1")
    );
    let success = indexed(json!({"spec": {"successPolicy": {"rules": [
        {"succeededIndexes": "0-1", "succeededCount": 2}, {"succeededCount": 1, "succeededIndexes": "2"}]}}}));
    let at = |name, phase, index| pod(name, phase, Some(index), json!({}));
    for (pods, expected) in [
        (
            vec![at("a", "Succeeded", 0), at("b", "Running", 1)],
            "create [2]",
        ),
        (
            vec![at("a", "Running", 0), at("b", "Succeeded", 2)],
            "SuccessCriteriaMet SuccessPolicy: end [a]",
        ),
    ] {
        assert_eq!(decision(&success, &pods), expected);
    }
}

#[test]
fn a_job_concludes() {
    let conclude = |job: Job, pods: &[Arc<Pod>], managed| {
        let mut sync = sync(&job, pods);
        let event = sync.conclude(managed, now());
        let status = sync.job.status.unwrap_or_default();
        (
            sync.end.map(|c| c.type_),
            event.map(|[reason, _]| reason),
            status,
        )
    };
    let succeeded = |name| pod(name, "Succeeded", None, json!({}));
    let all = [succeeded("a"), succeeded("b"), succeeded("c")];
    let running = [&all[..], &[pod("d", "Running", None, json!({}))]].concat();
    let met = Some("SuccessCriteriaMet".to_owned());
    assert_eq!(conclude(job(json!({})), &all, true).0, met);
    assert_eq!(conclude(job(json!({})), &running, true).0, None);
    let free = json!({"spec": {"completions": null}});
    assert_eq!(conclude(job(free), &all[..1], true).0, met);
    let (_, event, status) = conclude(job(json!({"spec": {"suspend": true}})), &[], true);
    assert_eq!((event, status.start_time), (Some("Suspended"), None));
    let (_, event, _) = conclude(job(json!({"spec": {"suspend": true}})), &[], false);
    assert_eq!(event, None);
    let was = json!({"status": {"conditions": [{"type": "Suspended", "status": "True"}]}});
    let (_, event, status) = conclude(job(was), &[], true);
    assert_eq!(event, Some("Resumed"));
    assert_eq!(status.start_time.map(|t| t.0), Some(now()));
    assert_eq!(conclude(job(json!({})), &[], true).1, None);
}

fn status_of(sync: &Sync) -> JobStatus {
    sync.job.status.clone().unwrap_or_default()
}
