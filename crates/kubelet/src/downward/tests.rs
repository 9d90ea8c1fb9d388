use serde_json::json;

use super::*;
use crate::testing::{object, pod};

#[test]
fn fields() {
    let mut pod = pod(json!({ "containers": [], "serviceAccountName": "sa" }));
    pod.metadata.annotations = Some(
        [
            ("k".to_owned(), "a\"b\n".to_owned()),
            ("z".to_owned(), "é".to_owned()),
        ]
        .into(),
    );
    let facts = Facts {
        host_ips: vec!["h".into(), "i".into()],
        pod_ips: vec!["p".into(), "q".into()],
        node_name: "n".into(),
        annotations: [("own".to_owned(), "s".to_owned())].into(),
        ..Facts::default()
    };
    for (path, text) in [
        ("metadata.name", "web"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.labels", "app=\"web\""),
        (
            "metadata.annotations",
            "k=\"a\\\"b\\n\"\nown=\"s\"\nz=\"é\"",
        ),
        ("metadata.annotations['own']", "s"),
        ("metadata.annotations['z']", "é"),
        ("spec.nodeName", "n"),
        ("spec.serviceAccountName", "sa"),
        ("status.hostIP", "h"),
        ("status.hostIPs", "h,i"),
        ("status.podIP", "p"),
        ("status.podIPs", "p,q"),
    ] {
        assert_eq!(field(&pod, path, &facts).as_deref(), Ok(text), "{path}");
    }
    assert!(field(&pod, "spec.replicas", &facts).is_err());
}

#[test]
fn resources() {
    let pod = pod(json!({ "containers": [{ "name": "a", "resources": {
        "limits": { "memory": "64Mi" }, "requests": { "cpu": "250m" } } }] }));
    let own = &pod.spec.as_ref().unwrap().containers[0];
    let facts = Facts {
        node_cpu_milli: 4_000,
        node_memory_bytes: 1 << 30,
        node_storage_bytes: 7,
        ..Facts::default()
    };
    for (selector, text) in [
        (json!({ "resource": "limits.memory" }), "67108864"),
        (
            json!({ "resource": "limits.memory", "divisor": "1Mi" }),
            "64",
        ),
        (json!({ "resource": "requests.memory" }), "67108864"),
        (json!({ "resource": "requests.cpu" }), "1"),
        (
            json!({ "resource": "requests.cpu", "divisor": "1m" }),
            "250",
        ),
        (json!({ "resource": "limits.cpu" }), "4"),
        (json!({ "resource": "limits.ephemeral-storage" }), "7"),
        (json!({ "resource": "requests.ephemeral-storage" }), "0"),
    ] {
        assert_eq!(
            resource(&pod, own, &object(selector.clone()), &facts).as_deref(),
            Ok(text),
            "{selector}"
        );
    }
}

#[test]
fn limits_that_a_container_lacks_are_its_pods() {
    let pod = pod(
        json!({ "resources": { "limits": { "cpu": "1500m", "memory": "1Gi" } },
        "containers": [{ "name": "a", "resources": { "limits": { "memory": "64Mi" } } }] }),
    );
    let own = &pod.spec.as_ref().unwrap().containers[0];
    let facts = Facts {
        node_cpu_milli: 4_000,
        node_memory_bytes: 4 << 30,
        ..Facts::default()
    };
    for (selector, text) in [
        (json!({ "resource": "limits.cpu", "divisor": "1m" }), "1500"),
        (json!({ "resource": "requests.cpu" }), "0"),
        (
            json!({ "resource": "limits.memory", "divisor": "1Mi" }),
            "64",
        ),
    ] {
        assert_eq!(
            resource(&pod, own, &object(selector.clone()), &facts).as_deref(),
            Ok(text),
            "{selector}"
        );
    }
}
