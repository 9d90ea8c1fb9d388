use serde_json::{Value, json};

use super::*;
use crate::plugins::profile;

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
        "metadata": {"uid": uid, "name": uid, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    Arc::new(PodInfo::new(&Arc::new(
        serde_json::from_value(value).unwrap(),
    )))
}

#[test]
fn the_emptier_node_wins() {
    let plugins = profile();
    let snapshot = snapshot(vec![node("small", "1"), node("big", "16")]);
    let decision = decide(&plugins, &snapshot, &pod("p", "900m"), &mut 0);
    assert!(matches!(decision, Decision::Node(node) if node == "big"));
}

#[test]
fn failures_are_counted_by_reason() {
    let plugins = profile();
    let mut cordoned = node("b", "1");
    cordoned["spec"] = json!({"unschedulable": true});
    let snapshot = snapshot(vec![node("a", "1"), cordoned, node("c", "1")]);
    let decision = decide(&plugins, &snapshot, &pod("p", "2"), &mut 0);
    let Decision::None(rejection) = decision else {
        panic!("the pod must not fit");
    };
    assert_eq!(
        rejection.message(3),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
    );
    assert_eq!(rejection.message(0), "no nodes available to schedule pods");
}

#[test]
fn of_many_nodes_some_are_enough_and_the_next_pod_goes_on_from_there() {
    for (nodes, expected) in [
        (10, 100),
        (100, 100),
        (250, 120),
        (1000, 420),
        (5000, 500),
        (20_000, 1000),
    ] {
        assert_eq!(enough(nodes, 0), expected, "{nodes} nodes");
    }
    let plugins = profile();
    let nodes = (0..300).map(|n| node(&format!("n{n}"), "4"));
    let snapshot = snapshot(nodes.collect());
    let mut start = 0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let found = feasible(&plugins, &snapshot, &pod("p", "1"), &mut start);
        let found = found.unwrap_or_else(|_| panic!("the pod fits"));
        assert_eq!(found.len(), enough(300, 0));
        seen.extend(found.iter().map(|node| node.name().to_owned()));
    }
    assert_eq!(seen.len(), 300, "every node has its turn");
}
