use serde_json::{Value, json};

use super::*;
use crate::plugins::default_profile;

fn snapshot(nodes: Vec<Value>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(&Arc::new(serde_json::from_value(node).unwrap()));
    }
    snapshot
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

fn pod(uid: &str, cpu: &str) -> Arc<PodInfo> {
    let value = json!({
        "metadata": {"uid": uid, "name": uid, "namespace": "default", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    Arc::new(PodInfo::new(&Arc::new(
        serde_json::from_value(value).unwrap(),
    )))
}

#[test]
fn pods_of_a_controller_spread_over_nodes() {
    let plugins = default_profile();
    let mut snapshot = snapshot(vec![node("a", "4"), node("b", "4"), node("c", "4")]);
    let mut used = std::collections::BTreeMap::new();
    for i in 0..6 {
        let pod = pod(&i.to_string(), "100m");
        let Decision::Node(name) = decide(&plugins, &snapshot, &pod) else {
            panic!("pod {i} found no node");
        };
        snapshot.assume(pod, &name);
        *used.entry(name).or_insert(0) += 1;
    }
    assert_eq!(used.into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn the_emptier_node_wins() {
    let plugins = default_profile();
    let snapshot = snapshot(vec![node("small", "1"), node("big", "16")]);
    assert_eq!(
        decide(&plugins, &snapshot, &pod("p", "900m")),
        Decision::Node("big".to_owned())
    );
}

#[test]
fn failures_are_counted_by_reason() {
    let plugins = default_profile();
    let mut cordoned = node("b", "1");
    cordoned["spec"] = json!({"unschedulable": true});
    let snapshot = snapshot(vec![node("a", "1"), cordoned, node("c", "1")]);
    let Decision::None(Rejection { reasons, .. }) = decide(&plugins, &snapshot, &pod("p", "2"))
    else {
        panic!("the pod must not fit");
    };
    assert_eq!(
        failure_message(3, &reasons),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    assert_eq!(
        failure_message(0, &reasons),
        "no nodes available to schedule pods"
    );
}
