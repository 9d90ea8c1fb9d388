use serde_json::json;

use super::*;

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"spec": spec})).unwrap()
}

fn check(spec: serde_json::Value, expected: (Amount, Amount)) {
    let requests = pod_requests(&pod(spec));
    assert_eq!((requests.milli_cpu, requests.memory_bytes), expected);
}

fn container(cpu: &str, memory: &str) -> serde_json::Value {
    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
}

#[test]
fn containers_add_up_and_init_containers_peak() {
    check(
        json!({"containers": [container("100m", "1Ki"), container("0.2", "1k")]}),
        (300, 2024),
    );
    check(
        json!({"containers": [container("100m", "1Ki")], "initContainers": [container("1", "1"), container("500m", "4Ki")]}),
        (1000, 4096),
    );
}

#[test]
fn sidecars_count_with_both() {
    let mut sidecar = container("100m", "10");
    sidecar["restartPolicy"] = "Always".into();
    check(
        json!({"containers": [container("200m", "10")], "initContainers": [sidecar, container("250m", "5")]}),
        (350, 20),
    );
}

#[test]
fn pod_level_requests_and_overhead() {
    check(
        json!({"containers": [container("100m", "10")], "overhead": {"cpu": "50m"}, "resources": {"requests": {"cpu": "2"}}}),
        (2050, 10),
    );
}

#[test]
fn silence_counts_in_scores_only() {
    let pod = pod(json!({"containers": [{"name": "c"}]}));
    assert_eq!(pod_requests(&pod).milli_cpu, 0);
    assert_eq!(pod_requests_for_score(&pod).milli_cpu, DEFAULT_MILLI_CPU);
}

/// The largest amounts that validation lets through: together they are still more than any node has.
#[test]
fn sums_of_the_largest_amounts_are_exact() {
    let most = i64::MAX.to_string();
    let pod = pod(json!({"containers": [
        container(&most, &most), container(&most, &most), container("1", "1"),
    ]}));
    let requests = pod_requests(&pod);
    assert_eq!(requests.memory_bytes, 2 * Amount::from(i64::MAX) + 1);
    assert!(requests.milli_cpu > Amount::from(i64::MAX));
    let mut node = requests.clone();
    node.add(&requests);
    node.sub(&requests);
    assert_eq!(node, requests);
}

#[test]
fn a_pod_that_is_resized_counts_for_the_most_of_it() {
    for (wanted, promised, actual, reason, counts) in [
        ("1", "1", "1", None, 1_000),
        // The node has not said yes yet: room that is kept for it.
        ("3", "1", "1", Some("Deferred"), 3_000),
        // It shrinks, and its containers have not yet.
        ("1", "2", "3", None, 3_000),
        ("1", "3", "2", None, 3_000),
        ("9", "2", "1", Some("Infeasible"), 2_000),
    ] {
        let mut pod = pod(json!({"containers": [container(wanted, "1")]}));
        pod.status = Some(
            serde_json::from_value(json!({
                "conditions": reason.map(|reason| json!({
                    "type": "PodResizePending", "status": "True", "reason": reason,
                })).into_iter().collect::<Vec<_>>(),
                "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": promised, "memory": "1"},
                    "resources": {"requests": {"cpu": actual, "memory": "1"}},
                }],
            }))
            .unwrap(),
        );
        assert_eq!(
            pod_requests(&pod).milli_cpu,
            counts,
            "{wanted} {promised} {actual}"
        );
    }
}
