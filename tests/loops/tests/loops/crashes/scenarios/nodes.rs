//! Controllers of nodes, and of pods that their nodes do not keep.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::crashes::hands::Hand;
use crate::crashes::scenario::{
    PLAIN, Scenario, Step, create, create_in, delete, node, patch, pod, wait,
};
use crate::crashes::world::{World, equal};

const NODES: &str = "/api/v1/nodes";

pub const SCENARIOS: [Scenario; 6] = [
    Scenario {
        controller: "node-ipam-controller",
        before: || node("n1"),
        after: || {
            let mut steps = node("n2");
            steps.extend(node("n3"));
            steps.push(delete(&format!("{NODES}/n1")));
            steps.extend(node("n4"));
            steps
        },
        check: |world| {
            let nodes = world.all("nodes").iter();
            let ranges: BTreeSet<&str> = nodes
                .filter_map(|node| node["spec"]["podCIDR"].as_str())
                .collect();
            equal("ranges of three nodes", &json!(ranges.len()), &json!(3))
        },
        ..PLAIN
    },
    Scenario {
        controller: "ttl-controller",
        before: || node("n1"),
        after: || {
            let mut steps = node("n2");
            let other = json!({"metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "7"}}});
            steps.push(patch(&format!("{NODES}/n1"), other));
            steps
        },
        check: |world| {
            for node in world.all("nodes") {
                let told = &node["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"];
                equal("told", told, &json!("0"))?;
            }
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        controller: "node-lifecycle-controller",
        hands: &[Hand::Lease],
        before: || {
            let mut steps: Vec<Step> = node("n0").into_iter().chain(node("lost")).collect();
            steps.push(pod("a", "lost", json!({})));
            steps.push(patch(
                "/api/v1/namespaces/x/pods/a/status",
                json!({"status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}]}}),
            ));
            steps
        },
        after: || vec![wait(120)],
        check: |world| {
            let effects: BTreeSet<&str> = taints(world, "lost")?
                .iter()
                .filter_map(|t| t["effect"].as_str())
                .collect();
            equal(
                "taints of the lost",
                &json!(effects),
                &json!(["NoExecute", "NoSchedule"]),
            )?;
            equal(
                "taints of the living",
                &json!(taints(world, "n0")?.len()),
                &json!(0),
            )?;
            let conditions = world.one("pods", "a")?["status"]["conditions"].as_array();
            let mut ready = conditions
                .into_iter()
                .flatten()
                .filter(|c| c["type"] == "Ready");
            equal(
                "ready",
                &json!(ready.next().map(|c| &c["status"])),
                &json!("False"),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "taint-eviction-controller",
        hands: &[Hand::Kubelet],
        before: || {
            let tolerates = |more: Value| json!({"spec": {"tolerations": [more]}});
            let mut steps: Vec<Step> = node("n1").into_iter().chain(node("n2")).collect();
            steps.extend([
                pod("goes", "n1", json!({})),
                pod(
                    "later",
                    "n1",
                    tolerates(json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30})),
                ),
                pod(
                    "stays",
                    "n1",
                    tolerates(json!({"key": "k", "operator": "Exists"})),
                ),
                pod("elsewhere", "n2", json!({})),
            ]);
            steps
        },
        after: || {
            let taints = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
            vec![patch(&format!("{NODES}/n1"), taints), wait(60)]
        },
        check: |world| only_pods(world, &["elsewhere", "stays"]),
        ..PLAIN
    },
    Scenario {
        controller: "pod-garbage-collector-controller",
        before: || {
            let mut steps = node("n1");
            steps.extend([
                pod("orphan", "gone", json!({})),
                pod("another", "gone", json!({})),
                pod("stays", "n1", json!({})),
            ]);
            steps
        },
        after: || vec![wait(120)],
        check: |world| only_pods(world, &["stays"]),
        ..PLAIN
    },
    Scenario {
        controller: "device-taint-eviction-controller",
        hands: &[Hand::Kubelet],
        before: devices,
        after: || {
            let slice = json!({"spec": {"devices": [
                {"name": "d1", "taints": [{"key": "k", "effect": "NoExecute"}]}, {"name": "d2"}]}});
            vec![
                wait(5),
                patch("/apis/resource.k8s.io/v1/resourceslices/s", slice),
                wait(20),
            ]
        },
        check: |world| only_pods(world, &["p2"]),
        ..PLAIN
    },
];

fn taints<'a>(world: &'a World, node: &str) -> Result<Vec<&'a Value>, String> {
    let taints = world.one("nodes", node)?["spec"]["taints"].as_array();
    Ok(taints.into_iter().flatten().collect())
}

fn only_pods(world: &World, wanted: &[&str]) -> Result<(), String> {
    let pods = world.all("pods").iter();
    let names: Vec<&str> = pods
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    equal("pods", &json!(names), &json!(wanted))
}

/// Two pods, each with a device.
fn devices() -> Vec<Step> {
    let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
    let slice = json!({"spec": {"driver": "d.example", "nodeName": "n1", "pool": pool,
        "devices": [{"name": "d1"}, {"name": "d2"}]}});
    let mut steps = node("n1");
    steps.push(create_in(
        "",
        "resource.k8s.io/v1",
        "ResourceSlice",
        "s",
        slice,
    ));
    for number in [1, 2] {
        let (claim, device) = (format!("c{number}"), format!("d{number}"));
        let request = json!({"name": "r", "exactly": {"deviceClassName": "any"}});
        let result = json!({"request": "r", "driver": "d.example", "pool": "p", "device": device});
        let allocation = json!({"devices": {"results": [result]}});
        let more = json!({"spec": {"resourceClaims": [{"name": "r", "resourceClaimName": claim}]}});
        steps.extend([
            create(
                "resource.k8s.io/v1",
                "ResourceClaim",
                &claim,
                json!({"spec": {"devices": {"requests": [request]}}}),
            ),
            pod(&format!("p{number}"), "n1", more),
            Step::Reserve(format!("p{number}"), claim, allocation),
        ]);
    }
    steps
}
