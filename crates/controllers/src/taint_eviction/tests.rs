use serde_json::{Value, json};

use super::*;
use crate::fixtures::{now, object, pod};

fn taint(key: &str, value: &str) -> Taint {
    object(
        json!({"key": key, "value": value, "effect": "NoExecute", "timeAdded": "2030-01-01T11:59:00Z"}),
    )
}

fn evicted(tolerations: Value, taints: &[Taint]) -> String {
    let pod = pod("p", "n1", json!({"spec": {"tolerations": tolerations}}));
    evict_at(&pod, taints, now()).map_or("stays".to_owned(), |at| at.to_string())
}

#[test]
fn tolerations() {
    let taints = [taint("a", "1")];
    let cases = [
        (json!([]), "2030-01-01T11:59:00Z"),
        (json!([{"operator": "Exists"}]), "stays"),
        (
            json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}]),
            "stays",
        ),
        (
            json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]),
            "2030-01-01T11:59:00Z",
        ),
        (json!([{"key": "a", "value": "1"}]), "stays"),
        (
            json!([{"key": "a", "operator": "Equal", "value": "2"}]),
            "2030-01-01T11:59:00Z",
        ),
        (
            json!([{"key": "b", "operator": "Exists"}]),
            "2030-01-01T11:59:00Z",
        ),
        (
            json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}]),
            "2030-01-01T12:04:00Z",
        ),
        (
            json!([{"key": "a", "operator": "Exists", "tolerationSeconds": -3}]),
            "2030-01-01T11:59:00Z",
        ),
        (
            json!([{"key": "a", "operator": "Never"}]),
            "2030-01-01T11:59:00Z",
        ),
    ];
    for (tolerations, expected) in cases {
        assert_eq!(
            evicted(tolerations.clone(), &taints),
            expected,
            "{tolerations}"
        );
    }
}

#[test]
fn the_shortest_toleration_counts() {
    let tolerations = json!([
        {"key": "a", "operator": "Exists", "tolerationSeconds": 300},
        {"key": "b", "operator": "Exists", "tolerationSeconds": 60},
        {"key": "c", "operator": "Exists"},
    ]);
    assert_eq!(
        evicted(
            tolerations.clone(),
            &[taint("a", ""), taint("b", ""), taint("c", "")]
        ),
        "2030-01-01T12:00:00Z"
    );
    assert_eq!(evicted(tolerations, &[taint("c", "")]), "stays");
    assert_eq!(evicted(json!([]), &[]), "stays");
}

#[test]
fn time_runs_from_the_taint_or_the_later_pod() {
    let tolerant = |created: &str| {
        let tolerations = json!([{"operator": "Exists", "tolerationSeconds": 60}]);
        pod(
            "p",
            "n1",
            json!({"metadata": {"creationTimestamp": created}, "spec": {"tolerations": tolerations}}),
        )
    };
    let at = |pod: &Pod, taint: Taint| evict_at(pod, &[taint], now()).map(|at| at.to_string());
    assert_eq!(
        at(&tolerant("2030-01-01T11:59:30Z"), taint("a", "")).as_deref(),
        Some("2030-01-01T12:00:30Z")
    );
    let timeless: Taint = object(json!({"key": "a", "effect": "NoExecute"}));
    assert_eq!(
        at(&tolerant("2030-01-01T10:00:00Z"), timeless).as_deref(),
        Some("2030-01-01T12:01:00Z")
    );
}

#[test]
fn a_pod_that_is_marked_is_not_spoken_of_again() {
    let marked = |conditions: Value| {
        let status = json!({"status": {"conditions": conditions}});
        is_marked(&pod("p", "n1", status))
    };
    let condition = |status: &str, reason: &str| json!([{"type": "DisruptionTarget", "status": status, "reason": reason}]);
    assert!(!marked(json!([])));
    assert!(!marked(condition("True", "EvictionByEvictionAPI")));
    assert!(!marked(condition("False", "DeletionByTaintManager")));
    assert!(marked(condition("True", "DeletionByTaintManager")));
}

#[test]
fn a_pod_waits_while_a_toleration_lasts() {
    let tolerations = json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 90}]);
    let pod = pod("p", "n1", json!({"spec": {"tolerations": tolerations}}));
    let of = |pod, taints: &[Taint]| verdict(pod, taints, now(), now());
    let wait = Verdict::Waits(Duration::from_secs(30));
    assert_eq!(of(Some(&pod), &[taint("a", "")]), wait);
    assert_eq!(of(Some(&pod), &[taint("b", "")]), Verdict::Goes);
    assert_eq!(of(Some(&pod), &[]), Verdict::Stays);
    assert_eq!(of(None, &[taint("b", "")]), Verdict::Stays);
}
