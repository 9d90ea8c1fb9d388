use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod};

#[test]
fn the_oldest_that_have_ended_are_in_excess() {
    let ended = |name: &str, phase: &str, minute: u32| {
        pod(
            name,
            "n1",
            json!({"metadata": {"creationTimestamp": format!("2030-01-01T10:{minute:02}:00Z")}, "status": {"phase": phase}}),
        )
    };
    let pods = vec![
        ended("new", "Succeeded", 30),
        ended("old", "Failed", 10),
        ended("middle", "Succeeded", 20),
        ended("running", "Running", 1),
        ended("pending", "Pending", 1),
        pod(
            "going",
            "n1",
            json!({"metadata": {"deletionTimestamp": "2030-01-01T11:00:00Z"}, "status": {"phase": "Failed"}}),
        ),
    ];
    let names = |threshold: usize| {
        let excess = excess(pods.clone(), threshold);
        excess
            .iter()
            .map(|p| p.metadata.name.clone().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(3), "");
    assert_eq!(names(1), "old middle");
    assert_eq!(names(0), "old middle new");
}

#[test]
fn evicted_pods_go_before_others() {
    let ended = |name: &str, minute: u32, status: Value| {
        let meta = json!({"creationTimestamp": format!("2030-01-01T10:{minute:02}:00Z")});
        pod(name, "n1", json!({"metadata": meta, "status": status}))
    };
    let pods = vec![
        ended("old", 10, json!({"phase": "Failed"})),
        ended(
            "evicted",
            30,
            json!({"phase": "Failed", "reason": "Evicted"}),
        ),
        ended(
            "older",
            5,
            json!({"phase": "Succeeded", "reason": "Evicted"}),
        ),
    ];
    let excess = excess(pods, 1);
    let names: Vec<_> = excess.iter().map(|p| p.metadata.name.as_deref()).collect();
    assert_eq!(names, [Some("evicted"), Some("older")]);
}

#[test]
fn pods_that_no_kubelet_ends() {
    let node = |ready: &str, taints: Value| -> Node {
        object(
            json!({"metadata": {"name": "n1"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
        )
    };
    let out = || json!([{"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}]);
    let unreachable = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
    let rows = [
        (true, "", None, true),
        (false, "", None, false),
        (true, "n1", None, false),
        (true, "n1", Some(node("Unknown", out())), true),
        (true, "n1", Some(node("False", out())), true),
        (true, "n1", Some(node("True", out())), false),
        (true, "n1", Some(node("Unknown", unreachable)), false),
        (false, "n1", Some(node("Unknown", out())), false),
    ];
    for (deleted, name, node, expected) in rows {
        let more = if deleted {
            json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}})
        } else {
            json!({})
        };
        let found = is_abandoned(&pod("p", name, more), node.as_ref());
        assert_eq!(found, expected, "{deleted} {name} {node:?}");
    }
}
