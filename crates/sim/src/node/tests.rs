use k8s_openapi::api::core::v1::Node;

use super::*;
use crate::fixtures::{config, now, seen};

#[test]
fn a_node_is_registered_as_a_kubelet_does_it() {
    let address = "198.18.0.2".parse().expect("an address");
    let node = object(&config(), 1, address, now());
    let typed: Node = serde_json::from_value(node.clone()).expect("a Node");
    let labels = typed.metadata.labels.unwrap_or_default();
    for (key, value) in [
        ("kubernetes.io/hostname", "sim-2"),
        ("kubernetes.io/os", "linux"),
        ("topology.kubernetes.io/zone", "zone-2"),
        ("pool", "blue"),
        ("knarr.dev/simulated", "sim"),
        (
            "node.kubernetes.io/exclude-from-external-load-balancers",
            "",
        ),
    ] {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    let status = typed.status.unwrap_or_default();
    assert_eq!(status.capacity, status.allocatable);
    let conditions = status.conditions.unwrap_or_default();
    let told = conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str()));
    assert!(told.eq([
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
        ("Ready", "True"),
    ]));
    assert!(!differs(&seen::<Seen>(&node).conditions, None));
}

#[test]
fn names_are_in_order() {
    let mut config = config();
    for (count, index, expected) in [
        (3, 0, "sim-1"),
        (10, 0, "sim-01"),
        (5_000, 4_999, "sim-5000"),
    ] {
        config.count = count;
        assert_eq!(name(&config, index), expected);
    }
}

#[test]
fn conditions_are_as_old_as_their_state() {
    let condition = |status: &str| Condition {
        kind: "Ready".to_owned(),
        status: status.to_owned(),
        last_transition_time: Some("2029-01-01T00:00:00Z".to_owned()),
    };
    for (before, trouble, expected) in [
        (condition("True"), None, "2029-01-01T00:00:00Z"),
        (
            condition("True"),
            Some("no runtime"),
            "2030-01-01T12:00:00Z",
        ),
        (condition("Unknown"), None, "2030-01-01T12:00:00Z"),
        (
            condition("False"),
            Some("no runtime"),
            "2029-01-01T00:00:00Z",
        ),
    ] {
        let status = status(std::slice::from_ref(&before), trouble, now());
        let ready = &status["conditions"][3];
        assert_eq!(
            ready["lastTransitionTime"], expected,
            "{before:?} {trouble:?}"
        );
        assert_eq!(ready["lastHeartbeatTime"], "2030-01-01T12:00:00Z");
    }
}

#[test]
fn what_others_wrote_differs() {
    let node = |ready: &str| {
        let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure"]
            .map(|kind| json!({"type": kind, "status": "False"}));
        let mut conditions = conditions.to_vec();
        conditions.push(json!({"type": "Ready", "status": ready}));
        conditions.push(json!({"type": "NetworkUnavailable", "status": "True"}));
        let node = json!({"metadata": {"name": "sim-1"}, "status": {"conditions": conditions}});
        seen::<Seen>(&node).conditions
    };
    assert!(!differs(&node("True"), None));
    assert!(differs(&node("Unknown"), None));
    assert!(differs(&node("True"), Some("no runtime")));
    assert!(!differs(&node("False"), Some("no runtime")));
    assert!(differs(&[], None));
}

#[test]
fn annotations_say_what_goes_wrong() {
    for (annotations, expected) in [
        (json!({}), (false, false)),
        (json!({STOPPED_ANNOTATION: "true"}), (true, false)),
        (
            json!({NOT_READY_ANNOTATION: "true", "other": "x"}),
            (false, true),
        ),
        (json!({STOPPED_ANNOTATION: "false"}), (false, false)),
    ] {
        let node = json!({"metadata": {"name": "sim-1", "annotations": annotations},
            "spec": {"podCIDR": "10.42.1.0/24"}});
        let node: Seen = seen(&node);
        assert_eq!((node.is_stopped, node.is_broken), expected);
        assert_eq!(node.range.as_deref(), Some("10.42.1.0/24"));
    }
}
