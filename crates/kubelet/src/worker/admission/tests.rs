use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;

const ROOM: Room = Room {
    cpu_milli: 2_000,
    memory_bytes: 1 << 30,
    storage_bytes: 1 << 30,
    pods: 3,
};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
}

fn containers(container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("c");
    json!({"containers": [container]})
}

fn ports(ports: Value) -> Pod {
    pod(containers(json!({"ports": ports})))
}

fn node(taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n", "labels": {"zone": "a"}},
        "spec": {"taints": taints},
    }))
    .expect("a node")
}

fn with(others: &[Pod]) -> Admitted {
    let names = (0..others.len()).map(|at| at.to_string());
    names.zip(others.iter().map(share)).collect()
}

/// Reason and message of a rejection.
fn refused(pod: &Pod, node: &Node, admitted: &Admitted) -> Option<(String, String)> {
    let result = check(pod, Some(node), admitted, ROOM).and_then(|()| tolerates(pod, node));
    result.err().map(|r| (r.reason, r.message))
}

#[test]
fn a_port_of_the_node_is_had_by_one_pod() {
    let web = json!([{"containerPort": 80, "hostPort": 8080}]);
    let admitted = with(&[ports(web.clone())]);
    let node = node(json!([]));
    for (wanted, fits) in [
        (web, false),
        (
            json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}]),
            false,
        ),
        (
            json!([{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]),
            true,
        ),
        (json!([{"containerPort": 80, "hostPort": 8081}]), true),
        (json!([{"containerPort": 8080}]), true),
    ] {
        let answer = refused(&ports(wanted.clone()), &node, &admitted);
        assert_eq!(answer.is_none(), fits, "{wanted}");
        if let Some((reason, message)) = answer {
            assert_eq!(reason, "NodePorts");
            assert_eq!(
                message,
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            );
        }
    }
}

#[test]
fn rules_of_nodes_and_taints_hold_for_pods_that_were_bound_by_hand() {
    let plain = containers(json!({}));
    let selecting = |zone: &str| {
        let mut spec = containers(json!({}));
        spec["nodeSelector"] = json!(BTreeMap::from([("zone", zone)]));
        pod(spec)
    };
    let requiring = |zone: &str| {
        let mut spec = containers(json!({}));
        let term =
            json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [term]});
        pod(spec)
    };
    let mut tolerating = plain.clone();
    tolerating["tolerations"] = json!([{"operator": "Exists"}]);
    let (evicting, closed) = (
        node(json!([{"key": "k", "effect": "NoExecute"}])),
        node(json!([{"key": "k", "effect": "NoSchedule"}])),
    );
    let clean = node(json!([]));
    for (what, pod, node, reason) in [
        ("its zone", selecting("a"), &clean, None),
        ("another zone", selecting("b"), &clean, Some("NodeAffinity")),
        ("the zone required", requiring("a"), &clean, None),
        (
            "another required",
            requiring("b"),
            &clean,
            Some("NodeAffinity"),
        ),
        (
            "evicted",
            pod(plain.clone()),
            &evicting,
            Some("TaintToleration"),
        ),
        ("tolerated", pod(tolerating), &evicting, None),
        ("not scheduled", pod(plain), &closed, None),
    ] {
        let answer = refused(&pod, node, &Admitted::new()).map(|(reason, _)| reason);
        assert_eq!(answer.as_deref(), reason, "{what}");
    }
}

#[test]
fn what_is_asked_for_must_be_there() {
    let asking = |resource: &str, amount: &str| {
        let mut requests = json!({});
        requests[resource] = json!(amount);
        pod(containers(json!({"resources": {"requests": requests}})))
    };
    let admitted = with(&[asking("cpu", "1500m"), asking("memory", "1000Mi")]);
    let node = node(json!([]));
    let reason = |pod: &Pod, admitted: &Admitted| refused(pod, &node, admitted).map(|(r, _)| r);
    assert_eq!(reason(&asking("cpu", "500m"), &admitted), None);
    assert_eq!(
        reason(&asking("cpu", "501m"), &admitted).as_deref(),
        Some("OutOfcpu")
    );
    assert_eq!(
        reason(&asking("memory", "25Mi"), &admitted).as_deref(),
        Some("OutOfmemory")
    );
    let stored = with(&[asking("ephemeral-storage", "1000Mi")]);
    assert_eq!(reason(&asking("ephemeral-storage", "24Mi"), &stored), None);
    assert_eq!(
        refused(&asking("ephemeral-storage", "25Mi"), &node, &stored),
        Some((
            "OutOfephemeral-storage".to_owned(),
            "Node didn't have enough resource: ephemeral-storage, requested: 26214400, used: 1048576000, capacity: 1073741824".to_owned(),
        ))
    );
    let full = with(&[
        pod(containers(json!({}))),
        pod(containers(json!({}))),
        pod(containers(json!({}))),
    ]);
    assert_eq!(
        reason(&pod(containers(json!({}))), &full).as_deref(),
        Some("OutOfpods")
    );
}
