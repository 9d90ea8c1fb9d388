use serde_json::json;

use super::*;
use crate::testing::object;

#[test]
fn amounts_of_others_stay() {
    let own = || object::<Amounts>(json!({ "cpu": "2", "hugepages-2Mi": "0" }));
    for (old, wanted) in [
        (json!({}), json!({ "cpu": "2", "hugepages-2Mi": "0" })),
        (
            json!({ "cpu": "4", "example.com/dongle": "3", "hugepages-2Mi": "8Mi", "hugepages-1Gi": "1Gi" }),
            json!({ "cpu": "2", "example.com/dongle": "3", "hugepages-2Mi": "0" }),
        ),
    ] {
        let old: Amounts = object(old);
        assert_eq!(capacity(own(), Some(&old)), object::<Amounts>(wanted));
    }
}

#[test]
fn a_resource_of_somebody_else_is_no_change() {
    let status = |capacity: serde_json::Value, allocatable: serde_json::Value| -> NodeStatus {
        object(json!({ "capacity": capacity, "allocatable": allocatable }))
    };
    let old = status(
        json!({ "cpu": "2", "example.com/dongle": "3" }),
        json!({ "cpu": "2", "example.com/dongle": "3" }),
    );
    let new = |old: &NodeStatus| {
        let capacity = capacity(object(json!({ "cpu": "2" })), old.capacity.as_ref());
        NodeStatus {
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            ..old.clone()
        }
    };
    assert!(!changed(&old, &new(&old)));
    // What was advertised is not allocatable yet.
    let old = status(
        json!({ "cpu": "2", "example.com/dongle": "3" }),
        json!({ "cpu": "2" }),
    );
    assert!(changed(&old, &new(&old)));
}

#[test]
fn only_what_differs_is_written() {
    for (old, new, wanted) in [
        (
            json!({ "capacity": { "cpu": "2", "a/b": "1" }, "allocatable": { "cpu": "2" } }),
            json!({ "capacity": { "cpu": "2", "a/b": "1" }, "allocatable": { "cpu": "2", "a/b": "1" } }),
            json!({ "allocatable": { "a/b": "1" } }),
        ),
        (
            json!({ "capacity": { "cpu": "2" }, "allocatable": { "cpu": "2", "a/b": "1" }, "images": [] }),
            json!({ "capacity": { "cpu": "2" }, "allocatable": { "cpu": "2" }, "images": [1] }),
            json!({ "allocatable": { "a/b": null }, "images": [1] }),
        ),
        (
            json!({}),
            json!({ "capacity": { "cpu": "2" } }),
            json!({ "capacity": { "cpu": "2" } }),
        ),
    ] {
        assert_eq!(patch(&old, new), wanted);
    }
}

#[test]
fn changes_of_conditions_are_events() {
    let status = |conditions: &[(&str, &str)]| -> NodeStatus {
        let conditions = conditions
            .iter()
            .map(|(kind, status)| json!({ "type": kind, "status": status }));
        object(json!({ "conditions": conditions.collect::<Vec<_>>() }))
    };
    let healthy = [
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
    ];
    for (old, new, wanted) in [
        (
            status(&[]),
            status(&healthy),
            vec![
                "NodeHasSufficientMemory",
                "NodeHasNoDiskPressure",
                "NodeHasSufficientPID",
            ],
        ),
        (status(&healthy), status(&healthy), vec![]),
        (
            status(&healthy),
            status(&[("MemoryPressure", "True"), ("DiskPressure", "True")]),
            vec!["NodeHasInsufficientMemory", "NodeHasDiskPressure"],
        ),
        (
            status(&[("DiskPressure", "Unknown"), ("MemoryPressure", "True")]),
            status(&[("DiskPressure", "True"), ("MemoryPressure", "False")]),
            vec!["NodeHasSufficientMemory", "NodeHasDiskPressure"],
        ),
        (status(&[]), status(&[("Ready", "False")]), vec![]),
        (status(&[]), status(&[("Ready", "True")]), vec!["NodeReady"]),
        (
            status(&[("Ready", "True")]),
            status(&[("Ready", "False")]),
            vec!["NodeNotReady"],
        ),
        (
            status(&[("Ready", "Unknown")]),
            status(&[("Ready", "True")]),
            vec!["NodeReady"],
        ),
    ] {
        assert_eq!(transitions(&old, &new), wanted, "{new:?}");
    }
}

#[test]
fn streams_over_web_sockets_are_declared_with_a_runtime_that_speaks_them() {
    let others = [
        "InPlacePodLevelResourcesVerticalScaling",
        "InPlacePodVerticalScalingInitContainers",
        "RestartAllContainersOnContainerExits",
    ];
    assert_eq!(declared("containerd"), others);
    let ours = declared("knarr");
    assert_eq!(ours[0], "ExtendWebSocketsToKubelet");
    assert_eq!(ours[1..], others);
}

#[test]
fn every_handler_has_its_features_told() {
    let named = |name: &str, features| v1::RuntimeHandler {
        name: name.to_owned(),
        features,
    };
    let can = v1::RuntimeHandlerFeatures {
        recursive_read_only_mounts: true,
        user_namespaces: false,
    };
    let answer = v1::StatusResponse {
        runtime_handlers: vec![named("", Some(can)), named("old", None)],
        ..Default::default()
    };
    let of = |mounts: bool| json!({ "recursiveReadOnlyMounts": mounts, "userNamespaces": false });
    assert_eq!(
        serde_json::to_value(handlers(&answer)).unwrap(),
        json!([{ "name": "", "features": of(true) }, { "name": "old", "features": of(false) }])
    );
}
