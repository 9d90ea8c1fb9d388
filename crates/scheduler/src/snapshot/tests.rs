use serde_json::json;

use super::*;

fn node(value: serde_json::Value) -> Arc<Node> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pod(uid: &str, node: Option<&str>) -> Arc<PodInfo> {
    let value = json!({
        "metadata": {"uid": uid, "name": uid, "namespace": "default", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}},
            "ports": [{"containerPort": 80, "hostPort": 80}]}]},
    });
    Arc::new(PodInfo::new(&Arc::new(
        serde_json::from_value(value).unwrap(),
    )))
}

#[test]
fn an_assumption_is_replaced_by_the_binding() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node(json!({"metadata": {"name": "a"}})));
    snapshot.assume(pod("p", None), "a");
    snapshot.set_pod(pod("p", Some("a")));
    let info = snapshot.node("a").unwrap();
    assert_eq!((info.requested.milli_cpu, info.requested.pods), (1000, 1));
    assert_eq!(info.by_controller["rs"], 1);
    assert!(snapshot.remove_pod(&pod("p", Some("a"))));
    assert!(!snapshot.remove_pod(&pod("p", Some("a"))));
    let info = snapshot.node("a").unwrap();
    assert_eq!(info.requested, Resources::default());
    assert!(info.host_ports.is_empty() && info.by_controller.is_empty());
}

#[test]
fn pods_may_be_known_before_their_node() {
    let mut snapshot = Snapshot::default();
    snapshot.set_pod(pod("p", Some("late")));
    assert_eq!(snapshot.nodes().len(), 0);
    assert!(snapshot.set_node(&node(json!({"metadata": {"name": "late"}}))));
    assert_eq!(snapshot.node("late").unwrap().requested.pods, 1);
}

#[test]
fn heartbeats_help_nobody() {
    let mut snapshot = Snapshot::default();
    let with = |condition: &str, taints: serde_json::Value| {
        node(
            json!({"metadata": {"name": "a"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": condition}]}}),
        )
    };
    assert!(snapshot.set_node(&with("True", json!(null))));
    assert!(!snapshot.set_node(&with("False", json!(null))));
    assert!(snapshot.set_node(&with(
        "False",
        json!([{"key": "k", "effect": "NoSchedule"}])
    )));
}
