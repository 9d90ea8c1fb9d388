use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{not_ready, pod};

/// What whoever counts pods sees of one.
fn seen(pod: &impl View) -> impl PartialEq + std::fmt::Debug {
    let names = [
        pod.namespace(),
        pod.name(),
        pod.uid(),
        pod.resource_version(),
    ]
    .map(str::to_owned);
    let owner = pod.controller();
    let owner = owner.map(|owner| [owner.kind, owner.name, owner.uid].map(str::to_owned));
    let labels = ["app", "tier", "empty", "none"].map(|key| pod.label(key).map(str::to_owned));
    let times = (pod.created(), pod.ready_since(), pod.available_at(60));
    let numbers = (pod.restarts(), pod.deletion_cost());
    let state = (pod.phase().to_owned(), pod.node_name().to_owned());
    let are = (pod.is_going(), pod.is_ready(), pod.is_active());
    (names, owner, labels, times, numbers, state, are)
}

#[test]
fn a_summary_says_what_the_pod_says() {
    let owner = |controller: Value| json!({"kind": "Job", "name": "j", "uid": "u", "apiVersion": "batch/v1", "controller": controller});
    let cases = [
        json!({}),
        not_ready(),
        json!({"metadata": {"resourceVersion": "7", "labels": {"tier": "a\"b", "empty": "", "zone": "x"}}}),
        json!({"metadata": {"labels": null, "annotations": {"other": "x"}, "uid": null}}),
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-7", "a": "b"}}}),
        json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "much"}}}),
        json!({"metadata": {"ownerReferences": [owner(Value::Null), owner(json!(true))]}}),
        json!({"metadata": {"ownerReferences": [owner(json!(false))]}}),
        json!({"metadata": {"deletionTimestamp": "2030-01-01T12:00:00Z", "deletionGracePeriodSeconds": 3}}),
        json!({"spec": {"nodeName": null}, "status": {"phase": "Failed", "conditions": null}}),
        json!({"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "True"}]}}),
        json!({"status": {"containerStatuses": [
            {"name": "a", "restartCount": 2, "image": "", "imageID": "", "ready": true},
            {"name": "b", "restartCount": 5, "image": "", "imageID": "", "ready": true},
        ]}}),
        json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "0001-01-01T00:00:00Z"}]}}),
    ];
    for case in cases {
        let whole: &Pod = &pod("p", "n", case.clone());
        let json = serde_json::to_string(whole).expect("JSON");
        let summary = PodSummary::decode(&json).expect("a pod");
        assert!(summary.has_labels_of(&summary));
        assert_eq!(
            format!("{:?}", seen(&summary)),
            format!("{:?}", seen(whole)),
            "{case}"
        );
    }
}

#[test]
fn a_summary_is_small() {
    assert!(
        size_of::<PodSummary>() <= 320,
        "{}",
        size_of::<PodSummary>()
    );
}
