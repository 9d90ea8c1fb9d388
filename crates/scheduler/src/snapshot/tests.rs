use serde_json::json;

use super::*;

fn node(value: serde_json::Value) -> Arc<Node> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pod(uid: &str, node: Option<&str>) -> Arc<PodInfo> {
    let value = json!({
        "metadata": {"uid": uid, "name": uid, "namespace": "default"},
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
    assert!(snapshot.forget("p").is_none(), "nothing is assumed of it");
    let removed = snapshot.remove_pod("p");
    assert_eq!(removed.map(|freed| freed.node).as_deref(), Some("a"));
    assert!(snapshot.remove_pod("p").is_none());
    let info = snapshot.node("a").unwrap();
    assert_eq!(info.requested, Resources::default());
    assert!(info.host_ports.is_empty());
}

#[test]
fn only_what_is_still_assumed_can_be_forgotten() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&node(json!({"metadata": {"name": "a"}})));
    snapshot.assume(pod("p", None), "a");
    assert_eq!(
        snapshot.forget("p").map(|freed| freed.node).as_deref(),
        Some("a")
    );
    snapshot.assume(pod("p", None), "a");
    snapshot.set_pod(pod("p", Some("a")));
    assert!(snapshot.forget("p").is_none());
    assert_eq!(snapshot.node("a").unwrap().requested.pods, 1);
}

/// Pods that name their node themselves may both want a port; it is free when both are gone.
#[test]
fn a_port_is_taken_as_long_as_any_pod_has_it() {
    let mut snapshot = Snapshot::default();
    snapshot.set_pod(pod("p", Some("a")));
    snapshot.set_pod(pod("q", Some("a")));
    snapshot.remove_pod("p");
    assert_eq!(snapshot.node("a").unwrap().host_ports.len(), 1);
    snapshot.remove_pod("q");
    assert!(snapshot.node("a").is_none());
}

#[test]
fn pods_may_be_known_before_their_node() {
    let mut snapshot = Snapshot::default();
    snapshot.set_pod(pod("p", Some("late")));
    assert_eq!(snapshot.len(), 0);
    let (before, changes) = snapshot.set_node(&node(json!({"metadata": {"name": "late"}})));
    assert_eq!((before, changes), (None, vec![Change::NodeAdded]));
    assert_eq!(snapshot.node("late").unwrap().requested.pods, 1);
}

#[test]
fn what_of_a_node_changed() {
    let plain = json!({"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let taint = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let cordon = json!({"spec": {"unschedulable": true}});
    let label = json!({"metadata": {"name": "a", "labels": {"disk": "ssd"}}});
    let room = json!({"status": {"allocatable": {"cpu": "4"}}});
    let with = |more: &serde_json::Value| {
        let mut node_json = plain.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            node_json[key] = value.clone();
        }
        node(node_json)
    };
    let heartbeat = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let both = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}, "status": {"allocatable": {"cpu": "4"}}});
    let none = json!({});
    let rows: [(&serde_json::Value, &serde_json::Value, &[Change]); 8] = [
        (&none, &none, &[]),
        (&none, &heartbeat, &[]),
        (&none, &label, &[Change::NodeLabels]),
        (&none, &taint, &[Change::NodeTaints]),
        (&none, &room, &[Change::NodeAllocatable]),
        (&none, &both, &[Change::NodeTaints, Change::NodeAllocatable]),
        (&none, &cordon, &[]),
        (&cordon, &none, &[Change::NodeUncordoned]),
    ];
    for (old, new, expected) in rows {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(&with(old));
        let (before, changes) = snapshot.set_node(&with(new));
        assert_eq!(changes, expected, "{old} to {new}");
        assert_eq!(before, Some(with(old)));
    }
}

/// Indexes name nodes by their slots, which are used again.
#[test]
fn slots_are_used_again_once_nothing_is_known_of_their_node() {
    let mut snapshot = Snapshot::default();
    let (a, b) = (
        node(json!({"metadata": {"name": "a"}})),
        node(json!({"metadata": {"name": "b"}})),
    );
    snapshot.set_node(&a);
    snapshot.set_pod(pod("p", Some("a")));
    assert!(snapshot.remove_node(&a).is_some() && snapshot.remove_node(&a).is_none());
    assert_eq!((snapshot.len(), snapshot.nodes().count()), (0, 0));
    snapshot.set_node(&b);
    assert_eq!((snapshot.len(), snapshot.slots()), (1, 2));
    snapshot.remove_pod("p");
    snapshot.set_node(&a);
    assert_eq!((snapshot.len(), snapshot.slots()), (2, 2));
    assert_eq!(snapshot.node("a").map(|info| info.requested.pods), Some(0));
}

#[test]
fn images_are_counted_by_the_nodes_that_have_them() {
    let with = |name: &str, images: &[&str]| {
        let images: Vec<_> = images
            .iter()
            .map(|image| json!({"names": [image], "sizeBytes": 9}))
            .collect();
        node(json!({"metadata": {"name": name}, "status": {"images": images}}))
    };
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&with("a", &["x", "y"]));
    snapshot.set_node(&with("b", &["x"]));
    assert_eq!(
        (
            snapshot.nodes_with_image("x"),
            snapshot.nodes_with_image("y")
        ),
        (2, 1)
    );
    snapshot.set_node(&with("a", &["x"]));
    snapshot.remove_node(&with("b", &[]));
    assert_eq!(
        (
            snapshot.nodes_with_image("x"),
            snapshot.nodes_with_image("y")
        ),
        (1, 0)
    );
}
