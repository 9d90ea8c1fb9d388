use std::{borrow::Cow, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    config::points::{DEFAULT, Point},
    pod_info::PodInfo,
    snapshot::Snapshot,
};

fn reasons(pod: Value, node: Value) -> Vec<String> {
    let mut snapshot = Snapshot::default();
    let mut node = node;
    node["metadata"]["name"] = "a".into();
    if node["status"].is_null() {
        node["status"] = json!({"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}});
    }
    snapshot.set_node(&Arc::new(serde_json::from_value(node).unwrap()));
    let mut pod = pod;
    if pod["containers"].is_null() {
        pod["containers"] = json!([]);
    }
    let pod = json!({"metadata": {"uid": "p"}, "spec": pod});
    let info = PodInfo::new(&Arc::new(serde_json::from_value(pod).unwrap()));
    let plugins = profile();
    let prepared = match plugins.pre_filter(&info, &snapshot) {
        Ok(prepared) => prepared,
        Err((_, why)) => return vec![why.into_owned()],
    };
    let verdicts = snapshot.nodes().filter_map(|node| {
        let verdict = plugins.filter(&info, node, &prepared.state);
        verdict.err().map(|(_, refusal)| refusal.reasons)
    });
    verdicts.flatten().map(Cow::into_owned).collect()
}

#[test]
fn an_empty_pod_fits_a_plain_node() {
    assert!(reasons(json!({}), json!({})).is_empty());
}

#[test]
fn taints_need_their_toleration() {
    let node = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let rows = [
        (json!(null), false),
        (json!([{"key": "k", "operator": "Exists"}]), true),
        (json!([{"operator": "Exists"}]), true),
        (
            json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]),
            true,
        ),
        (
            json!([{"key": "k", "value": "v", "effect": "NoExecute"}]),
            false,
        ),
        (json!([{"key": "k", "value": "w"}]), false),
    ];
    for (tolerations, fits) in rows {
        let found = reasons(json!({"tolerations": tolerations}), node.clone());
        let expected: &[&str] = if fits {
            &[]
        } else {
            &["node(s) had untolerated taint(s)"]
        };
        assert_eq!(found, expected, "{tolerations}");
    }
}

#[test]
fn node_selectors_and_affinity() {
    let node = json!({"metadata": {"labels": {"disk": "ssd", "size": "8"}}});
    let affinity = |expressions: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}}})
    };
    let rows = [
        (json!({"nodeSelector": {"disk": "ssd"}}), true),
        (json!({"nodeSelector": {"disk": "hdd"}}), false),
        (
            affinity(json!([{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}])),
            true,
        ),
        (
            affinity(json!([{"key": "disk", "operator": "NotIn", "values": ["ssd"]}])),
            false,
        ),
        (
            affinity(json!([{"key": "size", "operator": "Gt", "values": ["4"]}])),
            true,
        ),
        (
            affinity(json!([{"key": "size", "operator": "Lt", "values": ["4"]}])),
            false,
        ),
        (
            affinity(json!([{"key": "none", "operator": "DoesNotExist"}])),
            true,
        ),
        (affinity(json!([])), false),
    ];
    for (pod, fits) in rows {
        assert_eq!(reasons(pod.clone(), node.clone()).is_empty(), fits, "{pod}");
    }
}

#[test]
fn resources_ports_and_cordons() {
    let pod = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1100m", "memory": "2Gi", "x.io/gpu": "1"}}}]});
    assert_eq!(
        reasons(pod, json!({})),
        [
            "Insufficient cpu",
            "Insufficient memory",
            "Insufficient x.io/gpu"
        ]
    );
    let full = json!({"status": {"allocatable": {"pods": "0"}}});
    assert_eq!(reasons(json!({}), full), ["Too many pods"]);
    let cordoned = json!({"spec": {"unschedulable": true}});
    assert_eq!(
        reasons(json!({}), cordoned.clone()),
        ["node(s) were unschedulable"]
    );
    let tolerant =
        json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    assert!(reasons(tolerant, cordoned).is_empty());
}

#[test]
fn claims_of_devices_must_be_there() {
    let pod = json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]});
    assert_eq!(
        reasons(pod, json!({})),
        ["could not find ResourceClaim \"/gpu\""]
    );
}

/// A name without a plugin would be accepted in a profile and do nothing.
#[test]
fn every_plugin_of_the_default_profile_is_here() {
    let volumes = Arc::new(VolumeBinding::new(
        Informer::new(),
        Informer::new(),
        Informer::new(),
        Csi::unfed(),
    ));
    let parts = parts(&Args::default(), &Sources::unfed(), &volumes);
    let filters: Vec<_> = parts.filters.iter().map(|filter| filter.name()).collect();
    let scores: Vec<_> = parts.scores.iter().map(|score| score.name()).collect();
    for known in &DEFAULT {
        for (point, there) in [(Point::Filter, &filters), (Point::Score, &scores)] {
            let wanted = known.points.contains(&point);
            assert_eq!(
                there.contains(&known.name),
                wanted,
                "{} {point:?}",
                known.name
            );
        }
    }
}
