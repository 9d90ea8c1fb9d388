use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;

const OF_A_PLUGIN: &str = "example.com/plugged";

fn room() -> Room {
    Room {
        units: Units::from([
            (CPU, 2_000),
            (MEMORY, 1 << 30),
            (STORAGE, 1 << 30),
            ("hugepages-2Mi", 8 << 20),
        ]),
        pods: 3,
    }
}

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
    let room = room().with_extended(Some(node), |name| name == OF_A_PLUGIN);
    let result = check(pod, Some(node), admitted, &room).and_then(|()| tolerates(pod, node));
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

fn asking(amounts: Value) -> Pod {
    pod(containers(
        json!({"resources": {"requests": amounts, "limits": amounts}}),
    ))
}

/// Of a node to which somebody has added resources.
#[test]
fn all_resources_of_the_node_count_and_those_of_no_node_do_not() {
    let mut node = node(json!([]));
    let added = json!({"example.com/foo": "3", OF_A_PLUGIN: "0", "hugepages-1Gi": "4Gi"});
    node.status = Some(serde_json::from_value(json!({"allocatable": added})).expect("a status"));
    let others = with(&[asking(
        json!({"example.com/foo": "2", "hugepages-2Mi": "4Mi"}),
    )]);
    for (amounts, wanted) in [
        (
            json!({"example.com/foo": "1", "hugepages-2Mi": "4Mi"}),
            None,
        ),
        (json!({"example.com/unknown": "7", OF_A_PLUGIN: "1"}), None),
        (
            json!({"example.com/foo": "2"}),
            Some(("example.com/foo", 2, 2, 3)),
        ),
        (
            json!({"hugepages-2Mi": "6Mi"}),
            Some(("hugepages-2Mi", 6 << 20, 4 << 20, 8 << 20)),
        ),
        // A size that the node does not have, whatever its status says from before.
        (
            json!({"hugepages-1Gi": "1Gi"}),
            Some(("hugepages-1Gi", 1 << 30, 0, 0)),
        ),
    ] {
        let wanted = wanted.map(|(name, asked, used, capacity)| {
            (
                format!("OutOf{name}"),
                format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"),
            )
        });
        let answer = refused(&asking(amounts.clone()), &node, &others);
        assert_eq!(answer, wanted, "{amounts}");
    }
}

#[test]
fn what_comes_from_claims_is_no_resource_of_the_node() {
    let mut node = node(json!([]));
    let status = json!({"allocatable": {"example.com/foo": "1"}});
    node.status = Some(serde_json::from_value(status).expect("a status"));
    let mut pod = asking(json!({"example.com/foo": "2"}));
    let reason = |pod: &Pod| refused(pod, &node, &Admitted::new()).map(|(reason, _)| reason);
    assert_eq!(reason(&pod).as_deref(), Some("OutOfexample.com/foo"));
    let mapping =
        json!({"containerName": "c", "requestName": "r", "resourceName": "example.com/foo"});
    let claimed = json!({"resourceClaimName": "claim", "requestMappings": [mapping]});
    let status = json!({"extendedResourceClaimStatus": claimed});
    pod.status = Some(serde_json::from_value(status).expect("a status"));
    assert_eq!(reason(&pod), None);
}
