//! Pods are counted once, wherever the steps are cut.

use super::*;

/// The job as it is written after the first step, and whose finalizers go then.
fn begin(job: &Job, pods: &[Arc<Pod>]) -> (Sync, Vec<String>) {
    let mut sync = sync(job, pods);
    sync.decide(true, now());
    sync.conclude(true, now());
    let counting = track::begin(&mut sync, now());
    let names = counting
        .release
        .iter()
        .filter_map(|pod| pod.metadata.name.clone());
    let names = names.collect();
    (sync, names)
}

fn lists(status: &JobStatus) -> (Vec<String>, Vec<String>) {
    let lists = status.uncounted_terminated_pods.clone().unwrap_or_default();
    (
        lists.succeeded.unwrap_or_default(),
        lists.failed.unwrap_or_default(),
    )
}

fn released(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut pod = (**pod).clone();
    pod.metadata.finalizers = None;
    Arc::new(pod)
}

#[test]
fn a_pod_is_listed_then_released_then_counted() {
    let pods = [
        pod("a", "Succeeded", None, json!({})),
        pod("b", "Failed", None, json!({})),
        pod("c", "Running", None, json!({})),
    ];
    let (first, names) = begin(&job(json!({})), &pods);
    let status = status_of(&first);
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        lists(&status),
        (vec!["uid-a".to_owned()], vec!["uid-b".to_owned()])
    );
    assert_eq!((status.succeeded, status.failed), (None, None));

    // The process ended before the finalizers went: nothing is listed twice.
    let (again, names) = begin(&first.job, &pods);
    assert_eq!(names, ["a", "b"]);
    assert_eq!(lists(&status_of(&again)), lists(&status));

    // It ended after one had gone: that one is counted now, the other is still to go.
    let half = [released(&pods[0]), pods[1].clone(), pods[2].clone()];
    let (half, names) = begin(&first.job, &half);
    let status = status_of(&half);
    assert_eq!(names, ["b"]);
    assert_eq!(lists(&status), (vec![], vec!["uid-b".to_owned()]));
    assert_eq!((status.succeeded, status.failed), (Some(1), None));

    // It ended after both had gone, and one pod with it; what was counted stays so.
    let gone = [released(&pods[0]), pods[2].clone()];
    let (done, names) = begin(&first.job, &gone);
    let status = status_of(&done);
    assert!(names.is_empty());
    assert_eq!(lists(&status), (vec![], vec![]));
    assert_eq!((status.succeeded, status.failed), (Some(1), Some(1)));
    let (stays, _) = begin(&done.job, &gone);
    assert_eq!(
        (status_of(&stays).succeeded, status_of(&stays).failed),
        (Some(1), Some(1))
    );
}

#[test]
fn indexes_are_counted_by_themselves() {
    let pods = [
        pod("b", "Succeeded", Some(2), json!({})),
        pod("a", "Succeeded", Some(0), json!({})),
        pod("again", "Succeeded", Some(0), json!({})),
        pod("none", "Succeeded", None, json!({})),
        pod("far", "Succeeded", Some(7), json!({})),
        pod("f", "Failed", Some(1), json!({})),
    ];
    let (first, names) = begin(&indexed(json!({"spec": {"completions": 4}})), &pods);
    let status = status_of(&first);
    assert_eq!(names.len(), 6);
    assert_eq!(status.completed_indexes.as_deref(), Some("0,2"));
    assert_eq!(status.succeeded, Some(2));
    assert_eq!(lists(&status), (vec![], vec!["uid-f".to_owned()]));
    let (again, _) = begin(&first.job, &pods);
    assert_eq!(status_of(&again).succeeded, Some(2));
}

#[test]
fn a_status_takes_so_many_pods_at_once() {
    let many: Vec<_> = (0..700)
        .map(|n| pod(&format!("p{n}"), "Failed", None, json!({})))
        .collect();
    let mut sync = sync(&job(json!({"spec": {"backoffLimit": 1000}})), &many);
    let counting = track::begin(&mut sync, now());
    assert!(counting.full);
    assert_eq!(counting.release.len(), 500);
    assert_eq!(lists(&status_of(&sync)).1.len(), 500);
}

#[test]
fn the_end_is_announced_before_it_comes() {
    let succeeded = [pod("a", "Succeeded", None, json!({}))];
    let one = job(json!({"spec": {"completions": 1}}));
    let (mut met, _) = begin(&one, &succeeded);
    let types = |sync: &Sync| -> Vec<String> {
        let conditions = status_of(sync).conditions.unwrap_or_default();
        conditions.into_iter().map(|c| c.type_).collect()
    };
    assert_eq!(types(&met), ["SuccessCriteriaMet"]);
    assert!(!track::finish(&mut met), "a pod is listed");
    track::settle(plan::status(&mut met.job), &HashSet::new());
    met.terminating = 1;
    assert!(!track::finish(&mut met), "a pod has not ended");
    met.terminating = 0;
    assert!(track::finish(&mut met));
    assert_eq!(types(&met), ["SuccessCriteriaMet", "Complete"]);
    let status = status_of(&met);
    assert_eq!(
        (status.succeeded, status.completion_time.map(|t| t.0)),
        (Some(1), Some(now()))
    );
    let end = met.end.clone().expect("an end");
    assert_eq!(
        track::told(&met.job, &end),
        [(true, "Completed".to_owned(), "Job completed".to_owned())]
    );

    // A pod that runs when the job fails counts as failed.
    let running = [
        pod("a", "Running", None, json!({})),
        pod("f", "Failed", None, json!({})),
    ];
    let mut failed = sync(&job(json!({"spec": {"backoffLimit": 0}})), &running);
    failed.decide(true, now());
    track::begin(&mut failed, now());
    assert_eq!(types(&failed), ["FailureTarget"]);
    assert_eq!(lists(&status_of(&failed)).1, ["uid-a", "uid-f"]);
    track::settle(plan::status(&mut failed.job), &HashSet::new());
    assert!(track::finish(&mut failed));
    assert_eq!(types(&failed), ["FailureTarget", "Failed"]);
    assert_eq!(status_of(&failed).completion_time, None);
    let end = failed.end.clone().expect("an end");
    assert_eq!(track::told(&failed.job, &end)[0].1, "BackoffLimitExceeded");
}

#[test]
fn a_failed_pod_of_an_index_waits_for_its_successor() {
    let spec =
        json!({"spec": {"backoffLimitPerIndex": 2, "backoffLimit": i32::MAX, "parallelism": 3}});
    let failed = pod("a", "Failed", Some(0), json!({}));
    let (kept, names) = begin(&indexed(spec.clone()), std::slice::from_ref(&failed));
    assert!(names.is_empty(), "its count of failures would be lost");
    let successor = template::new_pod(&kept.job, Some(0), kept.kept.get(&0).map(|pod| &**pod));
    assert_eq!(facts::failures(&successor), (1, 0));
    let mut successor = successor;
    successor.metadata.uid = Some("uid-b".to_owned());
    let (_, names) = begin(&indexed(spec), &[failed, Arc::new(successor)]);
    assert_eq!(names, ["a"]);
}
