use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, now, object, pod};

fn set(replicas: i32, more: Value) -> ReplicaSet {
    let mut set = json!({
        "metadata": {"namespace": "x", "name": "web", "uid": "rs", "generation": 2},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": []}},
        },
    });
    merge(&mut set, more);
    object(set)
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    (0..count)
        .map(|i| pod(&format!("p{i}"), "n1", json!({})))
        .collect()
}

fn describe(op: Option<Op<Pod>>) -> String {
    match op {
        None => "nothing".to_owned(),
        Some(Op::Create { count }) => format!("create {count}"),
        Some(Op::Delete { pods }) => format!("delete {}", pods.len()),
    }
}

#[test]
fn the_difference_is_created_or_deleted_up_to_the_burst() {
    let cases = [
        (3, 3, "nothing"),
        (3, 1, "create 2"),
        (0, 2, "delete 2"),
        (2000, 0, "create 500"),
        (0, 0, "nothing"),
    ];
    for (wanted, there, expected) in cases {
        let pods = pods(there);
        assert_eq!(
            describe(plan(&set(wanted, json!({})), &pods, || pods.clone(), now())),
            expected,
            "{wanted} wanted, {there} there"
        );
    }
}

/// Deletes one of two pods that differ in `first` and `second`: it must be the first.
fn assert_goes_first(what: &str, first: Value, second: Value) {
    let pair = [pod("first", "n1", first), pod("second", "n1", second)];
    for pods in [pair.to_vec(), pair.iter().rev().cloned().collect()] {
        let Some(Op::Delete { pods }) = plan(&set(1, json!({})), &pods, || pods.clone(), now())
        else {
            panic!("{what}: no deletion")
        };
        let names: Vec<_> = pods
            .iter()
            .map(|pod| pod.metadata.name.as_deref().unwrap_or_default())
            .collect();
        assert_eq!(names, ["first"], "{what}");
    }
}

#[test]
fn what_is_missed_least_goes_first() {
    let ready_since = |time: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
    let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
    let restarts = |count: i32| {
        json!({"status": {"containerStatuses": [
            {"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": count},
        ]}})
    };
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    assert_goes_first("no node", json!({"spec": {"nodeName": ""}}), not_ready());
    assert_goes_first("pending", phase("Pending"), phase("Unknown"));
    assert_goes_first("unknown", phase("Unknown"), phase("Running"));
    assert_goes_first("not ready", not_ready(), cost("-5"));
    assert_goes_first("cheaper", cost("-1"), json!({}));
    assert_goes_first("cheaper than costly", json!({}), cost("10"));
    assert_goes_first(
        "ready for less",
        ready_since("2030-01-01T11:59:00Z"),
        ready_since("2030-01-01T08:00:00Z"),
    );
    assert_goes_first("more restarts", restarts(5), restarts(1));
    let created = |time: &str| json!({"metadata": {"creationTimestamp": time}});
    assert_goes_first(
        "younger",
        created("2030-01-01T11:59:00Z"),
        created("2029-01-01T00:00:00Z"),
    );
}

#[test]
fn crowded_nodes_lose_pods_first() {
    let crowded = [
        pod("a", "n1", json!({})),
        pod("b", "n2", json!({})),
        pod("c", "n2", json!({})),
    ];
    let Some(Op::Delete { pods }) = plan(&set(2, json!({})), &crowded, || crowded.to_vec(), now())
    else {
        panic!("no deletion")
    };
    assert_eq!(pods::node_name(&pods[0]), "n2");
}

#[test]
fn status_counts() {
    let pods = [
        pod(
            "labelled",
            "n1",
            json!({"metadata": {"labels": {"tier": "front"}}}),
        ),
        pod("plain", "n1", json!({})),
        pod("not-ready", "n1", not_ready()),
        pod(
            "fresh",
            "n1",
            json!({"status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T11:59:55Z"},
            ]}}),
        ),
    ];
    let set = set(4, json!({"spec": {"minReadySeconds": 30}}));
    let status = status(&set, &pods, 2, None, now());
    assert_eq!(
        (status.replicas, status.fully_labeled_replicas),
        (4, Some(1))
    );
    assert_eq!(
        (status.ready_replicas, status.available_replicas),
        (Some(3), Some(2))
    );
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.terminating_replicas, Some(2));
    assert_eq!(
        next_available(&set, &pods, now()),
        Some(Duration::from_secs(25))
    );
    assert_eq!(next_available(&set, &pods[..3], now()), None);
}

#[test]
fn zero_counts_are_left_out() {
    let status = status::<Pod>(&set(0, json!({})), &[], 0, None, now());
    assert_eq!(
        serde_json::to_value(&status).expect("json"),
        json!({"replicas": 0, "observedGeneration": 2, "terminatingReplicas": 0})
    );
}

#[test]
fn failures_come_and_go() {
    let failed = status(
        &set(3, json!({})),
        &pods(1),
        0,
        Some("exceeded quota"),
        now(),
    );
    let condition = &failed.conditions.clone().unwrap_or_default()[0];
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_deref()),
        ("ReplicaFailure", Some("FailedCreate"))
    );
    assert_eq!(condition.message.as_deref(), Some("exceeded quota"));
    let mut failing = set(3, json!({}));
    failing.status = Some(failed.clone());
    assert_eq!(
        status(&failing, &pods(1), 0, Some("another"), now()).conditions,
        failed.conditions,
        "the first one stays"
    );
    assert_eq!(status(&failing, &pods(3), 0, None, now()).conditions, None);
    let deletion = status(&set(0, json!({})), &pods(1), 0, Some("no"), now());
    assert_eq!(
        deletion.conditions.unwrap_or_default()[0].reason.as_deref(),
        Some("FailedDelete")
    );
}

#[test]
fn any_mixture_of_pods_can_be_ranked() {
    let times = [
        "2030-01-01T11:59:58Z",
        "2030-01-01T11:59:50Z",
        "2030-01-01T11:00:00Z",
        "2030-01-01T11:00:07Z",
    ];
    let pods: Vec<_> = (0..400)
        .map(|i| {
            let ready = json!([{"type": "Ready", "status": if i % 7 == 0 { "False" } else { "True" },
                "lastTransitionTime": times[i % 4]}]);
            let restarts = json!([{"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": i % 3}]);
            let more = json!({
                "metadata": {"uid": format!("uid-{}", (i * 7919) % 400), "creationTimestamp": times[(i / 4) % 4]},
                "status": {"conditions": ready, "containerStatuses": restarts},
            });
            pod(&format!("p{i}"), if i % 5 == 0 { "n1" } else { "n2" }, more)
        })
        .collect();
    let mut ranked = pods.clone();
    rank(&mut ranked, &pods, now());
    let mut again = pods.iter().rev().cloned().collect::<Vec<_>>();
    rank(&mut again, &pods, now());
    let names = |pods: &[Arc<Pod>]| {
        pods.iter()
            .map(|p| p.metadata.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&ranked),
        names(&again),
        "the order does not depend on where they came from"
    );
}
