use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod};

fn set(pod: Value) -> DaemonSet {
    object(json!({"spec": {"selector": {}, "template": {"spec": pod}}}))
}

fn node(taints: Value) -> Node {
    object(
        json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}}, "spec": {"taints": taints}}),
    )
}

fn affinity(terms: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": terms}}}})
}

fn requires(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": operator, "values": values})
}

#[test]
fn nodes_that_fit() {
    let expressions = |list: Value| affinity(json!([{"matchExpressions": list}]));
    let fields = |list: Value| affinity(json!([{"matchFields": list}]));
    for (what, spec, fits) in [
        ("no rule", json!({}), true),
        ("its name", json!({"nodeName": "n"}), true),
        ("another name", json!({"nodeName": "m"}), false),
        ("its label", json!({"nodeSelector": {"disk": "ssd"}}), true),
        (
            "another label",
            json!({"nodeSelector": {"disk": "hdd"}}),
            false,
        ),
        ("no term", affinity(json!([])), false),
        ("an empty term", affinity(json!([{}])), false),
        (
            "an expression",
            expressions(json!([requires("disk", "In", &["ssd"])])),
            true,
        ),
        (
            "an expression of two",
            expressions(json!([
                requires("disk", "Exists", &[]),
                requires("zone", "Exists", &[])
            ])),
            false,
        ),
        (
            "any term",
            affinity(json!([{}, {"matchFields": [requires("metadata.name", "In", &["n"])]}])),
            true,
        ),
        (
            "the other names",
            fields(json!([requires("metadata.name", "NotIn", &["n"])])),
            false,
        ),
        (
            "an unknown field",
            fields(json!([requires("metadata.uid", "In", &["n"])])),
            false,
        ),
        (
            "an unknown operator",
            expressions(json!([requires("disk", "Like", &["ssd"])])),
            false,
        ),
    ] {
        let fit = Placement::of(&set(spec)).fit(&node(json!([])));
        assert_eq!((fit.run, fit.stay), (fits, fits), "{what}");
    }
}

#[test]
fn taints() {
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    let tolerating = json!({"tolerations": [{"key": "mine", "operator": "Exists"}]});
    let host = json!({"hostNetwork": true});
    let network = "node.kubernetes.io/network-unavailable";
    for (spec, taints, run, stay) in [
        (json!({}), taint("mine", "NoSchedule"), false, true),
        (json!({}), taint("mine", "NoExecute"), false, false),
        (json!({}), taint("mine", "PreferNoSchedule"), true, true),
        (tolerating.clone(), taint("mine", "NoSchedule"), true, true),
        (tolerating, taint("mine", "NoExecute"), true, true),
        (
            json!({}),
            taint("node.kubernetes.io/unschedulable", "NoSchedule"),
            true,
            true,
        ),
        (
            json!({}),
            taint("node.kubernetes.io/unreachable", "NoExecute"),
            true,
            true,
        ),
        (
            json!({}),
            taint("node.kubernetes.io/not-ready", "NoSchedule"),
            false,
            true,
        ),
        (json!({}), taint(network, "NoSchedule"), false, true),
        (host, taint(network, "NoSchedule"), true, true),
    ] {
        let fit = Placement::of(&set(spec.clone())).fit(&node(taints.clone()));
        assert_eq!((fit.run, fit.stay), (run, stay), "{spec} on {taints}");
    }
}

#[test]
fn tolerations_are_added_once() {
    let mut spec: PodSpec = object(json!({"containers": [], "tolerations": [
        {"key": "mine", "operator": "Exists"},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
    ]}));
    add_tolerations(&mut spec);
    let once = spec.tolerations.clone().unwrap_or_default();
    assert_eq!(once.len(), 7);
    assert_eq!(once[0].key.as_deref(), Some("mine"));
    assert_eq!(once[1].toleration_seconds, None, "for ever");
    add_tolerations(&mut spec);
    assert_eq!(spec.tolerations, Some(once));
}

#[test]
fn pods_are_pinned_to_nodes() {
    for before in [
        json!({}),
        json!({"affinity": {"podAffinity": {}}}),
        affinity(json!([{"matchExpressions": [requires("disk", "Exists", &[])]}])),
    ] {
        let mut spec: PodSpec = {
            let mut spec = before.clone();
            spec["containers"] = json!([]);
            object(spec)
        };
        pin(&mut spec, "n");
        let pinned = Pod {
            spec: Some(spec),
            ..Pod::default()
        };
        assert_eq!(target(&pinned), Some("n"), "{before}");
        let terms =
            serde_json::to_value(required(pinned.spec.as_ref().expect("a spec"))).expect("json");
        assert_eq!(
            terms,
            json!({"nodeSelectorTerms": [{"matchFields": [requires("metadata.name", "In", &["n"])]}]})
        );
    }
    assert_eq!(target(&pod("p", "m", json!({}))), Some("m"));
    let two = affinity(json!([{"matchFields": [requires("metadata.name", "In", &["a", "b"])]}]));
    assert_eq!(target(&pod("p", "", json!({"spec": two}))), None);
    assert_eq!(target(&pod("p", "", json!({}))), None);
}
