use serde_json::json;

use super::*;

fn check(spec: serde_json::Value, expected: (Amount, Amount)) {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let requests = pod_requests(&spec);
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
    let spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "c"}]})).unwrap();
    assert_eq!(pod_requests(&spec).milli_cpu, 0);
    assert_eq!(pod_requests_for_score(&spec).milli_cpu, DEFAULT_MILLI_CPU);
}

/// The largest amounts that validation lets through: together they are still more than any node has.
#[test]
fn sums_of_the_largest_amounts_are_exact() {
    let most = i64::MAX.to_string();
    let spec: PodSpec = serde_json::from_value(json!({"containers": [
        container(&most, &most), container(&most, &most), container("1", "1"),
    ]}))
    .unwrap();
    let requests = pod_requests(&spec);
    assert_eq!(requests.memory_bytes, 2 * Amount::from(i64::MAX) + 1);
    assert!(requests.milli_cpu > Amount::from(i64::MAX));
    let mut node = requests.clone();
    node.add(&requests);
    node.sub(&requests);
    assert_eq!(node, requests);
}
